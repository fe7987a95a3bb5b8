"""`check --pull`: has Ollama servers download the models of a job that they lack, and shows how far they are.

Must not know: who started the servers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from eli5b_batch.backends.ollama import pull
from eli5b_batch.job.schema import OllamaProvider

if TYPE_CHECKING:
    from rich.console import Console

    from eli5b_batch.job.schema import Job, Slot


async def pull_all(job: Job, console: Console) -> None:
    """Pull what each server lacks; managed servers share one folder of models, so one of them pulls for all.

    Raises:
        ProviderRefusedError: a server or its registry refuses.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console) as bars:
        for name, provider in job.providers.items():
            if not isinstance(provider, OllamaProvider):
                continue
            slots = provider.shape[1]
            models = sorted({m.model for m in job.models_of(name).values()})
            for slot in slots[:1] if provider.manage else slots:
                for model in models:
                    if provider.manage or slot.serves(model):
                        await _pull(slot, model, bars)


async def _pull(slot: Slot, model: str, bars: Progress) -> None:
    what = f"{slot.name} {model}"
    bar = bars.add_task(what, total=None)

    def show(status: str, done: int, total: int) -> None:
        bars.update(bar, description=f"{what}: {status}", completed=done, total=total or None)

    await pull(slot.url or "", model, show)
