"""The problems of a job: its file read, filtered and sampled, each problem with a stable id.

Must not know: models, calls, grading.
"""

from __future__ import annotations

import difflib
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orjson

from eli5b_batch.data.donors import find_partners
from eli5b_batch.data.filters import apply_where
from eli5b_batch.data.problem import Problem, Problems
from eli5b_batch.data.readers import READERS, Fields, Reader
from eli5b_batch.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from eli5b_batch.job.schema import Data

READING: Final = 1
"""To be raised when the same file comes to other problems than before: finished ones are then replayed."""

QUICKSTART: Final = Path(__file__).parent / "quickstart.jsonl"
"""Our own problems, shipped with the package."""

_FETCHED_AS: Final = {"omni_math": "omni_math_rule", "gsm8k": "gsm8k"}
"""Reader -> the name scripts/fetch_data.py knows its data set by."""


def load_problems(data: Data) -> Problems:
    """Read, filter and order the problems of a job.

    Order is the file's; with `data.sample` a seeded permutation in which each problem's place depends on
    the seed and its own id only, so that a larger sample begins with the smaller one and rows appended
    to the file reorder nothing. `data.limit` cuts after that.

    Raises:
        JobError: unknown reader, file missing or unreadable, a row that is damaged or incomplete, a
            filter that is wrong or leaves nothing.
    """
    path = _locate(data)
    digest = hashlib.sha256()
    problems: list[Problem] = []
    seen: set[str] = set()
    rows = 0
    for index, fields in _read_rows(path, READERS[data.reader], digest.update):
        rows += 1
        normal = " ".join(fields.text.split())
        if normal not in seen:
            seen.add(normal)
            problems.append(_make_problem(index, fields, order=len(problems)))
    if not problems:
        raise JobError(f"{path}: the data set is empty; one JSON object per line is expected")
    matching = apply_where(problems, data.where)
    if data.sample is not None:
        matching.sort(key=lambda p: _draw(data.seed, p))
    ordered = [p if p.order == place else p._replace(order=place) for place, p in enumerate(matching)]
    notes = []
    if data.sample is not None and data.sample > len(ordered):
        notes.append(f"data.sample asks for {data.sample} problems; there are {len(ordered)}, all are used")
    selected = tuple(ordered[: data.sample][: data.limit])
    donors = find_partners(ordered)
    return Problems(
        selected=selected,
        partners={p.id: donors[p.id] for p in selected if p.id in donors},
        path=path,
        sha256=digest.hexdigest(),
        rows=rows,
        duplicates_dropped=rows - len(problems),
        filtered_out=len(problems) - len(ordered),
        available=len(ordered),
        notes=tuple(notes),
    )


def _draw(seed: int, problem: Problem) -> bytes:
    return hashlib.blake2b(f"{seed}|{problem.id}".encode(), digest_size=16, usedforsecurity=False).digest()


def _make_problem(index: int, fields: Fields, order: int) -> Problem:
    mark = hashlib.blake2b(fields.text.encode(), digest_size=4, usedforsecurity=False).hexdigest()
    domains = tuple(dict.fromkeys(map(_stratum, fields.labels)))
    return Problem(
        id=f"{index:05d}-{mark}",
        text=fields.text,
        answer=fields.answer,
        solution=fields.solution,
        domain=domains[0] if domains else "",
        domains=domains,
        difficulty=fields.difficulty,
        source=fields.source,
        order=order,
    )


def _stratum(label: str) -> str:
    # Omni-MATH: "Mathematics -> Algebra -> Prealgebra -> ...". The first level says nothing, the third
    # has 48 values, most of them rare; the second has eight.
    levels = [level.strip() for level in label.split("->")]
    return levels[1] if len(levels) > 1 else levels[0]


def _locate(data: Data) -> Path:
    if data.reader not in READERS:
        near = difflib.get_close_matches(data.reader, READERS, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}? " if near else ""
        raise JobError(f"data.reader: no reader {data.reader!r}; {hint}known readers: {', '.join(READERS)}")
    if data.reader == "quickstart":
        if data.path is not None:
            raise JobError("data.path: the quickstart reader brings its own problems; leave the path out")
        return QUICKSTART
    fetched = _FETCHED_AS.get(data.reader)
    advice = f"; `python scripts/fetch_data.py {fetched} --to data` fetches it" if fetched else ""
    if data.path is None:
        raise JobError(f"data.path is missing: the reader {data.reader} needs the path of a file{advice}")
    if not data.path.exists():
        raise JobError(f"data.path: there is no file {data.path}{advice}")
    return data.path


def _read_rows(path: Path, reader: Reader, digest: Callable[[bytes], None]) -> Iterator[tuple[int, Fields]]:
    """Yield (line index, fields) of every line that is not blank; `digest` is fed every byte of the file."""
    start = 0
    try:
        with path.open("rb") as lines:  # bytes: split on \n only, as texts may hold U+2028 and others
            for index, raw in enumerate(lines):
                digest(raw)
                line = _decode(raw.removeprefix(b"\xef\xbb\xbf") if index == 0 else raw, path, start)
                start += len(raw)
                if line.strip():
                    yield index, _parse_row(line, reader, f"{path}:{index + 1}")
    except OSError as error:
        raise JobError(f"data.path: {path} can't be read: {error.strerror}") from error


def _decode(raw: bytes, path: Path, start: int) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise JobError(f"{path}: byte {start + error.start} is not UTF-8; save the file as UTF-8") from error


def _parse_row(line: str, reader: Reader, where: str) -> Fields:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise JobError(f"{where}: not JSON: {error}") from error
    if not isinstance(row, dict):
        raise JobError(f"{where}: one JSON object per line is expected, found {line.strip():.60}")
    try:
        return reader(row)
    except JobError as error:
        raise JobError(f"{where}: {error}") from error
