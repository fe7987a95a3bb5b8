"""Every shipped answer, computed a second time: by search or by symbols, not by the shipped reasoning."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from fractions import Fraction
from typing import TYPE_CHECKING

import orjson
import pytest
import sympy

from eli5b_batch.data.load import QUICKSTART, load_problems
from eli5b_batch.job.schema import Data

if TYPE_CHECKING:
    from collections.abc import Callable

    from eli5b_batch.data.problem import Problem

x, y = sympy.symbols("x y", real=True)
n = sympy.symbols("n", positive=True)


def _problems() -> list[Problem]:
    return list(load_problems(Data.model_validate({"reader": "quickstart"})).selected)


def _dice(count: int, wanted: Callable[[tuple[int, ...]], bool]) -> Fraction:
    rolls = list(itertools.product(range(1, 7), repeat=count))
    return Fraction(sum(map(wanted, rolls)), len(rolls))


def _same_colour() -> Fraction:
    draws = list(itertools.permutations("RRRRBBB", 2))
    return Fraction(sum(a == b for a, b in draws), len(draws))


def _squares_of_two_numbers() -> object:
    a, b = sympy.solve(x**2 - 31 * x + 198, x)
    return a**2 + b**2


def _pair() -> object:
    (pair,) = sympy.linsolve([2 * x + 5 * y - 1, 3 * x - 2 * y - 30], x, y)
    return pair


def _parabola() -> object:
    at = sympy.solve(sympy.diff(x**2 - 6 * x, x), x)[0]
    rest = 4 - (x**2 - 6 * x).subs(x, at)
    return (x**2 - 6 * x + rest).subs(x, 7)


def _first_term() -> object:
    terms = [x + y * i for i in range(20)]
    return sympy.solve([sum(terms[:10]) - 215, sum(terms[10:]) - 615], [x, y])[x]


def _flower_bed() -> int:
    return next(w * (w + 4) for w in range(1, 44) if 2 * (w + w + 4) == 44)


def _altitude() -> object:
    foot = sympy.Line((9, 0), (0, 40))
    return foot.distance(sympy.Point(0, 0))


def _inscribed() -> object:
    a, b = sympy.Point(0, 0), sympy.Point(21, 0)
    corners = sympy.solve([x**2 + y**2 - 13**2, (x - 21) ** 2 + y**2 - 20**2], [x, y])
    apex = next(sympy.Point(*corner) for corner in corners if corner[1] > 0)
    return sympy.Triangle(a, b, apex).inradius


def _trapezoid() -> object:
    a, b, c, d = sympy.Point(0, 0), sympy.Point(7, 0), sympy.Point(21, n), sympy.Point(0, n)
    p = sympy.Point(x, y)
    diagonals = [sympy.det(sympy.Matrix([q - s, p - s])) for q, s in ((a, c), (b, d))]
    crossing = sympy.solve(diagonals, [x, y])
    height = sympy.solve(7 * crossing[y] / 2 - 10, n)[0]
    return (7 + 21) * height / 2


def _tangent() -> object:
    # Both circles rest on the x axis: centres (0, 8) and (t, 18), their distance is the sum of the radii.
    return max(sympy.solve(x**2 + (18 - 8) ** 2 - (8 + 18) ** 2, x))


def _paths() -> int:
    paths = [
        list(itertools.accumulate(steps, lambda at, step: (at[0] + step[0], at[1] + step[1]), initial=(0, 0)))
        for steps in set(itertools.permutations([(1, 0)] * 5 + [(0, 1)] * 4))
    ]
    return sum((2, 2) not in path for path in paths)


def _round_table() -> int:
    seats = itertools.combinations(range(8), 3)
    return sum(all((b - a) % 8 not in {1, 7} for a, b in itertools.combinations(three, 2)) for three in seats)


def _letter_orders() -> int:
    return len(set(itertools.permutations("LEVELLED")))


def _square_sum() -> int:
    # From 23 on a square and the next one differ by more than 45, so 100 is far enough.
    return sum(k for k in range(1, 100) if math.isqrt(k * k + 45) ** 2 == k * k + 45)


# A phrase that occurs in one problem only -> its answer, computed.
CHECKS: dict[str, Callable[[], object]] = {
    "label printer": lambda: Fraction(18, 4) * 14,
    "less 7, equals twice": lambda: sympy.solve(3 * x - 7 - 2 * (x + 4), x)[0],
    "flower bed": _flower_bed,
    "of 462 and 1078": lambda: max(k for k in range(1, 463) if 462 % k == 1078 % k == 0),
    "only even digits": lambda: sum(set(str(k)) <= set("02468") for k in range(100, 1000)),
    "One hose": lambda: sympy.solve(n / 6 + n / 10 - 1, n)[0],
    "the product 198": _squares_of_two_numbers,
    "sides 10 and 24": lambda: sympy.Circle((0, 0), (10, 0), (10, 24)).area,
    "by 5, by 6 and by 8": lambda: next(k for k in itertools.count(4) if k % 5 == k % 6 == k % 8 == 3),
    "at least 9": lambda: _dice(2, lambda roll: sum(roll) >= 9),
    "blue and white": lambda: next(8 * part for part in itertools.count() if 5 * part - 3 * part == 14),
    "smallest value 4": _parabola,
    "equilateral triangle": lambda: (
        sympy.solve(sympy.RegularPolygon((0, 0), n, 3).area - 27 * sympy.sqrt(3), n)[0] * sympy.sqrt(3)
    ),
    "divisors does 432": lambda: sum(432 % k == 0 for k in range(1, 433)),
    "marbles": _same_colour,
    "cyclist": lambda: 2 / (Fraction(1, 24) + Fraction(1, 16)),
    "positive solution": lambda: max(sympy.solve(x**2 - 4 * x - 14, x)),
    "legs 9 and 40": _altitude,
    "7^{2026}": lambda: 7**2026 % 100,
    "LEVELLED": _letter_orders,
    "A train 180": lambda: Fraction(180 + 420, 24) * 3600 / 1000,
    "ordered pair $(a, b)$": lambda: next(iter(sympy.linsolve([2 * x + 5 * y - 1, 3 * x - 2 * y - 30], x, y))),
    "cube with edge 6": lambda: sympy.Point(3, 3, 0).distance(sympy.Point(0, 0, 6)),
    "but not by both": lambda: sum((k % 3 == 0) != (k % 7 == 0) for k in range(1, 201)),
    "must not step on": _paths,
    "arithmetic sequence": _first_term,
    "13, 20 and 21": _inscribed,
    "n^2 + 45": _square_sum,
    "exactly 4": lambda: _dice(3, lambda roll: max(roll) == 4),
    "as an interval": lambda: sympy.solve_univariate_inequality((x - 3) / (x + 5) <= 0, x, relational=False),
    "trapezoid": _trapezoid,
    "$90n$": lambda: next(k for k in itertools.count(1) if round((90 * k) ** (1 / 3)) ** 3 == 90 * k),
    "round table": _round_table,
    "Ana runs": lambda: sympy.solve(n / 6 - n / 10 - 1, n)[0],
    "radii 8 and 18": _tangent,
    "ordered pairs $(x, y)$": lambda: sum(12 * (a + b) == a * b for a in range(1, 157) for b in range(1, 157)),
}


def _squeeze(latex: str) -> str:
    return re.sub(r"\\left|\\right|\\ |\s", "", latex)


@pytest.mark.parametrize("phrase", CHECKS)
def test_the_answer_is_right(phrase: str) -> None:
    (problem,) = [p for p in _problems() if phrase in p.text]
    assert _squeeze(problem.answer) == _squeeze(sympy.latex(sympy.simplify(CHECKS[phrase]())))


def test_every_problem_has_a_check() -> None:
    problems = _problems()
    assert len(problems) == len(CHECKS) == 36
    assert all(sum(phrase in p.text for phrase in CHECKS) == 1 for p in problems)


def test_every_row_is_complete_and_its_solution_reaches_the_answer() -> None:
    for line in QUICKSTART.read_bytes().splitlines():
        row = orjson.loads(line)
        assert list(row) == ["problem", "answer", "solution", "domain", "difficulty", "source"]
        assert row["source"] == "eli5b_batch quickstart"
        assert row["difficulty"] in {1, 2, 3, 4, 5}
        assert row["answer"] in row["solution"][-60:], row["problem"]
        assert all(row[name].count("$") % 2 == 0 for name in ("problem", "solution"))


def test_every_problem_has_a_placebo_donor_of_its_own_domain() -> None:
    loaded = load_problems(Data.model_validate({"reader": "quickstart"}))
    assert loaded.duplicates_dropped == 0
    assert min(Counter(p.domain for p in loaded.selected).values()) >= 5
    assert all(loaded.partners[p.id].domain == p.domain for p in loaded.selected)
