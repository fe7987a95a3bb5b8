r"""What hostile texts do to our grader: time, memory and verdict of each, as an answer, as a gold, and as both.

    python scripts/grading/hostile.py --json figures.json

Fails (exit 1) where a call takes over 5 s, more than 1 GB, kills its process, or where something planted was executed:
injected code would leave a file in the working directory, whatever way it was run. What is meant by hostile: `INPUTS`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from worker import DEADLINE_S, Said, Worker

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_MB: Final = 1024.0
FRESH_MB: Final = 400.0
"""From here on a process is started anew for the next text, so that its peak is that text's."""
MANY: Final = 1_000_000
GOLD: Final = r"\frac{5}{\sqrt{3}}"
ROLES: Final = ("answer", "gold", "both", "reply")


class Row(NamedTuple):
    """One text in one role, and what came of it."""

    name: str
    role: str
    characters: int
    said: Said

    @property
    def bad(self) -> str:
        """What is wrong with it, empty where nothing is."""
        if self.said.verdict in ("killed", "died", "raised"):
            return self.said.verdict
        if self.said.seconds > DEADLINE_S:
            return "too slow"
        if self.said.peak_mb > MOST_MB:
            return "too much memory"
        if self.role in ("answer", "gold") and self.said.right:
            return "called right"
        return ""


def numbers() -> Iterator[tuple[str, str]]:
    """Values nobody can write out."""
    yield "tower of four", "9^{9^{9^9}}"
    yield "tower without braces", "9^9^9^9^9"
    yield "tower, python", "9**9**9**9"
    yield "tower of fifty", "2^{" * 50 + "2" + "}" * 50
    yield "tower below a fraction", r"\frac{1}{9^{9^{9^9}}}"
    yield "tower in a function", r"\sin(9^{9^{9^9}})"
    yield "difference of towers", "9^{9^{9^9}} - 9^{9^{9^9}} + 5"
    yield "tower modulo", r"9^{9^{9^9}} \bmod 7"
    yield "Knuth's arrows", r"3 \uparrow\uparrow\uparrow 3"
    yield "factorial", "100000000!"
    yield "factorial of a power", "(10^9)!"
    yield "nested factorials", "((((9!)!)!)!)!"
    yield "factorials in a row", "9" + "!" * 200
    yield "factorial of 50,000", "50000!"
    yield "factorials of 20,000", "+".join(f"{n}!" for n in range(19_900, 20_000))
    yield "binomial", r"\binom{10^9}{5 \cdot 10^8}"
    yield "binomial of a big number", r"\binom{1000000000}{500000000}"
    yield "nested binomials", r"\binom{" * 12 + "20" + "}{10}" * 12
    yield "power of a power", "(((((2^{99})^{99})^{99})^{99})^{99})^{99}"
    yield "big exponent", "2^{10000000}"
    yield "exponent of a thousand digits", "2^{" + "9" * 1000 + "}"
    yield "exponent below one", "(1-10^{-1000})^{10^{1000}}"
    yield "decimal exponent", "1e999999999"
    yield "negative decimal exponent", "1e-999999999"
    yield "times ten to", r"1.5 \times 10^{999999999999}"
    yield "product of big powers", r"\cdot".join(["7^{99999}"] * 100)
    yield "gcd", r"\gcd(10^{99999}+1,10^{99998}+7)"
    yield "big modulus", r"3^{10^{100}} \pmod{10^{50}}"
    yield "root of a huge number", r"\sqrt{" + "7" * 100_000 + "}"
    yield "thousandth root", r"\sqrt[100000]{2} - \sqrt[99999]{2}"
    yield "nested roots", r"\sqrt{2+" * 300 + "2" + "}" * 300
    yield "iterated logarithms", r"\log(" * 300 + "10" + ")" * 300
    yield "sine of a big number", r"\sin(10^{100000})"
    yield "exponential of exponentials", r"e^{e^{e^{e^{e^{e}}}}}"
    yield "continued fraction", r"1+\frac{1}{" * 400 + "1" + "}" * 400
    yield "zero to the zero", "0^{0}"
    yield "division by zero", r"\frac{1}{0}"
    yield "zero over zero", r"\frac{0}{0}"
    yield "infinity less infinity", r"\infty - \infty"
    yield "logarithm of zero", r"\ln 0"
    yield "tangent of a right angle", r"\tan 90^\circ"
    yield "factorial of minus one", "(-1)!"
    yield "zero to a negative power", "0^{-1}"
    yield "mod zero", r"5 \bmod 0"
    yield "base one", "111_1"
    yield "base of a tower", "10_{9^{9^9}}"
    yield "negative floor", r"\lfloor -10^{10^{10}} \rfloor"


def operators() -> Iterator[tuple[str, str]]:
    """What would take for ever to work out."""
    yield "big sum", r"\sum_{k=1}^{10^{12}} \frac{1}{k^2}"
    yield "infinite sum", r"\sum_{k=1}^{\infty} \frac{\sin k}{k^k}"
    yield "nested sums", r"\sum_{k=1}^{9999}" * 20 + "k"
    yield "big product", r"\prod_{k=1}^{10^9} k"
    yield "integral", r"\int_0^1 \frac{\sin(x^{x^x})}{1+x^{99}} \, dx"
    yield "nested integrals", r"\int_0^1" * 30 + "x" + " dx" * 30
    yield "limit", r"\lim_{x \to 0} \frac{\sin(\tan(\sin(\tan x))) - x}{x^{99}}"
    yield "derivatives", r"\frac{d}{dx}" * 30 + r"e^{\sin x^{x}}"
    yield "expansion", "(x+y+z+w)^{300}"
    yield "expansion of powers", "((((x+1)^{9}+1)^{9}+1)^{9}+1)^{9}"
    yield "polynomial of degree 100,000", "x^{100000} - 1"
    yield "quotient of polynomials", r"\frac{x^{100000} - 1}{x - 1}"
    yield "long sum of letters", "+".join(f"x^{{{n}}}y^{{{n + 1}}}" for n in range(3000))
    yield "sum of roots", "+".join(rf"\sqrt{{{n}}}" for n in range(2, 60))
    yield "nested radicals to denest", r"\sqrt{5+\sqrt{21+\sqrt{45+\sqrt{77+\sqrt{117}}}}}-\sqrt[3]{7+\sqrt[3]{11}}"
    yield "trigonometric sum", "+".join(rf"\sin^{{{n}}}({n}x)" for n in range(1, 40))
    yield "equation to solve", r"x^{17} - 3x^{11} + e^{x} = \sin x"
    yield "chain of equations", "=".join(["x"] * 20_000)
    yield "chain of inequalities", "<".join(str(n) for n in range(20_000))
    yield "nested functions", "f(" * 2000 + "x" + ")" * 2000
    yield "absolute values", "|" * 2001
    yield "floors", r"\lfloor" * 1000 + "x" + r"\rfloor" * 1000
    yield "plus and minus", r"\pm 1" * 40
    yield "alternatives", r" \text{ or } ".join(str(n) for n in range(10_000))


def structures() -> Iterator[tuple[str, str]]:
    """Much of something."""
    cells = r" \\ ".join(" & ".join(str(n * 100 + m) for m in range(100)) for n in range(100))
    yield "matrix of 10,000 cells", rf"\begin{{pmatrix}} {cells} \end{{pmatrix}}"
    yield "matrix of a million marks", r"\begin{pmatrix}" + "&" * MANY + r"\end{pmatrix}"
    yield "environments in each other", r"\begin{pmatrix}" * 500 + "1" + r"\end{pmatrix}" * 500
    yield "union of 10,000 intervals", r" \cup ".join(f"({2 * n}, {2 * n + 1})" for n in range(10_000))
    yield "union backwards", r" \cup ".join(f"({2 * n}, {2 * n + 1})" for n in reversed(range(1000)))
    yield "list of 100,000", ",".join(str(n) for n in range(100_000))
    yield "list of formulas", ", ".join(rf"\sqrt{{{n}}}+\pi^{{{n}}}" for n in range(300))
    yield "set of 100,000", rf"\{{{','.join(str(n) for n in range(100_000))}\}}"
    yield "tuple of 100,000", f"({','.join(str(n) for n in range(100_000))})"
    yield "nested tuples", "(1," * 3000 + "1" + ")" * 3000
    yield "nested sets", r"\{" * 3000 + "1" + r"\}" * 3000
    yield "list of ranges", ", ".join(rf"{n} \text{{ to }} {n + 10**9}" for n in range(0, 1000, 10))
    yield "dots", r"1, 2, \ldots, 10^{12}"


def characters() -> Iterator[tuple[str, str]]:
    """A million characters of one kind."""
    for name, text in ONE_CHARACTER.items():
        yield f"a million {name}", text * MANY
    yield "a million nines after a point", "0." + "9" * MANY
    for text in REPEATED:
        yield f"a million characters of {text.strip()}", text * (MANY // len(text))
    for left, right in NESTED:
        for depth in (30, 200, 5_000):
            yield f"{left} {depth:,} deep", left * depth + "7" + right * depth


ONE_CHARACTER: Final = {
    **{f"times {character}": character for character in "70x{}()[]^_$,.-+=/*|!%#<'\"\\"},
    "spaces": " ", "newlines": "\n", "null characters": "\0", "no-break spaces": "\u00a0", "root signs": "\u221a",
    "superscripts": "\u00b2", "fullwidth digits": "\uff17", "Arabic digits": "\u0667", "combining marks": "\u0301",
    "lone surrogates": "\ud800", "bold digits": "\U0001d7d5",
}  # fmt: skip
REPEATED: Final = (
    r"\frac{", r"\boxed{", r"\boxed {", r"\boxed{1}", r"\boxed{}", "the answer is ", "The answer is 5. ", r"\sqrt{",
    "{}",     "(1,2),", r"\left(", r"\text{a}", "**7**", "<answer>", "#### ", "1+", r"2\cdot ", "2^", "{[(", "$$5$$ ",
    '{"answer": ', " or ", r"12 \text{ or } ", r"\text{cm}", "x_1", "f'", ",000", "1 < ", r"\cup ", r"\alpha", r"\foo{",
)  # fmt: skip
NESTED: Final = (
    ("{", "}"), ("(", ")"), ("[", "]"), (r"\frac{1}{", "}"), (r"\sqrt{", "}"), ("2^{", "}"), (r"\text{", "}"),
    (r"\boxed{", "}"), (r"\left(", r"\right)"), ("-(", ")"),
)  # fmt: skip


PLANT: Final = "planted"
"""The file that injected code leaves."""


def injections() -> Iterator[tuple[str, str]]:
    """Code that would leave a file."""
    touch = f"open('{PLANT}','w')"
    shell = f"__import__('os').system('touch {PLANT}')"
    yield "import", shell
    yield "import in an operator name", rf"\operatorname{{{shell}}}"
    yield "open", touch
    yield "open with brackets of LaTeX", rf"\text{{{touch}}}"
    yield "exec", f'exec("{touch}")'
    yield "eval", f'eval("{touch}")'
    yield "lambda", f"(lambda: {touch})()"
    yield "comprehension", f"[{touch} for _ in (1,)]"
    yield "walrus", f"(x:={touch})"
    yield (
        "class walk",
        f"().__class__.__base__.__subclasses__()[0].__init__.__globals__['__builtins__']['open']('{PLANT}','w')",
    )
    yield "through a symbol", f"Symbol('x').__class__.__init__.__globals__['__builtins__']['open']('{PLANT}','w')"
    yield "sympify", f'sympify("{touch}")'
    yield "after a formula", f"5+{touch}"
    yield "in an exponent", f"2^{{{touch}}}"
    yield "in a fraction", rf"\frac{{{touch}}}{{2}}"
    yield "as a variable", f"x_{{{touch}}}"
    yield "as a number", f"0x5+{touch}"
    yield "write18", rf"\write18{{touch {PLANT}}}"
    yield "input", rf'\input{{|"touch {PLANT}"}}'
    yield "openout", rf"\immediate\openout1={PLANT}"
    yield "f-string", "{" + touch + "}"
    yield "format string", "{0.__class__.__init__.__globals__}"
    yield "template", "{{" + touch + "}}"
    yield "json", f'{{"answer": "{touch}"}}'
    yield "yaml", f"!!python/object/apply:os.system ['touch {PLANT}']"
    yield "pickle", f"cos\nsystem\n(S'touch {PLANT}'\ntR."
    yield "shell", f"$(touch {PLANT}) `touch {PLANT}`; touch {PLANT}"
    yield "assert in a matrix", rf"\begin{{pmatrix}} {touch} & 1 \end{{pmatrix}}"
    yield "units", rf"5 \text{{ {touch}}}"
    yield "base", f"11_{{{touch}}}"
    yield "decorated", f"print(5) or {touch}"


INPUTS: Final = (numbers, operators, structures, characters, injections)


def in_role(text: str, role: str) -> tuple[str, str]:
    """The reply and the gold in which a text stands."""
    boxed = rf"\boxed{{{text}}}"
    return {
        "answer": (boxed, GOLD),
        "gold": (rf"\boxed{{{GOLD}}}", text),
        "both": (boxed, text),
        "reply": (text, GOLD),
    }[role]


def measure(grader: str, place: Path, names: str) -> Iterator[Row]:
    """Every text in every role."""
    with Worker(grader, place=place, deadline_s=2 * DEADLINE_S) as worker:
        for kind in INPUTS:
            for name, text in kind():
                if names not in f"{kind.__name__}/{name}":
                    continue
                for role in ROLES:
                    worker.start()
                    said = worker.call(*in_role(text, role))
                    if said.peak_mb > FRESH_MB:
                        worker.end()
                    yield Row(f"{kind.__name__}/{name}", role, len(text), said)


def main() -> None:
    """Measure, show, say what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grader", default="ours", choices=["ours", "math-verify"])
    parser.add_argument("--only", default="", help="only texts whose name holds this")
    parser.add_argument("--slowest", type=int, default=40, help="rows shown, beside the bad ones")
    parser.add_argument("--json", type=Path, help="write all rows here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        rows = []
        for row in measure(options.grader, Path(place), options.only):
            rows.append(row)
            if row.bad:
                print(f"{row.bad}: {row.name} as {row.role}: {row.said.verdict} by {row.said.rule}", flush=True)
        planted = sorted(path.name for path in Path(place).iterdir())
    rows.sort(key=lambda row: (not row.bad, -row.said.seconds))
    bad = sum(bool(row.bad) for row in rows)
    print(f"{'text':44} {'as':6} {'characters':>10} {'ms':>6} {'MB':>5}  verdict    rule")
    for row in rows[: bad + options.slowest]:
        said = row.said
        print(
            f"{row.name:44} {row.role:6} {row.characters:10,} {1000 * said.seconds:6,.0f} {said.peak_mb:5,.0f}",
            end="  ",
        )
        print(f"{said.verdict:10} {said.rule[:50]}{' <- ' + row.bad if row.bad else ''}")
    print(f"{len(rows)} calls; {bad} bad; {sum(row.said.verdict == 'error' for row in rows)} verdicts error")
    print(
        f"longest {max(row.said.seconds for row in rows):.2f} s, most {max(row.said.peak_mb for row in rows):,.0f} MB"
    )
    print(f"executed: {', '.join(planted) or 'nothing'}")
    if options.json:
        told = [{"name": row.name, "role": row.role, "characters": row.characters} | row.said._asdict() for row in rows]
        options.json.write_text(json.dumps(told, indent=1) + "\n")
    sys.exit(1 if bad or planted else 0)


if __name__ == "__main__":
    main()
