"""The signer: follows positions and hashes of the log, and signs where it is now and then.

One process signs, the holder of an advisory lock of the database. It goes on from its last checkpoint, so the folder
must be one that every projector sees, or only one projector is given the key: a projector with a folder of its own
would begin another chain of checkpoints there, which is sound, but has no past.

Before it signs, it looks whether the last line of the folder is the one it wrote, and whether the event that was signed
last is still what it was. If not, somebody changed one of the two: it signs nothing more, says so in its health check,
and looks again. To sign over it would be to cover it up.

A last line that another key signed (keys are changed) is not believed: the whole log is walked up to it first.
"""

import asyncio
import logging
import math
from collections.abc import Sequence
from time import monotonic

import psycopg

from playhead_contracts.errors import Corrupt, Unavailable
from playhead_eventlog import EventLog
from playhead_eventlog.auditing import PLACES_A_READ
from playhead_eventlog.checkpoints import (
    BrokenCheckpoint,
    Checkpoint,
    CheckpointsChanged,
    LogDigest,
    Place,
    line_id,
    read_checkpoint,
    sign_checkpoint,
    unchecked_checkpoint,
)
from playhead_projector.checkpoints.signing import Signing
from playhead_projector.store import open_store
from playhead_runtime.clock import Clock

log = logging.getLogger("playhead.projector.checkpoints")

SIGNER_LOCK = 5068
TRY_AGAIN_SECONDS = 1.0
LOOK_SECONDS = 0.5


class CheckpointsStopped(Corrupt):
    """Nothing is signed until an operator has looked."""


class CheckpointsWait(Unavailable):
    """Nothing can be signed now; it goes on by itself."""


class Signer:
    """One of any number; one at a time signs."""

    def __init__(self, event_log: EventLog, url: str, signing: Signing, clock: Clock):
        self._log = event_log
        self._url = url
        self._checkpoints = signing.checkpoints
        self._key = signing.key
        self._every_seconds = signing.every.total_seconds()
        self._events = signing.events
        self._clock = clock
        self._digest = LogDigest()
        self._line: bytes | None = None
        self._signed = LogDigest().last
        self._signed_events = 0
        self._signed_at = -math.inf
        self._trouble: str | None = None
        self._waits_for: str | None = None
        self.is_writer = False
        self.position = 0
        """Of the last checkpoint."""

    async def run(self) -> None:
        """Sign, for ever. While the database is away, wait for it."""
        while True:
            try:
                async with open_store(self._url) as store:
                    await store.win(SIGNER_LOCK)
                    self.is_writer = True
                    await self._go_on()
                    while True:
                        await self._look()
                        self._trouble = self._waits_for = None
            except (Unavailable, psycopg.OperationalError, psycopg.InternalError, OSError) as exc:
                if str(exc) != self._waits_for:
                    log.warning("signing waits", extra={"reason": str(exc).strip()})
                self._waits_for = str(exc).strip()
            except Exception as exc:
                if str(exc) != self._trouble:
                    log.exception("signing stopped", extra={"position": self.position})
                self._trouble = str(exc)
            finally:
                self.is_writer = False
            await asyncio.sleep(TRY_AGAIN_SECONDS)

    async def check(self) -> None:
        """Raises CheckpointsStopped or CheckpointsWait, with the reason. One that stands by is well."""
        if self._trouble is not None:
            raise CheckpointsStopped(f"nothing is signed after position {self.position}: {self._trouble}")
        if self._waits_for is not None:
            raise CheckpointsWait(f"signing waits: {self._waits_for}")

    async def _go_on(self) -> None:
        """Find out where to go on. Raises CheckpointsChanged."""
        self._digest, self._line = LogDigest(), None
        last = self._checkpoints.last()
        if last is not None:
            checkpoint = await self._believed(last.line)
            self._digest.go_on_from(checkpoint)
            self._line = last.line
        self._note()
        # What came while nobody signed has waited long enough.
        self._signed_at = -math.inf
        await self._check_unchanged()
        log.info("signing goes on", extra={"position": self.position, "key": self._key.key_id})

    async def _believed(self, line: bytes) -> Checkpoint:
        try:
            return read_checkpoint(line, [self._key.public])
        except BrokenCheckpoint as error:
            checkpoint = unchecked_checkpoint(line)
            if checkpoint is None or checkpoint.key_id == self._key.key_id:
                raise CheckpointsChanged(f"the last checkpoint in {self._checkpoints.folder}: {error}") from error
        walked = LogDigest()
        async for place in self._log.auditing.places():
            if place.position > checkpoint.position:
                break
            walked.add(place)
        if walked.digest.hex() != checkpoint.digest:
            raise CheckpointsChanged(
                f"the last checkpoint, which key {checkpoint.key_id} signed, is not what the log says"
            )
        return checkpoint

    async def sign_now(self) -> None:
        """Sign all that is in the log, for whoever holds `SIGNER_LOCK` and does not `run`. Raises CheckpointsChanged,
        OSError and LogUnavailable.
        """
        await self._go_on()
        while places := await self._log.auditing.some_places(self._digest.last.position, PLACES_A_READ):
            await self._take_in(places)
        if self._digest.events > self._signed_events:
            await self.sign()

    async def _look(self) -> None:
        """Take in what was appended, and sign if it is time."""
        places = await self._log.auditing.some_places(self._digest.last.position, PLACES_A_READ)
        await self._take_in(places)
        is_at_the_end = len(places) < PLACES_A_READ
        is_due = monotonic() - self._signed_at >= self._every_seconds
        is_asked = is_at_the_end and self._checkpoints.is_asked
        if (is_due or is_asked) and self._digest.events > self._signed_events:
            await self.sign()
        if is_asked:
            self._checkpoints.answer()
        if is_at_the_end:
            await asyncio.sleep(LOOK_SECONDS)

    async def _take_in(self, places: Sequence[Place]) -> None:
        for place in places:
            self._digest.add(place)
            if self._digest.events - self._signed_events >= self._events:
                await self.sign()

    async def sign(self) -> None:
        """Sign the log as far as it was walked. Raises CheckpointsChanged, OSError and LogUnavailable."""
        await self._check_unchanged()
        at = self._clock.now()
        line = sign_checkpoint(self._digest, self._key, self._line, at)
        await asyncio.to_thread(self._checkpoints.add, line, at)
        self._line = line
        self._note()
        chain = self._checkpoints.chain or line_id(line)
        await self._log.auditing.note_signed(chain, self.position, at)

    async def _check_unchanged(self) -> None:
        last = await asyncio.to_thread(self._checkpoints.last)
        if (None if last is None else last.line) != self._line:
            raise CheckpointsChanged(
                f"the last checkpoint in {self._checkpoints.folder} is not the one that was written"
            )
        if self._signed.position:
            found = await self._log.auditing.some_places(self._signed.position - 1, 1)
            if found != [self._signed]:
                raise CheckpointsChanged(
                    f"the event at position {self._signed.position} is not the one that was signed"
                )

    def _note(self) -> None:
        self._signed, self._signed_events = self._digest.last, self._digest.events
        self._signed_at = monotonic()
        self.position = self._signed.position
