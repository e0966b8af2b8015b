"""Waiting for what becomes of an execution, and telling it in the way asked for: sync, stream or async."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from http import HTTPStatus

import msgspec

from playhead_contracts.errors import Unavailable
from playhead_contracts.events import Event, ExecutionPaused, decode_joined
from playhead_contracts.ids import ExecutionId, TenantId
from playhead_engine.folding import evolve
from playhead_engine.state import ExecutionState, ExecutionStatus
from playhead_eventlog import may_refer
from playhead_gateway.follow import PAUSED_TYPE, Fact, Follow
from playhead_gateway.handlers.loading import asking_children, definition_of
from playhead_gateway.problems import tell
from playhead_gateway.results import Result, result_of
from playhead_gateway.services import Services

log = logging.getLogger(__name__)

PING_SECONDS = 15.0


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """A JSON answer."""

    status: int = HTTPStatus.OK
    body: object
    location: str | None = None


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


def rests(state: ExecutionState, after: int = 0) -> bool:
    """Whether there is a result to tell: it has ended, or waits for people and nobody has answered since.

    Facts up to version `after` are what the caller did; it rests only if something came of it. Waiting for a timer is
    not resting.
    """
    if state.is_ended:
        return True
    is_waiting = state.status is ExecutionStatus.PAUSED and state.unheeded == 0
    return is_waiting and state.version > after and bool(state.asked_pauses())


async def result_when_it_rests(
    services: Services, follow: Follow, state: ExecutionState, *, after: int = 0, is_caught_up: bool
) -> Reply:
    """The result of an execution once it rests; 202 with its status if that takes longer than the gateway waits.

    `state` is the caller's to give away. `is_caught_up`: it was the newest when `follow` began to listen, or later.
    """
    try:
        async with asyncio.timeout(services.settings.sync_wait_seconds):
            await _evolve_until_rest(services, follow.facts(state.version, is_caught_up=is_caught_up), state, after)
    except (TimeoutError, Unavailable):
        # Recorded it is. To say that it failed would make the caller do it a second time.
        return accepted(state)
    return Reply(body=await result_with_plan(services, state))


async def result_with_plan(services: Services, state: ExecutionState) -> object:
    """The result as it is now; with its plan, if it is a fork."""
    result = result_of(state, (await definition_of(services, state)).graph, await asking_children(services, state))
    return result if state.plan is None else _Forked(**msgspec.structs.asdict(result), plan=state.plan)


class _Forked(Result, kw_only=True):
    plan: object


async def _evolve_until_rest(
    services: Services, facts: AsyncGenerator[list[Fact]], state: ExecutionState, after: int
) -> None:
    try:
        while not rests(state, after):
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
    known: int | None = None,
    ends_at_pause: bool = False,
) -> AsyncGenerator[bytes]:
    """Server-sent events with the facts after version `after`, up to the last one, or to a pause if that is asked.

    `known` is the newest version if that is before `after`: what lies between is passed over. A fault is told as an
    event `error` with a problem document.
    """
    loop = asyncio.get_running_loop()
    yield b"retry: 1000\n\n"
    try:
        async with services.follows.open(tenant, execution_id) as follow:
            spoken = loop.time()
            async for batch in follow.facts(after if known is None else known):
                shown = [fact for fact in batch if fact.version > after or fact.version == 0]
                async for told in _told(services, shown):
                    yield told
                    spoken = loop.time()
                if not shown and loop.time() - spoken >= PING_SECONDS:
                    yield b": ping\n\n"
                    spoken = loop.time()
                if ends_at_pause and await _ends_here(follow, batch):
                    return
    except Exception as exc:
        told = tell(exc)
        if told.status == HTTPStatus.INTERNAL_SERVER_ERROR:
            log.exception("stream failed", extra={"execution_id": execution_id})
        yield b"event: error\ndata: " + told.body + b"\n\n"


async def _told(services: Services, facts: list[Fact]) -> AsyncGenerator[bytes]:
    """Facts as server-sent events, many at once. One that refers to large values goes alone, with these filled in."""
    together: list[bytes] = []
    for fact in facts:
        if not (fact.version and may_refer(fact.frame)):
            together.append(encode_fact(fact))
            continue
        if together:
            yield b"".join(together)
            together = []
        yield encode_fact(fact._replace(frame=await services.log.whole(fact.frame)))
    if together:
        yield b"".join(together)


def encode_fact(fact: Fact) -> bytes:
    """One server-sent event. A fact that is not stored has no id, so that nobody asks to go on from there."""
    head = b"id: %d\n" % fact.version if fact.version else b""
    return b"%bevent: %b\ndata: %b\n\n" % (head, fact.type.encode(), fact.frame)


async def _ends_here(follow: Follow, batch: list[Fact]) -> bool:
    """Whether the execution waits for people now. A pause that was answered is history, one for a timer goes on."""
    last = next((fact for fact in reversed(batch) if fact.version), None)
    if last is None or last.type != PAUSED_TYPE:
        return False
    data = decode_joined(last.frame).data
    return isinstance(data, ExecutionPaused) and bool(data.pauses) and await follow.is_newest(last.version)
