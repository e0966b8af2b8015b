"""Keeping snapshots of long executions: the projector has their states in memory anyway, at the end of each batch.

A state is encoded at once, for the next batch changes it, and written by a task of its own, so that read models never
wait for it. When writing falls behind, the older state of an execution gives way to the newer one. Nobody depends on a
snapshot: one that is not written is missed by nobody but the clock of whoever folds that execution next.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Sequence

import msgspec

from playhead_contracts.ids import StreamId, execution_stream
from playhead_engine.folding import EXECUTIONS
from playhead_engine.state import ExecutionState
from playhead_eventlog import EVERY, LogUnavailable, RawEvent, Snapshots, StreamHead
from playhead_projector.folding import Changes

log = logging.getLogger("playhead.projector.snapshotting")

KNOWN_STREAMS = 10_000
"""Of which the newest snapshot is remembered."""
MOST_WAITING = 16
"""States that wait to be written; above that the oldest is dropped."""


class Snapshotting:
    """`note` after each batch, and `run` beside it."""

    def __init__(self, snapshots: Snapshots):
        self._snapshots = snapshots
        self._newest: OrderedDict[StreamId, int] = OrderedDict()
        self._waiting: OrderedDict[StreamId, tuple[StreamHead, bytes]] = OrderedDict()
        self._wake = asyncio.Event()

    def note(self, batch: Sequence[RawEvent], changes: Changes) -> None:
        """Take the states to which a batch led, where enough events have come since the newest snapshot."""
        due = {execution_stream(change.state.execution_id): change.state for change in changes.executions}
        # What is folded here is sealed, and whoever begins from a snapshot needs it open.
        due = {stream: state for stream, state in due.items() if state.personal is None}
        due = {stream: state for stream, state in due.items() if state.version - self._newest.get(stream, 0) >= EVERY}
        if not due:
            return
        for raw in reversed(batch):
            state = due.get(raw.stream_id)
            if state is not None and state.version == raw.version:
                self._take(raw, state)

    async def run(self) -> None:
        """Write what was taken, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                stream_id, (head, content) = self._waiting.popitem(last=False)
                try:
                    await self._write(stream_id, head, content)
                except LogUnavailable as exc:
                    log.warning("snapshot not kept", extra={"stream_id": stream_id, "reason": str(exc)})

    def _take(self, raw: RawEvent, state: ExecutionState) -> None:
        self._know(raw.stream_id, raw.version)
        try:
            content = EXECUTIONS.encode(state)
        except (msgspec.EncodeError, OverflowError, ValueError) as exc:
            log.warning("snapshot not kept", extra={"stream_id": raw.stream_id, "reason": str(exc)})
            return
        self._waiting[raw.stream_id] = (StreamHead(raw.version, raw.hash), content)
        while len(self._waiting) > MOST_WAITING:
            self._waiting.popitem(last=False)
        self._wake.set()

    async def _write(self, stream_id: StreamId, head: StreamHead, content: bytes) -> None:
        newest = await self._snapshots.newest_version(stream_id)
        if head.version - newest < EVERY:
            # Of an earlier run of this process; or it was at the end of a batch that was folded again.
            self._know(stream_id, max(newest, self._newest.get(stream_id, 0)))
            return
        await self._snapshots.save(stream_id, head, EXECUTIONS.code, content)

    def _know(self, stream_id: StreamId, version: int) -> None:
        self._newest[stream_id] = version
        self._newest.move_to_end(stream_id)
        while len(self._newest) > KNOWN_STREAMS:
            self._newest.popitem(last=False)
