"""Special tokens left in a text: what a server should have taken for the end of a turn, and what ran on behind it.

Must not know: hosts, protocols. Pasted into a prompt, a server may read them as its own marks (ollama#15931).
"""

from __future__ import annotations

import re
from typing import Final

_PIPED: Final = (
    "eot_id eom_id eot end_of_text endoftext im_end im_start im_sep end return call start user observation eos "
    "endofturn end_of_turn end_of_assistant end_of_role start_of_role role_end start_header_id header_start "
    "END_OF_TURN_TOKEN START_OF_TURN_TOKEN"
).split()
"""Written `<|name|>`: Llama 3 and 4, ChatML, Phi, Granite, Cohere, GLM, harmony (langchain-aws#483, ollama#3759)."""
_OTHERS: Final = (
    r"</s>|<eos>|<end_of_turn>|<start_of_turn>|<turn\|>|<\|turn>|<end_of_utterance>|\[/?INST\]|\[e~\["
    r"|<\uff5c(?:end|begin)\u2581of\u2581sentence\uff5c>|<\uff5cUser\uff5c>"
)
"""Gemma, Mistral, MiniMax, DeepSeek (sglang#29933)."""
_END: Final = re.compile(rf"(?=[<\[])(?:<\|(?:{'|'.join(_PIPED)})\|>|{_OTHERS})")
"""What every token begins with stands before them: a text is searched for it many times as fast."""
_HEAD: Final = re.compile(
    r"\s*(?:(?:<\|begin_of_text\|>|<s>|<bos>|<\uff5cbegin\u2581of\u2581sentence\uff5c>|<\uff5cAssistant\uff5c>"
    r"|<\|(?:START_OF_TURN_TOKEN|CHATBOT_TOKEN|assistant)\|>|<\|(?:im_start|start)\|>(?:assistant)?"
    r"|<(?:start_of_turn|\|turn)>(?:model)?|<\|start_header_id\|>(?:assistant)?<\|end_header_id\|>"
    r"|<\|header_start\|>(?:assistant)?<\|header_end\|>|<\|start_of_role\|>(?:assistant)?<\|end_of_role\|>|\[/INST\])\s*)+"
)
"""What stands before an answer's first word, where a model writes the head of its own turn."""


def without(text: str) -> str:
    """A reply without special tokens: heads at its beginning are taken off, and it ends where the first other stands.

    A text without any stays as it is, blanks at its ends included.
    """
    head = _HEAD.match(text)
    start = head.end() if head else 0
    end = _END.search(text, start)
    if end is None:
        return text[start:] if head else text
    return text[start : end.start()].strip()
