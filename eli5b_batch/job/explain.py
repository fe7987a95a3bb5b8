"""Explains pydantic's validation errors in the terms of the user's file: the path, the mistake, what would be right.

Must not know: files, or what the keys mean. Both kinds of schemas use it: the job's and those of protocols' `params`.
"""

from __future__ import annotations

import datetime as dt
import difflib
import re
from typing import TYPE_CHECKING, Any, Final

from eli5b_batch.job.values import SHAPES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic import BaseModel, ValidationError

_MOST_MISTAKES: Final = 5
_KEY: Final = "[key]"
"""The last step of pydantic's path where the key of a mapping, not its value, is wrong."""
_MAY_HOLD_A_SECRET: Final = frozenset({"api_key_env", "api_key_command", "headers_env", "base_url", "url"})
"""Keys whose values are never repeated in messages, as people paste API keys into them."""
_NUMBER: Final = re.compile(r"[+-]?[\d_]*\.?\d+([eE][+-]?\d+)?")
_NEVER: Final = re.compile(r"(?!)")
_RIGHT_WITHOUT_QUOTES: Final = {
    "int_type": _NUMBER,
    "float_type": _NUMBER,
    "bool_type": re.compile("true|false|yes|no|on|off", re.IGNORECASE),
}
"""Pydantic's name of a mistake -> the texts that would be right if they were written without quotes."""
_LONGEST_QUOTE: Final = 60
_HUGE: Final = 10**40

_DUTIES: Final = {
    "string": "be a text",
    "int": "be a whole number",
    "float": "be a number",
    "finite_number": "be a finite number",
    "bool": "be true or false",
    "date": "be a date such as 2026-03-01",
    "path": "be a path",
    "dict": "be a mapping (`key: value`)",
    "model": "be a mapping (`key: value`)",
    "list": "be a list",
    "too_short": "not be empty",
    "string_too_short": "not be empty",
    "string_too_long": "not be longer than {max_length} letters",
    "greater_than": "be above {gt}",
    "greater_than_equal": "be at least {ge}",
    "less_than": "be below {lt}",
    "less_than_equal": "be at most {le}",
    "literal_error": "be {expected}",
}
"""Pydantic's name of a mistake -> what a value must do, after the word `must`."""


def explain(error: ValidationError, where: str, schema: type[BaseModel], prefix: str = "") -> str:
    """Return one line for each mistake in a validation error: file, path in it, the mistake, what would be right.

    Args:
        error: the error that pydantic raised.
        where: the name of the file.
        schema: the class of the validated section; its keys are the known ones.
        prefix: the path of that section in the file, such as `params`; "" for the whole file.
    """
    keys = schema.model_json_schema()
    mistakes: dict[tuple[str | int, ...], list[tuple[Mapping[str, Any], list[str]]]] = {}
    for item in error.errors(include_url=False, include_context=True):
        loc, known_keys = _locate(item["loc"], keys)
        mistakes.setdefault(((prefix,) if prefix else ()) + loc, []).append((item, known_keys))
    # Where a value may be of several kinds, pydantic reports a mistake for each kind. The mistake at the deepest place
    # is the one of the kind that the user meant.
    parents = {loc[:n] for loc in mistakes for n in range(len(loc))}
    deepest = [loc for loc in mistakes if loc not in parents]
    lines = [
        ": ".join(filter(None, (where, _dotted(loc), _sentence(mistakes[loc])))) for loc in deepest[:_MOST_MISTAKES]
    ]
    more = len(deepest) - len(lines)
    return "\n".join([*lines, f"{where}: and {more} more"] if more > 0 else lines)


def _sentence(mistakes: Sequence[tuple[Mapping[str, Any], list[str]]]) -> str:
    """Return what is wrong at one place; there are several mistakes where a value may be of several kinds."""
    item, known_keys = mistakes[0]
    match item["type"]:
        case "extra_forbidden":
            key = str(item["loc"][-1])
            return f"unknown key {kind_of(key)}; {nearest(key, known_keys, 'known keys')}"
        case "missing":
            return "this key is missing"
        case "union_tag_not_found":
            return "the key `api` is missing; it must be openai, ollama or simulated"
        case "union_tag_invalid":
            return f"its `api` must be one of {item['ctx']['expected_tags']}, and it is {item['ctx']['tag']!r}"
        case "value_error":
            return str(item["ctx"]["error"])
    return _must([item for item, _ in mistakes])


def _must(items: Sequence[Mapping[str, Any]]) -> str:
    key = items[0]["loc"][-1] if items[0]["loc"] else ""
    must = "must " + " or ".join(dict.fromkeys(_duty(item) for item in items))
    if key == _KEY:
        return f"this name {must}"
    if not _MAY_HOLD_A_SECRET.isdisjoint(items[0]["loc"]):
        return must
    value = items[0].get("input")
    return f"{must}, and this is {kind_of(value)}{_advice(items[0], value)}"


def _duty(item: Mapping[str, Any]) -> str:
    """Return what a value must do, in pydantic's words where the tables of this module have none."""
    context = {k: f"{v:g}" if isinstance(v, float) else v for k, v in item.get("ctx", {}).items()}
    if item["type"] == "string_pattern_mismatch":
        return SHAPES[context["pattern"]]
    if item["type"] in _DUTIES:
        return _DUTIES[item["type"]].format_map(context)
    kind = re.sub(
        r"_(attributes_type|type|(from_datetime_)?parsing|from_datetime_inexact|from_float|unicode)$", "", item["type"]
    )
    return _DUTIES.get(kind) or item["msg"]


def _advice(item: Mapping[str, Any], value: object) -> str:
    """Return the end of a message that says how to correct `value`; "" where that can't be guessed."""
    if item["type"] == "literal_error" and isinstance(value, str):
        allowed = re.findall(r"'([^']*)'", item["ctx"]["expected"])
        near = difflib.get_close_matches(value, allowed, n=1)
        return f"; did you mean {near[0]!r}?" if near else ""
    if item["type"] == "string_type" and isinstance(value, bool | int | float | dt.date):
        return "; put it in quotes"
    if isinstance(value, str) and _RIGHT_WITHOUT_QUOTES.get(item["type"], _NEVER).fullmatch(value):
        return "; write it without quotes, and a number with all its digits"
    return ""


def nearest(name: str, names: Sequence[str], label: str) -> str:
    """Return a question for the known name that is nearest to a wrong one, else a list of all known names.

    Args:
        name: the wrong name.
        names: the names that would be right.
        label: the words before the list, such as `known keys`.
    """
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"{label}: {', '.join(names)}"


def kind_of(value: object) -> str:
    """Return a value, or the kind of a value that is long, in the words of a user who writes YAML."""
    if value is None:
        return "empty"
    if isinstance(value, dict):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and abs(value) >= _HUGE:
        return "a huge number"
    text = value.isoformat() if isinstance(value, dt.date) else repr(value)
    return text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}..."


def _locate(loc: Sequence[str | int], root: Mapping[str, Any]) -> tuple[tuple[str | int, ...], list[str]]:
    """Return the path as the user wrote it (without the union tags that pydantic adds), and the known keys there."""
    definitions = root.get("$defs", {})
    node: Any = root
    path: list[str | int] = []
    known_keys: list[str] = sorted(root.get("properties", {}))
    for step in loc:
        node = _follow(node, definitions)
        mapping = node.get("discriminator", {}).get("mapping", {})
        if step in mapping:
            node = {"$ref": mapping[step]}
            continue
        properties = node.get("properties", {})
        known_keys = sorted(properties)
        if isinstance(step, str) and step not in properties and "anyOf" in node:  # `step` is the type of a branch
            node = next((b for b in node["anyOf"] if _is_branch(b, step)), {})
            continue
        path.append(step)
        if isinstance(step, int):
            node = node.get("items", {})
        else:
            node = properties.get(step) or node.get("additionalProperties") or _pattern(node) or {}
    return tuple(path), known_keys


def _is_branch(branch: Mapping[str, Any], name: str) -> bool:
    return name.startswith("list[") if branch.get("type") == "array" else branch.get("$ref", "").endswith(f"/{name}")


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
    if loc[-1:] == (_KEY,) and not _MAY_HOLD_A_SECRET.isdisjoint(loc):
        loc = loc[:-2]  # the key itself may hold a secret: `Authorization: Bearer ...` in quotes is a key
    text = ""
    for step in loc:
        if step == _KEY:
            break
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text
