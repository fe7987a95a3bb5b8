"""Fetches the public data sets that the readers of eli5b_batch know: pinned, checked, written atomically.

    python scripts/fetch_data.py omni_math_rule gsm8k --to data
    python scripts/fetch_data.py omni_math --to data        # needs: pip install 'eli5b-batch[hub]'

A file that is there and right is left alone; one that is there and wrong is never overwritten.
Must not know: the package. A data set more is one entry in `SOURCES`.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

if TYPE_CHECKING:
    from types import ModuleType

CHUNK: Final = 1 << 16
TIMEOUT_S: Final = 30.0
ROW_FIELDS: Final = ("problem", "solution", "answer", "domain", "difficulty", "source")

Open = Callable[[str], AbstractContextManager[HTTPResponse]]
"""The transport: opens an address for reading, or raises FetchError or OSError."""


class FetchError(Exception):
    """A data set could not be had; the message is one sentence and nothing was left behind."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GitHubFile:
    """A file of a GitHub repository at a fixed commit, held to a checksum of its bytes or of its rows."""

    repo: str
    commit: str
    path: str
    filename: str
    sha256: str | None = None
    rows_sha256: str | None = None

    @property
    def url(self) -> str:
        """Where the raw bytes are."""
        return f"https://raw.githubusercontent.com/{self.repo}/{self.commit}/{self.path}"


@dataclass(frozen=True, kw_only=True, slots=True)
class HubFile:
    """The one .jsonl file of a Hugging Face dataset, held to the checksum of its first download."""

    repo: str
    filename: str


SOURCES: Final[dict[str, GitHubFile | HubFile]] = {
    "omni_math_rule": GitHubFile(
        repo="KbsdJames/omni-math-rule",
        commit="4793415ef37d31c9cdb4e5b82dbe172f76f8cf08",
        path="evaluation/data/omni_math_rule/test.jsonl",
        filename="omni_math_rule.jsonl",
        # Of the values, not the bytes: copies with other key order or JSON escapes are the same data.
        rows_sha256="5cf531c25017507e1c785bd7cb7335696677a6458d5f8d6576d3bdad8ac3b35a",
    ),
    "gsm8k": GitHubFile(
        repo="openai/grade-school-math",
        commit="3101c7d5072418e28b9008a6636bde82a006892c",
        path="grade_school_math/data/test.jsonl",
        filename="gsm8k_test.jsonl",
        sha256="3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14",
    ),
    "omni_math": HubFile(repo="KbsdJames/Omni-MATH", filename="omni_math.jsonl"),
}


# --- checksums -----------------------------------------------------------------------------------


def sha256_of(path: Path) -> str:
    """SHA-256 of the bytes of a file, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def rows_sha256_of(path: Path) -> str:
    r"""SHA-256 over each row's `ROW_FIELDS` as JSON with sorted keys, ASCII, each followed by \n.

    Raises:
        ValueError: a line is not a JSON object or lacks one of the fields; the message says which.
    """
    digest = hashlib.sha256()
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
                values = {name: row[name] for name in ROW_FIELDS}
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                raise ValueError(f"line {number} is not a row with {', '.join(ROW_FIELDS)}") from error
            digest.update(json.dumps(values, sort_keys=True).encode() + b"\n")
    return digest.hexdigest()


def complaint_about(path: Path, source: GitHubFile) -> str | None:
    """What is wrong with a file that should be `source`, or None."""
    try:
        found = sha256_of(path) if source.sha256 else rows_sha256_of(path)
    except ValueError as error:
        return str(error)
    if found == (source.sha256 or source.rows_sha256):
        return None
    what = "its sha256" if source.sha256 else "the sha256 of its rows"
    return f"{what} is {found}, not {source.sha256 or source.rows_sha256}"


# --- transport -----------------------------------------------------------------------------------


@contextmanager
def open_url(url: str, *, allow_http: bool = False) -> Iterator[HTTPResponse]:
    """Open an https address; `allow_http` is for servers on this machine, as tests have them.

    Raises:
        FetchError: not https (also where a redirect leads), no connection, or a status that is not 2xx.
        OSError: the connection broke.
    """
    # Put together by hand: the ready-made opener also reads files and follows redirects to http and ftp.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPSHandler(),
        *([urllib.request.HTTPHandler()] if allow_http else []),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
    ):
        opener.add_handler(handler)
    try:
        with opener.open(url, timeout=TIMEOUT_S) as response:
            yield response
    except urllib.error.HTTPError as error:
        with error:
            raise FetchError(f"{url} answers {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise FetchError(f"{url} can't be opened: {error.reason}") from error


def download(url: str, path: Path, *, opener: Open, progress: Progress) -> None:
    """Write what `url` delivers to `path`.

    Raises:
        FetchError: the server refused, or the connection ended early.
    """
    with opener(url) as response, path.open("xb") as file:
        size = response.headers["Content-Length"]
        task = progress.add_task(url.rpartition("/")[2], total=int(size) if size else None)
        while chunk := response.read(CHUNK):
            file.write(chunk)
            progress.advance(task, len(chunk))
        if size and file.tell() != int(size):
            raise FetchError(f"{url}: the connection ended after {file.tell()} of {size} bytes")


@contextmanager
def staged(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to first; whatever is there at the end is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


def settle(part: Path, path: Path) -> None:
    """Give a complete file its name, so that after a crash there is all of it or none."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)


# --- the two kinds of sources --------------------------------------------------------------------


def fetch_github(source: GitHubFile, folder: Path, *, opener: Open = open_url, console: Console) -> str:
    """Make sure that `source` lies in `folder`; return one sentence on what was done.

    Raises:
        FetchError: it can't be had, is not what it should be, or another file is in its place.
    """
    path = folder / source.filename
    if path.exists():
        if complaint := complaint_about(path, source):
            raise FetchError(f"{path} is another file: {complaint}; move it away to fetch the right one")
        return f"{path}: already there"
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    quiet = not console.is_terminal
    try:
        with staged(path) as part, Progress(*columns, console=console, disable=quiet) as progress:
            download(source.url, part, opener=opener, progress=progress)
            if complaint := complaint_about(part, source):
                raise FetchError(f"{source.url} is not what it was: {complaint}; nothing was kept")
            settle(part, path)
    except (OSError, HTTPException) as error:
        raise FetchError(f"{source.url} can't be fetched to {path}: {error}") from error
    return f"{path}: fetched from {source.repo} at {source.commit[:12]}"


def fetch_hub(source: HubFile, folder: Path, *, revision: str | None = None, hub: ModuleType | None = None) -> str:
    """The same for a Hugging Face dataset; `hub` is the module huggingface_hub, imported where not given.

    The first download writes NAME.source.json (commit and sha256) beside the file; later ones are held to
    it. `revision`: a branch, tag or commit; None: the recorded one, or else `main`.

    Raises:
        FetchError: as `fetch_github`; also where huggingface_hub is missing.
    """
    path = folder / source.filename
    record = path.with_suffix(".source.json")
    pinned = read_record(record)
    if pinned and revision not in {None, pinned["revision"]}:
        raise FetchError(
            f"{record} pins revision {pinned['revision']}; move it and {path.name} away to fetch {revision}"
        )
    if path.exists():
        if pinned is None:
            raise FetchError(f"{path} is there without {record.name} to check it by; move it away")
        if sha256_of(path) != pinned["sha256"]:
            raise FetchError(f"{path} is not the file {record.name} tells of; move it away to fetch it")
        return f"{path}: already there"
    hub = hub or import_hub()
    with tempfile.TemporaryDirectory() as scratch, staged(path) as part:
        wanted = pinned["revision"] if pinned else revision or "main"
        commit, found = download_from_hub(hub, source.repo, wanted, Path(scratch))
        digest = sha256_of(found)
        if pinned and digest != pinned["sha256"]:
            raise FetchError(
                f"{source.repo} at {commit} is not what it was: its sha256 is {digest},"
                f" {record.name} says {pinned['sha256']}; nothing was kept"
            )
        part.write_bytes(found.read_bytes())
        # The record first: a file without one could not be checked, a record without a file does no harm.
        write_record(record, {"dataset": source.repo, "revision": commit, "sha256": digest})
        settle(part, path)
    return f"{path}: fetched from {source.repo} at revision {commit}, sha256 {digest}"


def import_hub() -> ModuleType:
    """The module huggingface_hub, an extra of the package."""
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise FetchError("omni_math comes from the Hugging Face Hub: pip install 'eli5b-batch[hub]' first") from error


def download_from_hub(hub: ModuleType, repo: str, revision: str, scratch: Path) -> tuple[str, Path]:
    """The commit that `revision` stands for, and the dataset's .jsonl file of that commit under `scratch`."""
    try:
        info = hub.HfApi().dataset_info(repo, revision=revision)
        names = [sibling.rfilename for sibling in info.siblings if sibling.rfilename.endswith(".jsonl")]
        if len(names) == 1:
            found = hub.hf_hub_download(repo, names[0], repo_type="dataset", revision=info.sha, local_dir=scratch)
            return str(info.sha), Path(found)
    # Its releases stand on different HTTP libraries, whose errors have no base class in common.
    except Exception as error:
        raise FetchError(f"{repo} at {revision} can't be fetched: {' '.join(str(error).split())}") from error
    raise FetchError(f"{repo} at {revision} should have one .jsonl file, it has {names or 'none'}")


def read_record(record: Path) -> dict[str, str] | None:
    """What the first download wrote, or None where there was none."""
    if not record.exists():
        return None
    try:
        found = json.loads(record.read_bytes())
        return {"revision": str(found["revision"]), "sha256": str(found["sha256"])}
    except (ValueError, TypeError, KeyError) as error:
        raise FetchError(f"{record} is damaged: it should hold revision and sha256; move it away") from error


def write_record(record: Path, content: dict[str, str]) -> None:
    """Write the record atomically."""
    with staged(record) as part:
        part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        settle(part, record)


# --- command line --------------------------------------------------------------------------------


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Fetch public data sets for eli5b_batch.",
        epilog="omni_math_rule (2,821 problems, reader omni_math) and gsm8k (1,319, reader gsm8k) are pinned"
        " to a commit and a checksum. omni_math (the full set, reader omni_math) comes from the Hugging Face"
        " Hub and is not pinned here: the first download records commit and sha256 in"
        " omni_math.source.json, and every later one is held to that record.",
    )
    parser.add_argument("names", nargs="+", choices=SOURCES, metavar="NAME", help=f"any of: {', '.join(SOURCES)}")
    parser.add_argument("--to", type=Path, default=Path("data"), metavar="FOLDER", help="default: data")
    parser.add_argument(
        "--revision", help="omni_math only: branch, tag or commit; default: the recorded one, or else main"
    )
    return parser


def main(arguments: Sequence[str] | None = None, *, opener: Open = open_url, hub: ModuleType | None = None) -> int:
    """Fetch what is named; 0 all there, 1 something failed (the rest is fetched all the same), 2 usage."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    sources = {name: SOURCES[name] for name in options.names}
    if options.revision and not any(isinstance(source, HubFile) for source in sources.values()):
        parser.error("--revision is for omni_math; the others are pinned")
    console = Console(stderr=True)
    failed = False
    for name, source in sources.items():
        try:
            if isinstance(source, HubFile):
                print(fetch_hub(source, options.to, revision=options.revision, hub=hub))
            else:
                print(fetch_github(source, options.to, opener=opener, console=console))
        except FetchError as error:
            failed = True
            print(f"{name}: {error}", file=sys.stderr)
        except OSError as error:
            failed = True
            print(f"{name}: can't be written to {options.to}: {error}", file=sys.stderr)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
