r"""What stands behind a value: a unit that can be compared, or words that say nothing about its size.

Must not know: how values are compared.

Only units that mean one thing are here; anything else (`ways`, `apples`) is a remark, and remarks are ignored.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Final, NamedTuple


class Unit(NamedTuple):
    """Powers of the base units (sorted pairs), and the factor to them."""

    dimension: tuple[tuple[str, int], ...]
    factor: Fraction

    @property
    def is_time_of_day(self) -> bool:
        """a.m. or p.m."""
        return self.dimension in ((("morning", 1),), (("afternoon", 1),))

    @property
    def is_price(self) -> bool:
        """Money, or money per something."""
        return ("money", 1) in self.dimension


_BASE: Final[dict[str, tuple[str, Fraction]]] = {
    name: (dimension, Fraction(factor))
    for dimension, factor, names in (
        ("length", "1/1000", "mm millimeter millimeters millimetre millimetres"),
        ("length", "1/100", "cm centimeter centimeters centimetre centimetres"),
        ("length", "1/10", "dm decimeter decimeters"),
        ("length", "1", "m meter meters metre metres"),
        ("length", "1000", "km kilometer kilometers kilometre kilometres"),
        ("length", "0.0254", "in inch inches"),
        ("length", "0.3048", "ft foot feet"),
        ("length", "0.9144", "yd yard yards"),
        ("length", "1609.344", "mi mile miles"),
        ("mass", "1/1000", "mg milligram milligrams"),
        ("mass", "1", "g gram grams"),
        ("mass", "1000", "kg kilogram kilograms"),
        ("pounds", "1", "lb lbs pound pounds"),
        ("pounds", "1/16", "oz ounce ounces"),
        ("time", "1", "s sec secs second seconds"),
        ("time", "60", "min mins minute minutes"),
        ("time", "3600", "h hr hrs hour hours"),
        ("time", "86400", "day days"),
        ("time", "604800", "week weeks"),
        ("volume", "1", "l L liter liters litre litres"),
        ("volume", "1/1000", "ml mL milliliter milliliters"),
        ("money", "1", "$ dollar dollars USD"),
        ("money", "1/100", "cent cents \u00a2"),
        ("data", "1", "kB KB"),
        ("data", "1000", "MB megabyte megabytes"),
        ("data", "1000000", "GB gigabyte gigabytes"),
        ("data", "1000000000", "TB terabyte terabytes"),
        ("morning", "1", "am AM"),
        ("afternoon", "1", "pm PM"),
        ("celsius", "1", "degC"),
        ("fahrenheit", "1", "degF"),
    )
    for name in names.split()
}
_TOKENS: Final = re.compile(r"\^ ?\{? ?-?[0-9]{1,2}\}?|/|[^\s/^]+")
_IN_FULL: Final = {"mph": "mi / h", "kph": "km / h", "kmh": "km / h"}
_SPEEDS: Final = re.compile(r"\b(?:mph|kph|kmh)\b")
_PREFIX_POWERS: Final = {"square": 2, "sq": 2, "cubic": 3}
_SUFFIX_POWERS: Final = {"squared": 2, "cubed": 3}
_PASSED: Final = frozenset({"US", "of", "*", ".", "(", ")"})


def unit(words: str) -> Unit | None:
    """The unit that `words` name, None where they name none that is known: then they are a remark."""
    powers: dict[str, int] = {}
    factor = Fraction(1)
    sign, pending, last = 1, 1, ""
    for token in _TOKENS.findall(_SPEEDS.sub(lambda found: _IN_FULL[found[0]], words.replace("\\", ""))):
        word = token.strip(".,;")
        if token in ("/", "per") or word == "per":
            sign = -1
        elif word.lower() in _PREFIX_POWERS:
            pending = _PREFIX_POWERS[word.lower()]
        elif token.startswith("^") or word in _SUFFIX_POWERS:
            if not last:
                return None
            power = _SUFFIX_POWERS.get(word) or int(re.sub(r"[^0-9-]", "", token))
            dimension, size = _BASE[last]
            powers[dimension] += sign * (power - 1)
            factor *= size ** (sign * (power - 1))
        elif word in _BASE or word.lower() in _BASE:
            last = word if word in _BASE else word.lower()
            dimension, size = _BASE[last]
            if dimension == "money" and dimension in powers:  # $5 dollars
                continue
            powers[dimension] = powers.get(dimension, 0) + sign * pending
            factor *= size ** (sign * pending)
            pending = 1
        elif word and word not in _PASSED:
            return None
    return Unit(tuple(sorted((k, v) for k, v in powers.items() if v)), factor) if powers else None
