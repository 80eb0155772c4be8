"""What a check may conclude, in words, and how conclusions combine."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Mapping
from typing import Any


class Verdict(enum.Enum):
    """The outcome of a check. The value is the sentence a reader sees; ``word`` is what JSON carries.

    Order, strongest first: proved > enclosed > sampled > consistent > undecided; apart from these stand
    inapplicable (the statement does not speak of this case), invalid (a certificate does not check, the claim
    may still be true) and refuted (a counter-example is attached).
    """

    PROVED = "every instance in the stated domain, relative to the listed assumptions and trusted facts"
    ENCLOSED = "a rigorous interval contains the number"
    SAMPLED = "no counter-example in the stated number of exactly evaluated instances"
    CONSISTENT = "the measurement does not contradict it at the stated level and sample size"
    UNDECIDED = "the technique returned no answer within its budget"
    INAPPLICABLE = "an assumption fails its audit here, so nothing is learnt about the claim"
    INVALID = "the certificate does not check; the claim may still be true"
    REFUTED = "a counter-example is attached"

    @property
    def word(self) -> str:
        """Lower-case name, as in ``--json`` output."""
        return self.name.lower()

    @classmethod
    def from_word(cls, word: str) -> Verdict:
        """Inverse of :attr:`word`."""
        return cls[word.upper()]

    def __str__(self) -> str:
        return self.word


def weakest(verdicts: Iterable[Verdict]) -> Verdict:
    """Combine the verdicts of a chain: the chain is as strong as its weakest link, and ``refuted`` dominates.

    ========================  =====================================
    any link is               the chain is
    ========================  =====================================
    refuted                   refuted
    else invalid              invalid
    else inapplicable         inapplicable
    else undecided            undecided
    else                      weakest of the four kinds of success
    (no links)                undecided
    ========================  =====================================

    Example:
        >>> weakest([Verdict.PROVED, Verdict.CONSISTENT]).word
        'consistent'
    """
    order = list(Verdict)
    return max(verdicts, key=order.index, default=Verdict.UNDECIDED)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Certificate:
    """What a check established, and everything needed to check it again.

    Attributes:
        slug: the theorem.
        claim_hash: sha256 of the canonical statement (symbols, assumptions, steps, claim).
        verdict: see :class:`Verdict`.
        method: how it was established, in words.
        evidence: the document that ``recheck`` reads, or the counter-example.
        rests_on: names from the trusted base and the theorem's assumptions.
        margin: smallest slack found where a check is numeric; None for exact ones.
        seconds: time the check took.
        versions: package versions used.
        reason: why it is not proved, where it is not.
    """

    slug: str
    claim_hash: str
    verdict: Verdict
    method: str
    evidence: Mapping[str, Any]
    rests_on: tuple[str, ...] = ()
    margin: float | None = None
    seconds: float = 0.0
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; the verdict as its word."""
        return {**dataclasses.asdict(self), "verdict": self.verdict.word, "rests_on": list(self.rests_on)}
