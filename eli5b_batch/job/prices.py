"""The price of a model, as a job gives it.

Must not know: who is paid, tokens, budgets.
"""

from __future__ import annotations

import datetime as dt
from typing import Literal

from pydantic import Field

from eli5b_batch.job.values import Section


class Price(Section):
    """USD per million tokens, and the day on which these prices were true."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cached_input: float | None = Field(None, ge=0, description="Cached input tokens; left out: as other input.")
    as_of: dt.date = Field(strict=False)


Charge = Price | Literal["free", "unknown"]
"""A price, `free`, or `unknown`."""
