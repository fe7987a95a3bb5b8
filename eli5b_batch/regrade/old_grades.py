"""What a run folder holds for its answers to be graded again: the old verdicts and the gold answers.

Must not know: how grading is done. In memory there are 29 bytes for each verdict, and one gold answer a problem.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import orjson

from eli5b_batch.data.load import load_problems
from eli5b_batch.errors import JobError, JournalDamagedError, RunFolderError
from eli5b_batch.job.load import load_job
from eli5b_batch.records.folder import CALLS, JOB, read_manifest
from eli5b_batch.records.grades import FAILED, VERDICTS
from eli5b_batch.records.index import Entry, Index
from eli5b_batch.records.journal import problem_key, problem_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from eli5b_batch.job.schema import Job

_REMEDY: Final = "delete the file and regrade again: every verdict is then made anew, with the data's gold answers"


def manifest_with_answers(run_dir: Path) -> dict[str, Any]:
    """The manifest of a run folder that has calls on record.

    Raises:
        RunFolderError: not a run folder, its manifest is damaged, or nothing has been asked.
    """
    manifest = read_manifest(run_dir)
    if manifest is None:
        raise RunFolderError(f"{run_dir} is not a run folder: it has no manifest.json")
    calls = run_dir / CALLS
    if not calls.exists() or not calls.stat().st_size:
        raise RunFolderError(f"{run_dir} has no answers yet: its {CALLS} holds no call")
    return manifest


def job_on_record(run_dir: Path) -> Job:
    """The job of a run folder, as its last start resolved it.

    Raises:
        RunFolderError: it is not there, or can't be read.
    """
    try:
        return load_job(run_dir / JOB)
    except JobError as error:
        first, *_ = str(error).split("\n")
        raise RunFolderError(f"{first}; the next run of the job writes {JOB} again") from None


def first_signature(path: Path) -> tuple[str | None, str | None] | None:
    """Who graded by the first line of a grades.jsonl: `grader`, `rule_grader`; None: no line, or it is damaged."""
    try:
        with path.open("rb") as file:
            row = orjson.loads(file.readline())
            return row.get("grader"), row.get("rule_grader")
    except (OSError, orjson.JSONDecodeError, AttributeError):
        return None  # who reads the file in full says what is wrong with it


class OldGrades:
    """The verdicts of a grades.jsonl, each handed out once; a torn last line is passed over.

    Args:
        path: the file; a missing one holds nothing.

    Raises:
        JournalDamagedError: a complete line is not a verdict.
        RunFolderError: the file can't be read.
    """

    def __init__(self, path: Path) -> None:
        self.golds: dict[bytes, str] = {}
        """By the part of a key that names the problem: its gold answer."""
        self.graders: Counter[str] = Counter()
        """Rows by the grader they name."""
        self.rows = 0
        self._index = Index()
        self._file: BinaryIO | None = None
        try:
            self._file = path.open("rb", buffering=1 << 20)
            self._load(self._file, path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise RunFolderError(f"{path}: can't be read: {error.strerror}") from None
        except JournalDamagedError:
            self.close()
            raise

    def _load(self, file: BinaryIO, path: Path) -> None:
        offset = 0
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                break
            row = _parsed(line, f"{path}:{number}")
            key = row["key"].encode()
            problem = problem_of(key)
            self.rows += 1
            self.graders[str(row.get("grader"))] += 1
            self.golds[problem] = row["gold"]
            verdicts, ok = self._index.calls_of(problem), row["verdict"] != FAILED
            if key not in verdicts or ok or not verdicts[key].ok:
                verdicts[key] = Entry(offset, ok, "")
            offset += len(line)

    def take(self, key: str) -> dict[str, Any] | None:
        """The verdict that counts for `key`: the newest, one on an answer before one on a failed call."""
        name = key.encode()
        problem = problem_of(name)
        if self._index.find(problem, name) is None:
            return None
        return self._row_at(self._index.calls_of(problem).pop(name).offset)

    def left(self) -> Iterator[dict[str, Any]]:
        """The verdicts that nobody has taken."""
        for _, entry in self._index:
            yield self._row_at(entry.offset)

    def _row_at(self, offset: int) -> dict[str, Any]:
        assert self._file is not None
        self._file.seek(offset)
        row: dict[str, Any] = orjson.loads(self._file.readline())
        return row

    def close(self) -> None:
        """Close the file; safe to call twice."""
        if self._file is not None:
            self._file.close()


def _parsed(line: bytes, where: str) -> dict[str, Any]:
    try:
        row: dict[str, Any] = orjson.loads(line)
        if isinstance(row["key"], str) and isinstance(row["gold"], str) and row["verdict"] in VERDICTS:
            return row
    except (orjson.JSONDecodeError, KeyError, TypeError):
        pass
    raise JournalDamagedError(f"{where}: this line is not a verdict; {_REMEDY}")


class Golds:
    """Gold answers: those beside the old verdicts, and, where one is missing, those of the problem data.

    Args:
        run_dir: the run folder; the data file is looked for where its job.yaml says.
        manifest: the run's.
        known: by the part of a key that names the problem.
    """

    def __init__(self, run_dir: Path, manifest: Mapping[str, Any], known: Mapping[bytes, str]) -> None:
        self._run_dir = run_dir
        self._sha256 = manifest["data"]["sha256"]
        self._known = dict(known)
        self._loaded = False

    def of(self, key: str) -> str:
        """The gold answer of the problem that `key` is about.

        Raises:
            RunFolderError: there is none on record, and none in the data.
        """
        problem = problem_of(key.encode())
        gold = self._known.get(problem)
        if gold is None and not self._loaded:
            self._load(key)
            gold = self._known.get(problem)
        if gold is None:
            raise RunFolderError(f"{self._run_dir}: no verdict on record and no row of the data has the gold of {key}")
        return gold

    def _load(self, key: str) -> None:
        """Take in every problem of the data file, also those that the job's last start left out."""
        data = job_on_record(self._run_dir).data.model_copy(update={"limit": None, "sample": None, "where": {}})
        missing = f"{self._run_dir}: no verdict on record has the gold answer of {key}, and"
        try:
            problems = load_problems(data)
        except JobError as error:
            raise RunFolderError(f"{missing} the problem data can't be read: {error}") from None
        if problems.sha256 != self._sha256:
            raise RunFolderError(f"{missing} {problems.path} is no longer the data of this run; put the old file back")
        self._known = {problem_key(p.id): p.answer for p in problems.selected} | self._known
        self._loaded = True
