"""Having a new execution run, and answering its caller: with the result, with a stream, or at once."""

from collections.abc import Awaitable, Callable

import msgspec

from playhead_contracts.commands import Run
from playhead_contracts.ids import ExecutionId
from playhead_engine.state import ExecutionState, ExecutionStatus
from playhead_gateway.access import Caller
from playhead_gateway.handlers.cancelling import cancel_execution
from playhead_gateway.handlers.listening import (
    Client,
    Reply,
    StreamReply,
    accepted,
    event_stream,
    rests,
    result_when_it_rests,
    result_with_plan,
)
from playhead_gateway.handlers.loading import send_command
from playhead_gateway.preferences import Manner
from playhead_gateway.services import Services
from playhead_runtime.spans import about

CLIENT_LEFT = "the client went away"
"""The reason of a cancel that a caller has asked for, should they go away."""


class Wanted(msgspec.Struct, frozen=True):
    """How to answer, and what to do when there is nobody left to answer."""

    manner: Manner
    follow: bool
    cancel_on_disconnect: bool
    left: Callable[[], Awaitable[None]] | None
    """Returns when the client has gone away; None if that cannot be seen."""


async def run_and_answer(
    services: Services, caller: Caller, state: ExecutionState, created: str | None, wanted: Wanted
) -> Reply | StreamReply:
    """Have an execution that is in the log run, and answer in the way that was asked for.

    `created` is its first event as stored, if that is all there is.
    """
    about(state)
    manner = wanted.manner
    run = Run(
        id=f"run:{state.execution_id}",
        tenant=caller.tenant,
        execution_id=state.execution_id,
        created=created,
    )
    is_new = state.status is ExecutionStatus.CREATED
    client = _client(services, caller, state.execution_id, wanted)
    match manner.mode:
        case "async":
            if is_new:
                await send_command(services, run, soon=False)
            reply = accepted(state)
        case "stream":
            if is_new:
                await send_command(services, run, soon=True)
            ends = not wanted.follow
            return StreamReply(
                event_stream(
                    services, caller.tenant, state.execution_id, 0, began=state, ends_at_pause=ends, client=client
                )
            )
        case "sync":
            reply = await _result(services, state, run if is_new else None, manner, client)
    return msgspec.structs.replace(reply, preference_applied=manner.applied)


async def _result(
    services: Services, state: ExecutionState, run: Run | None, manner: Manner, client: Client | None
) -> Reply:
    if rests(state):
        return Reply(body=await result_with_plan(services, state))
    # Listen before asking, so that the answer cannot be missed.
    async with services.follows.open(state.tenant, state.execution_id) as follow:
        if run is not None:
            await send_command(services, run, soon=True)
        return await result_when_it_rests(
            services, follow, state, is_caught_up=run is not None, manner=manner, client=client
        )


def _client(services: Services, caller: Caller, execution_id: ExecutionId, wanted: Wanted) -> Client | None:
    if wanted.left is None:
        return None

    def cancel() -> None:
        if wanted.cancel_on_disconnect:
            cancelling = cancel_execution(services, caller, execution_id, CLIENT_LEFT)
            services.errands.run("cancel for a client that left", cancelling)

    return Client(wanted.left, cancel)
