"""Which GPUs there are: where a real run or check needs them, `slots: auto` becomes one slot for each.

Must not know: servers. Asks `nvidia-smi`, which comes with the driver; where there is none there is no GPU for us.
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
"""A driver that nobody uses is loaded first, which takes seconds."""
_NO_DEVICE: Final = "No devices were found"
_MIG: Final = re.compile(r"MIG-[0-9A-Za-z-]+")


class Gpu(NamedTuple):
    """A GPU as the driver lists it."""

    number: int
    """Its index."""
    uuid: str


def with_slots_found(job: Job, names: Collection[str]) -> Job:
    """The job with a slot for each GPU that we may use where one of the named providers leaves its slots to us.

    Every model may go to each; where there is no GPU it stays at one slot on the CPU.

    Raises:
        JobError: the driver's tool is there and does not tell the GPUs.
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
    """The GPUs of this machine; none where `executable` does not exist.

    Raises:
        JobError: it fails, hangs, or prints something else. A run on the CPU in place of GPUs that are there would
            take weeks, so this is never taken for a machine without.
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
        said = (done.stdout + done.stderr).strip().partition("\n")[0]
        raise JobError(f"{executable} failed ({said[:200] or f'exit code {done.returncode}'}); {_REMEDY}")
    return [_gpu(line, executable) for line in done.stdout.splitlines() if line.strip()]


_REMEDY: Final = "mend the driver, or write the slots by hand"


def _gpu(line: str, executable: str) -> Gpu:
    index, _, rest = line.partition(",")
    uuid = rest.partition(",")[0].strip()
    if not (index.strip().isascii() and index.strip().isdigit() and uuid.startswith("GPU-")):
        raise JobError(f"{executable} printed {line.strip()[:60]!r} where a GPU was expected; {_REMEDY}")
    return Gpu(int(index), uuid)


def visible(gpus: Sequence[Gpu], variable: str | None) -> list[int | str]:
    """Those of `gpus` that CUDA_VISIBLE_DEVICES leaves, in its order, as it counts: the first unknown one ends it.

    Args:
        gpus: all there are.
        variable: its value, None if it is not set: indices, UUIDs or their beginnings, and MIG devices, which are
            taken at their word.
    """
    if variable is None:
        return [gpu.number for gpu in gpus]
    places: list[int | str] = []
    for entry in filter(None, (part.strip() for part in variable.split(","))):
        if _MIG.fullmatch(entry):
            place: int | str = entry
        else:
            found = [
                g for g in gpus if entry == str(g.number) or (entry.startswith("GPU-") and g.uuid.startswith(entry))
            ]
            if len(found) != 1:
                break
            place = found[0].number
        if place not in places:
            places.append(place)
    return places
