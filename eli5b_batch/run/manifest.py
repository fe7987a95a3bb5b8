"""What a run writes down of itself at each start: job.yaml and manifest.json; and whose a run folder is.

Must not know: how calls are made. What is read back of a manifest stands in `records/folder.py`.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from eli5b_batch import __version__
from eli5b_batch.errors import RunFolderError
from eli5b_batch.job.load import dump_job
from eli5b_batch.records.disk import write_atomically
from eli5b_batch.records.folder import JOB, MANIFEST, complete_at, read_manifest, redo_of

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

    from eli5b_batch.backends.base import ModelFacts
    from eli5b_batch.job.schema import Job
    from eli5b_batch.run.plan import Experiment, Plan

_PACKAGES: Final = ("aiohttp", "ollama", "math-verify", "sympy", "polars", "orjson", "pydantic")


def check_same_job(run_dir: Path, manifest: Mapping[str, Any], experiment: Experiment) -> None:
    """Refuse a folder that belongs to another job.

    Raises:
        RunFolderError: naming what differs.
    """
    job, data = experiment.job, experiment.problems
    pairs = {
        "job name": (manifest.get("name"), job.name),
        "protocol": (manifest.get("protocol"), job.protocol),
        "data reader": (manifest.get("data", {}).get("reader"), job.data.reader),
        "data file (sha256)": (manifest.get("data", {}).get("sha256"), data.sha256),
        "simulated": (manifest.get("simulated"), job.simulated),
    }
    differing = [f"{what} {old} there, {new} here" for what, (old, new) in pairs.items() if old != new]
    if differing:
        raise RunFolderError(
            f"{run_dir} is the run folder of another job ({'; '.join(differing)}); "
            "give this job another name, or another folder with --output"
        )


def check_same_models(manifest: Mapping[str, Any], job: Job, facts: Mapping[str, ModelFacts]) -> None:
    """Refuse models that are no longer those the run began with: one id may come to mean other weights.

    A name that has been given another id means other weights on purpose: that is for `--redo`.

    Raises:
        RunFolderError: naming what differs.
    """
    for name, told in facts.items():
        known = _known(manifest, job, name)
        pairs = {
            "digest": (told.digest[:12], known.get("digest", "")[:12]),
            "quantisation": (told.quantization, known.get("quantization", "")),
        }
        both = {what: pair for what, pair in pairs.items() if all(pair)}
        differing = "; ".join(f"{what} {now} now, {old} on record" for what, (now, old) in both.items() if now != old)
        if differing:
            raise RunFolderError(
                f"models.{name}: {job.models[name].model} is not the model this run began with ({differing}); "
                "put the old one back, or give the job a new name"
            )


def _known(manifest: Mapping[str, Any], job: Job, name: str) -> dict[str, Any]:
    """What the manifest says of the model that the job means by `name`; nothing where it meant another id."""
    known: dict[str, Any] = manifest.get("models", {}).get(name, {})
    return known if known.get("model") == job.models[name].model else {}


class JobOnRecord:
    """job.yaml and manifest.json as they stand, to be put back when the job of this start turns out to be another."""

    def __init__(self, run_dir: Path) -> None:
        paths = (run_dir / JOB, run_dir / MANIFEST)
        self._before = {path: path.read_bytes() for path in paths if path.exists()}

    def put_back(self) -> None:
        """Write both as they were."""
        for path, data in self._before.items():
            write_atomically(path, data)


def write_manifest(
    run_dir: Path, experiment: Experiment, plan: Plan, facts: Mapping[str, ModelFacts], started: dt.datetime
) -> None:
    """Write job.yaml and manifest.json for this start of the run; facts known from earlier starts are kept.

    Raises:
        RunFolderError: a model is no longer the one the run began with.
    """
    job, data = experiment.job, experiment.problems
    earlier = read_manifest(run_dir) or {}
    check_same_models(earlier, job, facts)
    models = {}
    for name, model in job.models.items():
        known = _known(earlier, job, name)
        told = {k: v for k, v in facts[name]._asdict().items() if v not in ("", None)} if name in facts else {}
        price = (
            model.price if isinstance(model.price, str) or model.price is None else model.price.model_dump(mode="json")
        )
        models[name] = {
            "digest": known.get("digest", ""),
            "quantization": known.get("quantization", ""),
            "parameter_size": known.get("parameter_size", ""),
            "server": known.get("server", ""),
            "on_gpu": known.get("on_gpu"),
            "thinks": known.get("thinks"),
            "by_default": known.get("by_default", ""),
            **told,
            "thinking": model.sampling.thinking,
            "model": model.model,
            "provider": model.provider,
            "price": price,
        }
    texts = experiment.prompts.texts | (experiment.judging.texts if experiment.judging else {})
    params = experiment.params.model_dump(mode="json")
    teacher, students = params.get("teacher"), params.get("students")
    manifest = {
        "schema": 1,
        "name": job.name,
        "protocol": job.protocol,
        "simulated": job.simulated,
        "graded_steps": list(experiment.protocol.GRADED),
        "judge": job.judge.model_dump() if job.judge else None,
        "expected_answers": plan.graded,
        "plan": {"fingerprint": plan.fingerprint, "calls": [[*slot, n] for slot, n in plan.total.items()]},
        # Another protocol may mean something else by these words.
        "teacher": teacher if isinstance(teacher, str) else None,
        "students": students if isinstance(students, list) and all(isinstance(s, str) for s in students) else None,
        "params": params,
        "data": {
            "reader": job.data.reader,
            "path": str(job.data.path) if job.data.path else None,
            "sha256": data.sha256,
            "problems": len(data.selected),
            "duplicates_dropped": data.duplicates_dropped,
        },
        "models": models,
        # Providers of earlier starts, too: records name them.
        "providers": earlier.get("providers", {}) | {name: provider.api for name, provider in job.providers.items()},
        "prompts": {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()},
        "versions": _versions(),
        "git": _git_revision(),
        "redo": redo_of(earlier),
        "complete_at": complete_at(earlier),
        "created_at": earlier.get("created_at", started.isoformat()),
        "starts": [*earlier.get("starts", []), started.isoformat()],
    }
    write_atomically(run_dir / JOB, dump_job(job).encode())
    write_atomically(run_dir / MANIFEST, orjson.dumps(manifest, option=orjson.OPT_INDENT_2))


def _versions() -> dict[str, str]:
    packages = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {
        "eli5b_batch": __version__,
        "python": platform.python_version(),
        "system": platform.system(),
        **packages,
    }


def _git_revision() -> str | None:
    """The revision of the checkout the package runs from; None outside one."""
    try:
        done = subprocess.run(  # noqa: S603 (fixed arguments)
            ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"],  # noqa: S607 (git from PATH)
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
