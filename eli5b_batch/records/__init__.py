"""Records of calls: what a call is called, which of its records counts, and all that count as a frame.

Must not know: how calls are made. Whoever imports this loads neither numpy nor polars.
"""

from eli5b_batch.records.frame import read_calls
from eli5b_batch.records.keys import (
    RECORD_SCHEMA,
    RESERVED,
    CallName,
    derive_seed,
    make_key,
    parse_key,
    request_hash,
)
from eli5b_batch.records.reader import counting_records

__all__ = (
    "RECORD_SCHEMA",
    "RESERVED",
    "CallName",
    "counting_records",
    "derive_seed",
    "make_key",
    "parse_key",
    "read_calls",
    "request_hash",
)
