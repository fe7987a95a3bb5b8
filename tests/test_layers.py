"""The rooms (folders) of the package: which modules each may import. No import leads to a later room or in a circle."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

import pytest

import eli5b_batch

PACKAGE: Final = Path(eli5b_batch.__path__[0])

ANYBODY: Final = {"errors", "log", "text", "event_loop", "thoughts", "special_tokens"}
"""Modules that every room may import; they import no room."""
ROOMS: Final = {
    "workers": "",
    "job": "",
    "statistics": "",
    "backends": "job",
    "data": "job",
    "grading": "workers",
    "records": "data grading.verdict",
    "dispatch": "job backends.base",
    "protocols": "job data records.keys",
    "simulated": "job data protocols records.keys backends.base",
    "servers": "job backends records.disk",
    "progress": "records.disk",
    "report": "records progress protocols statistics grading",
    "run": "job data backends grading statistics records dispatch protocols simulated servers progress report",
    "regrade": "job data grading records run",
    "forecast": "job data backends grading records dispatch protocols simulated servers progress report regrade run",
    "cli": (
        "job data backends grading records dispatch protocols simulated servers progress report regrade run forecast"
    ),
}
"""Room -> the rooms, or single modules of rooms, that it may import. Each room imports only rooms before it."""


def module_of(path: Path) -> str:
    """Return the name under which a file is imported: `records.keys`; a room's `__init__` has the room's name."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


MODULES: Final = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports_of(path: Path) -> set[str]:
    """Return the modules of the package that a file imports, anywhere in it."""
    imported = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == PACKAGE.name:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.partition(".")[0] == PACKAGE.name]
        for name in names:
            parts = name.split(".")[1:]
            while parts and ".".join(parts) not in MODULES:
                parts.pop()
            imported.add(".".join(parts))
    return imported - {""}


def may_import(room: str, module: str) -> bool:
    """True if a module of `room` may import `module`."""
    allowed = ROOMS[room].split()
    inside = module.partition(".")[0] == room
    return inside or module in ANYBODY or any(module == name or module.startswith(f"{name}.") for name in allowed)


def test_every_module_is_in_a_room_or_may_be_imported_by_all() -> None:
    assert {name for name in MODULES if name.partition(".")[0] not in ROOMS} == ANYBODY | {"__init__", "__main__"}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_its_row_names(room: str) -> None:
    arrows = {name: imports_of(path) for name, path in MODULES.items() if name.partition(".")[0] == room}
    assert [
        f"{name} -> {module}"
        for name, modules in arrows.items()
        for module in sorted(modules)
        if not may_import(room, module)
    ] == []


def test_a_module_that_all_may_import_imports_no_room() -> None:
    assert [name for name in ANYBODY if not imports_of(MODULES[name]) <= ANYBODY] == []


def test_every_row_names_rows_above_it_only() -> None:
    above: list[str] = []
    for room, allowed in ROOMS.items():
        assert {name.partition(".")[0] for name in allowed.split()} <= set(above)
        above.append(room)


def test_no_modules_import_each_other_in_a_circle() -> None:
    arrows = {name: imports_of(path) - {name} for name, path in MODULES.items()}
    while leaves := [name for name, modules in arrows.items() if not modules & arrows.keys()]:
        for name in leaves:
            del arrows[name]
    assert sorted(arrows) == []
