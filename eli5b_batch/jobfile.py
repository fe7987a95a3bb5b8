"""From a file on disk to a checked `Job`: reading, overrides, and mistakes said in one sentence each.

Must not know: providers at work, run folders. Everything wrong here is a `JobError` and nothing is created.
"""

from __future__ import annotations

import datetime as dt
import difflib
import re
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import BaseModel, ValidationError

from eli5b_batch.errors import JobError
from eli5b_batch.job import Job, OllamaProvider, OpenAIProvider, SimulatedProvider

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

DEFAULT_NUM_CTX = 8192
"""Window of an Ollama model where the job names none: the server's own default differs by machine."""


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML that refuses a key written twice; plain YAML lets the second one win in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 (signature is PyYAML's)
        seen: set[str] = set()
        for key_node, _ in node.value:
            if isinstance(key_node, yaml.ScalarNode):
                if key_node.value in seen:
                    raise yaml.MarkedYAMLError(
                        problem=f"the key {key_node.value!r} stands twice", problem_mark=key_node.start_mark
                    )
                seen.add(key_node.value)
        return super().construct_mapping(node, deep)


def load_job(path: Path, *, overrides: Sequence[str] = (), limit: int | None = None, name: str | None = None) -> Job:
    """Read a job file and check it.

    Args:
        path: the YAML file.
        overrides: texts `a.b=c`, as `--set` takes them; `c` is read as YAML.
        limit: `--limit`: only the first n problems.
        name: replaces the job's name.

    Raises:
        JobError: with the file, the path in it, and what would be right.
    """
    tree = _read_yaml(path)
    for text in overrides:
        _override(tree, text)
    if limit is not None and isinstance(tree.get("data"), dict):
        tree["data"]["limit"] = limit
    if name is not None:
        tree["name"] = name
    return parse_job(tree, str(path))


def parse_job(tree: Mapping[str, Any], where: str) -> Job:
    """Check a job given as plain data; `where` is what messages call it."""
    try:
        job = Job.model_validate(tree)
    except ValidationError as error:
        raise JobError(explain(error, where, Job)) from None
    _check_references(job, where)
    return _with_defaults(job)


def dump_job(job: Job) -> str:
    """The resolved job as YAML: what `job.yaml` in the run folder holds."""
    tree = job.model_dump(mode="json", exclude_none=True)
    for model in tree["models"].values():
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
    try:
        tree = yaml.load(text, Loader=_UniqueKeyLoader)  # noqa: S506 (a SafeLoader underneath)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        if mark is None:
            raise JobError(f"{path}: not valid YAML: {error.problem}") from None
        line = text.split("\n")[mark.line].rstrip() if mark.line < text.count("\n") + 1 else ""
        raise JobError(
            f"{path}:{mark.line + 1}:{mark.column + 1}: not valid YAML: {error.problem}\n    {line}"
        ) from None
    except yaml.YAMLError as error:
        raise JobError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(tree, dict):
        raise JobError(f"{path}: a job file is a mapping (`name: ...`), and this one is {_kind(tree)}")
    return tree


def _siblings(path: Path) -> Iterable[Path]:
    return path.parent.glob("*.y*ml") if path.parent.is_dir() else ()


def _override(tree: dict[str, Any], text: str) -> None:
    """Apply one `a.b[0].c=value` to the tree, creating mappings on the way."""
    path, equals, raw = text.partition("=")
    if not equals or not re.fullmatch(r"[\w-]+(\.[\w-]+|\[\d+\])*", path):
        raise JobError(f"--set {text}: write a path and a value, such as --set params.samples=4")
    steps: list[str | int] = [int(i) if i else k for k, i in re.findall(r"([\w-]+)|\[(\d+)\]", path)]
    try:
        value = yaml.safe_load(raw)
    except yaml.YAMLError:
        raise JobError(f"--set {text}: the value is not valid YAML") from None
    place: Any = tree
    for i, step in enumerate(steps):
        last = i == len(steps) - 1
        if isinstance(step, int):
            if not isinstance(place, list) or step >= len(place):
                raise JobError(f"--set {text}: there is no element [{step}] at this place of the job")
        elif not isinstance(place, dict):
            raise JobError(f"--set {text}: {steps[i - 1]} is {_kind(place)}, so it has no {step!r}")
        elif not last:
            place.setdefault(step, {})
            if place[step] is None:
                place[step] = {}
        if last:
            place[step] = value
        else:
            place = place[step]


def explain(error: ValidationError, where: str, schema: type[BaseModel], prefix: str = "") -> str:
    """Every mistake in a validation error as one line: file, path in it, what, what would be right.

    Args:
        error: what pydantic raised.
        where: the file.
        schema: the class that was validated; known keys are looked up in it.
        prefix: where `schema` stands in the file, e.g. `params`.
    """
    lines = []
    for item in error.errors(include_url=False, include_context=True)[:5]:
        loc, known = _locate(item["loc"], schema)
        place = _dotted(((prefix,) if prefix else ()) + loc)
        lines.append(f"{where}: {place}: {_sentence(item, known)}" if place else f"{where}: {_sentence(item, known)}")
    more = error.error_count() - len(lines)
    return "\n".join([*lines, f"{where}: and {more} more"] if more > 0 else lines)


def _sentence(item: Mapping[str, Any], known: Sequence[str]) -> str:
    kind, given = item["type"], item.get("input")
    if kind == "extra_forbidden":
        key = str(item["loc"][-1])
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else "known keys: " + ", ".join(known)
        return f"unknown key {key!r}; {hint}"
    if kind == "missing":
        return "this key is missing"
    if kind == "union_tag_not_found":
        return "`api` is missing: openai, ollama or simulated"
    if kind == "union_tag_invalid":
        return f"api {item['ctx']['tag']!r} is not known: openai, ollama or simulated"
    if kind == "value_error":
        return str(item["ctx"]["error"])
    message = item["msg"][0].lower() + item["msg"][1:]
    return f"{message}, and this is {_kind(given)}"


def _kind(value: object) -> str:
    if value is None:
        return "empty"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."  # noqa: PLR2004


def _locate(loc: Sequence[str | int], schema: type[BaseModel]) -> tuple[tuple[str | int, ...], list[str]]:
    """The path as the user wrote it (without the union tags pydantic adds) and the keys known there."""
    root = schema.model_json_schema()
    definitions = root.get("$defs", {})
    node: Any = root
    path: list[str | int] = []
    known: list[str] = sorted(root.get("properties", {}))
    for step in loc:
        node = _follow(node, definitions)
        mapping = node.get("discriminator", {}).get("mapping", {}) if isinstance(node, dict) else {}
        if step in mapping:
            node = {"$ref": mapping[step]}
            continue
        properties = node.get("properties", {})
        known = sorted(properties)
        if isinstance(step, str) and step not in properties and "anyOf" in node:
            continue  # a branch of a plain union, named by its type
        path.append(step)
        if isinstance(step, int):
            node = node.get("items", {})
        else:
            node = properties.get(step) or node.get("additionalProperties") or _pattern(node) or {}
    return tuple(path), known


def _pattern(node: Mapping[str, Any]) -> Any:  # noqa: ANN401 (a piece of JSON Schema)
    return next(iter(node.get("patternProperties", {}).values()), None)


def _follow(node: Any, definitions: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ANN401 (JSON Schema)
    while isinstance(node, dict) and "$ref" in node:
        node = definitions[node["$ref"].rsplit("/", 1)[-1]]
    if isinstance(node, dict) and "anyOf" in node:  # `X | None`: the branch that is not null
        branches = [b for b in node["anyOf"] if b.get("type") != "null"]
        if len(branches) == 1:
            return _follow(branches[0], definitions)
    return node if isinstance(node, dict) else {}


def _dotted(loc: Sequence[str | int]) -> str:
    text = ""
    for step in loc:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def _check_references(job: Job, where: str) -> None:
    windows: dict[tuple[str, str], tuple[str, int | None]] = {}
    for name, model in job.models.items():
        if model.provider not in job.providers:
            near = difflib.get_close_matches(model.provider, job.providers, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "defined: " + ", ".join(job.providers)
            raise JobError(f"{where}: models.{name}.provider: no provider {model.provider!r}; {hint}")
        provider = job.provider_of(name)
        if isinstance(provider, OpenAIProvider) and model.price is None:
            raise JobError(
                f"{where}: models.{name}.price: a paid model needs a price, such as "
                "{input: 0.27, output: 0.85, as_of: 2026-03-01} (USD per million tokens), or `price: unknown`"
            )
        if job.budget and model.price == "unknown":
            raise JobError(
                f"{where}: models.{name}.price: no budget can be kept with an unknown price; give it, or drop budget"
            )
        slots = getattr(provider, "slots", None)
        if slots and not any(not s.models or model.model in s.models for s in slots):
            raise JobError(
                f"{where}: models.{name}.model: no slot of {model.provider} serves {model.model!r}; "
                f"add it to a slot's models"
            )
        earlier = windows.setdefault((model.provider, model.model), (name, model.sampling.num_ctx))
        if slots and earlier[1] != model.sampling.num_ctx:
            raise JobError(
                f"{where}: models.{name}.sampling.num_ctx: {model.model} has another num_ctx in models.{earlier[0]}; "
                "two windows for one model reload it at every change"
            )


def _with_defaults(job: Job) -> Job:
    """Fill in what must be written down rather than left to a server: the window of Ollama models."""
    models = {}
    for name, model in job.models.items():
        provider = job.provider_of(name)
        local = isinstance(provider, OllamaProvider) or (isinstance(provider, SimulatedProvider) and provider.slots)
        if local and model.sampling.num_ctx is None:
            sampling = model.sampling.model_copy(update={"num_ctx": DEFAULT_NUM_CTX})
            models[name] = model.model_copy(update={"sampling": sampling})
        else:
            models[name] = model
    return job.model_copy(update={"models": models})
