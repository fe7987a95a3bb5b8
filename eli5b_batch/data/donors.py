"""The donor of each problem's placebo hint.

Must not know: files, filters, hints.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from eli5b_batch.data.problem import Problem


def find_partners(ordered: Sequence[Problem]) -> dict[str, Problem]:
    r"""Problem id -> the problem whose tailored hint serves as its placebo hint.

    A donor has another answer, compared as text without spaces and `$`, `\(`, `\[`. It is the first of:
    nearest earlier of the same domain; nearest later of the same domain; nearest earlier of any domain;
    nearest later of any domain. A problem that no other answer stands beside has no entry.

    Earlier comes first because a run takes a prefix of the order: the donor's hint is then part of the
    run, at no extra call. `ordered` must not be cut by `sample` or `limit` yet, so that raising these
    changes no donor. Rows appended to the file change a donor only where none of the same domain was
    there before, or where a sampled order places a new problem between a problem and its donor.

    One pass per rule: O(n).
    """
    bare = [(p, _bare(p.answer)) for p in ordered]
    backwards = bare[::-1]
    return {  # the last one wins: the rules stand in reverse
        **_nearest_before(backwards, lambda _: ""),
        **_nearest_before(bare, lambda _: ""),
        **_nearest_before(backwards, lambda p: p.domain),
        **_nearest_before(bare, lambda p: p.domain),
    }


def _nearest_before(problems: Iterable[tuple[Problem, str]], group_of: Callable[[Problem], str]) -> dict[str, Problem]:
    """Problem id -> the last one before it in its group with another answer; each comes with its bare answer."""
    # Per group: the last problem, and the last whose answer differs from that one's. The next problem's
    # donor is the first of them, or the second where the first has its own answer.
    tails: dict[str, tuple[Problem, str, Problem | None]] = {}
    donors: dict[str, Problem] = {}
    for problem, answer in problems:
        group = group_of(problem)
        if group not in tails:
            tails[group] = (problem, answer, None)
            continue
        last, last_answer, other = tails[group]
        donor = last if last_answer != answer else other
        if donor is not None:
            donors[problem.id] = donor
        tails[group] = (problem, answer, donor)
    return donors


def _bare(answer: str) -> str:
    return re.sub(r"[\s$]|\\[()\[\]]", "", answer)
