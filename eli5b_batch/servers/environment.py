"""The environment of a managed server, which pins it to a GPU and to a port.

Must not know: processes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from eli5b_batch.job.reserved_names import TOKEN
from eli5b_batch.job.schema import CPU

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eli5b_batch.job.schema import OllamaProvider, Slot

LEAST_QUEUE: Final = 512
"""Ollama's default. A smaller value in the user's shell is not passed on: a queue with fewer places than there are
calls in flight makes the server answer 503."""
_FOREVER: Final = "-1"
_NO_GPU: Final = "-1"
"""An index of no GPU, as Ollama advises (ollama/ollama, docs/gpu.md)."""


def own_variables(provider: OllamaProvider, slot: Slot, *, port: int, token: str) -> dict[str, str]:
    """Return the variables that the run sets itself for the server of `slot`.

    GPUs are counted in the order of their PCI addresses, as `nvidia-smi` counts them; by default, CUDA puts the
    fastest first.
    """
    variables = {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": _NO_GPU if slot.gpu == CPU else str(slot.gpu),
        "OLLAMA_HOST": f"127.0.0.1:{port}",
        "OLLAMA_NUM_PARALLEL": str(slot.parallel),
        "OLLAMA_KEEP_ALIVE": _FOREVER,
        "OLLAMA_MAX_QUEUE": str(max(LEAST_QUEUE, 2 * slot.parallel)),
        TOKEN: token,
    }
    if slot.loaded is not None:
        variables["OLLAMA_MAX_LOADED_MODELS"] = str(slot.loaded)
    if provider.models_dir is not None:
        variables["OLLAMA_MODELS"] = str(provider.models_dir.expanduser().absolute())
    return variables


def whole_environment(
    inherited: Mapping[str, str], provider: OllamaProvider, own: Mapping[str, str], *, secrets: frozenset[str]
) -> dict[str, str]:
    """Return the environment of a server: `inherited` without `secrets`, then the job's `env`, then `own`."""
    return {name: value for name, value in inherited.items() if name not in secrets} | provider.env | dict(own)
