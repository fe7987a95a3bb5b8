"""Which problems need nothing any more, so that resuming costs nothing for them.

Must not know: how a run works. Everything here is derived: without the file, every problem is replayed and the outcome
is the same. A line counts only while the question is the same (its fingerprint), and the file only while journal and
grades hold at least what they held when it was written: a journal that lost its end, or was repaired, is replayed.
"""

from __future__ import annotations

import hashlib
import inspect
from typing import TYPE_CHECKING

import orjson

from eli5b_batch.data.load import READING
from eli5b_batch.records import RECORD_SCHEMA
from eli5b_batch.records.lines import JsonLines

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from eli5b_batch.data.problem import Problem
    from eli5b_batch.run.plan import Experiment


class Fingerprint:
    """What decides the calls of an experiment, as a hash: of the whole plan, and of one problem.

    Args:
        experiment: the job with all it refers to.
        redo: from where on in the journal records of a step count.
    """

    def __init__(self, experiment: Experiment, redo: Mapping[str, int] | None = None) -> None:
        job = experiment.job
        asked = {
            "schema": RECORD_SCHEMA,
            "data": (experiment.problems.sha256, job.data.reader, READING),
            "protocol": inspect.getsource(inspect.getmodule(experiment.protocol.run) or experiment.protocol.run),
            "params": experiment.params.model_dump(mode="json"),
            "prompts": experiment.prompts.texts,
            "models": {name: (m.model, m.about, m.sampling.model_dump()) for name, m in job.models.items()},
            "seed": job.seed,
            "redo": redo or {},
        }
        if experiment.judging is not None:
            asked["judge"] = experiment.judging.asked
        self._base = hashlib.blake2b(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS), digest_size=8)
        self._selected = experiment.problems.selected
        self._partners = experiment.problems.partners

    def of_problem(self, problem: Problem) -> str:
        """16 hex digits over all that decides the calls of one problem, its placebo's donor included.

        The data file is part of the base, so that ids tell which texts are meant.
        """
        digest = self._base.copy()
        digest.update(problem.id.encode())
        donor = self._partners.get(problem.id)
        if donor is not None:
            digest.update(b"|" + donor.id.encode())
        return digest.hexdigest()

    def of_plan(self) -> str:
        """16 hex digits over all that decides the calls of the whole run."""
        digest = self._base.copy()
        for problem in self._selected:
            digest.update(self.of_problem(problem).encode())
        return digest.hexdigest()


class Finished:
    """The file of finished problems.

    Args:
        path: the file; made if missing.
        fingerprint: of the present job.
    """

    def __init__(self, path: Path, fingerprint: Fingerprint) -> None:
        self._file = JsonLines(path)
        self._fingerprint = fingerprint
        self._asked: dict[str, str] = {}
        self._answered = self._graded = 0
        for _, line in self._file.scan():
            try:
                row = orjson.loads(line)
                self._asked[row["problem"]] = row["asked"]
                self._answered = max(self._answered, row["answered"])
                self._graded = max(self._graded, row["graded"])
            except (orjson.JSONDecodeError, KeyError, TypeError):
                continue  # a damaged line costs one replay

    def __contains__(self, problem: Problem) -> bool:
        """Whether the problem was finished with the very calls it would ask for now."""
        asked = self._asked.get(problem.id)
        return asked is not None and asked == self._fingerprint.of_problem(problem)

    def believable(self, *, answered: int, graded: int) -> bool:
        """Whether journal and grades hold at least what they held when problems were called finished."""
        return answered >= self._answered and graded >= self._graded

    def forget(self) -> None:
        """Take no problem for finished that is not called so from now on."""
        self._asked.clear()
        self._answered = self._graded = 0
        self._file.clear()

    def add(self, problem: Problem, *, answered: int, graded: int) -> None:
        """Note that every call of the problem is answered and graded, with what journal and grades hold now."""
        asked = self._fingerprint.of_problem(problem)
        row = {"problem": problem.id, "asked": asked, "answered": answered, "graded": graded}
        self._file.append(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
        self._asked[problem.id] = asked

    def close(self) -> None:
        """Sync and close; safe to call twice."""
        self._file.close()
