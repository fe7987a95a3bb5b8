from __future__ import annotations

import pytest

from eli5b_batch.grading.formulas.arithmetic import signed
from eli5b_batch.grading.formulas.lexer import Token
from eli5b_batch.grading.formulas.numerals import number
from eli5b_batch.grading.formulas.reader import UnreadableFormulaError, read
from eli5b_batch.grading.formulas.tree import Node

SAME = [  # two writings of one expression, why
    ("2x", r"2 \cdot x", "an implicit product"),
    ("2(3)", "2*3", "brackets"),
    ("1/2x", r"(1/2) \cdot x", "implicit products bind like explicit ones"),
    ("a/b/c", "(a/b)/c", "from the left"),
    ("-x^2", "-(x^2)", "the power binds closer than the sign"),
    ("2^3^2", "2^{3^2}", "towers from the top"),
    ("x^10", "x^{10}", "read as people mean it"),
    ("x^2y", "x^2 * y", "an exponent ends with its number"),
    ("2^n!", "2^{(n!)}", "or with its factorial"),
    ("n!^2", "(n!)^2", "a factorial to a power"),
    (r"\frac12", r"\frac{1}{2}", "as TeX reads it"),
    (r"\frac123", r"\frac{1}{2} \cdot 3", "digit by digit"),
    (r"\frac1{12}", r"\frac{1}{12}", "or by group"),
    (r"\frac x2", r"\frac{x}{2}", "a letter and a digit"),
    (r"\sqrt 8", r"\sqrt{8}", "a root without braces"),
    ("sqrt(8)", r"\sqrt{8}", "in plain text"),
    ("cbrt(8)", r"\sqrt[3]{8}", "a cube root"),
    (r"\binom52", r"\binom{5}{2}", "digit by digit, too"),
    ("C(5,2)", r"\binom{5}{2}", "chosen"),
    (r"{5 \choose 2}", r"\binom{5}{2}", "in old TeX"),
    (r"1 \over 2", r"\frac{1}{2}", "likewise"),
    (r"\sin 2x", r"\sin(2x)", "the argument goes on"),
    (r"\sin x + 1", r"\sin(x) + 1", "up to a plus"),
    (r"\sin x \cos x", r"\sin(x) \cos(x)", "up to a further function"),
    (r"\sin x \cdot y", r"\sin(x) \cdot y", "up to an explicit product"),
    (r"\sin x/2", r"\sin(x/2)", "an angle halved"),
    (r"\ln x/2", r"\ln(x)/2", "a logarithm halved"),
    (r"\sin^2 x", r"(\sin x)^2", "a power of a function"),
    (r"\sin^{-1} x", r"\arcsin x", "its inverse"),
    (r"\log x", r"\ln x", "without a base"),
    (r"\lg x", r"\log_{10} x", "of base ten"),
    (r"\log_28", r"\log_2 8", "base and argument in a row"),
    (r"\log^2_2 x", r"(\log_2 x)^2", "power and base"),
    (r"\log_2^2 x", r"(\log_2 x)^2", "base and power"),
    (r"\sum_{k=1}^n k + 1", r"(\sum_{k=1}^{n} k) + 1", "the term of a sum ends where a product does"),
    ("exp(x)", r"\exp{x}", "in plain text"),
    (r"|x||y|", r"|x| \cdot |y|", "two absolute values"),
    ("|x|", "abs(x)", "in a word"),
    (r"\lfloor x \rfloor", "floor(x)", "floor"),
    (r"\lceil x \rceil", "ceil(x)", "ceiling"),
    ("+5", "5", "a plus"),
    ("--5", "5", "two signs"),
    ("+ - 5", "-5", "a row of them"),
    (r"\$5", "5\\$", "money"),
    (r"50\%", "50%", "per cent"),
    (r"40\degree", r"40^{\degree}", "degrees, oddly raised"),
    (r"40\degree 30'", r"(40+30/60)\degree", "minutes of an angle"),
    ("x_{10}", "x_10", "a subscript"),
    (r"x_{a_{1}}", "x_{a_{1}}", "nested ones"),
    (r"\max(1,2)", r"\max(2,1)", "in any order"),
]  # fmt: skip
TREES = [  # formula, tree, why
    (r"2\frac{1}{2}", "add(num 2, div(num 1, num 2))", "a mixed number"),
    ("2 1/2", "add(num 2, div(num 1, num 2))", "by a space"),
    (r"2\frac{3}{2}", "mul(num 2, div(num 3, num 2))", "the fraction is not proper"),
    (r"x\frac{1}{2}", "mul(letter x, div(num 1, num 2))", "no whole number in front"),
    (r"2.5\frac{1}{2}", "mul(num 2.5, div(num 1, num 2))", "a decimal in front"),
    (r"2\cdot\frac{1}{2}", "mul(num 2, div(num 1, num 2))", "a product by its sign"),
    (r"2\frac{1}{2}\%", "percent(add(num 2, div(num 1, num 2)))", "a mixed share"),
    ("1 - 2 - 3", "add(num 1, num -2, num -3)", "signs belong to the terms"),
    ("-x", "neg(letter x)", "of a letter"),
    ("-0", "neg(num 0)", "zero keeps its sign"),
    (r"1 \pm x", "add(num 1, pm pm(letter x))", "either sign"),
    (r"x^{1/3}", "root(num 3, letter x)", "an odd root"),
    (r"x^{2/3}", "pow(root(num 3, letter x), num 2)", "and its power"),
    (r"x^{1/2}", "pow(letter x, div(num 1, num 2))", "an even one is a power"),
    ("2:3", "ratio(num 2, num 3)", "a ratio"),
    (r"7 \bmod 3", "mod(num 7, num 3)", "a remainder"),
    ("f'(x)", "mul(letter f', letter x)", "a derivative"),
    ("e_1", "letter e_1", "a letter after all"),
    ("2e", "mul(num 2, const e)", "a constant"),
    (r"101_2", "based 101(num 2)", "digits in a base"),
    (r"101_{\text{two}}", "based 101(num 2)", "in words"),
    (r"12_{-3}", "based 12(num -3)", "a negative one"),
    (r"0.\overline{3}", "num 1/3", "a repeating decimal"),
    (r"\sum_{k=1}^{n} 2k", "sum k(num 1, letter n, mul(num 2, letter k))", "a sum"),
    (r"\prod_{j=1}^3 j", "prod j(num 1, num 3, letter j)", "a product"),
    (r"\frac{1}{2}+\cdots+\frac{1}{4}", "add(div(num 1, num 2), num 1/3, div(num 1, num 4))", "dots"),
]  # fmt: skip
REFUSED = [  # what is no expression, why
    ("2 3", "two numbers"),
    ("2 + ", "nothing behind the plus"),
    (r"\frac{1}", "no denominator"),
    (r"\frac{1}{}", "an empty one"),
    ("5!!", "a double factorial"),
    ("5 !", "a factorial after a space"),
    ("()", "empty brackets"),
    ("(1", "never closed"),
    ("1)", "never opened"),
    ("(1}", "closed by another"),
    ("|x", "half an absolute value"),
    (r"\lfloor x \rceil", "half floor, half ceiling"),
    (r"\binom(5)", "one of two"),
    (r"\sin_2 x", "a base where none can be"),
    ("x_{1", "a subscript never closed"),
    ("^2", "a power of nothing"),
    (r"\sum_{k=1} k", "a sum without an end"),
    (r"\sum_{2=1}^3 k", "a number that runs"),
    (r"\sum_{k=1}^3 \sum_{k=1}^3 k", "one letter runs twice"),
    ("*2", "a product with nothing"),
]


@pytest.mark.parametrize(("one", "two", "why"), SAME)
def test_two_writings_of_one_expression(one: str, two: str, why: str) -> None:
    assert read(one) == read(two), why


@pytest.mark.parametrize(("text", "tree", "why"), TREES)
def test_trees(text: str, tree: str, why: str) -> None:
    assert str(read(text)) == tree, why


@pytest.mark.parametrize(("text", "why"), REFUSED)
def test_what_makes_no_sense_is_refused(text: str, why: str) -> None:
    with pytest.raises(UnreadableFormulaError):
        pytest.fail(f"{why}: {read(text)}")


@pytest.mark.parametrize(
    ("sign", "value", "result"),
    [
        (None, number("5"), "num 5"),
        ("+", number("5"), "num 5"),
        ("-", number("5"), "num -5"),
        ("-", number("0"), "neg(num 0)"),
        ("-", Node("letter", name="x"), "neg(letter x)"),
        ("pm", number("5"), "pm pm(num 5)"),
        ("mp", number("5"), "pm mp(num 5)"),
    ],
)
def test_signs(sign: str | None, value: Node, result: str) -> None:
    assert str(signed(Token(sign, sign, spaced=False) if sign else None, value)) == result
