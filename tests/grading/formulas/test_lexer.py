from __future__ import annotations

import pytest

from eli5b_batch.grading.formulas.lexer import UnreadableFormulaError, is_word, tokens


def shown(text: str, *, thousands: bool = True) -> str:
    """Tokens as `kind:value`, those that are their own kind as they are."""
    found = tokens(text, thousands=thousands)
    return " ".join(token.kind if token.kind == token.value else f"{token.kind}:{token.value}" for token in found)


TABLE = [  # formula, tokens, why
    ("1,234", "num:1234", "a thousands mark"),
    ("1,234,567.5", "num:1234567.5", "two, and decimals"),
    ("1 234", "num:1234", "a space as the mark"),
    ("1,23", "num:1 , num:23", "two digits are no thousands"),
    ("1234,567", "num:1234 , num:567", "four digits in front are none, either"),
    ("1,2345", "num:1 , num:2345", "nor four behind"),
    ("(1,234)", "( num:1 , num:234 )", "a comma in brackets separates"),
    (r"\{1,234\}", "set{:{ num:1 , num:234 set}:}", "also in braces"),
    ("[1](2) 3,456", "[ num:1 ] ( num:2 ) num:3456", "brackets closed again"),
    ("12 345/6", "num:12 num:345 / num:6", "a mixed number, not 12345/6"),
    ("3.14", "num:3.14", "a decimal"),
    (".5", "num:.5", "no zero in front"),
    ("5.", "num:5.", "a point at the end"),
    ("1...9", "num:1 ... num:9", "three dots are no decimal point"),
    (r"0.1\overline{6}", "repeating:0.1(6)", "a repeating decimal"),
    (r"0.\bar{3}", "repeating:0.(3)", "repeating from the start"),
    ("abc", "name:a name:b name:c", "neighbours: a product"),
    ("xyz", "name:x name:y name:z", "likewise"),
    ("ABC", "name:A name:B name:C", "capitals are points"),
    ("rst", "name:r name:s name:t", "no vowel"),
    ("ways", "text:ways", "a word"),
    ("is", "text:is", "a short one"),
    ("don't", "text:don't", "an apostrophe"),
    ("DNE", "text:DNE", "an abbreviation"),
    ("xe", "name:x const:e", "e is a constant"),
    ("cm", "name:c name:m", "a unit needs a number in front"),
    ("5 cm", "num:5 text:cm", "then it is one"),
    ("5m", "num:5 name:m", "one letter stays a letter"),
    (r"5 \text{ m}", "num:5 text:m", "unless it is set as text"),
    ("5 a man", "num:5 text:a text:man", "an article, not a factor"),
    ("a man", "name:a text:man", "at the beginning it could be either"),
    ("sin x", "func:sin name:x", "a function in plain letters"),
    (r"\tg x", "func:tan name:x", "by its other name"),
    (r"\operatorname{arctg} x", "func:atan name:x", "or by command"),
    ("pi", "const:pi", "a constant"),
    (r"\infty", "const:inf", "by command"),
    (r"\varphi", "name:phi", "two shapes of one letter"),
    (r"\mathbb{R}", "name:set:R", "a set"),
    (r"\mathbf{R}", "name:set:R", "in bold"),
    (r"\emptyset", "name:empty", "the empty one"),
    (r"\overline{AB}", "name:mark:AB", "a marked name"),
    (r"1 \text{ and } 2", "num:1 and num:2", "a joint"),
    (r"\text{or equivalently}", "or", "with more words"),
    (r"\text{12 ways}", "num:12 text:ways", "words and a number"),
    (r"\text{(B)}", "name:B", "an option"),
    (r"a \leq b", "name:a <=:leq name:b", "a sign by its command"),
    (r"\%", "%", "escaped"),
    (r"\angle 5", "num:5", "a mark that says nothing"),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"begin:pmatrix num:1 row:\\ num:2 end:pmatrix", "rows"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected", "why"), TABLE)
def test_tokens(text: str, expected: str, why: str) -> None:
    assert shown(text) == expected, why


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1,234", "num:1 , num:234"), ("1 234", "num:1 num:234"), ("(1,234)", "( num:1 , num:234 )")],
)
def test_commas_separate_where_no_thousands_marks_are_wanted(text: str, expected: str) -> None:
    assert shown(text, thousands=False) == expected


def test_a_group_of_zeros_is_never_an_item_of_a_list() -> None:
    with pytest.raises(UnreadableFormulaError):
        tokens("10,000", thousands=False)
    assert shown("10, 0", thousands=False) == "num:10 , num:0"


def test_tokens_know_whether_a_space_stood_in_front() -> None:
    assert [token.spaced for token in tokens("2 x!  y")] == [False, True, False, True]


@pytest.mark.parametrize("text", [r"\int x", r"\foo", r"\@", r"\mathscr"])
def test_commands_without_a_meaning_are_refused(text: str) -> None:
    with pytest.raises(UnreadableFormulaError):
        tokens(text)


@pytest.mark.parametrize("word", ["ways", "apples", "is", "we", "it's", "NO", "girl", "cat"])
def test_words(word: str) -> None:
    assert is_word(word)


@pytest.mark.parametrize("product", ["x", "ab", "abc", "xyz", "ace", "mn", "pqr", "ABCD", "PQ", "bcd"])
def test_products_of_letters(product: str) -> None:
    assert not is_word(product)
