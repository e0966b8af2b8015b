"""Bringing tables of one schema forward along the log, by the code that keeps the live ones.

Projections of one build may be at different positions: those that are furthest behind go first, until they meet the
next ones, and from there they go together. Rows and checkpoints of a batch are one transaction, so whatever ends a
build, its schema is what the checkpoints say. A projection whose own code fails is left out, and the others go on.
"""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from playhead_contracts.errors import Corrupt
from playhead_contracts.ids import ExecutionId
from playhead_eventlog import EventLog, RawEvent
from playhead_projector.batches import Appetite
from playhead_projector.folding import Folding
from playhead_projector.projections import Projection, Row
from playhead_projector.queries import BUILDING
from playhead_projector.store import AWAY, CheckpointMoved, Rows, Store

MAX_EVENTS = 2000


class Progress(msgspec.Struct, frozen=True):
    """How far something has come that reads the log: `position`, on the way to position `until`."""

    events: int
    position: int
    until: int


Told = Callable[[Progress], None]


def tell_nobody(progress: Progress) -> None:
    """For who does not want to know."""


class ProjectionFailed(Corrupt):
    """No projection can be built: their own code failed."""


class Build:
    """Tables of `schema`, being built."""

    def __init__(
        self,
        event_log: EventLog,
        store: Store,
        projections: Sequence[Projection],
        schema: str,
        told: Told = tell_nobody,
    ):
        self.event_log = event_log
        self.store = store
        self._told = told
        self._folding = Folding(event_log)
        self._appetite = Appetite(MAX_EVENTS)
        self.projections = projections
        self.failed: dict[str, str] = {}
        """Projections that were left out, and why."""
        self.schema = schema
        self.positions: dict[str, int] = dict.fromkeys((projection.name for projection in projections), 0)
        self.events = 0

    @property
    def position(self) -> int:
        """Where the projection is that is furthest behind."""
        return min(self.positions.values())

    async def begin(self) -> None:
        """Empty tables, where nobody reads them. Raises ProjectionFailed when none can be made."""
        await self._leave_out_all(await self.store.begin_building(self.projections))

    async def finish(self) -> None:
        """What tables get when their rows are in them. Raises ProjectionFailed when no projection is left."""
        await self._leave_out_all(await self.store.finish_tables(self.projections, self.schema))

    async def go_on_from(self) -> None:
        """Begin where the checkpoints of the schema are."""
        found = await self.store.checkpoints(self.projections, self.schema)
        self.positions = {name: checkpoint.position for name, checkpoint in found.items()}

    def back_to(self, positions: Mapping[str, int], events: int) -> None:
        """The transaction of the last batches was taken back."""
        self.positions = {name: position for name, position in positions.items() if name not in self.failed}
        self.events = events
        self._folding.forget()

    async def read_to(self, until: int | Mapping[str, int]) -> None:
        """Bring every projection to position `until`, or each to its own; one that is further stays where it is.

        Raises Corrupt, or msgspec.DecodeError, for an event that cannot be folded; ProjectionFailed when no projection
        is left; LogUnavailable.
        """
        targets = dict.fromkeys(self.positions, until) if isinstance(until, int) else until
        while behind := [each for each in self.projections if self.positions[each.name] < targets[each.name]]:
            start = min(self.positions[each.name] for each in behind)
            group = [each for each in behind if self.positions[each.name] == start]
            ahead = [position for position in self.positions.values() if position > start]
            await self._batch(group, start, min([targets[each.name] for each in group] + ahead), max(targets.values()))

    async def _batch(self, group: Sequence[Projection], start: int, end: int, until: int) -> None:
        found = await self.event_log.read_log(start, self._appetite.limit)
        batch = [raw for raw in found if raw.position <= end]
        # Nothing (more) before `end`: positions that were drawn and not used leave gaps.
        reached = batch[-1].position if batch and len(batch) == len(found) else end
        await self._write(group, start, reached, batch)
        for projection in group:
            if projection.name in self.positions:
                self.positions[projection.name] = reached
        self.events += len(batch)
        self._told(Progress(self.events, reached, until))

    async def _write(self, group: Sequence[Projection], start: int, end: int, batch: Sequence[RawEvent]) -> None:
        if batch:
            self._appetite.had(batch)
        changes = await self._folding.changes(batch, {projection.follows for projection in group})
        rows: list[tuple[Projection, list[Row]]] = []
        for projection in group:
            try:
                rows.append((projection, projection.apply(changes)))
            except Exception as exc:  # noqa: BLE001 - a fault in a projection stops that one
                await self._leave_out(projection, _reason(start, end, exc))
        await self._move(rows, start, end, changes.archived)

    async def _move(self, rows: Rows, start: int, end: int, archived: Sequence[ExecutionId]) -> None:
        try:
            await self.store.move(start, end, rows, self.schema, archived)
        except (*AWAY, CheckpointMoved):
            raise
        except Exception as exc:  # noqa: BLE001 - rows that its table does not take are a projection's fault, too
            if len(rows) == 1:
                return await self._leave_out(rows[0][0], _reason(start, end, exc))
            for each in rows:
                await self._move([each], start, end, archived)

    async def _leave_out_all(self, refused: Mapping[str, str]) -> None:
        for projection in [each for each in self.projections if each.name in refused]:
            await self._leave_out(projection, refused[projection.name])

    async def _leave_out(self, projection: Projection, reason: str) -> None:
        self.failed[projection.name] = reason
        self.projections = [each for each in self.projections if each is not projection]
        del self.positions[projection.name]
        if not self.projections:
            raise ProjectionFailed(f"{projection.name}: {reason}")
        if self.schema == BUILDING:
            await self.store.leave_out(projection)


def _reason(start: int, end: int, exc: Exception) -> str:
    return f"it failed between positions {start} and {end}: {type(exc).__name__}: {exc}"
