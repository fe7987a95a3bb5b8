"""Special tokens that a server left in a reply: removes them and the text of other turns that follows them.

Must not know: hosts, protocols. A special token in a prompt may be read by a server as its own mark (ollama#15931).
"""

from __future__ import annotations

import re
from typing import Final

_NO_ENDS: Final = (
    r"(?:begin|end)_of_(?:thought|thinking|solution|box)|inner_(?:prefix|suffix)|think\w*|channel|constrain"
)
"""Names of tokens that have the form of ends of turns and are marks of thoughts or answers."""
_PIPED: Final = rf"<\|(?!(?:{_NO_ENDS})\|>)(?:[a-z][a-z0-9]*_[a-z0-9_]{{1,40}}|[a-z]{{3,20}})\|>"
"""`<|eot_id|>`, `<|im_end|>`, `<|assistant|>`, ...: Llama 3 and 4, ChatML, Phi, Granite, GLM, Kimi, Apertus, harmony
(langchain-aws#483, ollama#3759). Three letters at least: `<|x|>` may be mathematics."""
_SHOUTED: Final = r"<\|(?:EOT|EOS|IM_END|END_OF_TURN_TOKEN|START_OF_TURN_TOKEN|CHATBOT_TOKEN|USER_TOKEN)\|>"
_OTHERS: Final = (
    r"</s>(?=\s*(?:\Z|<s>|\[|<\|))|<(?:eos|eoa|pad|unk|seed:eos|/longcat_s|end_of_turn|start_of_turn|end_of_utterance)>"
    r"|<turn\|>|<\|turn>|\[/?INST\]|<</?SYS>>|\[gMASK\]|\[e~\[|\]~b\]|\[\|endofturn\|\]|\[UNUSED_TOKEN_\d{1,4}\]"
    r"|<SPECIAL_\d{1,4}>|<\uff5c(?!Assistant\uff5c>)[^\uff5c<>\n]{1,40}\uff5c>|<\|(?:im_end|eot_id|endoftext|end)\|?\Z"
)
"""Tokens of Gemma, Mistral, MiniMax, EXAONE, InternLM, Nemotron, DeepSeek (sglang#29933), and the beginning of a token
at the end of a text that was cut."""
_END: Final = re.compile(rf"(?=[<\[\]])(?!(?<=`)[^`\n]{{1,40}}`)(?:{_PIPED}|{_SHOUTED}|{_OTHERS})")
"""The lookahead, the characters that a token may begin with, makes the search many times as fast. A token
between backticks is quoted by the text and is no end."""
_HEAD: Final = re.compile(
    r"\s*(?:(?:<\|(?:begin_of_text|startoftext)\|>|<s>(?![^\n<]*</s>[^\n]*\S)|<bos>|<\uff5cbegin\u2581of\u2581sentence\uff5c>|<\uff5cAssistant\uff5c>"
    r"|<\|(?:START_OF_TURN_TOKEN|CHATBOT_TOKEN|assistant)\|>|<\|(?:im_start|start)\|>(?:assistant)?"
    r"|<(?:start_of_turn|\|turn)>(?:model)?|<\|start_header_id\|>(?:assistant)?<\|end_header_id\|>"
    r"|<\|header_start\|>(?:assistant)?<\|header_end\|>|<\|start_of_role\|>(?:assistant)?<\|end_of_role\|>|<\|im_assistant\|>(?:assistant)?<\|im_middle\|>|\]~b\]ai|\[/INST\])\s*)+"
)
"""The tokens before an answer's first word, where a model writes the head of its own turn."""


def without(text: str) -> str:
    """Return a reply without special tokens.

    Tokens at the beginning that head a turn are removed; the reply ends before the first other token. A text without
    special tokens is returned as it is, blanks at its ends included.
    """
    head = _HEAD.match(text)
    start = head.end() if head else 0
    end = _END.search(text, start)
    if end is None:
        return text[start:] if head else text
    return text[start : end.start()].strip()
