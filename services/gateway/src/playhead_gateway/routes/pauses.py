"""Pauses: the inbox, and answers."""

from typing import Annotated

from litestar import Router, get, post
from litestar.params import FromPath, FromQuery, HeaderParameter, QueryParameter

from playhead_engine.state import PauseStatus
from playhead_gateway.bodies import (
    Approvals,
    DelegatePause,
    ExtendPause,
    ResumePause,
    read_body,
    read_idempotency_key,
)
from playhead_gateway.handlers import answering, listing
from playhead_gateway.paging import read_moment
from playhead_gateway.read_models import PauseFilter
from playhead_gateway.results import Result
from playhead_gateway.routes.openapi import problems, says, takes
from playhead_gateway.routes.replies import AnyResponse, respond, show
from playhead_gateway.services import AnyRequest, caller_of, needs, services_of

IdempotencyKey = Annotated[str | None, HeaderParameter(name="Idempotency-Key")]
Limit = Annotated[int, QueryParameter(ge=1, le=200)]

_SEE = needs("executions:read", "pauses:answer")
_ANSWER = needs("pauses:answer")
_EXTEND = needs("pauses:answer", "executions:run")


@get("/v1/pauses", guards=[_SEE], responses={200: says(listing.Inbox, "Newest first"), **problems(400)})
async def list_pauses(
    request: AnyRequest,
    status: FromQuery[PauseStatus | None] = None,
    workflow: FromQuery[str | None] = None,
    execution: FromQuery[str | None] = None,
    assignee: FromQuery[str | None] = None,
    mine: FromQuery[bool] = False,
    due_before: FromQuery[str | None] = None,
    cursor: FromQuery[str | None] = None,
    limit: Limit = 50,
) -> AnyResponse:
    """The inbox: questions to people, newest first; `mine` are those that the caller may answer."""
    caller = caller_of(request)
    wanted = PauseFilter(
        workflow=workflow,
        execution=execution,
        status=status,
        assignee=assignee,
        names=listing.names_of(caller) if mine else None,
        due_before=read_moment("due_before", due_before),
    )
    return show(await listing.list_pauses(services_of(request), caller, wanted, cursor, limit))


@get(
    "/v1/pauses/{pause_id:str}",
    guards=[_SEE],
    responses={200: says(answering.PauseView, "The pause"), **problems(404)},
)
async def show_pause(request: AnyRequest, pause_id: FromPath[str]) -> AnyResponse:
    """One pause: what is asked, and what the blocks right before it gave."""
    return show(await answering.show_pause(services_of(request), caller_of(request), pause_id))


@post(
    "/v1/executions/{execution_id:str}/pauses/{pause_id:str}/resume",
    guards=[_ANSWER],
    operation_class=takes(ResumePause),
    responses={
        200: says(Result, "The result, or the next pauses; server-sent events for a streaming execution"),
        202: says(answering.Answered, "Recorded; an asynchronous execution goes on"),
        **problems(400, 404, 409, 410, 413, 415, 422),
    },
)
async def resume_pause(
    request: AnyRequest,
    execution_id: FromPath[str],
    pause_id: FromPath[str],
    idempotency_key: IdempotencyKey = None,
) -> AnyResponse:
    """Answer a pause. The same answer again is told so; a different one is refused.

    What comes of it is told as the body's `mode` says, or the headers Accept and Prefer, or else in the way in which
    the execution was started.
    """
    order = read_body(await request.body(), ResumePause, request.headers.get("content-type"))
    services, caller = services_of(request), caller_of(request)
    asked = answering.AskedToResume(read_idempotency_key(idempotency_key), dict(request.headers))
    return respond(await answering.resume(services, caller, execution_id, pause_id, order, asked))


@post(
    "/v1/executions/{execution_id:str}/pauses/{pause_id:str}/extend",
    status_code=200,
    guards=[_EXTEND],
    operation_class=takes(ExtendPause),
    responses={200: says(answering.Changed, "It has that time"), **problems(400, 404, 410, 413, 415, 422)},
)
async def extend_pause(request: AnyRequest, execution_id: FromPath[str], pause_id: FromPath[str]) -> AnyResponse:
    """Give people more time to answer; for whoever started the execution, and for operators."""
    order = read_body(await request.body(), ExtendPause, request.headers.get("content-type"))
    services, caller = services_of(request), caller_of(request)
    return respond(await answering.extend(services, caller, execution_id, pause_id, order))


@post(
    "/v1/executions/{execution_id:str}/pauses/{pause_id:str}/delegate",
    status_code=200,
    guards=[_ANSWER],
    operation_class=takes(DelegatePause),
    responses={200: says(answering.Changed, "They may answer now"), **problems(400, 404, 410, 413, 415, 422)},
)
async def delegate_pause(request: AnyRequest, execution_id: FromPath[str], pause_id: FromPath[str]) -> AnyResponse:
    """Pass the right to answer on to somebody else."""
    order = read_body(await request.body(), DelegatePause, request.headers.get("content-type"))
    services, caller = services_of(request), caller_of(request)
    return respond(await answering.delegate(services, caller, execution_id, pause_id, order))


@post(
    "/v1/executions/{execution_id:str}/approvals",
    status_code=200,
    guards=[_ANSWER],
    operation_class=takes(Approvals),
    responses={200: says(answering.Outcomes, "An outcome for each"), **problems(400, 404, 413, 415, 422)},
)
async def approve(request: AnyRequest, execution_id: FromPath[str]) -> AnyResponse:
    """Answer several pauses at once; one that cannot be answered harms no other."""
    order = read_body(await request.body(), Approvals, request.headers.get("content-type"))
    return respond(await answering.approve(services_of(request), caller_of(request), execution_id, order))


ROUTER = Router(
    "/", route_handlers=[list_pauses, show_pause, resume_pause, extend_pause, delegate_pause, approve], tags=["pauses"]
)
