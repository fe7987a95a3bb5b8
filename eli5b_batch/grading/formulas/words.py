r"""Words in and round answers: which of them change what is said, and when two wordings are the same.

Must not know: LaTeX, values.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Final

_BEFORE: Final = re.compile(
    r"\b(?:at (?:most|least)|not|(?:less|more|fewer|greater|larger|smaller|other|rather) than|over|under|above|below|"
    r"up to|"
    r"negative|minus|twice|half(?: of)?|double|thrice|multiples? of|divisors? of|factors? of|except|nearly|almost|"
    r"powers? of|no|anything but|all but|square root of|root of)$"
)
_BEHIND: Final = re.compile(
    r"^(?:or (?:less|more|so|fewer|greater|higher|lower|above|below)|and (?:above|below|up|over|more)|"
    r"at (?:most|least)|minus|plus|times [0-9]|divided|squared|cubed|remainder|choose|mod|percent of|of [0-9]|by [0-9]|"
    r"to\b|and a half|is (?:not|wrong|incorrect|impossible)|isn't|factorial|(?:is|are) excluded)\b"
)
_ANOTHER: Final = re.compile(r"^\W{0,3}(?:\w{1,20}\W{1,3})?(?:and|or|maybe|perhaps|but|possibly|to)\b[^0-9]{0,20}[0-9]")
_CONDITIONS: Final = frozenset({"if", "for", "when", "where", "otherwise", "all", "every", "any"})
_CASES: Final = re.compile(r"^(?:if|for|when)\b.{1,60}\b(?:and|or|,) ?[0-9].{0,40}\b(?:if|for|when|otherwise)\b")
SCALES: Final = {
    "dozen": Fraction(12), "hundred": Fraction(100), "thousand": Fraction(1_000), "million": Fraction(10**6),
    "billion": Fraction(10**9), "trillion": Fraction(10**12),
}  # fmt: skip
_ARTICLES: Final = re.compile(r"\b(?:the|a|an|is|are|there|it)\b")
_NONE: Final = frozenset(
    {"none", "no solution", "no solutions", "no real solutions", "empty set", "does not exist", "dne"}
)
_UNITS: Final = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
_TENS: Final = {
    word: 10 * n for n, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), 2)
}
_SMALL: Final = {word: n for n, word in enumerate(_UNITS)} | _TENS


def change_before(words: str) -> str:
    """Words in front of a value that make another of it (`at most`), else empty."""
    found = _BEFORE.search(words.casefold().rstrip(" ,:"))
    return found[0] if found else ""


def change_behind(words: str) -> str:
    """Words behind a value that make another of it (`or more`), or name a second one, else empty."""
    folded = words.casefold().lstrip(" ,(")
    found = _BEHIND.search(folded) or _ANOTHER.search(folded) or _CASES.search(folded)
    return found[0] if found else ""


def plain(text: str) -> str:
    """Wording without case, punctuation and articles; all ways to say that there is nothing are one."""
    bare = " ".join(_ARTICLES.sub(" ", re.sub(r"[^a-z0-9 ]", " ", text.casefold())).split())
    return "no solution" if bare in _NONE else bare


def condition(words: str) -> str:
    """The condition that words behind a value state (`if n is even`), without its small words; empty: none."""
    if words.partition(" ")[0].strip(",") not in _CONDITIONS:
        return ""
    return "".join(part for part in plain(words).split() if part not in _CONDITIONS)


def counted(text: str) -> Fraction | None:
    """The number that words name, up to ninety-nine."""
    parts = re.findall(r"[a-z]+", text.casefold())
    if len(parts) == 1 and parts[0] in _SMALL:
        return Fraction(_SMALL[parts[0]])
    if len(parts) == 2 and parts[0] in _TENS and 0 < _SMALL.get(parts[1], 0) < 10:  # noqa: PLR2004 (twenty-one)
        return Fraction(_TENS[parts[0]] + _SMALL[parts[1]])
    return None
