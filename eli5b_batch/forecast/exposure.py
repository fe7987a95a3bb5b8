"""What of a job would be readable on its way: keys and prompts that go to other machines over plain http.

Must not know: how anything is sent.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from eli5b_batch.job.schema import OllamaProvider, OpenAIProvider

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from eli5b_batch.job.schema import Job


def sent_in_the_clear(job: Job, providers: Collection[str]) -> Iterator[str]:
    """A sentence for each of these providers and kind of secret that would go to another machine over plain http."""
    for name in providers:
        for what, addresses in _in_the_clear(job, name).items():
            yield (
                f"providers.{name}: {what} would go to {', '.join(addresses)} over plain http, where everybody on the "
                "way can read them; use https, or a tunnel"
            )


def _in_the_clear(job: Job, name: str) -> dict[str, list[str]]:
    """Addresses on other machines that are spoken to over plain http, by what would go there."""
    found: dict[str, dict[str, None]] = {}
    provider = job.providers[name]
    if isinstance(provider, OpenAIProvider):
        for account in provider.accounts:
            is_secret = account.api_key_env or account.api_key_command or account.headers_env
            what = "the key and the prompts" if is_secret else "the prompts"
            found.setdefault(what, {})[account.base_url or ""] = None
    elif isinstance(provider, OllamaProvider):
        found["the prompts"] = {slot.url or "": None for slot in provider.shape[1]}
    plain = {what: [url for url in urls if _is_plain_and_elsewhere(url)] for what, urls in found.items()}
    return {what: urls for what, urls in plain.items() if urls}


def _is_plain_and_elsewhere(url: str) -> bool:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "http" or host == "localhost" or host.endswith(".localhost"):
        return False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:  # a name: of a machine that we do not know
        return True
    inner = getattr(address, "ipv4_mapped", None) or address
    return not (inner.is_loopback or inner.is_unspecified)
