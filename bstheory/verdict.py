"""What a check may conclude, in words, and how conclusions combine."""

from __future__ import annotations

import enum
from collections.abc import Iterable


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
