"""Following the log into the read models.

One batch of the log is read, decoded and folded once for all projections, and written in one transaction together
with their checkpoints. So a crash anywhere repeats a batch or does not; rows are written whole, and a repeat writes the
same. A projection that is elsewhere in the log than the others (it is new, or a rebuild swapped it) goes its own way,
a batch each in turn, until they meet; then they go together.

A batch that fails is halved until one event stands alone, and then the projections are tried one by one: what fails
now stops there and says so, and the others go on. Nothing is ever skipped. A stopped projection is tried again when
its checkpoint is moved (by a rebuild) and at the next start.

One process writes, the holder of an advisory lock of the database; the others stand by. The lock belongs to the very
connection that writes, so who loses one loses the other.

A table that an older version of its projection wrote, or that has another shape, is not written to: it is built anew
beside, in the background, while it can be read and the others go on, and then swapped in. A table that a newer version
wrote is left alone: this process is the old one. It stands aside now and then, so that a newer one may take over.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from itertools import pairwise

import msgspec

from playhead_contracts.errors import Corrupt, Unavailable
from playhead_eventlog import EventLog, RawEvent, Tail
from playhead_eventlog.stopping import stop_tasks
from playhead_projector.batches import Appetite, pause_after
from playhead_projector.folding import Folding
from playhead_projector.projections import ALL, Projection
from playhead_projector.rebuild import renew
from playhead_projector.snapshotting import Snapshotting
from playhead_projector.store import AWAY, PROJECTOR_LOCK, Checkpoint, CheckpointMoved, Store, open_store

log = logging.getLogger("playhead.projector")

TRY_AGAIN_SECONDS = 1.0
"""Longer than who stands by takes to look whether it may write: a writer that stands aside makes way."""
STAND_ASIDE_SECONDS = 5.0
MAX_EVENTS = 2000
"""Of one batch. Larger ones gain nothing (see `bench rebuild`) and hold more in memory."""


class ProjectionStopped(Corrupt):
    """A projection met something it cannot pass."""


class ProjectorWaits(Unavailable):
    """The database does not let the projector write; it tries again by itself."""


class Halt(msgspec.Struct, frozen=True):
    """Where a projection stopped, and why."""

    at: Checkpoint
    reason: str


class Projector:
    """One of any number; one at a time writes. `tail` must not be shared.

    `faults`: what is wrong with projections that could not even be loaded, by name.
    """

    def __init__(
        self,
        event_log: EventLog,
        tail: Tail,
        url: str,
        projections: Sequence[Projection] = ALL,
        faults: Mapping[str, str] | None = None,
    ):
        self._log = event_log
        self._tail = tail
        self._url = url
        self._projections = projections
        self._folding = Folding(event_log, from_snapshots=True)
        self.snapshotting = Snapshotting(event_log.snapshots)
        """To be run beside the projector."""
        self._appetite = Appetite(MAX_EVENTS)
        self._waits_for: str | None = None
        self._faults = dict(faults or {})
        self._renewal: asyncio.Task[None] | None = None
        self._stale: dict[str, Projection] = {}
        self._said: set[tuple[str, int]] = set()
        self.is_writer = False
        self.halted: dict[str, Halt] = {}
        self.aside: dict[str, Halt] = {}
        """Those whose table another version wrote: being rebuilt, or left to a newer process."""

    async def run(self) -> None:
        """Follow the log, for ever. While the database is away, wait for it."""
        for name, reason in self._faults.items():
            log.error("projection cannot be loaded", extra={"projection": name, "reason": reason})
        while True:
            try:
                async with open_store(self._url) as store:
                    self._waits_for = None
                    await self._win(store)
                    log.log(logging.DEBUG if self._said else logging.INFO, "projector writes")
                    await self._follow(store)
            except AWAY as exc:
                self._say_once(str(exc).strip())
            finally:
                self.is_writer = False
                self._folding.forget()
                await self._stop_renewing()
            await asyncio.sleep(TRY_AGAIN_SECONDS)

    async def check(self) -> None:
        """Raises ProjectionStopped, naming every projection that stopped, where and why, or ProjectorWaits. A projector
        that stands by is well.
        """
        reasons = self._faults | {name: halt.reason for name, halt in self.halted.items()}
        if reasons:
            raise ProjectionStopped("; ".join(f"{name} stopped: {reason}" for name, reason in sorted(reasons.items())))
        if self._waits_for is not None:
            raise ProjectorWaits(self._waits_for)

    def _say_once(self, reason: str) -> None:
        if reason != self._waits_for:
            log.warning("projector waits", extra={"reason": reason})
        self._waits_for = reason

    async def _win(self, store: Store) -> None:
        await store.win(PROJECTOR_LOCK)
        self.is_writer = True

    async def _follow(self, store: Store) -> None:
        """Until a newer process should be let in."""
        refused = await store.create(self._projections)
        self.halted.clear()
        self.aside.clear()
        checkpoints = await store.checkpoints(self._projections)
        for projection in self._projections:
            if projection.name in refused:
                self._halt(projection, checkpoints[projection.name], refused[projection.name])
            elif not await store.has_columns(projection):
                self._put_aside(projection, checkpoints[projection.name])
        loop = asyncio.get_running_loop()
        until = loop.time() + STAND_ASIDE_SECONDS
        while loop.time() < until or not self._is_older():
            await self._round(store)

    async def _round(self, store: Store) -> None:
        """One batch for each group of projections that are at the same position."""
        checkpoints = await store.checkpoints(self._projections)
        groups = self._groups(checkpoints)
        self._renew_stale()
        match sorted(groups, reverse=True):
            case []:
                await asyncio.sleep(TRY_AGAIN_SECONDS)
            case [position]:
                limit = self._appetite.limit
                batch = await self._tail.next(position, limit)
                await self._advance(store, groups[position], position, batch)
                await asyncio.sleep(pause_after(len(batch), limit))
            case positions:
                head = positions[0]
                batch = await self._log.read_log(head, self._appetite.limit)
                await self._advance(store, groups[head], head, batch)
                for ahead, position in pairwise(positions):
                    batch = await self._log.read_log(position, self._appetite.limit)
                    met = [raw for raw in batch if raw.position <= ahead]
                    await self._advance(store, groups[position], position, met)

    def _groups(self, checkpoints: dict[str, Checkpoint]) -> dict[int, list[Projection]]:
        groups: dict[int, list[Projection]] = {}
        for projection in self._projections:
            checkpoint = checkpoints[projection.name]
            if not self._is_held(projection, checkpoint):
                groups.setdefault(checkpoint.position, []).append(projection)
        return groups

    def _is_held(self, projection: Projection, checkpoint: Checkpoint) -> bool:
        for held in (self.halted, self.aside):
            halt = held.get(projection.name)
            if halt is not None and halt.at == checkpoint:
                return True
            held.pop(projection.name, None)
        if not checkpoint.fits(projection):
            self._put_aside(projection, checkpoint)
        return projection.name in self.aside

    def _put_aside(self, projection: Projection, checkpoint: Checkpoint) -> None:
        versions = {"projection": projection.name, "made_by": checkpoint.version, "this": projection.version}
        said = projection.name, checkpoint.version
        self.aside[projection.name] = Halt(checkpoint, f"made by version {checkpoint.version}")
        if checkpoint.version <= projection.version:
            log.info("projection is rebuilt, its table is of another version", extra=versions)
            self._stale[projection.name] = projection
        elif said not in self._said:
            self._said.add(said)
            log.warning("projector stands aside, a newer version made the table", extra=versions)

    def _is_older(self) -> bool:
        """Whether a newer process than this one has been here."""
        return any(
            held.at.version > projection.version
            for projection in self._projections
            if (held := self.aside.get(projection.name)) is not None
        )

    # -- building anew, beside

    def _renew_stale(self) -> None:
        if self._stale and (self._renewal is None or self._renewal.done()):
            stale, self._stale = list(self._stale.values()), {}
            self._renewal = asyncio.create_task(self._renew(stale), name="rebuild")

    async def _renew(self, stale: Sequence[Projection]) -> None:
        try:
            failed = await self._renewed(stale)
        except Exception as exc:  # noqa: BLE001 - as in `_advance`
            failed = {projection.name: str(exc) for projection in stale}
        for projection in stale:
            held = self.aside.get(projection.name)
            if held is not None and projection.name in failed:
                self._halt(projection, held.at, f"it cannot be rebuilt: {failed[projection.name]}")

    async def _renewed(self, stale: Sequence[Projection]) -> dict[str, str]:
        while True:
            try:
                return await renew(self._log, self._url, stale)
            except AWAY as exc:
                log.warning("rebuild waits", extra={"reason": str(exc).strip()})
            await asyncio.sleep(TRY_AGAIN_SECONDS)

    async def _stop_renewing(self) -> None:
        if self._renewal is not None:
            await stop_tasks(self._renewal)
            self._renewal = None
        self._stale.clear()

    async def _advance(self, store: Store, group: Sequence[Projection], start: int, batch: Sequence[RawEvent]) -> None:
        if not batch:
            return
        self._appetite.had(batch)
        try:
            await self._apply(store, group, start, batch)
        except CheckpointMoved:
            self._folding.forget()
        except AWAY:
            raise
        except Exception as exc:  # noqa: BLE001 - a bug of ours stops a projection like a corrupt event does
            self._folding.forget()
            await self._isolate(store, group, start, batch, exc)

    async def _apply(self, store: Store, group: Sequence[Projection], start: int, batch: Sequence[RawEvent]) -> None:
        changes = await self._folding.changes(batch, {projection.follows for projection in group})
        # All rows are made before the first is written: the states may change under a later batch.
        rows = [(projection, projection.apply(changes)) for projection in group]
        await store.move(start, batch[-1].position, rows, archived=changes.archived)
        self.snapshotting.note(batch, changes)

    async def _isolate(
        self, store: Store, group: Sequence[Projection], start: int, batch: Sequence[RawEvent], exc: Exception
    ) -> None:
        if len(batch) > 1:
            middle = len(batch) // 2
            await self._advance(store, group, start, batch[:middle])
            # A projection that stopped in the first half is not at its end: leave the rest to the next round.
            if not any(projection.name in self.halted for projection in group):
                await self._advance(store, group, batch[middle - 1].position, batch[middle:])
        elif len(group) > 1:
            for projection in group:
                await self._advance(store, [projection], start, batch)
        else:
            raw = batch[0]
            where = f"position {raw.position} ({raw.type}, version {raw.version} of {raw.stream_id})"
            checkpoint = (await store.checkpoints(group))[group[0].name]
            self._halt(group[0], checkpoint, f"at {where}: {exc}")
            log.debug("projection stopped by", exc_info=exc)

    def _halt(self, projection: Projection, checkpoint: Checkpoint, reason: str) -> None:
        self.halted[projection.name] = Halt(checkpoint, reason)
        log.error("projection stopped", extra={"projection": projection.name, "reason": reason})
