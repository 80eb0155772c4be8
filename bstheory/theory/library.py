"""``bst.theorems``: every theorem of the library by its slug, loaded on first use."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from typing import Any

from bstheory.errors import input_error
from bstheory.theory import theorems as _modules


def all_slugs() -> tuple[str, ...]:
    """Slugs of every theorem in the library, sorted."""
    return tuple(
        sorted(m.name for m in pkgutil.iter_modules(_modules.__path__) if not m.name.startswith("_"))
    )


def get(slug: str) -> Any:
    """The ``Bound`` called ``slug``.

    Raises:
        InputError: no such theorem; the message names the nearest ones.
    """
    if slug not in all_slugs():
        near = difflib.get_close_matches(slug, all_slugs(), n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}" if near else "docs/theorems/README.md lists them"
        raise input_error(got=f"slug {slug!r}", rule="no theorem has that name", do=hint)
    return importlib.import_module(f"{_modules.__name__}.{slug}").BOUND


def __getattr__(name: str) -> Any:
    if name in all_slugs():
        return get(name)
    raise AttributeError(f"no theorem {name!r}; there are {', '.join(all_slugs())}")


def __dir__() -> list[str]:
    return [*all_slugs(), "all_slugs", "get"]
