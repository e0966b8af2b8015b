"""Telling who listens, right after a commit. Lossy by design: listeners compare versions and fill gaps from the log."""

from collections.abc import Iterable

from playhead_contracts import subjects
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
