from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from math import inf
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eli5b_batch.grading import math
from eli5b_batch.grading.extract import LONGEST
from eli5b_batch.grading.math import decide, explain, grade, too_big
from eli5b_batch.grading.notation import canonical, formula, gold_readings, plain_number

if TYPE_CHECKING:
    from collections.abc import Iterator
    from fractions import Fraction


@pytest.fixture(autouse=True, scope="module")
def _time_enough() -> Iterator[None]:
    """No machine is too busy for what is settled at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(math, "_AT_ONCE_S", inf)
        yield


def boxed(answer: str) -> str:
    return f"So we get\n\\[\\boxed{{{answer}}}\\]"


SETTLED = [  # answer, gold, right?, why: text and exact arithmetic decide, without sympy
    ("5", "5", True, "same text"),
    ("5", "6", False, "another integer"),
    ("10001", "10000", False, "integers are exact, however close"),
    ("10000.0000001", "10000", False, "so are decimals"),
    ("1000000000000000000000001", "1000000000000000000000000", False, "beyond double precision"),
    ("10,000", "10000", True, "thousands mark"),
    ("10{,}000", "10000", True, "LaTeX thousands mark"),
    (r"10\,000", "10000", True, "thin space"),
    ("10 000", "10000", True, "space"),
    (r"10,\!000", "10000", True, "comma and negative space"),
    ("1,234,567.5", "1234567.5", True, "thousands and decimals"),
    ("10000", "10,000", True, "thousands mark in the gold"),
    ("100,200", "100", False, "two numbers at most, never one of them"),
    ("5.0", "5", True, "trailing zero"),
    ("5.", "5", True, "full stop"),
    ("05", "5", True, "leading zero"),
    ("+5", "5", True, "plus"),
    ("-5", "5", False, "sign"),
    ("- 5", "-5", True, "space after the sign"),
    ("\u22125", "-5", True, "typographic minus"),
    (r"\frac{10}{2}", "5", True, "fraction that is an integer"),
    (r"\frac{11}{2}", "5", False, "fraction that is none"),
    (r"\frac{1}{2}", "1/2", True, "slash"),
    (r"\dfrac{1}{2}", r"\frac{1}{2}", True, "display fraction"),
    (r"\tfrac12", r"\frac{1}{2}", True, "fraction without braces"),
    (r"\frac{2}{4}", r"\frac{1}{2}", True, "not reduced"),
    (r"-\frac{1}{2}", r"\frac{-1}{2}", True, "sign outside"),
    (r"\frac{1}{-2}", r"-\frac{1}{2}", True, "sign below"),
    (r"\frac{-1}{-2}", r"\frac{1}{2}", True, "two signs"),
    ("0.5", r"\frac{1}{2}", True, "decimal of a fraction"),
    (".5", r"\frac{1}{2}", True, "no zero before the point"),
    ("0.333333", r"\frac{1}{3}", False, "a rounded fraction is another number"),
    (r"7\frac{1}{3}", r"\frac{22}{3}", True, "mixed number"),
    ("7 1/3", r"7 \frac{1}{3}", True, "mixed number in words of plain text"),
    ("7 1/3", r"\frac{71}{3}", False, "its space counts"),
    ("7 1/3", "71/3", False, "its space counts"),
    (r"-1\frac{1}{2}", r"-\frac{3}{2}", True, "negative mixed number"),
    (r"4.8 \times 10^{8}", "480000000", True, "scientific"),
    (r"4.8 \cdot 10^8", "480,000,000", True, "scientific with a dot"),
    ("4.8e8", "480000000", True, "scientific, computer style"),
    (r"10^{-2}", "x", False, "a number is no letter"),
    (r"50\%", "50", True, "per cent as a number"),
    (r"50\%", "0.5", True, "per cent as a share"),
    ("50", r"50\%", True, "the gold's per cent sign left out"),
    (r"50\%", r"0.5\%", False, "both say per cent"),
    ("5", "500", False, "no factor of 100 without a sign"),
    (r"\$18", "18", True, "money"),
    ("18 dollars", "18", True, "unit in words"),
    ("18 dollars per day", "18", True, "longer unit"),
    (r"5\text{ cm}", "5", True, "unit in text"),
    (r"5\ \mathrm{cm}^2", "5", True, "squared unit"),
    ("3", r"3 \mathrm{ft} / \mathrm{s}", True, "the gold's unit left out"),
    (r"40^\circ", r"40^{\circ}", True, "degrees"),
    ("40", r"40^{\circ}", True, "degrees left out"),
    ("40\u00b0", r"40^{\circ}", True, "degree sign"),
    ("x = 5", "5", True, "named answer"),
    (r"f(2) = 5", "5", True, "a function's value"),
    ("2 + 3 = 5", "5", True, "the last side of a chain"),
    (r"\frac{-1+\sqrt{5}}{2}", r"x=\frac{-1+\sqrt{5}}{2}", True, "named gold"),
    ("n = 5", "x=5", True, "the name is the problem's affair"),
    ("y = 5", "x=5", False, "but x and y are two things"),
    (r"\text{Alice}", "alice", True, "words, whatever their case"),
    ("N", "n", False, "letters keep their case"),
    (r"n \le 5", r"n \leq 5", True, "spelling of a relation"),
    (r"\left(1, 2\right)", "(1,2)", True, "brackets that grow"),
    (r"2\,\pi", r"2 \pi", True, "space"),
    (r"2\pi", "2\u03c0", True, "Greek letter"),
    (r"\sqrt{2}", r"\\sqrt{2}", True, "doubled backslash in the gold"),
    (r"\frac{7}{12}", "\x0crac{7}{12}", True, "form feed where a backslash was"),
    (r"\frac{5055}{2^{15}}", r"\frac{5055}{2^{15}", True, "brace missing in the gold"),
    ("60", r"\boxed{60}", True, "boxed gold"),
    (r"\frac{1}{2}", r"\[\frac{1}{2}\]", True, "display gold"),
    (r"\frac{1}{2}", r"$\frac{1}{2}$", True, "dollar gold"),
    (r"\frac{1}{2}", r"\[\boxed{\frac{1}{2}}\]", True, "boxed display gold"),
    ("6", r"The number of such colorings of \( P \) is \(\boxed{6}\).", True, "boxed gold in a sentence"),
    ("248", r"The smallest possible value of \(a_{10}\) is \(248\).", True, "the sentence's last formula"),
    ("x^{10}", "$x^{9}$ OR $x^{10}$", True, "a choice of golds"),
    ("7" * 1_500, "5", False, "1,500 digits"),
    ("x" * 3_000, "5", False, "guard: length"),
    ("(" * 60 + ")" * 60, "5", False, "guard: nesting"),
    ("9^{9^{9^9}}", "5", False, "guard: tower"),
    ("9^9^9^9", "5", False, "guard: tower without braces"),
    ("9^{9^{9^9}}", "9^{9^{9^9}}", True, "a tower equal as text"),
    ("2^{10000000}", "5", False, "guard: exponent"),
    ("100000000!", "5", False, "guard: factorial"),
    (r"\binom{1000000000}{500000000}", "5", False, "guard: binomial"),
    (r"\operatorname{__import__}(x)", "5", False, "guard: Python's inner names"),
]  # fmt: skip
VALUES = [  # answer, gold, right?, why: own reading of formulas decides, still without sympy
    ("1/0", "5", False, "division by zero"),
    ("1,0000", "10000", False, "four digits after the comma"),
    ("1,23", "123", False, "not a thousands mark"),
    ("2^{10}", "1024", True, "power"),
    ("2^{10}+1", "1024", False, "nearly"),
    ("5!", "120", True, "factorial"),
    (r"\binom{10}{3}", "120", True, "binomial"),
    (r"\sqrt{16}", "4", True, "root of a square"),
    (r"\sqrt{8}", r"2\sqrt{2}", True, "roots"),
    (r"2\sqrt{2}", r"2\sqrt{3}", False, "another root"),
    ("sqrt(3)/2", r"\frac{\sqrt{3}}{2}", True, "plain syntax is not LaTeX"),
    ("2pi", r"2\pi", True, "pi in plain text"),
    ("2*pi", r"2\pi", True, "star"),
    (r"\frac{\log 7}{4}", r"\frac{\ln 7}{4}", True, "log is natural"),
    (r"\log_2 8", "3", True, "unless it has a base"),
    (str(2**4016), "2^{4016}", True, "1,209 digits"),
    (str(2**4016 + 1), "2^{4016}", False, "1,209 digits, the last one wrong"),
    ("2**3", "8", True, "Python's power"),
    ("2.828427", r"2\sqrt{2}", True, "six digits of an irrational number"),
    ("2.828", r"2\sqrt{2}", False, "four digits"),
    ("0", r"\frac{1}{2^{2012}}", False, "tiny is not zero"),
    (r"\frac{1}{2^{1007}}", r"\frac{1}{2^{2012}}", False, "two tiny numbers"),
    (r"2^{2014}+1", r"2^{2014}", False, "two huge numbers"),
    (r"2 \cdot 2^{2013}", "2^{2014}", True, "equal huge numbers"),
    (r"2^{2000}+\sqrt{2}", r"2^{2000}+\sqrt{3}", False, "600 digits alike"),
    (r"\frac{1}{2014!^{2014}}", r"\frac{1}{2^{2012}}", False, "too big to be exact, and different"),
    (r"\sqrt{2}\sqrt{3}", r"\sqrt{6}", True, "the difference is zero to 1,000 digits"),
    (r"\frac{2}{e}", "2e^{-1}", True, "Euler's number"),
    (r"\frac{n^2+n}{2}", r"\frac{n(n+1)}{2}", True, "letters"),
    (r"\frac{n(n-1)}{2}", r"\frac{n(n+1)}{2}", False, "letters, different"),
    (r"\sqrt{-1}", r"\sqrt{1-\frac{2r}{R}}", False, "r and R are two letters"),
    ("N^2", "n^2+1", False, "case of a letter, different formula"),
    (r"-\frac{10}{3}, 6", r"6,-\frac{10}{3}", True, "a list in another order"),
    ("2, 3", r"\boxed{2, 3, 7}", False, "a list too short"),
    (r"\left(\frac{1}{2}, 3\right)", "(0.5, 3)", True, "tuple"),
    ("(3, 1/2)", "(1/2, 3)", False, "tuple in another order"),
    ("t < 1/2", r"t < \frac{1}{2}", True, "relation"),
    ("t > 1/2", r"t < \frac{1}{2}", False, "relation the other way"),
    (r"\frac{\sqrt{210}}{4} \text{ cm}", r"\frac{\sqrt{210}}{4}", True, "unit after a root"),
    ("(10^9)!", "5", False, "too big, and no text shows it"),
    ("cats and dogs", "5", False, "no formula"),
    (r"\frac{1}{", "5", False, "never closed"),
    (r"\sum_{k=1}^{n} k", r"\frac{n(n+1)}{2}", True, "a sum"),
    (r"\unknown{5}", "5", False, "a command that nobody knows"),
    # found by fuzzing
    (r"\binom{i}{i}", "5", False, "a binomial of complex numbers has no order"),
    (r"\binom{e}{1}", "e", True, "the gamma function is not asked for 1,000 digits"),
    ("77!", r"77!+\sqrt{441940119816603.148}", False, "no rounding"),
    (r"7!\lfloor(2018!)^{1/4}\rfloor-1", r"7!\lfloor\sqrt[4]{2018!}\rfloor", False, "a floor too long"),
    (r"((77^{46})^{14.5})^{n}", r"((77^{46}-a)^{14.5})^{n}", False, "letters far below the leading digits"),
    (r"e^{23110}+1", "e^{23110}", False, "a unit behind 10,000 digits"),
    (r"\tan(118731071398005.75 \cdot 3.806^{-1})", r"\tan(118731071398005.75/3.806)", True, "a large angle"),
    (r"C(26, 65)\pi", r"\binom{26}{65}", True, "both are nothing"),
    (r"71(87713.875)", "(71)(87713.875)", True, "a product, not a rounding in brackets"),
]  # fmt: skip
ANALYSIS = [  # answer, gold, right?, why: left to math-verify and sympy
    (r"\int_0^1 x \, dx", r"\frac{1}{2}", True, "an integral"),
    (r"\int_0^1 x \, dx", r"\frac{1}{3}", False, "another value"),
    ("1", r"\int_0^1 2x \, dx", True, "an integral as the gold"),
    (r"\lim_{x \to 0} \frac{\sin x}{x}", "1", True, "a limit"),
    (r"\sum_{k=1}^{\infty} \frac{1}{2^k}", "1", True, "an infinite sum"),
]


@pytest.mark.parametrize(("answer", "gold", "right", "why"), [*SETTLED, *VALUES])
def test_settled_without_sympy(answer: str, gold: str, right: bool, why: str) -> None:  # noqa: FBT001
    verdict = decide(boxed(answer), gold)
    assert verdict is not None
    assert verdict.correct is right, (why, verdict)
    assert replace(grade(boxed(answer), gold), seconds=0) == replace(verdict, seconds=0)


@pytest.mark.parametrize(("answer", "gold", "right", "why"), ANALYSIS)
def test_left_to_sympy(answer: str, gold: str, right: bool, why: str) -> None:  # noqa: FBT001
    assert decide(boxed(answer), gold) is None, why
    verdict = grade(boxed(answer), gold)
    assert verdict.verdict == ("correct" if right else "incorrect"), (why, verdict)


def test_a_verdict_tells_how_it_came_about() -> None:
    verdict = grade("The answer is 7.", "5")
    assert (verdict.verdict, verdict.answer, verdict.rule) == ("incorrect", "7", "statement/rational")
    assert verdict.seconds >= 0


@pytest.mark.parametrize(
    ("text", "gold", "rule"),
    [
        ("I give up", "5", "none"),
        (boxed("5"), "5", "boxed/text"),
        (boxed("6"), "5", "boxed/rational"),
        (boxed("B"), "C", "boxed/choice"),
        (boxed("yes"), "no", "boxed/word"),
        (boxed("May 5"), "May 6", "boxed/date"),
        (boxed(r"\sqrt{8}"), r"2\sqrt{2}", "boxed/value"),
        (boxed("cats"), r"\sqrt{2}", "boxed/value"),
        (boxed(r"\unknown"), "5", "boxed/unread"),
        (boxed("7" * (LONGEST + 1)), "5", "boxed/guard"),
        (boxed("(10^9)!"), "5", "boxed/guard"),
        (boxed(r"\int_0^1 x \, dx + 9^{9^{9^9}}"), "5", "boxed/guard"),
        (boxed(r"\int_0^1 x \, dx"), "5", "boxed/number"),
        (boxed(r"\lim_{x \to 0} \frac{\sin x}{x}"), "5", "boxed/symbolic"),
    ],
)
def test_a_verdict_names_the_rule_that_decided(text: str, gold: str, rule: str) -> None:
    assert grade(text, gold).rule == rule


def test_a_gold_of_great_length_is_compared_as_text_only() -> None:
    gold = "+".join(["1"] * 11_000)
    for answer, verdict in (("1", "incorrect"), ("11000", "incorrect")):
        decided = decide(boxed(answer), gold)
        assert decided is not None
        assert (decided.verdict, decided.rule) == (verdict, "boxed/guard")


def test_of_a_choice_of_golds_any_will_do() -> None:
    for answer in ("x^9", "x^{5+5}"):
        assert grade(boxed(answer), "$x^{9}$ OR $x^{10}$").correct
    assert not grade(boxed("x^{11}"), "$x^{9}$ OR $x^{10}$").correct


EXPLAINED = [  # text, gold, what is said about it, why
    ("nothing", "5", ["no final answer"], "no answer"),
    ("The answer is 7.", "5", ["by the rule `statement`: 7", "rational: incorrect", "verdict: incorrect"], "numbers"),
    (boxed(r"\dfrac12"), r"\frac{1}{2}", ["in one spelling: \\frac12", "verdict: correct"], "one spelling"),
    (boxed("x + 1"), "x+1", ["the same but for spaces", "verdict: correct, by text"], "text"),
    (boxed(r"\sqrt{8}"), r"2\sqrt{2}", ["rational: nothing to say", "root(num 2, num 8)", "value: correct"], "a value"),
    (boxed("5"), "$4$ OR $5$", ["gold read as: 4", "gold read as: 5", "verdict: correct"], "a choice of golds"),
    (boxed("(10^9)!"), "5", ["more work than an answer is worth", "verdict: incorrect, by guard"], "too big"),
    (boxed("7" * 6_001), "5", ["longer than 6000 characters"], "too long"),
    (boxed(r"\unknown"), "5", ["not read as a formula", "verdict: incorrect, by unread"], "unread"),
    (boxed(r"\int_0^1 x \, dx"), "5", ["left to sympy"], "an integral"),
]


@pytest.mark.parametrize(("text", "gold", "said", "why"), EXPLAINED)
def test_how_a_verdict_comes_about_is_explained(text: str, gold: str, said: list[str], why: str) -> None:
    explained = "\n".join(explain(text, gold))
    assert [line for line in said if line not in explained] == [], (why, explained)


@pytest.mark.parametrize(("answer", "gold", "right", "why"), [*SETTLED, *VALUES])
def test_what_is_explained_is_the_verdict(answer: str, gold: str, right: bool, why: str) -> None:  # noqa: FBT001
    last = explain(boxed(answer), gold)[-1]
    expected = "verdict: correct, by" if right else "verdict: incorrect, by"
    assert last.startswith((expected, "longer than")), why


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_text_and_any_gold_are_explained(text: str, gold: str) -> None:
    assert explain(boxed(text), gold)


def test_what_is_not_settled_in_time_is_left_to_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = boxed(r"\sqrt{8}"), r"2\sqrt{2}"
    assert decide(*asked) is not None
    monkeypatch.setattr(math, "_AT_ONCE_S", -1.0)
    assert decide(*asked) is None
    assert grade(*asked).correct


def test_an_exception_of_the_libraries_is_a_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(*_: object, **__: object) -> bool:
        raise ZeroDivisionError

    monkeypatch.setattr("eli5b_batch.grading.symbolic.verify", explode)
    verdict = grade(boxed(r"\lim_{x \to 0} x"), "n")
    assert (verdict.verdict, verdict.rule) == ("error", "boxed/ZeroDivisionError")


def test_no_text_is_evaluated_as_python(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        pytest.fail("text reached eval")

    import_module("sympy.physics.units")  # sympy does so at its first need, and evaluates its own names of units then
    monkeypatch.setattr("sympy.parsing.sympy_parser.eval_expr", refuse)
    for answer in (
        "__import__('os').system('true')",
        "1+1",
        "2^{3}+x",
        "exit()",
        r"\operatorname{exec}(x)",
        "lambda: 1",
    ):
        grade(boxed(answer), r"\sqrt{2}")
        grade(boxed(rf"\int_0^1 x \, dx + {answer}"), r"\sqrt{2}")


@pytest.mark.parametrize("gold", ["", " ", "\x00", r"\boxed{}", "{", "}", "$", r"\frac{1}{2", "no formula at all"])
def test_a_bad_gold_is_survived(gold: str) -> None:
    assert grade(boxed("5"), gold).verdict == "incorrect"


def test_a_whole_gsm8k_solution() -> None:
    solution = "She sells 16 - 3 - 4 = <<16-3-4=9>>9 eggs.\nShe makes 9 * 2 = $<<9*2=18>>18.\n#### 18"
    assert grade(solution, "18").correct


integers = st.integers(-(10**30), 10**30)
fractions = st.fractions(min_value=-(10**6), max_value=10**6, max_denominator=10**6)


@given(integers)
def test_an_integer_equals_itself_in_every_spelling_and_nothing_else(number: int) -> None:
    spellings = [
        f"{number}",
        f"{number:,}",
        f"{number:,}".replace(",", "{,}"),
        f"{number}.0",
        f"\\frac{{{2 * number}}}{{2}}",
    ]
    for spelling in spellings:
        verdict = decide(boxed(spelling), str(number))
        assert verdict is not None
        assert verdict.correct, spelling
    for other in (number + 1, number - 1, number * 10 + 1):
        verdict = decide(boxed(f"{other:,}"), str(number))
        assert verdict is not None
        assert not verdict.correct


@given(fractions, fractions, st.integers(1, 50))
def test_a_fraction_equals_itself_in_every_spelling_and_nothing_else(one: Fraction, two: Fraction, by: int) -> None:
    above, below = one.numerator * by, one.denominator * by
    gold = f"\\frac{{{one.numerator}}}{{{one.denominator}}}"
    sign, size = ("-" if above < 0 else ""), abs(above)
    for spelling in (f"\\frac{{{above}}}{{{below}}}", f"{sign}\\dfrac{{{size}}}{{{below}}}", f"{above}/{below}"):
        verdict = decide(boxed(spelling), gold)
        assert verdict is not None
        assert verdict.correct, spelling
    verdict = decide(boxed(f"{two.numerator}/{two.denominator}"), gold)
    assert verdict is not None
    assert verdict.correct is (one == two)


@given(
    st.text(st.characters(exclude_categories=()), max_size=60),
    st.text(st.characters(exclude_categories=()), max_size=60),
)
def test_any_text_and_any_gold_are_survived(text: str, gold: str) -> None:
    decide(boxed(text), gold)


MARKS = [
    "1",
    "23",
    ",",
    ".",
    "-",
    "+",
    "/",
    "%",
    "\\%",
    " ",
    "\\,",
    "{",
    "}",
    "\\frac",
    "=",
    "x",
    "^",
    "\\text{cm}",
    "e",
    "$",
]


@given(st.lists(st.sampled_from(MARKS), max_size=12).map("".join))
def test_any_mixture_of_number_marks_equals_itself(text: str) -> None:
    plain_number(formula(text))
    verdict = decide(f"<answer>{text}</answer>", text)
    assert verdict is None or verdict.verdict in ("correct", "no_answer", "incorrect")


def test_notation() -> None:
    assert formula(r"\dfrac{1}{2}\left(x\right)\,y") == r"\frac{1}{2}(x) y"
    assert canonical(r"\frac{1}{2} \text{ cm}") == canonical(r"\frac12cm")
    assert gold_readings(r"$a$ OR $b$") == ("a", "b")
    assert not too_big(r"2^{2^{7}}")
    assert too_big("9^{9^{9^{9}}}")


GREEDY = {  # replies and golds of a few hundred characters that took seconds or gigabytes once
    "pairs in pairs": (boxed("C(" * 29 + "1" + ")" * 29), "5"),
    "maxima of maxima": (boxed(r"\max " * 40 + "x"), "x"),
    "cis of cis": (boxed(r"\text{cis}(" * 25 + "1" + ")" * 25), r"\sqrt{2}"),
    "a line without many points": (boxed(r"\mathbb{R}\setminus\{" + ",".join(map(str, range(900))) + r"\}"), "(0,1)"),
    "many points left out": (boxed(",".join(rf"x \neq {n}" for n in range(700))), "(0,1)"),
    "fractions in fractions": (boxed(r"1+\frac{1}{" * 27 + "x" + "}" * 27 + "=3"), "x^2+y^2=1"),
    "many fractions": (boxed("+".join(["x/y"] * 1_400) + "=1"), "x^2+y^2=1"),
    "a high root": (boxed(r"\sqrt[65]{3^{130001}}"), "5"),
    "many choices": (boxed(r"\sqrt{2}"), " OR ".join([r"\sum_{k=1}^{9000}\sqrt{k}"] * 200)),
    "many dots": (boxed("+".join([r"(1+2+\ldots+900)"] * 300)), r"\sqrt{2}"),
    "sums in intervals": (
        boxed(r" \cup ".join(rf"(0, \sum_{{k=1}}^{{9000}}\sqrt{{k+{n}}})" for n in range(50))),
        "(0,1)",
    ),
}


@pytest.mark.parametrize(("text", "gold"), GREEDY.values(), ids=GREEDY)
def test_greedy_formulas_are_wrong_or_left_to_a_worker(text: str, gold: str) -> None:
    verdict = decide(text, gold)
    assert verdict is None or verdict.verdict == "incorrect"
