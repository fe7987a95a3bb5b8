"""What a model's replies came to so far: the tokens to reserve for the next call, and how long to wait for it.

Must not know: calls in flight, limits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_CHARS_PER_TOKEN: Final = 4
_LEARNING: Final = 0.05
_ENOUGH: Final = 20
_PATIENCE: Final = 4.0
_LEAST_S: Final = 60.0


@dataclass(slots=True)
class Speed:
    """Running means over one model's replies; `learn` keeps them.

    Args:
        output: tokens that a reply is taken to have before any is seen.
    """

    output: float
    replies: int = 0
    tokens_per_char: float = 1 / _CHARS_PER_TOKEN
    seconds: float = 0.0

    def tokens(self, input_chars: int) -> float:
        """Tokens of both sides that a call with such a prompt will come to."""
        return input_chars * self.tokens_per_char + self.output

    def deadline_s(self, max_tokens: int, longest_s: float) -> float:
        """Seconds to wait for a reply: four times what the longest takes at the measured speed, a minute at least.

        `longest_s` is the most, and holds until twenty replies were seen.
        """
        if self.replies < _ENOUGH:
            return longest_s
        return min(longest_s, max(_LEAST_S, _PATIENCE * max_tokens * self.seconds / max(self.output, 1.0)))

    def learn(self, input_chars: int, input_tokens: int, output_tokens: int, seconds: float) -> None:
        """One more reply."""
        # The first replies weigh alike, later ones by the rate of learning.
        self.replies += 1
        share = max(_LEARNING, 1 / self.replies)
        self.output += share * (output_tokens - self.output)
        self.seconds += share * (seconds - self.seconds)
        if input_tokens and input_chars:
            self.tokens_per_char += share * (input_tokens / input_chars - self.tokens_per_char)
