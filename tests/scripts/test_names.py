"""Scripts import those beside them by their bare names, so no script may have the name of anything else."""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from pathlib import Path

SCRIPTS = Path(__file__).parents[2] / "scripts"
FOLDERS = sorted(path for path in SCRIPTS.iterdir() if path.is_dir() and path.name != "__pycache__")
NAMES = [path.stem for folder in FOLDERS for path in folder.glob("*.py")]


def test_no_two_scripts_have_one_name() -> None:
    assert len(set(NAMES)) == len(NAMES) > 0


def test_no_script_has_the_name_of_a_module() -> None:
    elsewhere = [place for place in sys.path if Path(place).resolve() not in FOLDERS]
    taken = {name for name in NAMES if name in sys.stdlib_module_names or PathFinder.find_spec(name, elsewhere)}
    assert taken == set()


def test_every_folder_of_scripts_says_what_each_of_them_is_for() -> None:
    for folder in FOLDERS:
        text = (folder / "README.md").read_text()
        missing = [path.name for path in folder.glob("*.py") if f"`{path.name}" not in text]
        assert missing == [], folder.name
