r"""The final answer of a text that labels none: what its last sentence concludes.

Must not know: boxes, labels, the gold answer. Only the end of a text is looked at; every pattern is linear.
"""

from __future__ import annotations

import re
from typing import Final

_LOOKED_AT: Final = 3_000
_JOINS: Final = re.compile(r"(?<=@ )(?:and|or)(?= @)|(?<=@, )(?:and|or)(?= @)")
"""Between formulas, each written as `@`."""
_RELATES: Final = re.compile(r"=|<|>|\\(?:[lgn]eq?)(?:slant)?(?![A-Za-z])|\\in(?![A-Za-z])")
_PUNCTUATION: Final = 4
"""Characters round a formula that is a sentence of its own."""
_SENTENCE: Final = re.compile(r"(?<=[.!?])\s+(?=[A-Z$\\*(0-9])|\n+")
_SEGMENT: Final = re.compile(
    r"\$\$([^$]{1,1000})\$\$|(?<!\\)\$((?![\s])[^$\n]{1,1000})(?<![\\\s])\$(?!\d)"
    r"|\\\((.{1,1000}?)\\\)|\\\[(.{1,1000}?)\\\]",
    re.DOTALL,
)
_PROSE: Final = re.compile(r"(?<![A-Za-z\\{])[a-z]{3,15},?[ ][a-z]{2,15}[ ]")
_CONCLUDES: Final = re.compile(
    r"^\W{0,4}(?:so|thus|therefore|hence|consequently|finally|in (?:total|all|conclusion|summary)|altogether|"
    r"as a result|we (?:get|have|obtain|conclude|find)|this (?:gives|means|is)|it follows|accordingly|overall)\b",
    re.IGNORECASE,
)
_SAYS: Final = re.compile(
    r"\b(?:is|are|was|were|equals?|gives?|get|gets|got|obtain|have|has|had|makes?|made|costs?|needs?|takes?|took|"
    r"total of|left with|(?:will|would|must|should|to) be|remains?|earns?|spends?|pays?|saves?|weighs?|find|yields?|"
    r"contains?|becomes?|ate|sold|bought|used|read|walked|ran|drove|travel(?:s|led|ed)?|received?s?|raised|produces?d?|"
    r"brings?|"
    r"totals?|(?:factors|simplifies|reduces|evaluates|comes) (?:to|as|into)|leaving|giving|totall?ing|it's)\b|=|"
    r"(?<![\"'}]):(?=\s)",
    re.IGNORECASE,
)
_GIVES_UP: Final = re.compile(
    r"\b(?:cannot|can't|can not|unable|impossible to (?:determine|say|tell)|"
    r"not (?:enough|sufficient|possible|sure|clear|able)|insufficient|don't know|do not know|unclear|undetermined|"
    r"could not|couldn't|need(?:s)? (?:more|further)|let us|let me|let's|isn't|is missing|not given|"
    r"are asked|is asked|asks (?:for|us|how)|asked (?:for|to|how)|error|timed out|"
    r"want to (?:find|know)|need to (?:find|know|compute|determine)|try(?:ing)? to|next(?: step)?,? (?:is|we|i)\b|"
    r"goal is|given that|might be|could be|a guess|contradiction)\b",
    re.IGNORECASE,
)
_NUMBER: Final = re.compile(r"-?\\?\$?-?[0-9][0-9,]{0,300}(?:\.[0-9]{1,300})?(?: [0-9]{1,3}(?=/))?(?:/[0-9]{1,30})?%?")
_ENDED: Final = re.compile(
    r"[\u00b0\u03c0.!?$)\]}0-9*%`\"'|>]\s*$|\\[)\]]\s*$|=\s{0,3}\\?\$?[0-9.,]{1,20}\$?(?:[ /][A-Za-z]{1,20}){1,4}\s*$"
)
_ALTERNATIVE: Final = re.compile(
    r"\s{0,3}(?:,?\s{0,3}\bor\b|,?\s{0,3}maybe|,?\s{0,3}perhaps)\s{0,3}(?:maybe |perhaps )?(-?[0-9][0-9,]{0,60})"
)
_SUBORDINATE: Final = re.compile(
    r",? (?:when|where|since|because|if|attained|achieved|which|as (?:required|desired)|occurring|for all)\b"
)
_SUBJECT: Final = re.compile(
    r"\W{0,3}(?:(?i:so|thus|therefore|hence),? )?(?:\$([^$\n]{1,300})\$|(-?[0-9][0-9,.]{0,60}))"
    r" is (?:the|our|your|thus|therefore|then)? ?"
    r"(?:final |correct |smallest |largest |minimum |maximum |desired |required )?"
    r"(?:answer|possible|value|result|solution|minimum|maximum|number|probability|area|sum|total)\b"
)
_POINT: Final = re.compile(r"\([^()A-Za-z]{1,60},[^()A-Za-z]{1,60}\)")
_BOUND: Final = re.compile(r"(?:at (?:least|most)|(?:more|less|fewer|greater) than|not|over|up to)\b")
_GIVEN: Final = re.compile(r"\b[A-Za-z]\w{0,3} ?= ?-?[0-9][0-9.,/]{0,30}(?<![.,])")
_BETWEEN: Final = re.compile(r",? ?(?:and|or)? ?")
_SCALE: Final = re.compile(r" (?:dozen|hundred|thousand|million|billion)\b")
_AND_MORE: Final = re.compile(r" [a-z]{1,12},? and [0-9]")
_LAST_LINE: Final = re.compile(
    r"(?!.{0,80}\b(?:not|never|wrong|fails?|impossible)\b)"
    r"(?:[A-Z][A-Za-z ]{1,30}: )?(?:=>|\u21d2|\u2192|\\Rightarrow)?[\s$(\"'\[<_*`]{0,6}"
    r"(-?\\?\$?[0-9](?:[0-9,.]{0,30}[0-9])?%?)[$)\"'\]>_*`]{0,4}"
    r"(?: [a-z]{1,15}){0,3}[.$]{0,2}"
)
"""A value on a line of its own, with a unit at most."""
_YES_OR_NO: Final = re.compile(r"(?:yes|no|true|false)\b[^\n]{0,80}\Z", re.IGNORECASE)
_WORD: Final = re.compile(r"[A-Za-z]{2,}")
_KNOWN: Final = frozenset({"sqrt", "pi", "sin", "cos", "tan", "ln", "log", "and", "or"})
_CHAIN: Final = re.compile(
    r"\\begin\{(?:align|aligned|equation|gather|split)\*?\}(.{1,2000})\\end\{\w{1,8}\*?\}\W{0,6}$", re.DOTALL
)
_BULLET: Final = re.compile(r"[ \t]{0,6}(?:[-*+\u2022]|\d{1,2}[.)])[ \t]{1,4}(.{1,200})")
_EQUATION: Final = re.compile(
    r"[$\\(]{0,3}\s{0,2}([A-Za-z](?:_\{?\w{1,4}\}?)?)\s{0,2}=\s{0,2}([^=]{1,100}?)[$\\).,;]{0,4}"
)


_TELLS: Final = re.compile(
    r"\W{0,3}(?:(?i:so|thus|therefore|hence|the|there|she|he|they|it|we|in total)|[A-Z][a-z]{2,12})\b[^:]*$"
)


def conclusion(text: str) -> str | None:  # noqa: PLR0911 (the rules in order)
    """The value that the last sentence states, None where it states none, gives up, asks, or is cut off."""
    if _YES_OR_NO.match(text.strip()):
        return text.strip().rstrip(".")
    if last_line := _LAST_LINE.fullmatch(text.strip().rpartition("\n")[2].strip()):
        return last_line[1]
    end = text.rstrip()[-_LOOKED_AT:]
    if not _ENDED.search(end):
        return None
    if chain := _CHAIN.search(end):
        return chain[1].rpartition("=")[2].strip(" \n\t\\&.")
    end = _SEGMENT.sub(lambda found: " ".join(found[0].split()), end)
    if listed := _listed(end):
        return listed
    sentences = [sentence for sentence in _SENTENCE.split(end) if sentence and sentence.strip(" \t*_`~#|-")]
    for sentence in reversed(sentences[-3:]):
        if sentence is not sentences[-1] and not _CONCLUDES.match(sentence):
            continue
        if _GIVES_UP.search(sentence) or sentence.rstrip(" *_").endswith("?"):
            return None
        if (value := stated(sentence)) is not None:
            return value
    return None


def is_mathematics(text: str) -> bool:
    """Whether dollar signs in a text can enclose formulas: there is no running prose between the first two."""
    inside = text.split("$")
    return len(inside) > 2 and not _PROSE.search(inside[1])  # noqa: PLR2004


def _listed(text: str) -> str | None:
    """A list of solutions at the end, `- x = 2` line by line, as one answer."""
    parts: list[str] = []
    for line in reversed(text.splitlines()):
        bullet = _BULLET.fullmatch(line)
        equation = bullet and _EQUATION.fullmatch(bullet[1].strip())
        if not equation:
            break
        parts.insert(0, f"{equation[1]} = {equation[2]}")
    return ", ".join(parts) if len(parts) > 1 else None


def stated(sentence: str) -> str | None:
    """The value that a sentence ascribes to something; a lone value is its own statement."""
    if subordinate := _SUBORDINATE.search(sentence):
        main = sentence[: subordinate.start()]
        sentence = main if any(character.isdigit() or character == "$" for character in main) else sentence
    if subject := _SUBJECT.match(sentence):
        return subject[1] or subject[2]
    formulas = [found for found in _SEGMENT.finditer(sentence) if not _PROSE.search(found[0])]
    if formulas and (formula := _stated_formula(sentence, formulas)):
        return formula
    return _stated_number(sentence.strip(" \t*_`").removesuffix("."))


def _stated_number(sentence: str) -> str | None:
    """What stands behind the last verb that has a number or a formula behind it; else the only number."""
    if lone := _NUMBER.fullmatch(sentence):
        return lone[0]
    if several := _several(sentence):
        return several
    verbs = list(_SAYS.finditer(sentence))[-20:]
    for verb in (*(word for word in verbs if word[0].isalpha()), *reversed(verbs)):
        rest = sentence[verb.end() :].strip(" *_`")
        if rest and not set(_WORD.findall(rest)) - _KNOWN and any(c.isalnum() for c in rest):
            return rest
    for verb in reversed(verbs):
        rest = sentence[verb.end() :].strip(" *_`")
        if number := _NUMBER.search(sentence, verb.end()):
            return _with_what_follows(sentence, verb.end(), number, rest)
    numbers = _NUMBER.findall(sentence)
    return numbers[0].rstrip(",") if len(numbers) == 1 and _TELLS.match(sentence) else None


def _several(sentence: str) -> str | None:
    """`x = 5 or x = 6` whole; None where not more than one name is given a value."""
    given = list(_GIVEN.finditer(sentence))
    last = given[-1:]
    for before, after in zip(reversed(given[:-1]), reversed(given), strict=False):
        if not _BETWEEN.fullmatch(sentence[before.end() : after.start()]):
            break
        last.insert(0, before)
    if len(last) < 2 or len(sentence) > last[-1].end() + 1:  # noqa: PLR2004 (two)
        return None
    joint = " or " if " or " in sentence[last[0].start() :] else ", "
    return joint.join(part[0] for part in last)


def _with_what_follows(sentence: str, start: int, number: re.Match[str], rest: str) -> str:
    """A number, or the point it is part of, the alternative it has, the second part of `3 hours and 20 minutes`."""
    if (point := _POINT.search(sentence, start)) and point.start() < number.start():
        return point[0]
    if scale := _SCALE.match(sentence, number.end()):
        return number[0] + scale[0]
    if _AND_MORE.match(sentence, number.end()) or _BOUND.match(rest):
        return rest
    other = _ALTERNATIVE.match(sentence, number.end())
    return f"{number[0].rstrip(',')} or {other[1]}" if other else number[0].rstrip(",")


def _stated_formula(sentence: str, formulas: list[re.Match[str]]) -> str | None:
    """The formula behind the last verb, else the last one that is an equation, else the only one."""
    inside = [next(group for group in formula.groups() if group is not None) for formula in formulas]
    for verb in reversed(list(_SAYS.finditer(sentence))):
        if any(formula.start() <= verb.start() < formula.end() for formula in formulas):
            continue
        behind = [text for text, formula in zip(inside, formulas, strict=True) if formula.start() >= verb.end()]
        if behind:
            joined = len(behind) > 1 and _JOINS.search(_SEGMENT.sub("@", sentence[verb.end() :]))
            return (" or " if joined[0] == "or" else ", ").join(behind) if joined else behind[0]
    if equations := [text for text in inside if _RELATES.search(text)]:
        joined = len(equations) == len(inside) and _JOINS.search(_SEGMENT.sub("@", sentence))
        return (" or " if joined[0] == "or" else ", ").join(equations) if joined else equations[-1]
    alone = len(inside) == 1 and len(sentence) - len(formulas[0][0]) <= _PUNCTUATION
    return inside[0] if alone else None
