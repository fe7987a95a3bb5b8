"""Prompt texts: one file each, found by name, rendered when a call is made.

Must not know: calls, models at work. A protocol's built-in texts stand in the folder of its name beside this
file; a job may replace any of them (`prompts:` in the job file) by a folder or by single files.

A file is a Jinja2 template of one user message. Lines `--- system` and `--- user` split it into several messages.
Values are inserted as they are: problem texts full of LaTeX braces are never read as template code.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from jinja2 import Environment, StrictUndefined, Template, TemplateError

from eli5b_batch.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_ROLE: Final = re.compile(r"^--- (system|user|assistant)[ \t]*$\n?", re.MULTILINE)
_SUFFIX: Final = ".txt"

Message = dict[str, str]
"""`{"role": ..., "content": ...}`"""


class Prompt(NamedTuple):
    """A prompt about to be asked. Its text is made when the call is: there a failed reply it needs is noticed."""

    name: str
    parts: tuple[tuple[str, Template], ...]
    values: Mapping[str, Any]

    def messages(self) -> list[Message]:
        """The chat messages.

        Raises:
            UpstreamError: a reply among the values failed.
            JobError: the text names a value it is not given.
        """
        try:
            return [{"role": role, "content": part.render(self.values).strip()} for role, part in self.parts]
        except TemplateError as error:
            given = ", ".join(sorted(self.values))
            raise JobError(f"prompts: {self.name}: {error}; the values given to it are: {given}") from None


class Prompts:
    """The texts of one protocol, with the job's own in place of the built-in ones.

    Args:
        protocol: name of the folder beside this file.
        own: `prompts:` of the job file: a folder, or prompt name -> file.

    Raises:
        JobError: an own text that is missing, has a name the protocol does not know, or is no template.
    """

    def __init__(self, protocol: str, own: Path | Mapping[str, Path] | None = None) -> None:
        built_in = {p.stem: p for p in (Path(__file__).parent / protocol).glob(f"*{_SUFFIX}")}
        files = built_in | _own_files(own, built_in)
        environment = Environment(
            undefined=StrictUndefined,
            autoescape=False,  # noqa: S701 (plain text for models, not HTML)
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.texts = {name: _read(path) for name, path in sorted(files.items())}
        self._parts = {name: _parse(environment, text, files[name]) for name, text in self.texts.items()}

    def __call__(self, name: str, **values: Any) -> Prompt:  # noqa: ANN401 (whatever the template names)
        """The prompt `name` with its values."""
        return Prompt(name, self._parts[name], values)


def _own_files(own: Path | Mapping[str, Path] | None, known: Iterable[str]) -> dict[str, Path]:
    if own is None:
        return {}
    if isinstance(own, Path):
        if not own.is_dir():
            raise JobError(f"prompts: {own} is no folder; give one that holds files such as {min(known)}{_SUFFIX}")
        own = {p.stem: p for p in own.glob(f"*{_SUFFIX}")}
    for name in own:
        if name not in known:
            raise JobError(f"prompts: no prompt is called {name!r}; the protocol's are: {', '.join(sorted(known))}")
    return dict(own)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise JobError(f"prompts: {path} can't be read: {error}") from None


def _parse(environment: Environment, text: str, path: Path) -> tuple[tuple[str, Template], ...]:
    head, *rest = _ROLE.split(text)
    sections = [("user", head)] if head.strip() else []
    sections += list(zip(rest[::2], rest[1::2], strict=True))
    if not sections:
        raise JobError(f"prompts: {path} is empty")
    try:
        return tuple((role, environment.from_string(section)) for role, section in sections)
    except TemplateError as error:
        raise JobError(f"prompts: {path}: not a valid template: {error}") from None
