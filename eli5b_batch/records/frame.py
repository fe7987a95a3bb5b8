"""The records of a run folder that count as a lazy polars frame.

Must not know: what a reply means. polars is imported where somebody asks for a frame, and not before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from eli5b_batch.errors import JournalDamagedError, RunFolderError
from eli5b_batch.records.keys import parse_key
from eli5b_batch.records.lines import whole_lines
from eli5b_batch.records.reader import Lines, calls_of, heads, record_at

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Collection, Iterator, Mapping
    from pathlib import Path

    import polars as pl

_BATCH: Final = 2048
"""Records that are in memory as objects at a time: some ten MB."""
_AS_JSON: Final = {"request": ("sampling",), "reply": ("tool_calls", "reasoning_details", "logprobs")}
"""Fields that can have any shape."""
_INT64: Final = 2**63


def read_calls(folder: Path | str) -> pl.LazyFrame:
    """The calls of a run folder: one row each, by the record that counts (see `records.reader`), in the file's order.

    The file is read when this is called, to see which records count, and again at each `collect()`, some thousand
    records at a time, of which only the columns asked for are kept: name them (`select`, `group_by`), and memory holds
    the result and some ten MB. What is appended after the call is left out.

    Columns are as in calls.jsonl (docs/run-folder.md), in its order, null where a record has no such field; fields that
    are not documented are left out. Each tag is a column of its own, null where a call does not have it: of whole
    numbers where all calls have such, else of texts. `timing`, `usage`, `error` and `reply` are structs with the
    documented fields, `reply.durations` a struct in it, `request` is one with `model`, `messages` (a list of structs
    `role`, `content`), `sampling` and `seed`. What can have any shape is JSON text, for `str.json_decode`:
    `request.sampling`, and of the reply `tool_calls`, `reasoning_details` and `logprobs`. `built_on` is a list of
    texts.
    A value of another type than its column, as no version has written, is null.

    Example:
        >>> calls = read_calls("outputs/quickstart")
        >>> latency = pl.col("timing").struct.field("latency")
        >>> calls.group_by("model").agg(pl.len(), latency.quantile(0.95)).collect()

    Args:
        folder: the run folder; one without a manifest has no `--redo`.

    Raises:
        RunFolderError: calls.jsonl or the manifest can't be read.
        JournalDamagedError: a complete line of calls.jsonl is not the record of a call; also at `collect()`.
    """
    from pathlib import Path  # noqa: PLC0415 (with polars, which takes much longer)

    from polars.io.plugins import register_io_source  # noqa: PLC0415 (heavy)

    path, redo = calls_of(Path(folder))
    lines, kinds = Lines(redo), set[bytes]()
    try:
        with path.open("rb", buffering=1 << 20) as file:
            for offset, head in heads(whole_lines(file), path):
                lines.add(head.key, offset, ok=head.ok)
                kinds.add(head.key[head.key.find(b"|") :])
    except OSError as error:
        raise RunFolderError(f"{path} can't be read: {error.strerror or error}") from error
    try:
        schema = _schema(_tags(kinds))
    except ValueError as error:
        raise JournalDamagedError(f"{path}: a line is not the record of a call: {error}") from None
    offsets = lines.standing().offsets()

    def batches(
        columns: list[str] | None, predicate: pl.Expr | None, rows: int | None, size: int | None
    ) -> Iterator[pl.DataFrame]:
        wanted = {name: kind for name, kind in schema.items() if columns is None or name in columns}
        for frame in _frames(path, offsets[:rows], wanted, min(size or _BATCH, _BATCH)):
            yield frame if predicate is None else frame.filter(predicate)

    return register_io_source(batches, schema=schema)


def _tags(kinds: Collection[bytes]) -> dict[str, bool]:
    """By tag, sorted: whether all its values are whole numbers. A kind is a key from its step on."""
    whole: dict[str, bool] = {}
    for kind in kinds:
        for tag, value in parse_key(kind.decode()).tags.items():
            whole[tag] = isinstance(value, int) and whole.get(tag, True)
    return dict(sorted(whole.items()))


def _schema(tags: Mapping[str, bool]) -> dict[str, pl.DataType]:
    import polars as pl  # noqa: PLC0415 (heavy)

    text, whole, number, truth = pl.String(), pl.Int64(), pl.Float64(), pl.Boolean()
    message = pl.Struct({"role": text, "content": text})
    durations = pl.Struct({"total": number, "prompt_eval": number, "eval": number})
    reply = dict.fromkeys(("text", "thinking", "raw", "finish_reason", "finish", "refusal", "body"), text)
    usage = ("input_tokens", "output_tokens", "cached_input_tokens", "reasoning_tokens")
    error = {"class": text, "message": text, "status": whole, "attempts": whole, "starts": whole, "kept": truth}
    timing = {"queued": number, "started": number, "latency": number, "load": number, "attempts": whole}
    return {
        **dict.fromkeys(("key", "status", "request_hash"), text),
        "cost_usd": number,
        **dict.fromkeys(("problem", "step"), text),
        **{tag: whole if numbers else text for tag, numbers in tags.items()},
        **dict.fromkeys(("model", "provider", "slot"), text),
        "simulated": truth,
        "request": pl.Struct({"model": text, "messages": pl.List(message), "sampling": text, "seed": whole}),
        "reply": pl.Struct(
            {**reply, "window_full": truth, "durations": durations, **dict.fromkeys(_AS_JSON["reply"], text)}
        ),
        "usage": pl.Struct(dict.fromkeys(usage, whole)),
        "timing": pl.Struct(timing),
        "error": pl.Struct(error),
        "built_on": pl.List(text),
        "schema": whole,
    }


def _frames(path: Path, offsets: array[int], schema: Mapping[str, pl.DataType], size: int) -> Iterator[pl.DataFrame]:
    """The records at these offsets as frames of at most `size` rows; an empty one where there are none."""
    import polars as pl  # noqa: PLC0415 (heavy)

    fits = {name: _fit(kind, _AS_JSON.get(name, ())) for name, kind in schema.items()}
    with path.open("rb", buffering=1 << 20) as file:
        for start in range(0, max(len(offsets), 1), size):
            records = [record_at(file, offset, path) for offset in offsets[start : start + size]]
            columns = {name: [fit(record.get(name)) for record in records] for name, fit in fits.items()}
            yield pl.DataFrame([pl.Series(name, columns[name], dtype=kind) for name, kind in schema.items()])


def _fit(kind: Any, as_json: Collection[str] = ()) -> Callable[[Any], Any]:  # noqa: ANN401 (polars has two kinds of types)
    """Makes what goes into a column of a type from any JSON value: null where it is of another.

    Args:
        kind: the type; a number goes into a column of texts as a text.
        as_json: fields of a struct that are JSON text.
    """
    import polars as pl  # noqa: PLC0415 (heavy)

    if isinstance(kind, pl.Struct):
        fits = [(field.name, _as_json if field.name in as_json else _fit(field.dtype)) for field in kind.fields]
        return lambda v: {name: fit(v.get(name)) for name, fit in fits} if isinstance(v, dict) else None
    if isinstance(kind, pl.List):
        inner = _fit(kind.inner)
        return lambda v: [inner(item) for item in v] if isinstance(v, list) else None
    if isinstance(kind, pl.Boolean):
        return lambda v: v if isinstance(v, bool) else None
    if isinstance(kind, pl.String):
        return lambda v: v if isinstance(v, str) else str(v) if _is_number(v) else None
    if isinstance(kind, pl.Int64):
        return lambda v: v if _is_number(v) and isinstance(v, int) and abs(v) < _INT64 else None
    return lambda v: float(v) if _is_number(v) else None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _as_json(value: object) -> str | None:
    return None if value is None else orjson.dumps(value).decode()
