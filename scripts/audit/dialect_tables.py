"""Rewrites the tables of docs/dialects.md from the rows of `backends/dialects.py` and the bodies that hold them.

python scripts/audit/dialect_tables.py
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from eli5b_batch.backends.dialects import CELLS, ROWS, Dialect, Family

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).resolve().parents[2]
BODIES: Final = ROOT / "tests" / "backends" / "bodies"
BEGIN: Final = "<!-- dialects -->\n"
END: Final = "<!-- end of dialects -->"
UNVERIFIED: Final = "(not verified)"
SAME_NAME: Final = ("max_tokens", "seed", "top_k")


def tables() -> str:
    """Everything between the two marks."""
    bodies = {row.name: [orjson.loads(line) for line in path_of(row).read_bytes().splitlines()] for row in ROWS}
    parts = ["### Fields and replies\n", *fields(), "\n### Thinking\n", *switches(), "\n### Bodies and sources\n"]
    return "\n".join([*parts, *sources(bodies), ""])


def path_of(row: Dialect) -> Path:
    """Where the bodies of a row stand."""
    return BODIES / f"{row.name}.jsonl"


def fields() -> Iterator[str]:
    """One line a dialect: what its fields are called, and where it says what of a reply."""
    yield "| `dialect` | known by | max_tokens | seed | top_k | thoughts | their tokens | limits | ends |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    for row in ROWS:
        cells = [known_by(row)]
        cells += [doubted(row, field, named(row, field)) for field in SAME_NAME]
        cells += [
            doubted(row, "thoughts", row.thoughts),
            doubted(row, "thought_tokens", row.thought_tokens),
            doubted(row, "limits", row.limits),
            doubted(row, "finish", row.finish),
        ]
        yield f"| `{row.name}` | {' | '.join(cells)} |"


def known_by(row: Dialect) -> str:
    """How a host of this kind is recognised."""
    hosts = ", ".join(f"`{host}`" for host in row.hosts)
    owners = ", ".join(f"`owned_by: {owner}`" for owner in row.owners)
    return hosts or owners or ("everything else" if row.is_no_host else "its version")


def named(row: Dialect, field: str) -> str:
    """What a field is called, for each family that calls it otherwise."""
    own = {name_of(family.names.get(field, row.names.get(field, field))): None for family in row.families}
    return " or ".join(own)


def name_of(field: str | None) -> str:
    """A field as the table shows it."""
    return f"`{field}`" if field else "not sent"


def doubted(row: Dialect, cell: str, text: str) -> str:
    """A cell, and whether it is one that nobody has verified."""
    return f"{text} {UNVERIFIED}" if cell in row.unverified else text


def switches() -> Iterator[str]:
    """One line a dialect and family: what is sent for each level of `sampling.thinking`."""
    yield "| `dialect` | models | by default | `sampling.thinking` -> what is sent |"
    yield "| --- | --- | --- | --- |"
    for row in ROWS:
        for family in row.families:
            models = f"`{family.models}`".replace("|", "\\|") if family.models else "all others"
            default = family.by_default or "not known"
            yield f"| `{row.name}` | {models} | {default} | {doubted(row, 'thinking', sent(family))} |"


def sent(family: Family) -> str:
    """A switch on one line; levels that send the same stand together."""
    if not family.switch:
        return "no switch is known: name the dialect, or use `sampling.extra`"
    lines: dict[str, list[str]] = {}
    for level, body in family.switch.items():
        text = f"`{orjson.dumps(body).decode()}`" if body else "nothing"
        lines.setdefault(text, []).append("{tokens: n}" if level == "tokens" else level)
    return "; ".join(f"{', '.join(levels)}: {text}" for text, levels in lines.items())


def sources(bodies: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    """One line a dialect: how many bodies of which mark, what its refusals mean, and a source for each cell."""
    yield "| `dialect` | seen | documented | made | refusals | not verified | where it is shown |"
    yield "| --- | ---: | ---: | ---: | --- | --- | --- |"
    for row in ROWS:
        marks = Counter(body["mark"] for body in bodies[row.name])
        shown = "; ".join(
            f"{cell}: {source_of(bodies[row.name], cell)}" for cell in CELLS if cell not in row.unverified
        )
        counts = " | ".join(str(marks[mark]) for mark in ("seen", "documented", "made"))
        yield f"| `{row.name}` | {counts} | {refusals(bodies[row.name])} | {', '.join(row.unverified)} | {shown} |"


def refusals(bodies: list[dict[str, Any]]) -> str:
    """What is meant by each status with which a host was seen, or is said, to refuse."""
    read = {(body["status"], body["reads"]["meaning"]): None for body in bodies if "meaning" in body.get("reads", {})}
    return ", ".join(f"{status} {meaning}" for status, meaning in sorted(read))


def source_of(bodies: list[dict[str, Any]], cell: str) -> str:
    """The first source of a cell; what was seen goes before what was documented."""
    for mark in ("seen", "documented"):
        for body in bodies:
            if body["mark"] == mark and cell in body["cells"]:
                source: str = body["source"]
                return f"<{source}>" if source.startswith("https") else source
    return "-"


def main() -> None:
    """Rewrite the part between the two marks."""
    page = ROOT / "docs" / "dialects.md"
    head, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    page.write_text(head + BEGIN + tables() + END + rest.partition(END)[2], encoding="utf-8")


if __name__ == "__main__":
    main()
