"""How a run is shown: a rich dashboard on a terminal, plain lines off it.

Must not know: how a run works. Everything shown comes from a snapshot (`eli5b_batch.progress.snapshot`).
"""

from eli5b_batch.progress.frame import render
from eli5b_batch.progress.live import LiveDashboard, can_live
from eli5b_batch.progress.plain import PlainProgress, plain_line

__all__ = ["LiveDashboard", "PlainProgress", "can_live", "plain_line", "render"]
