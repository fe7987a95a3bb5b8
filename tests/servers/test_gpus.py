"""servers/gpus.py: the GPUs there are, by a stand-in for nvidia-smi."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from eli5b_batch.errors import JobError
from eli5b_batch.job.schema import Slot
from eli5b_batch.servers.gpus import Gpu, _places, find_gpus, visible, with_detected_slots

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from eli5b_batch.job.schema import Job

A, B, C = Gpu(0, "GPU-aa-1"), Gpu(1, "GPU-ab-2"), Gpu(2, "GPU-cc-3")
LISTED = "0, GPU-aa-1, NVIDIA H100 80GB HBM3, 81559\n1, GPU-ab-2, NVIDIA GB10, [N/A]\n"


@pytest.fixture
def smi(tmp_path: Path) -> Callable[..., str]:
    """A program that prints a text and ends with a code."""

    def write(text: str, code: int = 0, before: str = "") -> str:
        (tmp_path / "listed").write_text(text)
        path = tmp_path / "nvidia-smi"
        path.write_text(f"#!/bin/sh\necho \"$@\" > '{tmp_path}/args'\n{before}\ncat '{tmp_path}/listed'\nexit {code}\n")
        path.chmod(0o755)
        return str(path)

    return write


def test_every_gpu_that_the_driver_lists_is_found(smi: Callable[..., str], tmp_path: Path) -> None:
    assert find_gpus(smi(LISTED)) == [A, B]
    arguments = (tmp_path / "args").read_text().strip()
    assert arguments == "--query-gpu=index,uuid,name,memory.total --format=csv,noheader,nounits"


@pytest.mark.parametrize("text", ["", "\n", "No devices were found\n"])
def test_no_gpu_is_no_mistake(smi: Callable[..., str], text: str) -> None:
    assert find_gpus(smi(text)) == []


def test_no_driver_is_no_mistake(tmp_path: Path) -> None:
    assert find_gpus(str(tmp_path / "nvidia-smi")) == []


@pytest.mark.parametrize(
    ("text", "code", "sentence"),
    [
        (
            "NVIDIA-SMI has failed because it couldn't communicate with the driver.\n",
            9,
            "failed (NVIDIA-SMI has failed",
        ),
        ("", 127, "failed (exit code 127)"),
        ("Segmentation fault\n", 0, "printed 'Segmentation fault' where a GPU was expected"),
        ("², GPU-aa-1, x, 1\n", 0, "where a GPU was expected"),
        ("0, [Unknown Error], x, 1\n", 0, "where a GPU was expected"),
        (LISTED + "\x00\x01garbage\n", 0, "where a GPU was expected"),
    ],
)
def test_a_driver_that_does_not_tell_its_gpus_is_never_taken_for_none(
    smi: Callable[..., str], text: str, code: int, sentence: str
) -> None:
    with pytest.raises(JobError) as error:
        find_gpus(smi(text, code))
    assert sentence in str(error.value)
    assert str(error.value).endswith("; mend the driver, or write the slots by hand")


def test_a_driver_that_hangs_is_not_waited_for(smi: Callable[..., str]) -> None:
    with pytest.raises(JobError, match=r"gave no answer within 0.1 s; mend"):
        find_gpus(smi("", before="exec sleep 60"), deadline_s=0.1)


@pytest.mark.parametrize(
    ("variable", "places"),
    [
        (None, [0, 1, 2]),
        ("", []),
        ("-1", []),
        ("2,0", [2, 0]),
        (" 1 , 1,2", [1, 2]),
        ("0,7,1", [0]),  # as with CUDA, the first unknown entry ends the list
        ("GPU-cc-3,GPU-ab", [2, 1]),
        ("GPU-a", []),  # two UUIDs begin with it
        ("MIG-0123-4567,1", ["MIG-0123-4567", 1]),
        ("MIG-GPU-aa-1/0/0", []),  # the form before driver 470: no name of a slot
    ],
)
def test_only_gpus_that_the_environment_leaves_us_are_used(variable: str | None, places: list[int | str]) -> None:
    assert visible([A, B, C], variable) == places


def test_auto_gives_a_slot_to_each_gpu(
    smi: Callable[..., str], managed_job: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smi(LISTED)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def detected(parallel: int | None) -> list[Slot]:
        job = managed_job(slots="auto", **({"parallel": parallel} if parallel else {}))
        assert with_detected_slots(job, []) == job
        return with_detected_slots(job, ["gpus"]).providers["gpus"].shape[1]

    assert detected(None) == [Slot(gpu=0, parallel=4), Slot(gpu=1, parallel=4)]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert detected(8) == [Slot(gpu=1, parallel=8)]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (slot,) = detected(2)
    assert (slot.name, slot.gpu, slot.parallel) == ("cpu", "cpu", 2)


@pytest.mark.parametrize("variable", ["GPU-zz", "7", "all", "MIG-a b", "MIG-\xff"])
def test_gpus_that_are_there_are_never_left_for_the_cpu_by_a_slip(variable: str) -> None:
    with pytest.raises(JobError, match=r"CUDA_VISIBLE_DEVICES is .* which names none of the 2 GPUs"):
        _places([Gpu(0, "GPU-a"), Gpu(1, "GPU-b")], variable)


@pytest.mark.parametrize("variable", ["", "-1"])
def test_an_environment_without_gpus_means_the_cpu(variable: str) -> None:
    assert _places([Gpu(0, "GPU-a")], variable) == ["cpu"]
