"""What a simulated Ollama server says about the models it holds, invented from their names alone.

Must not know: HTTP, slots, replies.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Final, NamedTuple

MODIFIED_AT: Final = "2026-01-01T00:00:00Z"
"""When every simulated model was pulled."""

_KNOWN: Final = {
    "llama3.2:1b": ("1.2B", 1_235_814_432, "Q8_0"),
    "llama3.2:3b": ("3.2B", 3_212_749_888, "Q4_K_M"),
    "llama3.1:8b": ("8.0B", 8_030_261_312, "Q4_K_M"),
}
_BITS: Final = {"Q8_0": 8.5, "Q4_K_M": 4.85}
"""Bits per parameter of a quantisation, about."""

_THINKING: Final = re.compile(
    r"(?!.*(?:coder|instruct|embed|nothink))(?:.*/)?(?:qwen3|qwq|gpt-oss|deepseek-r1|smollm3|gemma4|magistral|cogito)",
    re.IGNORECASE,
)
"""Families that think, by the names of the library; some of their relatives do not."""
_ALWAYS: Final = re.compile(r"(?:.*/)?gpt-oss", re.IGNORECASE)

_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)b\b", re.IGNORECASE)


class LibraryModel(NamedTuple):
    """One model on a server's disk; sizes in parameters and bytes."""

    name: str
    parameter_size: str
    parameters: int
    quantization: str

    @property
    def digest(self) -> str:
        """64 hex digits."""
        return hashlib.sha256(f"SIMULATED {self.name}".encode()).hexdigest()

    @property
    def size(self) -> int:
        """Bytes, on disk and in memory alike."""
        return int(self.parameters * _BITS[self.quantization] / 8)

    @property
    def details(self) -> dict[str, Any]:
        """The block that every answer about a model holds."""
        return {
            "parent_model": "",
            "format": "gguf",
            "family": "llama",
            "families": ["llama"],
            "parameter_size": self.parameter_size,
            "quantization_level": self.quantization,
        }


def describe(name: str) -> LibraryModel:
    """The model called `name`; an unknown one has the size its name tells, else one billion parameters."""
    if name.lower() in _KNOWN:
        return LibraryModel(name, *_KNOWN[name.lower()])
    found = _SIZE.search(name)
    billions = float(found[1]) if found else 1.0
    return LibraryModel(name, f"{billions:.1f}B", int(billions * 1e9), "Q4_K_M")


def full_name(name: str) -> str:
    """The name under which a server looks a model up: case does not matter, no tag means `latest`."""
    tagged = name if ":" in name.rsplit("/", 1)[-1] else f"{name}:latest"
    return tagged.lower()


def thinks(name: str) -> bool:
    """Whether a model has the capability `thinking`."""
    return bool(_THINKING.match(name))


def thinks_always(name: str) -> bool:
    """Whether a model thinks even where it is told not to."""
    return bool(_ALWAYS.match(name))


def show(model: LibraryModel) -> dict[str, Any]:
    """The answer to `/api/show`."""
    parent = f"SIMULATED/blobs/sha256-{model.digest}"
    template = "{{- range .Messages }}{{ .Role }}: {{ .Content }}\n{{ end }}"
    return {
        "modelfile": f'# SIMULATED\nFROM {parent}\nTEMPLATE "{template}"\n',
        "parameters": 'stop                           "<|eot_id|>"',
        "template": template,
        "details": {**model.details, "parent_model": parent},
        "model_info": {
            "general.architecture": "llama",
            "general.parameter_count": model.parameters,
            "llama.context_length": 131_072,
        },
        "tensors": [],
        "capabilities": ["completion", *(["thinking"] if thinks(model.name) else [])],
        "modified_at": MODIFIED_AT,
    }
