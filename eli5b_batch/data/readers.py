"""Readers of data sets: one parsed row of a file -> its fields.

Must not know: files, filters, how problems are chosen. A new data set needs one function here and one line in
`READERS`. A reader raises JobError with a sentence that names the field; its caller puts file and line in front.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from eli5b_batch.errors import JobError


class Fields(NamedTuple):
    """What a reader takes from one row. `labels` are subject labels, the most important first."""

    text: str
    answer: str
    solution: str = ""
    labels: tuple[str, ...] = ()
    difficulty: float | None = None
    source: str = ""


def read_plain(row: Mapping[str, Any]) -> Fields:
    """Rows with `problem`, `answer`; optional: `solution`, `domain` (text or list), `difficulty`, `source`.

    Omni-MATH has exactly these fields, and so have the quickstart problems.
    """
    return Fields(
        text=_text(row, "problem"),
        answer=_text(row, "answer"),
        solution=_optional_text(row, "solution"),
        labels=_labels(row, "domain"),
        difficulty=_optional_number(row, "difficulty"),
        source=_optional_text(row, "source"),
    )


def read_gsm8k(row: Mapping[str, Any]) -> Fields:
    """GSM8K: `question`, and `answer` = a worked solution with `<<...>>` marks that ends in `#### 1,234`."""
    worked = _text(row, "answer")
    _, mark, gold = worked.rpartition("####")
    gold = gold.replace(",", "").strip()
    if not mark or not gold:
        raise JobError('field "answer" has no final number after "####"')
    return Fields(text=_text(row, "question"), answer=gold, solution=re.sub(r"<<[^<>]*>>", "", worked), source="gsm8k")


Reader = Callable[[Mapping[str, Any]], Fields]

READERS: Final[Mapping[str, Reader]] = {
    "omni_math": read_plain,
    "gsm8k": read_gsm8k,
    "jsonl": read_plain,
    "quickstart": read_plain,
}
"""Every value of `data.reader`."""


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if value is None:
        raise JobError(f'field "{name}" is missing')
    if not isinstance(value, str):
        raise JobError(f'field "{name}" must be a text in quotes, found {value!r:.60}')
    if not value.strip():
        raise JobError(f'field "{name}" is empty')
    return value.strip()


def _optional_text(row: Mapping[str, Any], name: str) -> str:
    blank = row.get(name) is None or not str(row[name]).strip()
    return "" if blank else _text(row, name)


def _optional_number(row: Mapping[str, Any], name: str) -> float | None:
    value = row.get(name)
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise JobError(f'field "{name}" must be a number, found {value!r:.60}')
    return float(value)


def _labels(row: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = row.get(name)
    if isinstance(value, list) and all(isinstance(label, str) for label in value):
        return tuple(label.strip() for label in value if label.strip())
    if value is None or isinstance(value, str):
        return tuple(filter(None, [_optional_text(row, name)]))
    raise JobError(f'field "{name}" must be a text or a list of texts, found {value!r:.60}')
