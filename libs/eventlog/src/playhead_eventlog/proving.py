"""What signed checkpoints prove about a log: both are walked side by side, once, in flat memory."""

from collections.abc import AsyncIterable, Iterable
from datetime import datetime

import msgspec

from playhead_eventlog.checkpoints import (
    BrokenCheckpoint,
    Checkpoint,
    LogDigest,
    Place,
    Written,
    line_id,
    read_checkpoint,
)
from playhead_eventlog.signing import PublicKey


class Unproven(msgspec.Struct, frozen=True):
    """What does not hold between checkpoints and log. `after` and `until` are positions: something is wrong between.

    `kind`: `checkpoint` (the files themselves), `rewritten` (the log is not what was signed), `removed` (its end is
    missing).
    """

    kind: str
    after: int
    until: int
    reason: str


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What checkpoints prove about the log that was walked."""

    checkpoints: int
    first_signed_at: datetime | None = None
    last_signed_at: datetime | None = None
    position: int = 0
    """Of the last checkpoint."""
    events: int = 0
    """Up to there."""
    unsigned: int = 0
    """Events after the last checkpoint, for which only their chains speak."""
    keys: tuple[str, ...] = ()
    faults: tuple[Unproven, ...] = ()


async def prove(places: AsyncIterable[Place], written: Iterable[Written], keys: Iterable[PublicKey]) -> Proof:
    """Hold a log against its checkpoints, in one pass over both and in flat memory.

    `places` are those of all events in the order of positions, wherever they are kept now. After a fault it goes on
    from what was signed, so that it is told which parts of the log hold and which do not.
    """
    signed = _Signed(written, tuple(keys))
    digest = LogDigest()
    until = next(signed, None)
    previous = 0
    unsigned = 0
    async for place in places:
        while until is not None and place.position > until.position:
            # The event that was last when this was signed is not there.
            signed.fault("rewritten", previous, until.position, f"the event at position {until.position} is not there")
            digest.go_on_from(until)
            previous, until = until.position, next(signed, None)
        digest.add(place)
        if until is None:
            unsigned += 1
        elif place.position == until.position:
            if reason := _difference(digest, until):
                signed.fault("rewritten", previous, until.position, reason)
                digest.go_on_from(until)
            previous, until = until.position, next(signed, None)
    if until is not None:
        reason = f"the log ends at position {digest.last.position}, and position {until.position} was signed"
        signed.fault("removed", max(previous, digest.last.position), until.position, reason)
        for _ in signed:
            pass
    last = signed.last
    return Proof(
        checkpoints=signed.count,
        first_signed_at=None if signed.first is None else signed.first.signed_at,
        last_signed_at=None if last is None else last.signed_at,
        position=0 if last is None else last.position,
        events=0 if last is None else last.events,
        unsigned=unsigned,
        keys=tuple(sorted(signed.key_ids)),
        faults=tuple(signed.faults),
    )


def _difference(digest: LogDigest, checkpoint: Checkpoint) -> str | None:
    if digest.log_id != checkpoint.log_id:
        return "the first event of the log is another: this is another log, or it was rewritten from its beginning"
    if digest.events != checkpoint.events:
        return f"there are {digest.events} events up to here, and {checkpoint.events} were signed"
    if digest.last.hash.hex() != checkpoint.head:
        return f"the event at position {checkpoint.position} is not the one that was signed"
    if digest.digest.hex() != checkpoint.digest:
        return "the events up to here are not those that were signed"
    return None


class _Signed:
    """The checkpoints of a folder one by one, each checked by itself and against the one before."""

    def __init__(self, written: Iterable[Written], keys: tuple[PublicKey, ...]):
        self._written = iter(written)
        self._keys = keys
        self._line: bytes | None = None
        self.count = 0
        self.first: Checkpoint | None = None
        self.last: Checkpoint | None = None
        self.key_ids: set[str] = set()
        self.faults: list[Unproven] = []

    def __iter__(self) -> "_Signed":
        return self

    def __next__(self) -> Checkpoint:
        while True:
            where = next(self._written)
            self.count += 1
            before, self._line = self._line, where.line
            place = f"{where.file} line {where.number}"
            try:
                checkpoint = read_checkpoint(where.line, self._keys)
            except BrokenCheckpoint as error:
                self._broken(f"{place}: {error}")
                continue
            last, self.last = self.last, checkpoint
            self.first = self.first or checkpoint
            self.key_ids.add(checkpoint.key_id)
            follows = None if before is None else line_id(before)
            if checkpoint.previous != follows:
                self._broken(f"{place}: it does not follow the checkpoint before it; one was removed or replaced")
            if last is not None and checkpoint.position <= last.position:
                self._broken(f"{place}: it goes back to position {checkpoint.position}")
                continue
            return checkpoint

    def fault(self, kind: str, after: int, until: int, reason: str) -> None:
        self.faults.append(Unproven(kind, after, until, reason))

    def _broken(self, reason: str) -> None:
        position = 0 if self.last is None else self.last.position
        self.fault("checkpoint", position, position, reason)
