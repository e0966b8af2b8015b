"""Waiting for what becomes of an execution, and telling it in the way asked for: sync, stream or async."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from http import HTTPStatus

import msgspec

from playhead_contracts.errors import Unavailable
from playhead_contracts.events import Event, decode_joined
from playhead_contracts.ids import ExecutionId, TenantId
from playhead_engine.folding import evolve
from playhead_engine.state import ExecutionState
from playhead_gateway.follow import Fact, Follow
from playhead_gateway.handlers.loading import asking_children, definition_of
from playhead_gateway.handlers.narrating import Narrator, open_narrator
from playhead_gateway.handlers.narrating import rests as rests
from playhead_gateway.preferences import Manner
from playhead_gateway.problems import tell
from playhead_gateway.results import result_of, with_plan
from playhead_gateway.services import Services

log = logging.getLogger(__name__)

PING_SECONDS = 15.0


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """A JSON answer."""

    status: int = HTTPStatus.OK
    body: object
    location: str | None = None
    preference_applied: str | None = None


class Client(msgspec.Struct, frozen=True):
    """Whoever waits for an answer. `left` returns when they have gone away; `cancel` is what is to be done then."""

    left: Callable[[], Awaitable[None]]
    cancel: Callable[[], None]


class StreamReply(msgspec.Struct, frozen=True):
    """Server-sent events."""

    chunks: AsyncGenerator[bytes]


class Accepted(msgspec.Struct, kw_only=True, omit_defaults=True):
    """It is recorded and will be done; `links` say where to see how it goes."""

    execution_id: str
    workflow_id: str
    version: int
    status: str
    links: dict[str, str]
    plan: object = None


def links_of(execution_id: str) -> dict[str, str]:
    """Where to find everything about an execution."""
    here = f"/v1/executions/{execution_id}"
    names = ("events", "blocks", "state", "stream", "cancel", "rerun")
    children = {"children": f"/v1/executions?parent={execution_id}"}
    return {"self": here} | {name: f"{here}/{name}" for name in names} | children


def accepted(state: ExecutionState) -> Reply:
    """202 for an execution that is under way."""
    links = links_of(state.execution_id)
    body = Accepted(
        execution_id=state.execution_id,
        workflow_id=state.workflow_id,
        version=state.workflow_version,
        status=state.status,
        links=links,
        plan=state.plan,
    )
    return Reply(status=HTTPStatus.ACCEPTED, body=body, location=links["self"])


async def result_when_it_rests(
    services: Services,
    follow: Follow,
    state: ExecutionState,
    *,
    after: int = 0,
    is_caught_up: bool,
    manner: Manner | None = None,
    client: Client | None = None,
) -> Reply:
    """The result of an execution once it rests; 202 with its status if that takes longer than there is to wait.

    `state` is the caller's to give away. `is_caught_up`: it was the newest when `follow` began to listen, or later.
    """
    limit = services.settings.sync_wait_seconds
    facts = follow.facts(state.version, is_caught_up=is_caught_up)
    resting = asyncio.create_task(evolve_until(services, facts, state, lambda: rests(state, after)), name="sync call")
    waiting: set[asyncio.Task[None]] = {resting}
    if client is not None:
        waiting.add(asyncio.ensure_future(client.left()))
    try:
        seconds = limit if manner is None else manner.wait_at_most(limit)
        done, _ = await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if not resting.done():
            if client is not None and done:
                client.cancel()
            return accepted(state)
        resting.result()
    except Unavailable:
        # Recorded it is. To say that it failed would make the caller do it a second time.
        return accepted(state)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    return Reply(body=await result_with_plan(services, state))


async def result_with_plan(services: Services, state: ExecutionState) -> object:
    """The result as it is now; with its plan, if it is a fork."""
    graph = (await definition_of(services, state)).graph
    return with_plan(result_of(state, graph, await asking_children(services, state)), state)


async def evolve_until(
    services: Services, facts: AsyncGenerator[list[Fact]], state: ExecutionState, holds: Callable[[], bool]
) -> None:
    """Have a state, which is the caller's to give away, follow the facts until something holds. Raises as `facts`."""
    try:
        while not holds():
            for event in await _events(services, await anext(facts)):
                envelope = event.envelope
                evolve(state, event.data, envelope.version, envelope.recorded_at, envelope.actor)
    finally:
        await facts.aclose()


async def _events(services: Services, batch: list[Fact]) -> list[Event]:
    return await services.log.hydrate([decode_joined(fact.frame) for fact in batch if fact.version])


async def event_stream(
    services: Services,
    tenant: TenantId,
    execution_id: ExecutionId,
    after: int,
    *,
    began: ExecutionState | None = None,
    ends_at_pause: bool = False,
    client: Client | None = None,
) -> AsyncGenerator[bytes]:
    """Server-sent events with what happened after version `after`, up to the last fact, or to a pause if that is asked.

    What is told is said in `narrating`. `began` is a state of the execution, if the caller has one. A fault is told as
    an event `error` with a problem document.
    """
    is_settled = False
    yield b"retry: 1000\n\n"
    try:
        async with services.follows.open(tenant, execution_id) as follow:
            narrator = await open_narrator(services, execution_id, after, began)
            async with aclosing(_narration(follow, narrator, ends_at_pause=ends_at_pause)) as narration:
                async for told in narration:
                    # Known before the client may have read it, and gone.
                    is_settled = narrator.is_settled
                    yield told
            is_settled = True
    except Exception as exc:
        is_settled = True
        problem = tell(exc)
        if problem.status == HTTPStatus.INTERNAL_SERVER_ERROR:
            log.exception("stream failed", extra={"execution_id": execution_id})
        yield b"event: error\ndata: " + problem.body + b"\n\n"
    finally:
        if client is not None and not is_settled and not services.follows.is_stopping:
            client.cancel()


async def _narration(follow: Follow, narrator: Narrator, *, ends_at_pause: bool) -> AsyncGenerator[bytes]:
    loop = asyncio.get_running_loop()
    if told := await narrator.begin():
        yield told
    if narrator.has_ended or (ends_at_pause and narrator.is_paused and await follow.is_newest(narrator.version)):
        return
    spoken = loop.time()
    async for batch in follow.facts(narrator.version):
        async for told in narrator.tell(batch):
            yield told
            spoken = loop.time()
        if ends_at_pause and narrator.is_paused and batch and await follow.is_newest(narrator.version):
            return
        if not batch and loop.time() - spoken >= PING_SECONDS:
            narrator.forget()
            yield b": ping\n\n"
            spoken = loop.time()
