"""Which GPUs there are: where a real run or check needs them, `slots: auto` becomes one slot for each.

Must not know: servers. The source is `nvidia-smi`, which comes with the driver: a machine without it has no GPU to use.
"""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING, Final, NamedTuple

from eli5b_batch.errors import JobError
from eli5b_batch.job.schema import CPU, OllamaProvider

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from eli5b_batch.job.schema import Job

QUERY: Final = ("--query-gpu=index,uuid,name,memory.total", "--format=csv,noheader,nounits")
DEADLINE_S: Final = 30.0
"""Seconds to wait for `nvidia-smi`: a driver that is not in use has to be loaded first, which takes some of them."""
_NO_DEVICE: Final = "No devices were found"
_MIG: Final = re.compile(r"MIG-[0-9A-Za-z-]+")


class Gpu(NamedTuple):
    """A GPU as the driver lists it."""

    number: int
    """The driver's index of the GPU, from 0."""
    uuid: str


def with_detected_slots(job: Job, names: Collection[str]) -> Job:
    """Return the job with one slot for each usable GPU, for those of the named providers that have `slots: auto`.

    Every slot may serve every model. Where there is no GPU, there is one slot, on the CPU.

    Raises:
        JobError: `nvidia-smi` exists and does not list the GPUs.
    """
    providers = dict(job.providers)
    for name in names:
        provider = job.providers[name]
        if not (isinstance(provider, OllamaProvider) and isinstance(provider.slots, str)):
            continue
        try:
            places = _places(find_gpus(), os.environ.get("CUDA_VISIBLE_DEVICES"))
        except JobError as error:
            raise JobError(f"providers.{name}.slots: {error}") from None
        slots = [slot.model_copy(update={"gpu": place}) for slot in provider.shape[1] for place in places]
        providers[name] = provider.model_copy(update={"slots": slots, "parallel": None})
    return job.model_copy(update={"providers": providers})


def _places(gpus: Sequence[Gpu], variable: str | None) -> list[int | str]:
    places = visible(gpus, variable)
    if gpus and variable and variable.strip() != "-1" and not places:
        raise JobError(f"CUDA_VISIBLE_DEVICES is {variable[:60]!r}, which names none of the {len(gpus)} GPUs; mend it")
    return places or [CPU]


def find_gpus(executable: str = "nvidia-smi", *, deadline_s: float = DEADLINE_S) -> list[Gpu]:
    """Return the GPUs of this machine; none where `executable` does not exist.

    Raises:
        JobError: the executable fails, hangs, or prints something else. That is never taken for a machine without
            GPUs: a run on the CPU in place of GPUs that are there would take weeks.
    """
    try:
        done = subprocess.run(  # noqa: S603 (fixed arguments)
            [executable, *QUERY],
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=deadline_s,
            check=False,
        )
    except FileNotFoundError:
        return []
    except subprocess.TimeoutExpired:
        raise JobError(f"{executable} gave no answer within {deadline_s:g} s; {_REMEDY}") from None
    except OSError as error:
        raise JobError(f"{executable} can't be run: {error.strerror}; {_REMEDY}") from None
    if _NO_DEVICE in done.stdout:
        return []
    if done.returncode != 0:
        first_line = (done.stdout + done.stderr).strip().partition("\n")[0]
        raise JobError(f"{executable} failed ({first_line[:200] or f'exit code {done.returncode}'}); {_REMEDY}")
    return [_gpu(line, executable) for line in done.stdout.splitlines() if line.strip()]


_REMEDY: Final = "mend the driver, or write the slots by hand"


def _gpu(line: str, executable: str) -> Gpu:
    index, _, rest = line.partition(",")
    uuid = rest.partition(",")[0].strip()
    if not (index.strip().isascii() and index.strip().isdigit() and uuid.startswith("GPU-")):
        raise JobError(f"{executable} printed {line.strip()[:60]!r} where a GPU was expected; {_REMEDY}")
    return Gpu(int(index), uuid)


def visible(gpus: Sequence[Gpu], variable: str | None) -> list[int | str]:
    """Return those of `gpus` that CUDA_VISIBLE_DEVICES allows, in its order, up to its first unknown entry, as CUDA.

    Args:
        gpus: all GPUs of the machine.
        variable: the value of CUDA_VISIBLE_DEVICES, None if it is not set. Its entries are indices, UUIDs or their
            beginnings, and MIG devices. Whether a MIG device exists is not checked.
    """
    if variable is None:
        return [gpu.number for gpu in gpus]
    places: list[int | str] = []
    for entry in filter(None, (part.strip() for part in variable.split(","))):
        if _MIG.fullmatch(entry):
            place: int | str = entry
        else:
            matches = [
                g for g in gpus if entry == str(g.number) or (entry.startswith("GPU-") and g.uuid.startswith(entry))
            ]
            if len(matches) != 1:
                break
            place = matches[0].number
        if place not in places:
            places.append(place)
    return places
