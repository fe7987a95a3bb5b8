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
    """Running means over one model's replies, which `learn` updates.

    Attributes:
        output: mean tokens of a reply; at first, the tokens that the first reply is expected to have.
        replies: how many replies the means are of.
        tokens_per_char: tokens of a prompt per character.
        seconds: mean seconds that a reply takes; 0 before the first.
    """

    output: float
    replies: int = 0
    tokens_per_char: float = 1 / _CHARS_PER_TOKEN
    seconds: float = 0.0

    def tokens(self, input_chars: int) -> float:
        """Return the tokens of prompt and reply together to expect for a prompt of `input_chars` characters."""
        return input_chars * self.tokens_per_char + self.output

    def deadline_s(self, max_tokens: int, longest_s: float) -> float:
        """Return the seconds to wait for a reply before giving it up.

        They are four times what a reply of `max_tokens` takes at the measured speed, at least a minute and at most
        `longest_s`. Before twenty replies were measured, they are `longest_s`.
        """
        if self.replies < _ENOUGH:
            return longest_s
        return min(longest_s, max(_LEAST_S, _PATIENCE * max_tokens * self.seconds / max(self.output, 1.0)))

    def learn(self, input_chars: int, input_tokens: int, output_tokens: int, seconds: float) -> None:
        """Add one more reply to the means."""
        # The first replies weigh alike, later ones by the rate of learning.
        self.replies += 1
        share = max(_LEARNING, 1 / self.replies)
        self.output += share * (output_tokens - self.output)
        self.seconds += share * (seconds - self.seconds)
        if input_tokens and input_chars:
            self.tokens_per_char += share * (input_tokens / input_chars - self.tokens_per_char)
