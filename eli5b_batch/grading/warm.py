"""Imported by the processes that grade, before their first answer: what is slow the first time is done then.

Must not know: anything else. Importing sympy takes a third of a second, its first formula of each kind a tenth.
"""

from __future__ import annotations

from typing import Final

from eli5b_batch.grading import symbolic

_FORMULAS: Final = (
    (r"\sum_{k=1}^{n} k", r"\frac{n(n+1)}{2}"),
    (r"\prod_{k=1}^{3} k", "6"),
    (r"\lim_{x \to 0} \frac{\sin x}{x}", "1"),
    (r"\int_0^1 x dx", r"\frac{1}{2}"),
    (r"\sqrt{8}", r"2\sqrt{2}"),
    (r"\{1,x\}", r"\{x,1\}"),
)

for _ours, _theirs in _FORMULAS:
    symbolic.compare(_ours, _theirs)
