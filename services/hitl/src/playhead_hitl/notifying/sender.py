"""Sending what is due, many at once, and noting what came of it."""

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import msgspec
import psycopg
from psycopg_pool import PoolTimeout

from playhead_contracts.errors import Corrupt
from playhead_contracts.ids import execution_stream
from playhead_engine.notifying import Attempt, judge
from playhead_eventlog import EventLog, LogUnavailable, may_hold_sealed
from playhead_hitl.notifying.messages import with_links
from playhead_hitl.notifying.posting import Poster
from playhead_hitl.notifying.signing import signed_headers
from playhead_hitl.notifying.store import Claimed, Store, Tried
from playhead_runtime.clock import Clock
from playhead_runtime.links import LinkSettings

log = logging.getLogger("playhead.hitl.sender")

AT_ONCE = 64
EACH = 8
"""How many of one webhook are taken at a time: one that does not answer must not keep the others waiting."""
LOOK_AGAIN_SECONDS = 1.0
TRY_AGAIN_SECONDS = 1.0
MARGIN = timedelta(seconds=5)
"""How much longer a claim lasts than an attempt may take."""

AWAY = (psycopg.OperationalError, PoolTimeout, LogUnavailable)


class SenderStopped(Corrupt):
    """Webhooks are not told until an operator acts."""


class Sender:
    """Any number of them share what is due."""

    def __init__(
        self,
        store: Store,
        event_log: EventLog,
        poster: Poster,
        links: LinkSettings,
        clock: Clock,
        schedule: Sequence[timedelta],
        lease: timedelta,
        ended: Callable[[], None],
    ):
        self._store = store
        self._log = event_log
        self._poster = poster
        self._links = links
        self._clock = clock
        self._schedule = schedule
        self._lease = lease
        self._ended = ended
        self._news = asyncio.Event()
        self._is_stopping = False
        self._sending: Counter[str] = Counter()
        self._waits_for: str | None = None
        self._trouble: str | None = None

    def wake(self) -> None:
        """Something may be due now."""
        self._news.set()

    async def check(self) -> None:
        """Raises SenderStopped, with the reason."""
        if self._trouble is not None:
            raise SenderStopped(f"the sender stopped: {self._trouble}")

    async def run(self) -> None:
        """Send what is due, until `stop`. What is in flight when this is cancelled is sent again, by anybody."""
        while not self._is_stopping:
            try:
                async with asyncio.TaskGroup() as group:
                    await self._serve(group)
            except* Exception as wrong:
                if str(wrong.exceptions[0]) != self._trouble:
                    log.exception("sender stopped")
                self._trouble = str(wrong.exceptions[0])
                await asyncio.sleep(TRY_AGAIN_SECONDS)

    def stop(self) -> None:
        """Take nothing more; `run` ends when what is in flight has ended."""
        self._is_stopping = True
        self.wake()

    async def _serve(self, group: asyncio.TaskGroup) -> None:
        self._sending.clear()
        while not self._is_stopping:
            self._news.clear()
            claimed = await self._claim()
            for delivery in claimed:
                self._sending[delivery.webhook_id or ""] += 1
                group.create_task(self._send(delivery))
            if not claimed:
                await self._wait()

    async def _claim(self) -> list[Claimed]:
        room = AT_ONCE - self._sending.total()
        if room <= 0:
            return []
        busy = [webhook for webhook, number in self._sending.items() if webhook and number >= EACH]
        try:
            claimed = await self._store.claim(room, EACH, busy, self._lease)
        except AWAY as away:
            self._say_waiting(away)
            return []
        self._trouble = self._waits_for = None
        return claimed

    def _say_waiting(self, cause: Exception) -> None:
        if str(cause) != self._waits_for:
            log.warning("sender waits", extra={"reason": str(cause).strip()})
        self._waits_for = str(cause)

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(LOOK_AGAIN_SECONDS):
                await self._news.wait()
        except TimeoutError:
            pass

    async def _send(self, delivery: Claimed) -> None:
        try:
            await self._bring(delivery)
        except AWAY as away:
            # What came of it cannot be noted: when the claim is over it is sent again.
            self._say_waiting(away)
        except Exception:
            # A bug of ours, and of this one delivery: the others go on.
            log.exception("a delivery could not be sent", extra={"delivery_id": delivery.delivery_id})
            await self._store.end(delivery, "failed", None, "an unexpected error; the operator's log says what it was")
            self._ended()
        finally:
            self._sending[delivery.webhook_id or ""] -= 1
            self._sending += Counter()  # keeps what is above zero
            self._news.set()

    async def _bring(self, delivery: Claimed) -> None:
        hindrance = _hindrance(delivery)
        if hindrance is not None or delivery.url is None:
            await self._store.end(delivery, "failed", None, hindrance)
            self._ended()
            return
        now, began = self._clock.now(), time.monotonic()
        body = await self._opened(delivery)
        attempt = await self._poster.post(delivery.url, *self._message(delivery, body, now))
        duration_ms = round((time.monotonic() - began) * 1000)
        verdict = judge(attempt, delivery.tries + 1, self._schedule, random.random())
        tried = Tried(at=now, status=attempt.status, error=verdict.error, duration_ms=duration_ms)
        if verdict.disables and delivery.webhook_id is not None:
            await self._store.disable(delivery.webhook_id, verdict.error or "")
        if verdict.outcome is not None:
            await self._store.end(delivery, verdict.outcome, tried, verdict.error)
            self._ended()
        elif verdict.retry_in is not None:
            await self._store.try_later(delivery, tried, verdict.retry_in)
            if verdict.retry_in.total_seconds() < LOOK_AGAIN_SECONDS:
                asyncio.get_running_loop().call_later(verdict.retry_in.total_seconds(), self.wake)
        _say(delivery, attempt, verdict.outcome or "will be tried again")

    async def _opened(self, delivery: Claimed) -> bytes:
        """The body with what is sealed in it open, as far as it is not forgotten."""
        body = delivery.body.encode()
        if delivery.execution_id is None or not may_hold_sealed(body):
            return body
        key_id = await self._log.key_of(execution_stream(delivery.execution_id))
        if key_id is None:
            return body
        return msgspec.json.encode(await self._log.opened(msgspec.json.decode(body), delivery.tenant, [key_id]))

    def _message(self, delivery: Claimed, body: bytes, now: datetime) -> tuple[dict[str, str], bytes]:
        if delivery.execution_id is not None and delivery.pause_id is not None:
            body = with_links(
                body,
                delivery.tenant,
                delivery.execution_id,
                delivery.pause_id,
                delivery.page_for,
                self._links,
                now,
            )
        headers = {"content-type": "application/json", "user-agent": "playhead-webhooks"}
        return headers | signed_headers(delivery.secrets, delivery.delivery_id, int(now.timestamp()), body), body


def _hindrance(delivery: Claimed) -> str | None:
    """Why it is not to be sent."""
    if delivery.url is None:
        return f"the webhook {delivery.webhook} was deleted"
    if delivery.is_disabled:
        return f"the webhook {delivery.webhook} is disabled: {delivery.disabled_reason}"
    # What was never sent is sent even so, once: receivers that keep books want to know that there was a question.
    return delivery.stopped if delivery.tries > 0 else None


def _say(delivery: Claimed, attempt: Attempt, outcome: str) -> None:
    facts = {
        "delivery_id": delivery.delivery_id,
        "webhook": delivery.webhook,
        "about": delivery.event_type,
        "outcome": outcome,
        "attempt": delivery.tries + 1,
        "status": attempt.status,
    }
    if attempt.error is not None:
        facts["reason"] = attempt.error
    log.info("webhook posted", extra=facts)
