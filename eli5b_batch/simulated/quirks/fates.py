"""Which calls meet which quirk, and for how long: drawn from a call's key and the seed, never from the order of calls.

Must not know: what a quirk answers, the fields of either protocol but the model's name.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, Final, cast

import orjson
from aiohttp import web

from eli5b_batch.job.reserved_names import CALL_HEADER
from eli5b_batch.simulated.ledger import work_at_hand
from eli5b_batch.simulated.model import digest_of, fraction_of
from eli5b_batch.simulated.quirks import QUIRKS
from eli5b_batch.simulated.quirks.base import Scene

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiohttp.typedefs import Handler

    from eli5b_batch.simulated.quirks.base import Quirk, Wire

SPELL_S: Final = 8.0
"""How long a spell of a model lasts."""

_WAIT_S: Final = 1.0
"""Least wait that is told; it ends with a whole second of the wall clock, as dates and most epochs do."""

_EARLY_S: Final = 0.05
"""A call that comes back so much too early is let through: clocks differ."""

_OK: Final = 200


class Fates:
    """Stands before a server's handler of chats.

    A call meets one quirk at most, and the same one whenever it is sent; a call is a key, or the body where no key was
    sent. A quirk that passes does so after one or two sendings, which is drawn, too.

    Args:
        shares: quirk -> share of the calls, as the job gives them.
        wire: the server's protocol.
        seed: 32 bytes for all draws.
        clock: seconds.
        wall: unix seconds, for what is told.
    """

    def __init__(
        self,
        shares: Mapping[str, float],
        wire: Wire,
        seed: bytes,
        clock: Callable[[], float],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._shares = shares
        self._wire = wire
        self._seed = seed
        self._clock = clock
        self._wall = wall
        self._sendings: dict[bytes, int] = {}
        self._until: dict[bytes, float] = {}

    async def meet(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer one chat request: by its quirk, if it meets one, else as `handler` does."""
        if not self._shares:
            return await handler(request)
        raw = await request.read()
        asked = _read(raw)
        name = self.draw(request.headers.get(CALL_HEADER, ""), raw, asked)
        if name is None:
            return await handler(request)
        call = self._digest(request.headers.get(CALL_HEADER, "").encode() or raw)
        scene = Scene(self._wire, str(asked["model"]), self._wall())
        if QUIRKS[name].stage != "refusal":
            return self._changed(name, call, scene, await handler(request))
        left_s = self._left_s(QUIRKS[name], call, scene)
        return await handler(request) if left_s is None else _reply(name, scene._replace(wait_s=left_s))

    def _changed(self, name: str, call: bytes, scene: Scene, ordinary: web.StreamResponse) -> web.StreamResponse:
        """The ordinary answer as the quirk makes it; as it is where it went out already, or is none to be changed."""
        quirk = QUIRKS[name]
        if not isinstance(ordinary, web.Response) or (ordinary.status != _OK and quirk.stage != "headers"):
            return ordinary
        reply = _read(cast("bytes", ordinary.body or b""))
        if not reply or self._left_s(quirk, call, scene) is None:
            return ordinary
        return _reply(name, scene._replace(status=ordinary.status, headers=dict(ordinary.headers), reply=reply))

    def draw(self, key: str, raw: bytes, asked: Mapping[str, Any]) -> str | None:
        """The name of the quirk that a request's call meets; None: none. Requests that ask nothing meet none."""
        model = asked.get("model")
        if not isinstance(model, str) or not asked.get("messages"):
            return None
        call = self._digest(key.encode() or raw)
        luck = {True: fraction_of(self._digest(b"model", model.encode())), False: fraction_of(call)}
        for name, share in self._shares.items():
            quirk = QUIRKS[name]
            of_model = quirk.lasts == "spell"
            if luck[of_model] < share:
                return name if not quirk.field or quirk.field in asked else None
            luck[of_model] -= share
        return None

    def _left_s(self, quirk: Quirk, call: bytes, scene: Scene) -> float | None:
        """Counts this sending: seconds until the quirk has passed; None where it has, for good."""
        if quirk.lasts == "always":
            return math.inf
        if quirk.lasts == "passes":
            self._sendings[call] = self._sendings.get(call, 0) + 1
            return 0.0 if self._sendings[call] <= 1 + call[-1] % 2 else None
        now = self._clock()
        if quirk.lasts == "spell":
            left_s = self._until.setdefault(scene.model.encode(), now + SPELL_S) - now
            return left_s if left_s > 0 else None
        left_s = self._until.setdefault(call, now + math.ceil(scene.now + _WAIT_S) - scene.now) - now
        return left_s if left_s > _EARLY_S else None

    def _digest(self, *parts: bytes) -> bytes:
        return digest_of(b"quirk", self._seed, *parts)


def _read(raw: bytes) -> dict[str, Any]:
    """A body that is a JSON object; empty for any other, which the handler refuses, or which is spoilt already."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}


def _reply(name: str, scene: Scene) -> web.Response:
    quirk = QUIRKS[name]
    if quirk.stage != "headers":  # with other headers nothing goes wrong
        work_at_hand().fault = name
    answer = quirk.make(scene)
    return web.Response(status=answer.status, headers={"Server": "SIMULATED", **answer.headers}, body=answer.body)
