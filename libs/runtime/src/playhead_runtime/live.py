"""Telling who listens, right after a commit. Lossy by design: listeners compare versions and fill gaps from the log."""

from collections.abc import Iterable

import msgspec

from playhead_contracts import subjects
from playhead_contracts.commands import Nudge
from playhead_contracts.ids import ExecutionId, TenantId
from playhead_runtime.bus import Bus


async def tell(bus: Bus, tenant: TenantId, execution_id: ExecutionId, frames: Iterable[bytes]) -> None:
    """Publish the events of one commit on the execution's live subject, one event a line, in as few messages as fit.

    An event that is larger than the bus carries is left out; whoever misses it reads it from the log.
    """
    subject = subjects.live(tenant, execution_id)
    together: list[bytes] = []
    size_bytes = 0
    for frame in frames:
        if len(frame) > bus.max_payload:
            continue
        if together and size_bytes + len(frame) + 1 > bus.max_payload:
            await bus.publish(subject, b"\n".join(together))
            together, size_bytes = [], 0
        together.append(frame)
        size_bytes += len(frame) + 1
    if together:
        await bus.publish(subject, b"\n".join(together))


async def nudge_owner(bus: Bus, owner: str | None, execution_id: ExecutionId) -> None:
    """Have the executor that holds an execution look at the log, without asking for an answer.

    The command that goes with it does the same and cannot be lost, but an executor that is full takes no commands.
    """
    if owner is not None:
        await bus.publish(subjects.nudge(owner), msgspec.json.encode(Nudge(execution_id=execution_id)))
