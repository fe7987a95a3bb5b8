"""The building blocks of a job file's sections: their base class, and the types of their values.

Must not know: any single section.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

_NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
_LABEL: Final = "[A-Za-z0-9_-]{1,63}"
_URL: Final = rf"^https?://({_LABEL}(\.{_LABEL})*|\[[0-9A-Fa-f:.]+\])(:[0-9]{{1,5}})?(/[^\s?#@]*)?$"
_MODEL: Final = r"^\S+$"
_VARIABLE: Final = r"^[A-Z_][A-Z0-9_]*$"
_SETTING: Final = r"^[A-Za-z_][A-Za-z0-9_]*$"
_HEADER: Final = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"

SHAPES: Final = {
    _NAME: "hold only letters (a to z, A to Z), digits and _ . - and begin with a letter or digit",
    _URL: "be an address such as http://127.0.0.1:11434, without user name, key or query",
    _MODEL: "be the provider's id of a model, without spaces",
    _VARIABLE: "be the name of an environment variable, such as TOGETHER_API_KEY, never the key itself",
    _SETTING: "be the name of an environment variable, such as OLLAMA_FLASH_ATTENTION",
    _HEADER: "be the name of a header, such as X-Api-Key, without spaces and without a colon",
}
"""Pattern of a text -> what the text must do, after the word `must`, for messages."""

Name = Annotated[str, Field(pattern=_NAME, max_length=100)]
Url = Annotated[str, Field(pattern=_URL), AfterValidator(lambda url: url.rstrip("/"))]
ModelId = Annotated[str, Field(pattern=_MODEL, max_length=300)]


def _fits_a_file_system(path: Path) -> Path:
    longest = 255  # bytes of one name, on every file system in use
    if "\0" in str(path) or any(len(part.encode()) > longest for part in path.parts):
        raise ValueError("no file can have this name: it is too long, or holds a character that names can't")
    return path


def _fits_an_environment(value: str) -> str:
    if "\0" in value:
        raise ValueError("no environment variable can hold this character")
    return value


def _is_a_command(value: object) -> object:
    """Check a program with its arguments. No message repeats any of them, as people may have written a key there."""
    if not isinstance(value, list) or not value:
        raise ValueError(
            "must be a list, a program and its arguments, such as [gcloud, auth, print-access-token]; no shell reads it"
        )
    for number, part in enumerate(value, 1):
        if not isinstance(part, str):
            raise ValueError(f"each part must be a text, and number {number} is none; put it in quotes")  # noqa: TRY004 (pydantic's)
        if "\0" in part:
            raise ValueError(f"part {number} holds a character that no argument can")
    if not value[0].strip():
        raise ValueError("its first part, the name of the program, must not be empty")
    return value


KeyVariable = Annotated[str, Field(pattern=_VARIABLE, max_length=100)]
KeyCommand = Annotated[list[str], Field(min_length=1), BeforeValidator(_is_a_command)]
HeaderVariables = dict[Annotated[str, Field(pattern=_HEADER, max_length=100)], KeyVariable]
Setting = Annotated[str, Field(pattern=_SETTING, max_length=100)]
SettingValue = Annotated[str, AfterValidator(_fits_an_environment)]
File = Annotated[Path, Field(strict=False), AfterValidator(_fits_a_file_system)]
Count = Annotated[int, Field(gt=0, lt=2**31)]
"""A whole number above 0; a larger one than the bound is a slip of the hand."""
Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0)]


LEVELS: Final = ("off", "on", "low", "medium", "high", "max")
"""Settings for how much a model thinks; YAML reads `off` and `on` as false and true."""


def _is_thinking(value: object) -> object:
    match value:
        case bool():
            return "on" if value else "off"
        case str() if value in LEVELS:
            return value
        case {"tokens": int() as tokens, **rest} if not rest and not isinstance(tokens, bool) and 0 < tokens < _MOST:
            return value
    raise ValueError(f"must be {', '.join(LEVELS)}, or {{tokens: n}} with n of at least 1, and this is {value!r:.60}")


_MOST: Final = 2**31

Level = Literal["off", "on", "low", "medium", "high", "max"]
_BUDGET: Final = {
    "type": "object",
    "properties": {"tokens": {"type": "integer", "minimum": 1}},
    "required": ["tokens"],
    "additionalProperties": False,
}
Thinking = Annotated[
    Level | dict[Literal["tokens"], int],
    BeforeValidator(_is_thinking),
    WithJsonSchema({"anyOf": [{"enum": list(LEVELS), "type": "string"}, {"type": "boolean"}, _BUDGET]}),
]
"""A level, or the most tokens of thoughts as `{tokens: n}`."""


def _is_an_interval(value: object) -> object:
    match value:
        case [int() | float() as begin, int() | float() as end] if 0 <= begin < end:
            return value
    raise ValueError(f"must be [begin, end] in seconds from the start, such as [10, 40], and this is {value!r:.60}")


Interval = Annotated[
    list[float], Field(json_schema_extra={"minItems": 2, "maxItems": 2}), BeforeValidator(_is_an_interval)
]
"""A span of time as [begin, end], seconds from the start."""


class Section(BaseModel):
    """Base of every section: unknown keys are errors, types are not converted, and values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, protected_namespaces=())
