from __future__ import annotations

import hashlib
import json
import runpy
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "fetch_data.py"
fetch_data = SimpleNamespace(**runpy.run_path(str(SCRIPT)))

OLD, NEW = b'{"problem": "1+1?", "answer": "2"}\n', b'{"problem": "1+2?", "answer": "3"}\n'


def _error(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    (line,) = captured.err.strip().splitlines()
    assert isinstance(line, str)
    return line


class Hub(ModuleType):
    """Stands in for huggingface_hub: one dataset with two revisions."""

    def __init__(self) -> None:
        super().__init__("huggingface_hub")
        self.contents = {"a" * 40: OLD, "b" * 40: NEW}
        self.names = {"main": "b" * 40, "v1": "a" * 40}
        self.files = ["README.md", "test.jsonl"]
        self.asked: list[str] = []

    def HfApi(self) -> Hub:  # noqa: N802 - the real one's name
        return self

    def dataset_info(self, repo: str, *, revision: str) -> SimpleNamespace:
        assert repo == "KbsdJames/Omni-MATH"
        self.asked.append(revision)
        sha = self.names.get(revision, revision)
        if sha not in self.contents:
            raise RuntimeError(f"404\nno revision {revision}")
        return SimpleNamespace(sha=sha, siblings=[SimpleNamespace(rfilename=name) for name in self.files])

    def hf_hub_download(self, repo: str, name: str, *, repo_type: str, revision: str, local_dir: Path) -> str:
        assert (repo, repo_type) == ("KbsdJames/Omni-MATH", "dataset")
        (local_dir / name).write_bytes(self.contents[revision])
        return str(local_dir / name)


@pytest.fixture
def hub() -> Hub:
    return Hub()


def get(hub: Hub, folder: Path, *arguments: str) -> int:
    code = fetch_data.main(["omni_math", "--to", str(folder), *arguments], hub=hub)
    assert isinstance(code, int)
    return code


def test_the_first_download_sets_the_checksum(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert get(hub, tmp_path) == 0
    digest = hashlib.sha256(NEW).hexdigest()
    path = tmp_path / "omni_math.jsonl"
    assert path.read_bytes() == NEW
    assert json.loads((tmp_path / "omni_math.source.json").read_text()) == {
        "dataset": "KbsdJames/Omni-MATH",
        "revision": "b" * 40,
        "sha256": digest,
    }
    assert sorted(p.name for p in tmp_path.iterdir()) == ["omni_math.jsonl", "omni_math.source.json"]
    assert get(hub, tmp_path) == 0
    assert hub.asked == ["main"]
    assert capsys.readouterr().out.splitlines() == [
        f"{path}: fetched from KbsdJames/Omni-MATH at revision {'b' * 40}, sha256 {digest}",
        f"{path}: already there",
    ]


def test_later_downloads_are_held_to_the_first(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert get(hub, tmp_path, "--revision", "v1") == 0
    (tmp_path / "omni_math.jsonl").unlink()
    assert get(hub, tmp_path) == 0
    assert (tmp_path / "omni_math.jsonl").read_bytes() == OLD
    assert hub.asked == ["v1", "a" * 40]

    (tmp_path / "omni_math.jsonl").unlink()
    hub.contents["a" * 40] = b"changed\n"
    capsys.readouterr()
    assert get(hub, tmp_path) == 1
    assert "is not what it was: its sha256 is" in _error(capsys)
    assert [p.name for p in tmp_path.iterdir()] == ["omni_math.source.json"]


def test_another_revision_than_the_recorded_one_is_refused(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert get(hub, tmp_path) == 0
    assert get(hub, tmp_path, "--revision", "a" * 40) == 1
    assert _error(capsys).endswith(f"pins revision {'b' * 40}; move it and omni_math.jsonl away to fetch {'a' * 40}")
    assert (tmp_path / "omni_math.jsonl").read_bytes() == NEW


@pytest.mark.parametrize(
    ("file", "record", "complaint"),
    [
        (b"mine", None, "is there without omni_math.source.json to check it by"),
        (b"mine", b'{"revision": "r", "sha256": "s"}', "is not the file omni_math.source.json tells of"),
        (None, b'{"revision": "r"}', "is damaged: it should hold revision and sha256"),
        (None, b"{", "is damaged"),
    ],
)
def test_what_is_there_and_unclear_stays(  # noqa: PLR0917 - fixtures
    hub: Hub,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    file: bytes | None,
    record: bytes | None,
    complaint: str,
) -> None:
    before = {
        name: content for name, content in {"omni_math.jsonl": file, "omni_math.source.json": record}.items() if content
    }
    for name, content in before.items():
        (tmp_path / name).write_bytes(content)
    assert get(hub, tmp_path) == 1
    assert complaint in _error(capsys)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    assert hub.asked == []


def test_the_hubs_own_errors_become_one_sentence(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert get(hub, tmp_path, "--revision", "v9") == 1
    assert _error(capsys) == "omni_math: KbsdJames/Omni-MATH at v9 can't be fetched: 404 no revision v9"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("files", [["README.md"], ["a.jsonl", "b.jsonl"]])
def test_a_dataset_without_exactly_one_file_is_refused(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str], files: list[str]
) -> None:
    hub.files = files
    assert get(hub, tmp_path) == 1
    assert "should have one .jsonl file, it has" in _error(capsys)


def test_a_missing_extra_says_how_to_install_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert fetch_data.main(["omni_math", "--to", str(tmp_path)]) == 1
    assert _error(capsys).endswith("pip install 'eli5b-batch[hub]' first")
