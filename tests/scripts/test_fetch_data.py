from __future__ import annotations

import hashlib
import json
import runpy
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "fetch_data.py"


fetch_data = SimpleNamespace(**runpy.run_path(str(SCRIPT)))

ROWS = [
    {"problem": "1+1?", "solution": "é", "answer": "2", "domain": ["A"], "difficulty": 1.5, "source": "s"},
    {"problem": "1+2?", "solution": "", "answer": "3", "domain": [], "difficulty": 2.0, "source": "s"},
]
BODY = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)
SAME_ROWS = b"".join(
    json.dumps({**dict(reversed(row.items())), "id": 7}, ensure_ascii=False).encode() + b"\n" for row in ROWS
)


class Site:
    """A loopback server; `pages` maps a path to status, body and headers; `asked` is every path asked for."""

    def __init__(self) -> None:
        self.pages: dict[str, tuple[int, bytes, dict[str, str]]] = {}
        self.asked: list[str] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append(self.path)
                status, body, headers = site.pages.get(self.path, (404, b"", {}))
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    thread = threading.Thread(target=site.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield site
    site.server.shutdown()
    thread.join()
    site.server.server_close()


Run = Callable[..., int]

PLAIN = fetch_data.GitHubFile(
    repo="o/r", commit="c" * 40, path="d/x.jsonl", filename="x.jsonl", sha256=hashlib.sha256(BODY).hexdigest()
)


@pytest.fixture
def run(site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """The command line, with addresses led to the loopback server."""
    site.pages["/o/r/" + "c" * 40 + "/d/x.jsonl"] = (200, BODY, {})
    monkeypatch.setitem(fetch_data.SOURCES, "gsm8k", PLAIN)

    def opener(url: str) -> object:
        local = url.replace("https://raw.githubusercontent.com", site.address)
        return fetch_data.open_url(local, allow_http=True)

    def run(*names: str) -> int:
        return int(fetch_data.main([*names, "--to", str(tmp_path / "data")], opener=opener))

    return run


def test_a_file_is_fetched_and_then_left_alone(
    run: Run, site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("gsm8k") == 0
    path = tmp_path / "data" / "x.jsonl"
    assert path.read_bytes() == BODY
    assert [p.name for p in path.parent.iterdir()] == ["x.jsonl"]
    written = path.stat().st_mtime_ns
    assert run("gsm8k") == 0
    assert (path.stat().st_mtime_ns, len(site.asked)) == (written, 1)
    assert capsys.readouterr().out.splitlines() == [
        f"{path}: fetched from o/r at cccccccccccc",
        f"{path}: already there",
    ]


def test_a_wrong_checksum_leaves_nothing_behind(
    run: Run, site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site.pages["/o/r/" + "c" * 40 + "/d/x.jsonl"] = (200, BODY + b"{}\n", {})
    assert run("gsm8k") == 1
    assert list((tmp_path / "data").iterdir()) == []
    assert _error(capsys) == (
        f"gsm8k: {PLAIN.url} is not what it was: "
        f"its sha256 is {hashlib.sha256(BODY + b'{}' + bytes([10])).hexdigest()}, not {PLAIN.sha256}; "
        "nothing was kept"
    )


def _error(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    (line,) = captured.err.strip().splitlines()
    assert isinstance(line, str)
    return line


def test_another_file_in_its_place_is_not_overwritten(
    run: Run, site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "x.jsonl"
    path.write_bytes(b"mine\n")
    assert run("gsm8k") == 1
    assert path.read_bytes() == b"mine\n"
    assert site.asked == []
    assert _error(capsys).startswith(f"gsm8k: {path} is another file: its sha256 is ")


@pytest.mark.parametrize(
    ("page", "complaint"),
    [
        ((404, b"", {}), "answers 404 Not Found"),
        ((503, b"", {}), "answers 503 Service Unavailable"),
        ((200, BODY[:50], {"Content-Length": str(len(BODY))}), "the connection ended after 50 of 207 bytes"),
    ],
)
def test_a_failed_download_is_one_sentence(  # noqa: PLR0917 - fixtures
    run: Run,
    site: Site,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    page: tuple[int, bytes, dict[str, str]],
    complaint: str,
) -> None:
    site.pages["/o/r/" + "c" * 40 + "/d/x.jsonl"] = page
    assert run("gsm8k") == 1
    assert complaint in _error(capsys)
    assert list((tmp_path / "data").iterdir()) == []


def test_no_server_is_one_sentence(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def opener(_: str) -> object:
        return fetch_data.open_url(f"http://127.0.0.1:{free}/x", allow_http=True)

    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        free = server.server_port
    assert fetch_data.main(["gsm8k", "--to", str(tmp_path)], opener=opener) == 1
    assert "Connection refused" in _error(capsys)
    assert site.asked == []


def test_one_failure_does_not_keep_the_rest_away(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(fetch_data.SOURCES, "omni_math_rule", replace(PLAIN, path="gone", filename="gone"))
    assert run("omni_math_rule", "gsm8k") == 1
    assert (tmp_path / "data" / "x.jsonl").exists()
    assert "answers 404" in _error(capsys)


def test_a_folder_that_cannot_be_made_is_one_sentence(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").write_text("a file")
    assert run("gsm8k") == 1
    assert "can't be fetched to" in _error(capsys)


# --- addresses


def refused(url: str, *, allow_http: bool = False) -> str:
    with pytest.raises(fetch_data.FetchError) as caught, fetch_data.open_url(url, allow_http=allow_http):
        pass
    return str(caught.value)


def test_plain_http_is_refused(site: Site) -> None:
    assert refused(site.address) == f"{site.address} can't be opened: unknown url type: http"
    assert site.asked == []


def test_local_files_are_refused(tmp_path: Path) -> None:
    assert refused((tmp_path / "x").as_uri(), allow_http=True).endswith("unknown url type: file")


def test_redirects_are_followed_to_the_same_kind_of_address_only(site: Site) -> None:
    site.pages["/ftp"] = (302, b"", {"Location": "ftp://127.0.0.1/x"})
    site.pages["/there"] = (302, b"", {"Location": "/x"})
    site.pages["/x"] = (200, b"here", {})
    assert refused(f"{site.address}/ftp", allow_http=True).endswith("unknown url type: ftp")
    with fetch_data.open_url(f"{site.address}/there", allow_http=True) as response:
        assert response.read() == b"here"


def test_every_pinned_address_is_https() -> None:
    pinned = [s for s in fetch_data.SOURCES.values() if isinstance(s, fetch_data.GitHubFile)]
    assert len(pinned) == 2
    for source in pinned:
        assert source.url.startswith(f"https://raw.githubusercontent.com/{source.repo}/{source.commit}/")
        assert len(source.commit) == 40
        assert len(source.sha256 or source.rows_sha256) == 64


# --- checksums over rows


def complaint_by_rows(folder: Path, content: bytes) -> str | None:
    """What is said of `content` where the rows of BODY are expected."""
    (folder / "right").write_bytes(BODY)
    (folder / "found").write_bytes(content)
    source = replace(PLAIN, sha256=None, rows_sha256=fetch_data.rows_sha256_of(folder / "right"))
    complaint = fetch_data.complaint_about(folder / "found", source)
    assert complaint is None or isinstance(complaint, str)
    return complaint


def test_rows_are_the_same_whatever_their_key_order_escapes_and_extra_fields(tmp_path: Path) -> None:
    assert BODY != SAME_ROWS
    assert complaint_by_rows(tmp_path, SAME_ROWS) is None


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (BODY * 2, "the sha256 of its rows is "),
        (BODY.replace(b"1+2", b"1+3"), "the sha256 of its rows is "),
        (BODY[:-5], "line 2 is not a row with problem, solution, "),
        (b"<html>\n", "line 1 is not a row"),
        (b"\xff\n", "line 1 is not a row"),
        (BODY + b'{"problem": "x"}\n', "line 3 is not a row"),
        (BODY + b"[1]\n", "line 3 is not a row"),
        (b"[" * 200_000, "line 1 is not a row"),
    ],
)
def test_other_rows_are_told_apart(tmp_path: Path, content: bytes, complaint: str) -> None:
    assert str(complaint_by_rows(tmp_path, content)).startswith(complaint)


# --- usage


@pytest.mark.parametrize("arguments", [[], ["omni"], ["gsm8k", "--revision", "x"]])
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        fetch_data.main(arguments)
    assert caught.value.code == 2


def test_help_says_which_checksums_are_set_by_the_first_download() -> None:
    command = [sys.executable, str(SCRIPT), "--help"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603 - our own
    assert "the first download records commit and sha256 in omni_math.source.json" in " ".join(text.split())
