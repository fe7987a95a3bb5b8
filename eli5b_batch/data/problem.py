"""A problem of a data set, and what a job's data come to.

Must not know: files, readers, models, calls. Answers are passed on as the file has them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class Problem(NamedTuple):
    """One problem of a data set.

    `id` is stable: zero-padded line index of the file + short hash of the text. `order` is its place
    in the run (0-based), after filters and sampling, before the cuts of `sample` and `limit`.
    `domain` is the stratum of reports and placebos, `domains` all a filter may match. `difficulty` is on
    the data set's own scale, None where it has none.
    """

    id: str
    text: str
    answer: str
    solution: str = ""
    domain: str = ""
    domains: tuple[str, ...] = ()
    difficulty: float | None = None
    source: str = ""
    order: int = 0


@dataclass(frozen=True, slots=True)
class Problems:
    """What a job's `data` section comes to.

    `selected` is what the run asks, in run order. `partners` maps a problem's id to the donor of its
    placebo hint (see `donors.find_partners`); a donor may lie outside `selected`; no entry: there is none.
    Counts: `rows` in the file = `duplicates_dropped` + `filtered_out` + `available`; `selected` is
    what the cuts leave of `available`. `sha256` is the file's, 64 hex digits. `notes` are sentences
    the user should see once.
    """

    selected: tuple[Problem, ...]
    partners: Mapping[str, Problem] = field(repr=False)
    path: Path
    sha256: str
    rows: int
    duplicates_dropped: int
    filtered_out: int
    available: int
    notes: tuple[str, ...] = ()
