"""The one exception type for mistakes in what a user supplied; the command line turns it into exit code 2."""

from __future__ import annotations

from collections.abc import Iterable


class InputError(ValueError):
    """A bad argument, file or configuration. The message says what was got, the rule, why, and what to do."""


def input_error(*, got: str, rule: str, do: str, why: str = "") -> InputError:
    """Build an :class:`InputError` whose message has the four parts in a fixed order.

    Args:
        got: what was received, with its value, e.g. ``"half_life=-3"``.
        rule: the rule that it breaks, e.g. ``"a half-life must be positive"``.
        do: the remedy, as an imperative sentence without the full stop.
        why: the reason for the rule; may be empty when the rule says it.

    Example:
        >>> str(input_error(got="batch_size=0", rule="a batch size is at least 1", do="pass 1 or more"))
        'Got batch_size=0, but a batch size is at least 1. Pass 1 or more.'
    """
    because = f", because {why}" if why else ""
    return InputError(f"Got {got}, but {rule}{because}. {do[:1].upper()}{do[1:]}.")


def suggestion(word: str, known: Iterable[str]) -> str:
    """Start of a remedy for a misspelt name: ''use 'check' if that was meant, or ''; or empty."""
    import difflib

    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"use {close[0]!r} if that was meant, or " if close else ""
