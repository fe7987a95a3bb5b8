from __future__ import annotations

import pytest

from eli5b_batch.grading.formulas.reader import UnreadableFormulaError, read

WORDS = [  # formula, tree, why
    ("12 ways", "unit ways(num 12)", "words behind are kept"),
    (r"\text{There are } 12", "num 12", "words in front are passed over"),
    (r"\text{Area}: 12", "num 12", "with a colon"),
    (r"\text{Area} = 12", "num 12", "or an equals sign"),
    (r"\text{at most } 12", "unit at most|(num 12)", "unless they change the value"),
    (r"\text{over } 12 \text{ cm}", "unit over|cm(num 12)", "with a unit behind"),
    (r"12 \text{ or more}", "unit or more(num 12)", "words that change it from behind"),
    ("12 or less", "unit or less(num 12)", "in plain text"),
    (r"5 \text{ cm}^2", "unit cm ^2(num 5)", "a power of a unit"),
    (r"60 \frac{\text{km}}{\text{h}}", "unit km / h(num 60)", "a quotient of units"),
    (r"\$18/\text{day}", "unit / day(unit $(num 18))", "money per day"),
    ("1 hour 30 minutes", "list and(unit hour(num 1), unit minutes(num 30))", "two measures are one `and`"),
    ("1 hour and 30 minutes", "list and(unit hour(num 1), unit minutes(num 30))", "said out loud"),
    ("40 degrees", "deg(num 40)", "an angle in words"),
    ("5 million", "mul(num 5, num 1000000)", "a scale in words"),
    ("5 million people", "unit people(mul(num 5, num 1000000))", "and what is counted"),
    ("2 dozen", "mul(num 2, num 12)", "likewise"),
    ("Alice", "text Alice", "words alone"),
    ("all odd n", "text all odd n ", "words that a letter completes"),
    (r"x \text{ such that nothing}", "text  x such that nothing", "or begins"),
    (r"n = 5 \text{ for all } k", "unit for all k(rel =(letter n, num 5))", "a condition"),
    ("5 (since 2 = 1 + 1)", "unit ( since 2 = 1 + 1 )(num 5)", "a reason in brackets may be an equation"),
    (r"\text{all real numbers except } 3", "minus(letter set:R, set(num 3))", "all but one"),
    (r"\text{all real numbers except } 3, 4", "minus(letter set:R, set(num 3, num 4))", "all but two"),
]  # fmt: skip
CONDITIONS = [
    (r"x = 5, x \in \mathbb{R}", "rel =(letter x, num 5)", "a declaration says nothing"),
    (r"k \in \mathbb{Z}", "rel in(letter k, letter set:Z)", "unless nothing else is said"),
    (r"2k, \text{ for all } k > 1", "unit , for all(mul(num 2, letter k))", "a condition behind a comma"),
    ("1 if n is even, 2 if n is odd", "list ,(unit if n is even(num 1), unit if n is odd(num 2))", "piecewise"),
]  # fmt: skip
COLLECTIONS = [
    ("1, 2", "list ,(num 1, num 2)", "a list"),
    ("1; 2", "list ;(num 1, num 2)", "by semicolons"),
    ("1 and 2", "list and(num 1, num 2)", "by a word"),
    ("1, 2 or 3", "list or(num 1, num 2, num 3)", "`or` counts for the whole list"),
    ("1, 2, or 3", "list or(num 1, num 2, num 3)", "comma and word"),
    ("1, 2,", "list ,(num 1, num 2)", "a comma at the end"),
    ("(1, 2)", "tuple ()(num 1, num 2)", "a pair"),
    ("[1, 2)", "tuple [)(num 1, num 2)", "a half-open interval"),
    (r"\langle 1, 2 \rangle", "tuple ()(num 1, num 2)", "angle brackets are a vector's"),
    ("((1, 2), 3)", "tuple ()(tuple ()(num 1, num 2), num 3)", "nested"),
    (r"\{1, 2\}", "set(num 1, num 2)", "a set"),
    (r"\{5\}", "set(num 5)", "of one"),
    (r"\{\}", "letter empty", "of none"),
    (r"\emptyset", "letter empty", "by its sign"),
    (r"\{x : x > 1\}", "builder(letter x, rel >(letter x, num 1))", "by a property"),
    (r"\{x | x > 1\}", "builder(letter x, rel >(letter x, num 1))", "with a bar"),
    (r"\{x \in \mathbb{R} : x > 1\}", "builder(rel in(letter x, letter set:R), rel >(letter x, num 1))", "of reals"),
    (r"[1,2] \cup [3,4] \cup \{5\}", "union(tuple [](num 1, num 2), tuple [](num 3, num 4), set(num 5))", "a union"),
    (r"\mathbb{R} \setminus \{3\}", "minus(letter set:R, set(num 3))", "a difference"),
    (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}",
     "matrix pmatrix(row(num 1, num 2), row(num 3, num 4))", "a matrix"),
    (r"\begin{bmatrix} 1 \\ 2 \\ \end{bmatrix}", "matrix bmatrix(row(num 1), row(num 2))", "a row never begun"),
    (r"1, 3, \ldots, 9", "list ,(num 1, num 3, num 5, num 7, num 9)", "dots"),
    (r"\{1, 2, \ldots, 4\}", "set(num 1, num 2, num 3, num 4)", "dots in a set"),
]  # fmt: skip
RELATIONS = [
    ("x = 5", "rel =(letter x, num 5)", "an equation"),
    ("1 < x <= 5", "rel < <=(num 1, letter x, num 5)", "a chain"),
    (r"x \in (1, 2)", "rel in(letter x, tuple ()(num 1, num 2))", "a member"),
    (r"f(x) \equiv 0", "rel =(mul(letter f, letter x), num 0)", "identically"),
    (r"n \equiv 1 \pmod{3}", "mod(rel ==(letter n, num 1), num 3)", "a congruence"),
    (r"n \equiv 1 \pmod 3", "mod(rel ==(letter n, num 1), num 3)", "without braces"),
    (r"x \leq 1 \cup x \geq 3", "union(rel <=(letter x, num 1), rel >=(letter x, num 3))", "a union of inequalities"),
    (r"\pi \approx 3.14", "rel ~(const pi, num 3.14)", "about"),
]  # fmt: skip
BASES = [
    ("1011_2", "based 1011(num 2)", "a subscript"),
    ("AB_{16}", "based AB(num 16)", "hexadecimal digits"),
    (r"1011_{\text{base } 2}", "based 1011(num 2)", "in words"),
    ("1011 base 2", "based 1011(num 2)", "behind"),
    (r"1011 \text{ (in base two)}", "based 1011(num 2)", "in brackets"),
]


@pytest.mark.parametrize(("text", "tree", "why"), [*WORDS, *CONDITIONS, *COLLECTIONS, *RELATIONS, *BASES])
def test_trees(text: str, tree: str, why: str) -> None:
    assert str(read(text)) == tree, why


def test_commas_outside_brackets_are_thousands_marks_where_they_can_be() -> None:
    assert str(read("1,234")) == "num 1234"
    assert str(read("1,234", thousands=False)) == "list ,(num 1, num 234)"
    assert str(read("(1,234)")) == "tuple ()(num 1, num 234)"


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "1 +",
        "(1, 2",
        "1, 2)",
        r"\lim_{n \to \infty} n",
        r"(1,2) \cap (0,1)",
        r"\begin{tabular} 1 \end{tabular}",
        "1, 2, ..., n",
        r"x \text{ hence the value is } = 5",
        "= 5 =",
    ],
)
def test_what_is_no_formula_here_is_refused(text: str) -> None:
    with pytest.raises(UnreadableFormulaError):
        pytest.fail(str(read(text)))


@pytest.mark.parametrize(
    ("before", "after"),
    [("(", ")"), ("{", "}"), (r"\frac{1}{", "}"), (r"\sqrt{", "}"), ("2^{", "}"), (r"\{", r"\}"), ("|(", ")|")],
)
def test_formulas_have_a_greatest_depth(before: str, after: str) -> None:
    read(before * 10 + "1" + after * 10)
    with pytest.raises(UnreadableFormulaError):
        read(before * 500 + "1" + after * 500)


@pytest.mark.parametrize("text", ["1" + "+1" * 900, "1" + "*1" * 900, "x" * 4, "1" + ",1" * 900, "+" * 90 + "1"])
def test_long_formulas_are_not_deep_ones(text: str) -> None:
    assert read(text).depth() < 5


def test_a_tree_that_would_be_too_deep_to_look_at_is_refused() -> None:
    read("1" + "/1" * 80)
    with pytest.raises(UnreadableFormulaError):
        read("1" + "/1" * 200)
    with pytest.raises(UnreadableFormulaError):
        read("-" * 5_000 + "x")
