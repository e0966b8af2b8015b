"""`/v1/executions`: start, look, follow, stop, run again."""

from http import HTTPStatus
from typing import Annotated

from litestar import Response, Router, get, post
from litestar.params import FromPath, FromQuery, HeaderParameter, QueryParameter

from playhead_contracts.requests import CancelBody
from playhead_engine.compare import Comparison
from playhead_engine.state import ExecutionState, ExecutionStatus
from playhead_gateway.bodies import Rerun, StartExecution, read_body, read_idempotency_key
from playhead_gateway.handlers import blocks, cancelling, comparing, lineage, listing, rerunning, starting, viewing
from playhead_gateway.handlers.listening import Accepted
from playhead_gateway.paging import Page, read_moment
from playhead_gateway.read_models import ExecutionFilter, ExecutionRow
from playhead_gateway.results import Result
from playhead_gateway.routes.openapi import problems, says, says_events, says_nothing, takes
from playhead_gateway.routes.replies import AnyResponse, respond, show
from playhead_gateway.services import AnyRequest, caller_of, has_left, needs, services_of

Limit = Annotated[int, QueryParameter(ge=1, le=200)]
EventLimit = Annotated[int, QueryParameter(ge=1, le=1000)]
BlockLimit = Annotated[int, QueryParameter(ge=1, le=5000)]
Under = Annotated[str | None, QueryParameter(description="A container, `each`, or one of its iterations, `each[2]`")]
IdempotencyKey = Annotated[str | None, HeaderParameter(name="Idempotency-Key")]
LastEventId = Annotated[str | None, HeaderParameter(name="Last-Event-ID")]
After = Annotated[str | None, QueryParameter(description="The version seen last")]
From = Annotated[str, QueryParameter(name="from", description="A version")]
To = Annotated[str, QueryParameter(name="to", description="Another version, later or earlier")]
Follow = Annotated[bool, QueryParameter(description="Go on after a pause, to the end")]

_READ = needs("executions:read")
_RUN = needs("executions:run")


_RESULTS = {
    200: says(Result, "The result, or status paused with the open pauses; server-sent events for mode stream"),
    202: says(Accepted, "It is recorded and goes on"),
}


_RERUN = says(Result | rerunning.PlanReply, "The result, or the plan alone of a dry run; or server-sent events")


def _asked(request: AnyRequest, idempotency_key: str | None) -> starting.Asked:
    headers = tuple(request.headers.items())
    return starting.Asked(read_idempotency_key(idempotency_key), headers, lambda: has_left(request.receive))


@post(
    "/v1/workflows/{workflow_id:str}/executions",
    guards=[_RUN],
    operation_class=takes(StartExecution, may_stream=True),
    responses={**_RESULTS, **problems(400, 404, 413, 415, 422)},
)
async def start_execution(
    request: AnyRequest, workflow_id: FromPath[str], idempotency_key: IdempotencyKey = None
) -> AnyResponse:
    """Start a workflow. An Idempotency-Key makes a repeat the same execution.

    Without `mode` in the body, `Accept: text/event-stream` asks for a stream, and `Prefer: respond-async` not to wait;
    `Prefer: wait=N` is how many seconds a sync call may take. A header `X-Playhead-Var-NAME` sets the variable NAME, as
    the body's `variables` do, which go before it.
    """
    order = read_body(await request.body(), StartExecution, request.headers.get("content-type"))
    services, caller, asked = services_of(request), caller_of(request), _asked(request, idempotency_key)
    return respond(await starting.start_execution(services, caller, workflow_id, order, asked))


@get(
    "/v1/executions",
    guards=[_READ],
    responses={200: says(Page[ExecutionRow], "Newest first"), **problems(400)},
)
async def list_executions(
    request: AnyRequest,
    workflow: FromQuery[str | None] = None,
    status: FromQuery[ExecutionStatus | None] = None,
    parent: FromQuery[str | None] = None,
    since: FromQuery[str | None] = None,
    until: FromQuery[str | None] = None,
    cursor: FromQuery[str | None] = None,
    limit: Limit = 50,
) -> AnyResponse:
    """Executions, newest first; `since` and `until` are about when they were created."""
    wanted = ExecutionFilter(
        workflow=workflow,
        status=status,
        parent=parent,
        since=read_moment("since", since),
        until=read_moment("until", until),
    )
    return show(await listing.list_executions(services_of(request), caller_of(request), wanted, cursor, limit))


@get(
    "/v1/executions/compare",
    guards=[_READ],
    responses={200: says(Comparison, "Block by block"), **problems(400, 404)},
)
async def compare_executions(request: AnyRequest, a: FromQuery[str], b: FromQuery[str]) -> AnyResponse:
    """Two executions, block by block: reused, same, changed (with a JSON Patch of the outputs), added, gone.

    `saved` is what b did not have to do again: how many blocks it took over from a, how long they took there, and how
    many of them act outside.
    """
    return show(await comparing.compare_executions(services_of(request), caller_of(request), a, b))


@get(
    "/v1/executions/{execution_id:str}",
    guards=[_READ],
    responses={200: says(viewing.ExecutionView, "The execution"), **problems(404)},
)
async def show_execution(request: AnyRequest, execution_id: FromPath[str]) -> AnyResponse:
    """Status, result so far, timings, counts, open pauses, links, and where a fork comes from."""
    return show(await viewing.show_execution(services_of(request), caller_of(request), execution_id))


@get(
    "/v1/executions/{execution_id:str}/events",
    guards=[_READ],
    responses={200: says(viewing.EventPage, "The facts"), **problems(400, 404)},
)
async def list_events(
    request: AnyRequest, execution_id: FromPath[str], after: After = None, limit: EventLimit = 200
) -> AnyResponse:
    """The facts after a version, in order, as they are stored."""
    services, caller = services_of(request), caller_of(request)
    seen = viewing.read_after(after or "0")
    return show(await viewing.list_events(services, caller, execution_id, seen, limit))


@get(
    "/v1/executions/{execution_id:str}/blocks",
    guards=[_READ],
    responses={200: says(Page[blocks.BlockRow], "In the order in which they appeared"), **problems(400, 404)},
)
async def list_blocks(
    request: AnyRequest,
    execution_id: FromPath[str],
    under: Under = None,
    cursor: FromQuery[str | None] = None,
    limit: BlockLimit = 1000,
) -> AnyResponse:
    """One row for each block instance of which something is known."""
    services, caller = services_of(request), caller_of(request)
    return show(await blocks.list_blocks(services, caller, execution_id, under, cursor, limit))


@get(
    "/v1/executions/{execution_id:str}/state",
    guards=[_READ],
    responses={200: says(ExecutionState, "The state"), **problems(400, 404, 422)},
)
async def show_state(
    request: AnyRequest,
    execution_id: FromPath[str],
    version: FromQuery[str | None] = None,
    at: FromQuery[str | None] = None,
) -> AnyResponse:
    """The whole state at a version, or at a moment, or now."""
    moment = None if at is None else viewing.read_at(at)
    return show(await viewing.show_state(services_of(request), caller_of(request), execution_id, version, moment))


@get(
    "/v1/executions/{execution_id:str}/diff",
    guards=[_READ],
    responses={200: says(comparing.Diff, "The changes"), **problems(400, 404, 422)},
)
async def diff_states(request: AnyRequest, execution_id: FromPath[str], since: From, until: To) -> AnyResponse:
    """What changed from one version of the state to another, as a JSON Patch (RFC 6902)."""
    services, caller = services_of(request), caller_of(request)
    return show(await comparing.diff_states(services, caller, execution_id, since, until))


@get(
    "/v1/executions/{execution_id:str}/lineage",
    guards=[_READ],
    responses={200: says(lineage.Lineage, "The tree"), **problems(404)},
)
async def show_lineage(request: AnyRequest, execution_id: FromPath[str]) -> AnyResponse:
    """The tree of forks that the execution is in: its root, what it was forked from, and all forks of all of them."""
    return show(await lineage.show_lineage(services_of(request), caller_of(request), execution_id))


@get(
    "/v1/executions/{execution_id:str}/stream",
    guards=[_READ],
    responses={200: says_events("Server-sent events"), 204: says_nothing("It has ended"), **problems(400, 404)},
)
async def stream_execution(
    request: AnyRequest,
    execution_id: FromPath[str],
    after: After = None,
    last_event_id: LastEventId = None,
    follow: Follow = False,
) -> AnyResponse:
    """The facts as server-sent events: history, then live, up to the last one, or to a pause that people must answer.

    An event `output` tells what a wanted block gave, `result` the result, `paused` the result at a pause; `block.chunk`
    a piece of what a block is about to give. These have no id. 204 when the last fact was seen already: an EventSource
    stops reconnecting then.
    """
    seen = viewing.read_after(last_event_id or after or "0")
    services, caller = services_of(request), caller_of(request)
    reply = await viewing.stream_execution(services, caller, execution_id, seen, follow=follow)
    return Response(b"", status_code=HTTPStatus.NO_CONTENT) if reply is None else respond(reply)


@post(
    "/v1/executions/{execution_id:str}/cancel",
    status_code=202,
    guards=[_RUN],
    operation_class=takes(CancelBody),
    responses={202: says(cancelling.CancelRecorded, "Recorded"), **problems(400, 404, 409, 413, 415, 422)},
)
async def cancel_execution(request: AnyRequest, execution_id: FromPath[str]) -> AnyResponse:
    """Stop. What is in flight ends first; what is recorded stays."""
    order = read_body(await request.body(), CancelBody, request.headers.get("content-type"))
    services, caller = services_of(request), caller_of(request)
    return respond(await cancelling.cancel_execution(services, caller, execution_id, order.reason))


@post(
    "/v1/executions/{execution_id:str}/rerun",
    guards=[_RUN],
    operation_class=takes(Rerun, may_stream=True),
    responses={**_RESULTS, 200: _RERUN, **problems(400, 404, 413, 415, 422)},
)
async def rerun_execution(
    request: AnyRequest, execution_id: FromPath[str], idempotency_key: IdempotencyKey = None
) -> AnyResponse:
    """Run again from blocks or iterations, as a new execution; `dry_run` only says what would be repeated, and why."""
    order = read_body(await request.body(), Rerun, request.headers.get("content-type"))
    services, caller, asked = services_of(request), caller_of(request), _asked(request, idempotency_key)
    return respond(await rerunning.rerun_execution(services, caller, execution_id, order, asked))


ROUTER = Router(
    "/",
    route_handlers=[
        start_execution,
        list_executions,
        compare_executions,
        show_execution,
        list_events,
        list_blocks,
        show_state,
        diff_states,
        show_lineage,
        stream_execution,
        cancel_execution,
        rerun_execution,
    ],
    tags=["executions"],
)
