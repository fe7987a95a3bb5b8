"""The end of a reply: every host's word for it, read as one of the four kinds of `Finish`.

Must not know: protocols. A word that is in no row of the table counts as the end of a whole reply.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from eli5b_batch.backends.values import as_object, as_text

if TYPE_CHECKING:
    from eli5b_batch.backends.base import Finish


class Word(NamedTuple):
    """One row of the table: a kind of end, hosts' words for it, and the hosts or sources that use them."""

    finish: Finish
    words: str
    source: str


WORDS: Final = (
    Word("cut", "length", "OpenAI, Ollama"),
    Word("cut", "MAX_TOKENS", "Google: qwen-code#9884; Anthropic in lower case"),
    Word("cut", "model_length", "Mistral"),
    Word("cut", "max_output_tokens max_completion_tokens", "OpenAI: responses"),
    Word("cut", "max_new_tokens max_length token_limit", "Hugging Face, watsonx"),
    Word("cut", "model_context_window_exceeded", "Anthropic, Zhipu"),
    Word("cut", "ERROR_LIMIT", "Cohere"),
    Word("cut", "repetition", "vLLM, a limit on repeats: litellm#27101"),
    Word("filtered", "content_filter content_filtered", "OpenAI, Azure; Bedrock"),
    Word("filtered", "SAFETY RECITATION BLOCKLIST PROHIBITED_CONTENT SPII IMAGE_SAFETY", "Google: FinishReason"),
    Word("filtered", "refusal", "Anthropic: coder/coder#27118"),
    Word("filtered", "sensitive", "Zhipu"),
    Word("filtered", "guardrail_intervened", "Bedrock"),
    Word("filtered", "ERROR_TOXIC", "Cohere"),
    Word("broken", "error", "OpenRouter, Cohere"),
    Word("broken", "abort aborted", "vLLM, SGLang"),
    Word("broken", "cancelled canceled timeout failed", "gateways"),
    Word("broken", "insufficient_system_resource", "DeepSeek"),
    Word("broken", "network_error", "Zhipu"),
)


def _plain(word: str) -> str:
    """Return a word without case, signs and the name of an enumeration: `FinishReason.MAX_TOKENS` is `maxtokens`."""
    return re.sub(r"[^a-z]", "", word.lower()).removeprefix("finishreason")


_FINISHES: Final = {_plain(word): row.finish for row in WORDS for word in row.words.split()}


def finish_word(value: object) -> str:
    """Return the host's word, "" if there is none; some hosts put it into an object, `{"type": "length"}` (SGLang)."""
    return as_text(value) or as_text(as_object(value).get("type"))


def finish_of(word: str) -> Finish:
    """Return the kind of end that a host's word stands for."""
    return _FINISHES.get(_plain(word), "whole")
