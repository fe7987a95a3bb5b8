"""Prompt texts: one file each, found by name, rendered when a call is made.

Must not know: calls, models at work. A protocol's built-in texts stand in `prompts/` of its folder beside this
file; a job may replace any of them (`prompts:` in the job file) by a folder or by single files.

A file is a Jinja2 template of one user message. Lines `--- system` and `--- user` split it into several messages.
Values are inserted as they are: problem texts full of LaTeX braces are never read as template code.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from jinja2 import StrictUndefined, Template, TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from eli5b_batch.errors import JobError, UpstreamError
from eli5b_batch.job.explain import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_ROLES: Final = ("system", "user", "assistant")
_ROLE_LINE: Final = re.compile(r"^--- *([A-Za-z]+)[ \t]*$\n?", re.MULTILINE)
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
            JobError: the text names a value it is not given, or does with one what can't be done.
        """
        try:
            return [{"role": role, "content": part.render(self.values).strip()} for role, part in self.parts]
        except UpstreamError:
            raise
        except Exception as error:  # noqa: BLE001 (a template is the user's code: what it raises is its mistake)
            given = ", ".join(sorted(self.values))
            raise JobError(f"prompts.{self.name}: {error}; the values given to it are: {given}") from None


class Prompts:
    """The texts of one protocol, with the job's own in place of the built-in ones.

    Args:
        protocol: name of the folder beside this file that holds `prompts/`.
        own: `prompts:` of the job file: a folder, or prompt name -> file.

    Raises:
        JobError: an own text that is missing, has a name the protocol does not know, or is no template.
    """

    def __init__(self, protocol: str, own: Path | Mapping[str, Path] | None = None) -> None:
        built_in = {p.stem: p for p in (Path(__file__).parent / protocol / "prompts").glob(f"*{_SUFFIX}")}
        files = built_in | _own_files(own, sorted(built_in))
        environment = ImmutableSandboxedEnvironment(
            undefined=StrictUndefined,
            autoescape=False,  # plain text for models, not HTML
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.texts = {name: _read(path, name) for name, path in sorted(files.items())}
        self._parts = {name: _parse(environment, text, files[name]) for name, text in self.texts.items()}

    def __call__(self, name: str, **values: Any) -> Prompt:  # noqa: ANN401 (whatever the template names)
        """The prompt `name` with its values."""
        return Prompt(name, self._parts[name], values)


def _own_files(own: Path | Mapping[str, Path] | None, known: Sequence[str]) -> dict[str, Path]:
    if own is None:
        return {}
    if isinstance(own, Path):
        folder, own = own, {p.stem: p for p in own.glob(f"*{_SUFFIX}")}
        if not own:
            what = "holds no prompt" if folder.is_dir() else "is no folder"
            raise JobError(f"prompts: {folder} {what}; give a folder with files such as {known[0]}{_SUFFIX}")
    for name, path in own.items():
        if name not in known:
            raise JobError(f"prompts: {path}: no prompt is called {name!r}; {nearest(name, known, 'there are')}")
    return dict(own)


def _read(path: Path, name: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise JobError(f"prompts.{name}: {path} can't be read: {reason}") from None


def _parse(environment: ImmutableSandboxedEnvironment, text: str, path: Path) -> tuple[tuple[str, Template], ...]:
    """The messages of a text: their roles and templates."""
    parts = []
    role, start, line = "user", 0, 1
    for mark in (*_ROLE_LINE.finditer(text), None):
        section = text[start : mark.start() if mark else len(text)]
        if section.strip():
            parts.append((role, _template(environment, section, path, line)))
        if mark:
            line += text.count("\n", start, mark.end())
            role, start = mark[1], mark.end()
            if role not in _ROLES:
                raise JobError(f"prompts: {path}:{line - 1}: no role {role!r}; {nearest(role, _ROLES, 'there are')}")
    if not parts:
        raise JobError(f"prompts: {path} is empty")
    return tuple(parts)


def _template(environment: ImmutableSandboxedEnvironment, section: str, path: Path, line: int) -> Template:
    """One message's template; `line` is where it begins in the file, for messages."""
    try:
        template = environment.from_string(section)
    except TemplateSyntaxError as error:
        raise JobError(f"prompts: {path}:{line + error.lineno - 1}: not a valid template: {error.message}") from None
    template.globals = dict(template.globals)  # copied for every prompt: a ChainMap takes twice as long
    return template
