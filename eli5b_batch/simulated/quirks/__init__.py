"""Quirks of simulated servers: name -> what a real host answers, and who was seen to answer so.

Must not know: the run. The job file's check reads the names; `fates` decides which calls meet them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from eli5b_batch.simulated.quirks.limits import LIMITS
from eli5b_batch.simulated.quirks.refusals import REFUSALS
from eli5b_batch.simulated.quirks.replies import REPLIES
from eli5b_batch.simulated.quirks.siblings import SIBLINGS
from eli5b_batch.simulated.quirks.thoughts import THOUGHTS

if TYPE_CHECKING:
    from eli5b_batch.simulated.quirks.base import Quirk

QUIRKS: Final[dict[str, Quirk]] = {**REFUSALS, **REPLIES, **THOUGHTS, **LIMITS, **SIBLINGS}
