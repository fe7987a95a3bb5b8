"""Rewrites the table of modules in CONTRIBUTING.md: each module's lines and the first sentence of its docstring.

python scripts/layout.py
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
BEGIN: Final = "<!-- layout -->\n"
END: Final = "<!-- end of layout -->"


def table() -> str:
    """The table, one row a module, packages in the order of their names."""
    rows = ["| module | lines | what it is |", "| --- | ---: | --- |"]
    total = 0
    for path in sorted((ROOT / "eli5b_batch").rglob("*.py"), key=lambda p: (p.parent, p.name)):
        text = path.read_text(encoding="utf-8")
        lines = text.count("\n")
        total += lines
        docstring = ast.get_docstring(ast.parse(text)) or ""
        summary = " ".join(docstring.partition("\n\n")[0].split()).replace("|", "\\|")
        rows.append(f"| `{path.relative_to(ROOT / 'eli5b_batch').as_posix()}` | {lines} | {summary} |")
    return "\n".join([*rows, f"| all | {total:,} | |", ""])


def main() -> None:
    """Rewrite the part between the two marks."""
    guide = ROOT / "CONTRIBUTING.md"
    head, _, rest = guide.read_text(encoding="utf-8").partition(BEGIN)
    guide.write_text(head + BEGIN + table() + END + rest.partition(END)[2], encoding="utf-8")


if __name__ == "__main__":
    main()
