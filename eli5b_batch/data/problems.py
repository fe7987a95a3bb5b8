"""Data sets in: readers, filters, sampling, stable ids, and the donors of placebo hints.

Must not know: models, calls, grading. Answers are passed on as the file has them.

A new data set needs one function (a row of the file -> `Fields`) and one line in `READERS`.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from eli5b_batch.errors import JobError

if TYPE_CHECKING:
    from eli5b_batch.job.schema import Data


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


READING: Final = 1
"""To be raised when the same file comes to other problems than before: finished ones are then replayed."""


@dataclass(frozen=True, slots=True)
class Problems:
    """What a job's `data` section comes to.

    `selected` is what the run asks, in run order. `partners` maps a problem's id to the donor of its
    placebo hint (see `find_partners`); a donor may lie outside `selected`; no entry: there is none.
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


class Fields(NamedTuple):
    """What a reader takes from one row. `labels` are subject labels, the most important first."""

    text: str
    answer: str
    solution: str = ""
    labels: tuple[str, ...] = ()
    difficulty: float | None = None
    source: str = ""


# --- readers -------------------------------------------------------------------------------------
# A reader gets one parsed row. It raises JobError with a sentence that names the field; the caller puts
# file and line in front.


def read_plain(row: Mapping[str, Any]) -> Fields:
    """Rows with `problem`, `answer`; optional: `solution`, `domain` (text or list), `difficulty`, `source`.

    Omni-MATH has exactly these fields, and so have the quickstart problems.
    """
    return Fields(
        text=_text(row, "problem"),
        answer=_text(row, "answer"),
        solution=_optional_text(row, "solution"),
        labels=_labels(row, "domain"),
        difficulty=_optional_number(row, "difficulty"),
        source=_optional_text(row, "source"),
    )


def read_gsm8k(row: Mapping[str, Any]) -> Fields:
    """GSM8K: `question`, and `answer` = a worked solution with `<<...>>` marks that ends in `#### 1,234`."""
    worked = _text(row, "answer")
    _, mark, gold = worked.rpartition("####")
    gold = gold.replace(",", "").strip()
    if not mark or not gold:
        raise JobError('field "answer" has no final number after "####"')
    return Fields(text=_text(row, "question"), answer=gold, solution=re.sub(r"<<[^<>]*>>", "", worked), source="gsm8k")


Reader = Callable[[Mapping[str, Any]], Fields]

READERS: Final[Mapping[str, Reader]] = {
    "omni_math": read_plain,
    "gsm8k": read_gsm8k,
    "jsonl": read_plain,
    "quickstart": read_plain,
}
"""Every value of `data.reader`."""

QUICKSTART: Final = Path(__file__).parent / "quickstart.jsonl"
"""Our own problems, shipped with the package."""

_FETCHED_AS: Final = {"omni_math": "omni_math_rule", "gsm8k": "gsm8k"}
"""Reader -> the name scripts/fetch_data.py knows its data set by."""


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if value is None:
        raise JobError(f'field "{name}" is missing')
    if not isinstance(value, str):
        raise JobError(f'field "{name}" must be a text in quotes, found {value!r:.60}')
    if not value.strip():
        raise JobError(f'field "{name}" is empty')
    return value.strip()


def _optional_text(row: Mapping[str, Any], name: str) -> str:
    blank = row.get(name) is None or not str(row[name]).strip()
    return "" if blank else _text(row, name)


def _optional_number(row: Mapping[str, Any], name: str) -> float | None:
    value = row.get(name)
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise JobError(f'field "{name}" must be a number, found {value!r:.60}')
    return float(value)


def _labels(row: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = row.get(name)
    if isinstance(value, list) and all(isinstance(label, str) for label in value):
        return tuple(label.strip() for label in value if label.strip())
    if value is None or isinstance(value, str):
        return tuple(filter(None, [_optional_text(row, name)]))
    raise JobError(f'field "{name}" must be a text or a list of texts, found {value!r:.60}')


# --- filters -------------------------------------------------------------------------------------

NUMBER_FIELDS: Final[Mapping[str, Callable[[Problem], float | None]]] = {"difficulty": lambda p: p.difficulty}
TEXT_FIELDS: Final[Mapping[str, Callable[[Problem], tuple[str, ...]]]] = {
    "domain": lambda p: p.domains,
    "source": lambda p: (p.source,),
}


def apply_where(problems: Sequence[Problem], where: Mapping[str, Any]) -> list[Problem]:
    """The problems that pass every filter of `data.where`.

    Numbers: `[low, high]`, ends included; a problem without the number does not pass. Texts: a value or a
    list of values; a problem with several (domains) passes with any of them.

    Raises:
        JobError: a field that can't be filtered by, a value of the wrong shape, or one that matches nothing.
    """
    kept = list(problems)
    for name, value in where.items():
        if name in NUMBER_FIELDS:
            passing = _in_range(problems, name, value)
        elif name in TEXT_FIELDS:
            passing = _one_of(problems, name, value)
        else:
            known = ", ".join([*NUMBER_FIELDS, *TEXT_FIELDS])
            raise JobError(f"data.where.{name}: problems can't be filtered by that; known fields: {known}")
        kept = [p for p in kept if p.id in passing]
    if not kept:
        raise JobError(f"data.where: no problem matches all of {', '.join(where)} at once")
    return kept


def _in_range(problems: Sequence[Problem], name: str, value: Any) -> set[str]:  # noqa: ANN401 - as the user wrote it
    match value:
        case [int() | float() as low, int() | float() as high] if low <= high:
            numbers = {p.id: number for p in problems if (number := NUMBER_FIELDS[name](p)) is not None}
        case _:
            raise JobError(f"data.where.{name} must be a range [low, high] of numbers, found {value!r:.60}")
    if not numbers:
        raise JobError(f"data.where.{name}: no problem of this data set has a {name}")
    passing = {key for key, number in numbers.items() if low <= number <= high}
    if not passing:
        raise JobError(
            f"data.where.{name}: no problem lies in [{low:g}, {high:g}];"
            f" this data set runs from {min(numbers.values()):g} to {max(numbers.values()):g}"
        )
    return passing


def _one_of(problems: Sequence[Problem], name: str, value: Any) -> set[str]:  # noqa: ANN401 - as the user wrote it
    wanted = [value] if isinstance(value, str) else value
    if not (isinstance(wanted, list) and wanted and all(isinstance(text, str) for text in wanted)):
        raise JobError(f"data.where.{name} must be a text or a list of texts, found {value!r:.60}")
    texts = {p.id: TEXT_FIELDS[name](p) for p in problems}
    known = sorted({text for found in texts.values() for text in found} - {""})
    for text in wanted:  # each must occur: a misspelt one among good ones would go unseen
        if text not in known:
            near = ", ".join(difflib.get_close_matches(text, known) or known[:10]) or "none at all"
            raise JobError(f"data.where.{name}: no problem has the {name} {text!r}; the data has: {near}")
    return {key for key, found in texts.items() if not set(wanted).isdisjoint(found)}


# --- loading -------------------------------------------------------------------------------------


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


def find_partners(ordered: Sequence[Problem]) -> dict[str, Problem]:
    r"""Problem id -> the problem whose tailored hint serves as its placebo hint.

    A donor has another answer, compared as text without spaces and `$`, `\(`, `\[`. It is the first of:
    nearest earlier of the same domain; nearest later of the same domain; nearest earlier of any domain;
    nearest later of any domain. A problem that no other answer stands beside has no entry.

    Earlier comes first because a run takes a prefix of the order: the donor's hint is then part of the
    run, at no extra call. `ordered` must not be cut by `sample` or `limit` yet, so that raising these
    changes no donor. Rows appended to the file change a donor only where none of the same domain was
    there before, or where a sampled order places a new problem between a problem and its donor.

    One pass per rule: O(n).
    """
    bare = [(p, _bare(p.answer)) for p in ordered]
    backwards = bare[::-1]
    return {  # the last one wins: the rules stand in reverse
        **_nearest_before(backwards, lambda _: ""),
        **_nearest_before(bare, lambda _: ""),
        **_nearest_before(backwards, lambda p: p.domain),
        **_nearest_before(bare, lambda p: p.domain),
    }


def _nearest_before(problems: Iterable[tuple[Problem, str]], group_of: Callable[[Problem], str]) -> dict[str, Problem]:
    """Problem id -> the last one before it in its group with another answer; each comes with its bare answer."""
    # Per group: the last problem, and the last whose answer differs from that one's. The next problem's
    # donor is the first of them, or the second where the first has its own answer.
    tails: dict[str, tuple[Problem, str, Problem | None]] = {}
    donors: dict[str, Problem] = {}
    for problem, answer in problems:
        group = group_of(problem)
        if group not in tails:
            tails[group] = (problem, answer, None)
            continue
        last, last_answer, other = tails[group]
        donor = last if last_answer != answer else other
        if donor is not None:
            donors[problem.id] = donor
        tails[group] = (problem, answer, donor)
    return donors


def _bare(answer: str) -> str:
    return re.sub(r"[\s$]|\\[()\[\]]", "", answer)


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
