"""What the processes that grade do before their first answer: all that is slow the first time.

Must not know: anything else. Importing sympy takes a third of a second, its first formula of each kind a tenth.
"""

from __future__ import annotations

from typing import Final

_FORMULAS: Final = (
    (r"\sum_{k=1}^{n} k", r"\frac{n(n+1)}{2}"),
    (r"\prod_{k=1}^{3} k", "6"),
    (r"\lim_{x \to 0} \frac{\sin x}{x}", "1"),
    (r"\int_0^1 x dx", r"\frac{1}{2}"),
    (r"\sqrt{8}", r"2\sqrt{2}"),
    (r"\{1,x\}", r"\{x,1\}"),
)


def warm_up() -> None:
    """Import sympy and compare a formula of each kind."""
    from eli5b_batch.grading import symbolic  # noqa: PLC0415 - who only hands this function on never pays for sympy

    for ours, theirs in _FORMULAS:
        symbolic.compare(ours, theirs)
