"""Telling who listens: facts right after their commit, and pieces of outputs on their way.

Lossy by design: listeners compare versions and fill gaps from the log. Pieces are kept by the bus for some minutes, so
that who comes later, or again, can have them told from the first one on.
"""

import asyncio
from collections import deque
from collections.abc import Iterable

import msgspec

from playhead_contracts import subjects
from playhead_contracts.commands import Chunk, Nudge
from playhead_contracts.ids import ExecutionId, TenantId
from playhead_runtime.bus import Bus, BusUnavailable

_PAGE = 500
"""Less than a subscription holds back for a reader that is slow."""
_PATIENCE_SECONDS = 1.0
_MOST_BYTES = 8 * 1024 * 1024


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


async def tell_chunk(bus: Bus, tenant: TenantId, chunk: Chunk) -> None:
    """Pass on a piece of what a block is about to give. One that is larger than the bus carries is left out."""
    frame = msgspec.json.encode(chunk)
    if len(frame) <= bus.max_payload:
        await bus.publish(subjects.chunk(tenant, chunk.execution_id), frame)


async def kept_chunks(bus: Bus, tenant: TenantId, execution_id: ExecutionId) -> list[bytes]:
    """The messages with pieces of an execution that the bus still has, oldest first; none when it does not answer.

    Of very many only the newest.
    """
    found: deque[bytes] = deque()
    size_bytes, sequence = 0, 1 if bus.is_connected else 0
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while sequence:
                page, sequence = await _kept_from(bus, subjects.chunk(tenant, execution_id), sequence)
                found += page
                size_bytes += sum(map(len, page))
                while size_bytes > _MOST_BYTES:
                    size_bytes -= len(found.popleft())
    except (TimeoutError, BusUnavailable):
        pass  # they are a courtesy: better a stream without them than none
    return list(found)


async def _kept_from(bus: Bus, subject: str, sequence: int) -> tuple[list[bytes], int]:
    """A page of what is kept on a subject, and where the next one begins: 0 if there is none."""
    inbox = bus.new_inbox()
    found: list[bytes] = []
    async with await bus.subscribe(inbox) as answers:
        wanted = {"seq": sequence, "next_by_subj": subject, "batch": _PAGE}
        await bus.publish(f"$JS.API.DIRECT.GET.{subjects.CHUNKS_STREAM}", msgspec.json.encode(wanted), reply=inbox)
        async for answer in answers:
            if "Status" in answer.headers:
                # The end of the page, nothing there, or no such stream.
                is_all = answer.headers.get("Nats-Num-Pending", "0") == "0"
                return found, 0 if is_all else int(answer.headers["Nats-Last-Sequence"]) + 1
            found.append(answer.data)
    return found, 0


async def nudge_owner(bus: Bus, owner: str | None, execution_id: ExecutionId) -> None:
    """Have the executor that holds an execution look at the log, without asking for an answer.

    The command that goes with it does the same and cannot be lost, but an executor that is full takes no commands.
    """
    if owner is not None:
        await bus.publish(subjects.nudge(owner), msgspec.json.encode(Nudge(execution_id=execution_id)))
