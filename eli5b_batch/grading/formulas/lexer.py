r"""From a formula's text to tokens: numbers, names, functions, words, signs.

Must not know: grammar, values. The text is a `notation.formula`; every pattern is linear.

A run of letters is a function (`sin`), a constant (`pi`), a word (`ways`, `cm`) or a product of letters (`abc`).
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final, NamedTuple


class UnreadableFormulaError(Exception):
    """Not a formula that can be read here."""


class Token(NamedTuple):
    """`kind` is num, name, const, func, text, cmd, begin, end, or the sign itself; `spaced`: after a space."""

    kind: str
    value: str
    spaced: bool


FUNCTIONS: Final[dict[str, str]] = {
    "sin": "sin", "cos": "cos", "tan": "tan", "tg": "tan", "cot": "cot", "ctg": "cot", "sec": "sec", "csc": "csc",
    "sinh": "sinh", "cosh": "cosh", "tanh": "tanh", "coth": "coth",
    "arcsin": "asin", "arccos": "acos", "arctan": "atan", "arccot": "acot", "arctg": "atan",
    "asin": "asin", "acos": "acos", "atan": "atan", "arcsinh": "asinh", "arccosh": "acosh", "arctanh": "atanh",
    "cis": "cis", "ln": "ln", "log": "log", "lg": "lg", "exp": "exp", "sgn": "sgn",
}  # fmt: skip
_PLAIN_FUNCTIONS: Final = frozenset({"sqrt", "cbrt", "binom", "floor", "ceil", "abs"})
_CONSTANTS: Final = {"pi": "pi", "infty": "inf", "infinity": "inf", "inf": "inf", "oo": "inf", "Infinity": "inf"}
GREEK: Final = frozenset(
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau upsilon phi chi psi omega "
    "Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega ell hbar".split()
)
_SAME_LETTER: Final = {"varphi": "phi", "varepsilon": "epsilon", "vartheta": "theta", "varrho": "rho"}
_SIGNS: Final = {
    "cdot": "*", "times": "*", "ast": "*", "div": "/", "leq": "<=", "geq": ">=", "neq": "!=", "equiv": "==",
    "approx": "~", "simeq": "~", "in": "in", "cup": "cup", "cap": "cap", "setminus": "minus", "backslash": "minus",
    "bullet": "*", "land": "and", "wedge": "and", "lor": "or", "vee": "or", "colon": ":", "ldotp": ".", "vert": "|",
    "pm": "pm", "mp": "mp", "ldots": "...", "dots": "...", "cdots": "...", "degree": "deg", "pmod": "pmod",
    "langle": "<", "rangle": ">", "prime": "'", "choose": "choose", "bmod": "bmod", "mod": "bmod", "to": "to",
    "over": "over",
}  # fmt: skip
_IGNORED: Final = frozenset(
    "angle measuredangle triangle therefore because quad hfill nobreak star mathrm mathbf text Rightarrow rightarrow "
    "implies".split()
)
OPAQUE: Final = frozenset({"max", "min", "gcd", "lcm", "deg", "det", "Re", "Im", "dim", "ker", "arg", "lim", "sup"})
"""Functions whose value is not worked out: the same argument makes them the same."""
_SETS: Final = {"emptyset": "empty", "varnothing": "empty"}

_TEXT_COMMANDS: Final = (
    r"text(?:bf|it|rm|normal|sf|tt)?|math(?:tt|rm|it|sf|bf)|mbox|hbox|boldsymbol|bm|operatorname\*?|emph"
)
_TOKEN: Final = re.compile(
    r"(?P<space> +)"
    r"|\\math(?:bf|rm) ?\{ ?(?P<bold>[RZNQ]) ?\}"
    rf"|\\(?P<textcmd>{_TEXT_COMMANDS}) ?\{{(?P<text>[^{{}}]*)\}}"
    r"|\\(?:mathbb|mathcal|mathfrak|Bbb) ?\{?(?P<set>[A-Za-z])\}?"
    r"|\\(?:overline|bar|vec|hat|tilde|overrightarrow|widehat) ?(?:\{(?P<marked>[^{}]{1,40})\}|(?P<mark>[A-Za-z]))"
    r"|\\begin ?\{(?P<begin>[a-z]{1,12})\*?\}(?: ?\{[clr| ]{1,20}\})?|\\end ?\{(?P<end>[a-z]{1,12})\*?\}"
    r"|(?P<row>\\\\)"
    r"|\\(?P<command>[A-Za-z]+)|\\(?P<escaped>.)"
    r"|(?P<digits>[0-9])|(?P<point>\.[0-9])"
    r"|(?P<article>(?<=[A-Za-z0-9] )[aA](?= [A-Za-z]{2}))"
    r"|(?P<word>[A-Za-z]+(?:'[a-z]+)?)"
    r"|(?P<sign><=|>=|!=|\.\.\.|=>|->|.)",
    re.DOTALL,
)
_NUMBER: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?(?:\.(?![0-9.]))?|\.[0-9]+")
_THOUSANDS: Final = re.compile(r"[0-9]{1,3}(?:,[0-9]{3}){1,300}(?![0-9])(?:\.[0-9]+)?")
_SPACED_THOUSANDS: Final = re.compile(r"[0-9]{1,3}(?: [0-9]{3}){1,300}(?![0-9]| ?/)(?:\.[0-9]+)?")
_REPEATING: Final = re.compile(r"([0-9]*\.[0-9]*) ?\\(?:overline|bar|dot) ?(?:\{([0-9]{1,30})\}|([0-9]))")

_AND_SO_ON: Final = re.compile(r"([0-9]{0,9}\.[0-9]{0,9}?)([0-9]{1,6}?)\2{1,30} ?(?:\\l?dots|\\cdots|\.\.\.)")
_PERIOD: Final = re.compile(r"([0-9]{1,9}\.)\(([0-9]{1,30})\)")
_UNITS: Final = frozenset(
    "mm cm dm m km in ft yd mi mg g kg lb lbs oz s sec secs min mins h hr hrs ml mL L kB KB MB GB TB mph kph rad "
    "N J W Hz".split()
)
_SMALL_WORDS: Final = frozenset(
    "is or of in to by we an at on if no No Yes it as be do so am pm AM PM vs US USD".split()
)
_CAPITAL_WORDS: Final = frozenset({"YES", "NO", "DNE", "NONE", "TRUE", "FALSE", "EVEN", "ODD"})
_SHORTEST_WORD: Final = 3
_LONGEST_PRODUCT: Final = 4
_VOWELS: Final = frozenset("aeiouyAEIOUY")


def tokens(text: str, *, thousands: bool = True) -> list[Token]:
    """The tokens of a `formula`.

    Args:
        text: the formula.
        thousands: whether a comma between digits can be a thousands mark; never within brackets.

    Raises:
        UnreadableFormulaError: there is a command that has no meaning here.
    """
    found: list[Token] = []
    at, depth, spaced = 0, 0, False
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise UnreadableFormulaError
        kind = match.lastgroup or ""
        if kind in ("digits", "point"):
            at = _number(text, at, found, spaced=spaced, thousands=thousands and depth == 0)
            spaced = False
            continue
        at = match.end()
        if kind == "space":
            spaced = True
            continue
        value = match[kind]
        if kind in ("sign", "escaped"):
            depth += (value in "([{") - (value in ")]}")
        _take(kind, match, found, spaced=spaced)
        spaced = False
    return found


def _number(text: str, at: int, found: list[Token], *, spaced: bool, thousands: bool) -> int:
    if (series := _AND_SO_ON.match(text, at)) and len(series[0]) < 100:  # noqa: PLR2004 (more is a decimal)
        found.append(Token("repeating", f"{series[1]}({series[2]})", spaced))
        return series.end()
    if period := _PERIOD.match(text, at):
        found.append(Token("repeating", f"{period[1]}({period[2]})", spaced))
        return period.end()
    if repeating := _REPEATING.match(text, at):
        found.append(Token("repeating", f"{repeating[1]}({repeating[2] or repeating[3]})", spaced))
        return repeating.end()
    if not thousands and found and found[-1].kind == "," and not spaced and re.match(r"0[0-9]", text[at : at + 2]):
        raise UnreadableFormulaError  # 10,0000 is no list
    match = (thousands and (_THOUSANDS.match(text, at) or _SPACED_THOUSANDS.match(text, at))) or _NUMBER.match(text, at)
    assert match
    found.append(Token("num", match[0].replace(",", "").replace(" ", ""), spaced))
    return match.end()


def _take(kind: str, match: re.Match[str], found: list[Token], *, spaced: bool) -> None:  # noqa: C901, PLR0912 (branches)
    value = match[kind]
    if kind in ("text", "textcmd"):
        _take_text(match["textcmd"], match["text"] or "", found, spaced=spaced)
    elif kind == "article":
        found.append(Token("text", value, spaced))
    elif kind in ("set", "bold"):
        found.append(Token("name", f"set:{value}", spaced))
    elif kind in ("marked", "mark"):
        found.append(Token("name", f"mark:{value.replace(' ', '')}", spaced))
    elif kind in ("begin", "end"):
        found.append(Token(kind, value, spaced))
    elif kind == "row":
        found.append(Token("row", value, spaced))
    elif kind == "command":
        _take_command(value, found, spaced=spaced)
    elif kind == "escaped":
        if value in "{}":
            found.append(Token("set" + value, value, spaced))
        elif value in "%$|":
            found.append(Token("||" if value == "|" else value, value, spaced))
        elif value not in "()[]/-":
            raise UnreadableFormulaError
    elif kind == "word":
        _take_word(value, found, spaced=spaced, behind=match.string[match.end() : match.end() + 1])
    else:
        found.append(Token(value, value, spaced))


_CHOICE: Final = re.compile(r"\(?([A-Z])\)?")
_JOINT: Final = re.compile(r"(and|or|&)(?:,? (?:equivalently|else|simply|in other words))?")
_ENDS_IN_JOINT: Final = re.compile(r"(.{1,60}[^,]),? (and|or)")
_SIGN_TEXTS: Final = frozenset({"-", ":", "+", "/"})
_LETTER_UNITS: Final = frozenset("msghlLJNWVKCF")


def _take_text(command: str, text: str, found: list[Token], *, spaced: bool) -> None:  # noqa: C901 (a branch a kind)
    bare = text.strip(" ,.;:")
    if bare in _PLAIN_FUNCTIONS:
        found.append(Token("cmd", bare, spaced))
    elif bare in FUNCTIONS:
        found.append(Token("func", FUNCTIONS[bare], spaced))
    elif command != "text" and bare in OPAQUE:
        found.append(Token("func", bare, spaced))
    elif (joint := _JOINT.fullmatch(bare)) or text.strip() in _SIGN_TEXTS:
        sign = joint[1].replace("&", "and") if joint else text.strip()
        found.append(Token(sign, sign, spaced))
    elif any(character.isdigit() for character in bare):  # words and numbers, or a formula set upright
        found.extend(tokens(bare))
    elif bare in _LETTER_UNITS and found and found[-1].kind in ("num", ")", "}"):
        found.append(Token("text", bare, spaced))
    elif choice := _CHOICE.fullmatch(bare):
        found.append(Token("name", choice[1], spaced))
    elif len(bare) == 1 and bare.isalpha():
        found.append(Token("name" if bare not in "ei" else "const", bare, spaced))
    elif last := _ENDS_IN_JOINT.fullmatch(bare):
        found.append(Token("text", last[1], spaced))
        found.append(Token(last[2], last[2], spaced=True))
    elif bare:
        found.append(Token("text", bare, spaced))
    elif text.strip() in (",", ";"):
        found.append(Token(text.strip(), text, spaced))


def _take_command(name: str, found: list[Token], *, spaced: bool) -> None:  # noqa: C901 (a branch a kind)
    if name in FUNCTIONS:
        found.append(Token("func", FUNCTIONS[name], spaced))
    elif name in _CONSTANTS:
        found.append(Token("const", _CONSTANTS[name], spaced))
    elif name in GREEK or name in _SAME_LETTER:
        found.append(Token("name", _SAME_LETTER.get(name, name), spaced))
    elif name in _SIGNS:
        found.append(Token(_SIGNS[name], name, spaced))
    elif name in _SETS:
        found.append(Token("name", _SETS[name], spaced))
    elif name in ("lfloor", "rfloor", "lceil", "rceil", "frac", "sqrt", "binom", "sum", "prod"):
        found.append(Token("cmd", name, spaced))
    elif name == "forall":
        found.append(Token("text", "for all", spaced))
    elif name in ("R", "Z", "N", "Q"):
        found.append(Token("name", f"set:{name}", spaced))
    elif name in OPAQUE:
        found.append(Token("func", name, spaced))
    elif name not in _IGNORED:
        raise UnreadableFormulaError


def _take_word(word: str, found: list[Token], *, spaced: bool, behind: str) -> None:  # noqa: C901 (a branch a kind)
    after_number = bool(found) and found[-1].kind in ("num", ")", "}", "/", "*")
    alone = len(found) <= 2 and all(token.kind in ("num", "-") for token in found)  # noqa: PLR2004 (-5 m)
    if word in _LETTER_UNITS and spaced and not behind and found and alone:
        found.append(Token("text", word, spaced))
    elif len(word) == 1:
        found.append(Token("const" if word in "ei" else "name", word, spaced))
    elif word in FUNCTIONS or (word in OPAQUE and behind == "("):
        found.append(Token("func", FUNCTIONS.get(word, word), spaced))
    elif word in _PLAIN_FUNCTIONS:
        found.append(Token("cmd", word, spaced))
    elif word in _CONSTANTS:
        found.append(Token("const", _CONSTANTS[word], spaced))
    elif word in GREEK:
        found.append(Token("name", word, spaced))
    elif word in ("and", "or"):
        found.append(Token(word, word, spaced))
    elif word[1:] in FUNCTIONS and word[0] not in _VOWELS:  # xsin
        found.extend((Token("name", word[0], spaced), Token("func", FUNCTIONS[word[1:]], spaced=False)))
    elif (is_word(word) and not _is_tight(word, found, spaced=spaced, behind=behind)) or (
        word in _UNITS and after_number
    ):
        found.append(Token("text", word, spaced))
    else:
        for n, letter in enumerate(word.replace("'", "")):
            found.append(Token("const" if letter in "ei" else "name", letter, spaced and n == 0))


def _is_tight(word: str, found: list[Token], *, spaced: bool, behind: str) -> bool:
    """A short run straight behind a number or a bracket, or between signs: `3axy` and `(xxa)^n` are products."""
    before = found[-1].kind if found and not spaced else ""
    tight = before in ("num", ")", "}", "{") or (
        before in ("(", "+", "-", "*", "/", "^") and behind in tuple(")^+-*/}")
    )
    return tight and len(word) <= _LONGEST_PRODUCT and word not in _UNITS


def is_word(run: str) -> bool:
    """Whether a run of letters is a word of English rather than a product of letters: a rule of thumb."""
    if "'" in run or run in _SMALL_WORDS or run in _CAPITAL_WORDS:
        return True
    if len(run) < _SHORTEST_WORD or run.isupper():
        return False
    if len(run) > _LONGEST_PRODUCT:
        return True
    neighbours = all(0 < ord(b) - ord(a) <= 2 for a, b in pairwise(run))  # noqa: PLR2004 (abc, xyz, ace)
    return not neighbours and not _VOWELS.isdisjoint(run)
