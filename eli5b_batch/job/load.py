"""From a file on disk to a checked `Job`: reads it, applies overrides, and explains each mistake in one sentence.

Must not know: providers at work, run folders. Every mistake raises a `JobError`, and nothing is created.
"""

from __future__ import annotations

import copy
import datetime as dt
import difflib
import re
from typing import TYPE_CHECKING, Any, Final

import yaml
from pydantic import ValidationError

from eli5b_batch.errors import JobError
from eli5b_batch.job.explain import explain, kind_of, nearest
from eli5b_batch.job.field_checks import check_fields
from eli5b_batch.job.members import charges_of, check_members
from eli5b_batch.job.reserved_names import OURS
from eli5b_batch.job.schema import CPU, Job, OllamaProvider, OpenAIProvider, SimulatedProvider

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from eli5b_batch.job.schema import Simulation

DEFAULT_NUM_CTX = 8192
"""Context window of an Ollama model, tokens, where the job names none: the server's own default differs by machine."""

_KEY_TAGS: Final = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge")


class _Loader(yaml.SafeLoader):
    """Reads YAML whose keys are texts and unique; of two equal keys, plain YAML drops the first without a word."""

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:  # noqa: ANN401 (wrong in the stubs)
        """Refuse half a surrogate pair, which no file and no request can hold."""
        node = super().compose_scalar_node(anchor)
        if re.search("[\ud800-\udfff]", node.value):
            raise _error_at(node, r"\ud800 to \udfff is half a character: write it as it is, or with \U and 8 digits")
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:  # noqa: ANN401 (wrong in the stubs)
        """Check the keys as the file has them, before `<<` merges other mappings into them."""
        node = super().compose_mapping_node(anchor)
        earlier: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag not in _KEY_TAGS:
                raise _error_at(key, "a key must be a text: put it in quotes")
            if key.value in earlier:
                raise _error_at(key, f"the key {key.value!r} stands twice")
            earlier.add(key.value)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: ANN401, FBT001, FBT002 (PyYAML's)
        """Refuse a value that its tag does not allow, such as the date 2026-02-30 or `!!int x`, with its place."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError):
            raise _error_at(node, f"{node.value!r:.60} can't be read as {node.tag.rsplit(':', 1)[-1]}") from None


def _error_at(node: yaml.Node, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def load_job(path: Path, *, overrides: Sequence[str] = (), limit: int | None = None) -> Job:
    """Read a job file and check it.

    Args:
        path: the YAML file.
        overrides: texts `a.b=c`, as `--set` takes them; `c` is read as YAML.
        limit: `--limit`: only the first n problems.

    Raises:
        JobError: the job is wrong; the message names the file, the path in it, and what would be right.
    """
    tree = _read_yaml(path)
    for text in overrides:
        _override(tree, text)
    if limit is not None and isinstance(tree.get("data"), dict):
        tree["data"]["limit"] = limit
    return parse_job(tree, str(path))


def parse_job(tree: Mapping[str, Any], where: str) -> Job:
    """Return the checked job of plain data; `where` is its name in messages."""
    try:
        job = Job.model_validate(tree)
    except ValidationError as error:
        raise JobError(explain(error, where, Job)) from None
    _check_references(job, where)
    return _with_defaults(job)


def dump_job(job: Job) -> str:
    """Return the resolved job as YAML, the content of `job.yaml` in the run folder."""
    tree = job.model_dump(mode="json", exclude_none=True)
    members = [member for provider in tree["providers"].values() for member in provider.get("members", ())]
    for model in (*tree["models"].values(), *(model for member in members for model in member["models"].values())):
        price = model.get("price")
        if isinstance(price, dict):
            price["as_of"] = dt.date.fromisoformat(price["as_of"])
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = difflib.get_close_matches(path.name, [p.name for p in _siblings(path)], n=1)
        hint = f"; did you mean {path.parent / near[0]}?" if near else ""
        raise JobError(f"{path}: no such job file{hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise JobError(f"{path}: the job file can't be read: {reason}") from None
    tree = _parse_yaml(text, str(path))
    if not isinstance(tree, dict):
        raise JobError(f"{path}: a job file is a mapping (`name: ...`), and this one is {kind_of(tree)}")
    return tree


def _parse_yaml(text: str, where: str) -> Any:  # noqa: ANN401 (whatever the YAML holds)
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 (a SafeLoader underneath)
    except yaml.MarkedYAMLError as error:
        lines = text.split("\n")
        marks = [
            m for m in (error.problem_mark, error.context_mark) if m and "".join(lines[m.line : m.line + 1]).strip()
        ]
        problem = ", ".join(filter(None, (error.context, error.problem)))
        if not marks:
            raise JobError(f"{where}: not valid YAML: {problem}") from None
        line, column = marks[0].line, marks[0].column
        raise JobError(
            f"{where}:{line + 1}:{column + 1}: not valid YAML: {problem}\n    {lines[line].strip():.120}"
        ) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position)
        raise JobError(
            f"{where}:{line + 1}: not valid YAML: the character U+{error.character:04X} is not allowed"
        ) from None
    except RecursionError:
        raise JobError(f"{where}: not valid YAML: it is nested too deeply") from None


def _siblings(path: Path) -> Iterable[Path]:
    return path.parent.glob("*.y*ml") if path.parent.is_dir() else ()


def _override(tree: dict[str, Any], text: str) -> None:
    """Apply one `a.b[0].c=value` to the tree, with new mappings where there are none. A name may itself hold dots."""
    path, equals, raw = text.partition("=")
    if not equals or not re.fullmatch(r"[\w-]+(\.[\w-]+|\[\d+\])*", path):
        raise JobError(f"--set {text}: write a path and a value, such as --set params.samples=4")
    value = _parse_yaml(raw, f"--set {text:.60}")
    place: Any = tree
    done = ""
    while True:
        index = re.match(r"\[(\d+)\]\.?", path)
        if index:
            step: int | str = int(index[1])
            if not isinstance(place, list) or int(step) >= len(place):
                raise JobError(f"--set {text}: {done} is {kind_of(place)}, and it has no element [{step}]")
            done, path = f"{done}[{step}]", path[index.end() :]
        else:
            if not isinstance(place, dict):
                raise JobError(f"--set {text}: {done} is {kind_of(place)}, so nothing in it is called {path!r}")
            step = _first_step(path, place)
            done, path = f"{done}.{step}".lstrip("."), path[len(step) :].removeprefix(".")
        if not path:
            place[step] = value
            return
        if isinstance(place, dict) and place.get(step) is None:
            place[step] = {}
        place[step] = copy.copy(place[step])  # YAML's `*name` puts one object into several places
        place = place[step]


def _first_step(path: str, keys: Iterable[str]) -> str:
    """Return the longest key at the start of `path`, else the part before its first dot or bracket."""
    matches = [key for key in keys if path == key or path.startswith((f"{key}.", f"{key}["))]
    return max(matches, key=len) if matches else re.split(r"[.\[]", path, maxsplit=1)[0]


def _check_references(job: Job, where: str) -> None:
    """Check the rules between sections: names that refer to other sections, and values that have to agree."""
    for name in job.providers:
        _check_provider(job, name, f"{where}: providers.{name}")
    windows: dict[tuple[str, str], tuple[str, int]] = {}
    for name, model in job.models.items():
        place = f"{where}: models.{name}"
        if model.provider not in job.providers:
            raise JobError(
                f"{place}.provider: no provider {model.provider!r}; "
                f"{nearest(model.provider, list(job.providers), 'defined')}"
            )
        provider = job.provider_of(name)
        if isinstance(provider, OpenAIProvider) and model.price is None:
            raise JobError(
                f"{place}.price: a paid model needs a price, such as "
                "{input: 0.27, output: 0.85, as_of: 2026-03-01} (USD per million tokens), `price: unknown`, "
                "or `price: free` on a server of your own"
            )
        if job.budget and model.price == "unknown" and "unknown" in charges_of(job, name).values():
            raise JobError(f"{place}.price: no budget can be kept with an unknown price; give it, or drop budget")
        _, slots = provider.shape
        if slots and not any(s.serves(model.model) for s in slots):
            raise JobError(
                f"{place}.model: no slot of {model.provider} serves {model.model!r}; add it to a slot's models"
            )
        window = model.sampling.num_ctx or DEFAULT_NUM_CTX
        other, its_window = windows.setdefault((model.provider, model.model), (name, window))
        if slots and window != its_window:
            raise JobError(
                f"{place}.sampling.num_ctx: {model.model} has {window} here and {its_window} in models.{other}; "
                "give both the same, as a server loads a model anew for every change of its window"
            )
    check_members(job, where)
    check_fields(job, where)
    _check_judge(job, where)


def _check_judge(job: Job, where: str) -> None:
    models = list(job.models)
    if job.grader == "judge" and job.judge is None:
        raise JobError(f"{where}: judge: this key is missing; grader: judge needs it, such as {{model: {models[0]}}}")
    if job.judge is None:
        return
    if job.grader != "judge":
        raise JobError(f"{where}: judge: grader is {job.grader}, so nobody judges; write grader: judge, or drop judge")
    if job.judge.model not in models:
        raise JobError(
            f"{where}: judge.model: no model {job.judge.model!r}; {nearest(job.judge.model, models, 'defined')}"
        )


def _check_managed(provider: OllamaProvider, place: str) -> None:
    for i, slot in enumerate(provider.shape[1]):
        if slot.url is not None:
            raise JobError(f"{place}.slots[{i}].url: with manage: true the run chooses the address; leave url out")
        if isinstance(slot.gpu, str) and slot.gpu != CPU and not slot.gpu.startswith(("GPU-", "MIG-")):
            raise JobError(
                f"{place}.slots[{i}].gpu: with manage: true it must be an index, a UUID (GPU-...), or cpu, "
                f"and this is {slot.gpu!r}; nvidia-smi -L lists them"
            )
    if provider.parallel is not None and provider.slots != "auto":
        raise JobError(f"{place}.parallel: it is for slots: auto; give each of these slots its own parallel")
    for name in provider.env:
        if name in OURS:
            raise JobError(f"{place}.env.{name}: the run sets this variable itself, from other keys of the job")


def _check_unmanaged(provider: OllamaProvider, place: str) -> None:
    if provider.slots == "auto":
        raise JobError(f"{place}.slots: auto needs manage: true; or list the servers with their urls")
    used = provider.model_dump(include={"parallel", "executable", "models_dir", "env"}, exclude_defaults=True)
    for key in used:
        raise JobError(f"{place}.{key}: this key is for servers that the run starts; it needs manage: true")


def _check_provider(job: Job, name: str, place: str) -> None:
    provider = job.providers[name]
    if isinstance(provider, OllamaProvider) and provider.manage:
        _check_managed(provider, place)
    elif isinstance(provider, OllamaProvider):
        _check_unmanaged(provider, place)
    gpus: dict[str, int] = {}
    urls: dict[str, int] = {}
    for i, slot in enumerate(provider.shape[1]):
        if isinstance(provider, OllamaProvider) and slot.url is None and not provider.manage:
            raise JobError(f"{place}.slots[{i}].url: this key is missing: the address of that Ollama server")
        if gpus.setdefault(slot.name, i) != i:
            raise JobError(
                f"{place}.slots[{i}].gpu: slots[{gpus[slot.name]}] is {slot.name} too; give each its own gpu"
            )
        if slot.url and urls.setdefault(slot.url.rstrip("/"), i) != i:
            raise JobError(
                f"{place}.slots[{i}].url: slots[{urls[slot.url.rstrip('/')]}] has this address too; "
                "one server is one slot, with more calls in flight by a larger `parallel`"
            )
    if isinstance(provider, SimulatedProvider):
        _check_simulation(provider.simulation, list(job.models), list(gpus), f"{place}.simulation")


def _check_simulation(simulation: Simulation, models: Sequence[str], slots: Sequence[str], place: str) -> None:
    for key in ("skill", "tokens_per_s", "load_s"):
        setting = getattr(simulation, key)
        for model in setting if isinstance(setting, dict) else ():
            if model not in models:
                raise JobError(f"{place}.{key}: no model {model!r}; {nearest(model, models, 'defined')}")
    for key in ("freezes", "refuses"):
        for slot in getattr(simulation, key):
            if slot not in slots:
                hint = nearest(slot, slots, "slots") if slots else "this provider has no slots"
                raise JobError(f"{place}.{key}: no slot {slot!r}; {hint}")


def _with_defaults(job: Job) -> Job:
    """Return the job with the context window of Ollama models filled in, which a server would choose by itself."""
    models = {}
    for name, model in job.models.items():
        provider = job.provider_of(name)
        if provider.shape[1] and model.sampling.num_ctx is None:
            sampling = model.sampling.model_copy(update={"num_ctx": DEFAULT_NUM_CTX})
            models[name] = model.model_copy(update={"sampling": sampling})
        else:
            models[name] = model
    return job.model_copy(update={"models": models})
