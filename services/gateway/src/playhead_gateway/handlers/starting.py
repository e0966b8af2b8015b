"""Beginning an execution: of a workflow, or as a fork of another one."""

import re
from hashlib import sha256

import msgspec

from playhead_contracts.commands import Run
from playhead_contracts.errors import Refused, VersionConflict
from playhead_contracts.events import (
    BlockReused,
    Event,
    EventData,
    ExecutionCreated,
    ForkSource,
    Mode,
    decode_joined,
)
from playhead_contracts.ids import ExecutionId, WorkflowId, execution_stream
from playhead_engine import admission, rerun
from playhead_engine.folding import fold
from playhead_engine.state import ExecutionState, ExecutionStatus
from playhead_eventlog import GENESIS
from playhead_gateway.access import Caller
from playhead_gateway.bodies import Rerun, StartExecution, read_timeout, read_variable_headers, typed_variables
from playhead_gateway.definitions import Definition
from playhead_gateway.handlers.listening import (
    Reply,
    StreamReply,
    accepted,
    event_stream,
    rests,
    result_when_it_rests,
    result_with_plan,
)
from playhead_gateway.handlers.loading import definition_of, load_execution, new_events, send_command
from playhead_gateway.problems import ExecutionUnknown, VersionUnknown
from playhead_gateway.services import Services
from playhead_runtime.ids import derived_id, new_id

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class Asked(msgspec.Struct, frozen=True):
    """What came with the request besides its body."""

    idempotency_key: str | None = None
    traceparent: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    """All of them; some may set variables."""


class _Begun(msgspec.Struct, frozen=True):
    """An execution that is in the log. `created` is its first event as stored, if that is all there is."""

    state: ExecutionState
    created: str | None = None


class PlanReply(msgspec.Struct, frozen=True):
    """The body of a dry run."""

    plan: rerun.Plan


async def start_execution(
    services: Services, caller: Caller, workflow_id: str, order: StartExecution, asked: Asked
) -> Reply | StreamReply:
    """Start a workflow. Raises what `admit` refuses, WorkflowUnknown, KeyUsedDifferently, LogUnavailable."""
    texts = read_variable_headers(asked.headers)
    request = admission.Request(
        input=order.input,
        mode=order.mode,
        outputs=order.outputs,
        variables={**texts, **order.variables},
        timeout=read_timeout(order.timeout),
        max_concurrency=order.max_concurrency,
    )
    fingerprint = None
    if asked.idempotency_key is not None:
        # Of the texts as they came: what they mean may change with the workflow's next version.
        fingerprint = request.fingerprint(workflow_id, order.version)
    execution_id = _execution_id(caller, asked, "start", workflow_id)
    try:
        definition = await _wanted(services, caller, workflow_id, order.version)
        variables = typed_variables(texts, definition.document.variables, order.variables)
        request = msgspec.structs.replace(request, variables=variables)
        created = admission.admit(
            definition.document, definition.version, definition.digest, request, services.clock.now()
        )
    except Refused:
        # What the key stands for was admitted once, and is not judged again by what was published since.
        begun = await _begun_before(services, caller, execution_id, fingerprint)
        if begun is None:
            raise
    else:
        created = msgspec.structs.replace(created, fingerprint=fingerprint)
        begun = await _begin(services, caller, execution_id, created, [], asked)
    return await _listen(services, caller, begun, order.mode)


async def rerun_execution(
    services: Services, caller: Caller, execution_id: str, order: Rerun, asked: Asked
) -> Reply | StreamReply:
    """Run an execution again from one of its blocks, as a new one; or only say what that would repeat.

    Raises RerunRefused, VersionUnknown, ExecutionUnknown and what `start_execution` raises.
    """
    source, fork, plan, reused = await _plan(services, caller, execution_id, order)
    if order.dry_run:
        return Reply(body=PlanReply(plan))
    fingerprint = None
    if asked.idempotency_key is not None:
        fingerprint = sha256(msgspec.json.encode((order, source.execution_id), order="sorted")).hexdigest()
    created = msgspec.structs.replace(fork, fingerprint=fingerprint)
    fork_id = _execution_id(caller, asked, "rerun", source.execution_id)
    begun = await _begin(services, caller, fork_id, created, reused, asked, source)
    return await _listen(services, caller, begun, order.mode)


async def _plan(
    services: Services, caller: Caller, execution_id: str, order: Rerun
) -> tuple[ExecutionState, ExecutionCreated, rerun.Plan, list[BlockReused]]:
    source = await state_at_version(services, caller, execution_id, order.at_version)
    before = await definition_of(services, source)
    definition = before
    if order.definition == "latest":
        definition = await services.definitions.latest(caller.tenant, source.workflow_id)
    new_input = source.input if order.input is msgspec.UNSET else order.input
    is_other = definition.version != before.version
    plan = rerun.plan_rerun(
        definition.graph, source, order.from_block, new_input, before.document.blocks if is_other else None
    )
    request = admission.Request(
        input=new_input,
        mode=order.mode,
        # A newer definition may not have every block that was asked for then.
        outputs=source.outputs_asked and tuple(o for o in source.outputs_asked if o in definition.document.blocks),
        variables=source.initial_variables,
        max_concurrency=source.max_concurrency,
    )
    created = admission.admit(definition.document, definition.version, definition.digest, request, services.clock.now())
    origin = ForkSource(execution_id=source.execution_id, version=source.version, from_block=order.from_block)
    created = admission.forked(created, origin, msgspec.to_builtins(plan))
    return source, created, plan, rerun.reused_events(plan, source)


async def state_at_version(
    services: Services, caller: Caller, execution_id: str, version: int | None
) -> ExecutionState:
    """The state at a version, or now. Raises ExecutionUnknown, and VersionUnknown if it never was there."""
    if version is not None and not 0 < version < 2**31:
        raise VersionUnknown(f"versions begin with 1; there is no version {version}")
    state = (await load_execution(services, caller, execution_id, version)).state
    if version is not None and state.version != version:
        raise VersionUnknown(f"the execution is at version {state.version}, and was never at {version}")
    return state


def _execution_id(caller: Caller, asked: Asked, kind: str, of: str) -> ExecutionId:
    if asked.idempotency_key is None:
        return ExecutionId(new_id())
    # The id of a start follows from tenant, workflow and key alone, so that any door to the log derives the same.
    parts = (caller.tenant, of) if kind == "start" else (caller.tenant, kind, of)
    return ExecutionId(derived_id(*parts, asked.idempotency_key))


async def _wanted(services: Services, caller: Caller, workflow_id: str, version: int | None) -> Definition:
    if version is None:
        return await services.definitions.latest(caller.tenant, WorkflowId(workflow_id))
    return await services.definitions.version(caller.tenant, WorkflowId(workflow_id), version)


async def _begin(
    services: Services,
    caller: Caller,
    execution_id: ExecutionId,
    created: ExecutionCreated,
    reused: list[BlockReused],
    asked: Asked,
    source: ExecutionState | None = None,
) -> _Begun:
    """Record the beginning; the log lets one of several with the same id be first, and the others be it."""
    trace = asked.traceparent if asked.traceparent and _TRACEPARENT.fullmatch(asked.traceparent) else None
    facts: list[EventData] = [created, *reused]
    events = new_events(services, caller, created.workflow_id, execution_id, facts, trace)
    try:
        appended = await services.log.append(execution_stream(execution_id), GENESIS, events)
    except VersionConflict:
        begun = await _begun_before(services, caller, execution_id, created.fingerprint)
        assert begun is not None  # the conflict says that it is there
        return begun
    recorded = [decode_joined(await services.log.whole(frame)) for frame in appended.frames]
    state = fold([_with_outputs(event, source) for event in recorded])
    assert state is not None
    return _Begun(state, None if reused else appended.frames[0].decode())


def _with_outputs(event: Event, source: ExecutionState | None) -> Event:
    """A reused block with its outputs, which the log would have to look up, and the source has at hand."""
    if source is None or not isinstance(event.data, BlockReused):
        return event
    outputs = source.blocks[event.data.path].outputs
    return msgspec.structs.replace(event, data=msgspec.structs.replace(event.data, outputs=outputs))


async def _begun_before(
    services: Services, caller: Caller, execution_id: ExecutionId, fingerprint: str | None
) -> _Begun | None:
    """The execution that this idempotency key made, if it did. Raises KeyUsedDifferently."""
    if fingerprint is None:
        return None
    try:
        state = (await load_execution(services, caller, execution_id)).state
    except ExecutionUnknown:
        return None
    admission.check_repeat(state, fingerprint)
    return _Begun(state)


async def _listen(services: Services, caller: Caller, begun: _Begun, mode: Mode) -> Reply | StreamReply:
    """Have it run, and answer in the way that was asked for."""
    state = begun.state
    run = Run(
        id=f"run:{state.execution_id}",
        tenant=caller.tenant,
        execution_id=state.execution_id,
        created=begun.created,
    )
    is_new = state.status is ExecutionStatus.CREATED
    match mode:
        case "async":
            if is_new:
                await send_command(services, run, soon=False)
            return accepted(state)
        case "stream":
            if is_new:
                await send_command(services, run, soon=True)
            return StreamReply(event_stream(services, caller.tenant, state.execution_id, 0, ends_at_pause=True))
        case "sync":
            if rests(state):
                return Reply(body=await result_with_plan(services, state))
            # Listen before asking, so that the answer cannot be missed.
            async with services.follows.open(caller.tenant, state.execution_id) as follow:
                if is_new:
                    await send_command(services, run, soon=True)
                return await result_when_it_rests(services, follow, state, is_caught_up=is_new)
