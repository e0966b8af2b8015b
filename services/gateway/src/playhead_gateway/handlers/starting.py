"""Beginning an execution: admitting it, and putting its first facts into the log."""

from collections.abc import Awaitable, Callable, Sequence

import msgspec

from playhead_contracts.errors import Refused, VersionConflict
from playhead_contracts.events import (
    BlockReused,
    ContainerReused,
    Event,
    EventData,
    ExecutionCreated,
    Mode,
    TriggeredBy,
    decode_joined,
)
from playhead_contracts.ids import ExecutionId, WorkflowId, execution_stream
from playhead_contracts.requests import RunBody
from playhead_engine import admission
from playhead_engine.folding import fold
from playhead_engine.state import ExecutionState
from playhead_eventlog import GENESIS, LAST_VERSION
from playhead_gateway.access import Caller
from playhead_gateway.bodies import StartExecution, read_timeout, read_variable_headers, typed_variables
from playhead_gateway.definitions import Definition
from playhead_gateway.handlers.listening import Reply, StreamReply
from playhead_gateway.handlers.loading import load_execution, new_events
from playhead_gateway.handlers.privacy import with_personal
from playhead_gateway.handlers.running import Wanted, run_and_answer
from playhead_gateway.preferences import Manner, manner_wanted
from playhead_gateway.problems import ExecutionUnknown, VersionUnknown
from playhead_gateway.services import Services
from playhead_runtime.ids import derived_id, new_id


class Asked(msgspec.Struct, frozen=True):
    """What came with the request besides its body."""

    idempotency_key: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    """All of them; some may set variables."""
    left: Callable[[], Awaitable[None]] | None = None
    """Returns when whoever asks has gone away; None if that cannot be seen."""
    usually: Mode = "sync"
    """The mode, if they do not say."""
    trigger: TriggeredBy | None = None

    def manner(self, mode: Mode | None) -> Manner:
        """How they want to be answered; `mode` is what the body says."""
        return manner_wanted(mode, dict(self.headers), self.usually)


class Begun(msgspec.Struct, frozen=True):
    """An execution that is in the log. `created` is its first event as stored, if that is all there is.

    `is_new` is False for one that an idempotency key had made before.
    """

    state: ExecutionState
    created: str | None = None
    is_new: bool = True


async def start_execution(
    services: Services, caller: Caller, workflow_id: str, order: StartExecution, asked: Asked
) -> Reply | StreamReply:
    """Start a workflow, and answer as was asked for. Raises as `admit_start`."""
    begun = await admit_start(services, caller, workflow_id, order, asked)
    wanted = Wanted(asked.manner(order.mode), order.follow, order.cancel_on_disconnect, asked.left)
    return await run_and_answer(services, caller, begun.state, begun.created, wanted)


async def admit_start(services: Services, caller: Caller, workflow_id: str, order: RunBody, asked: Asked) -> Begun:
    """Put a new execution into the log, or find the one that the idempotency key made before: by whatever door.

    Raises what `admit` refuses, WorkflowUnknown, KeyUsedDifferently, LogUnavailable.
    """
    texts = read_variable_headers(asked.headers)
    manner = asked.manner(order.mode)
    request = admission.Request(
        input=order.input,
        mode=manner.mode,
        outputs=order.outputs,
        variables={**texts, **order.variables},
        timeout=read_timeout(order.timeout),
        max_concurrency=order.max_concurrency,
    )
    fingerprint = None
    if asked.idempotency_key is not None:
        # Of the texts as they came: what they mean may change with the workflow's next version.
        fingerprint = request.fingerprint(workflow_id, order.version)
    # A trigger's keys are its own: no client can take one before it.
    kind = "start" if asked.trigger is None else "trigger"
    execution_id = execution_id_for(caller, asked, kind, workflow_id)
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
        created = msgspec.structs.replace(created, fingerprint=fingerprint, trigger=asked.trigger)
        begun = await begin(services, caller, execution_id, [created], asked)
    return begun


async def state_at_version(
    services: Services, caller: Caller, execution_id: str, version: int | None
) -> ExecutionState:
    """The state at a version, or now. Raises ExecutionUnknown, and VersionUnknown if it never was there."""
    if version is not None and not 0 < version < 2**31:
        raise VersionUnknown(f"versions begin with 1; there is no version {version}")
    until = LAST_VERSION if version is None else version
    state = (await load_execution(services, caller, execution_id, until)).state
    if version is not None and state.version != version:
        raise VersionUnknown(f"the execution is at version {state.version}, and was never at {version}")
    return state


def execution_id_for(caller: Caller, asked: Asked, kind: str, of: str) -> ExecutionId:
    if asked.idempotency_key is None:
        return ExecutionId(new_id())
    # The id of a start follows from tenant, workflow and key alone, so that any door to the log derives the same.
    parts = (caller.tenant, of) if kind == "start" else (caller.tenant, kind, of)
    return ExecutionId(derived_id(*parts, asked.idempotency_key))


async def _wanted(services: Services, caller: Caller, workflow_id: str, version: int | None) -> Definition:
    if version is None:
        return await services.definitions.latest(caller.tenant, WorkflowId(workflow_id))
    return await services.definitions.version(caller.tenant, WorkflowId(workflow_id), version)


async def begin(
    services: Services,
    caller: Caller,
    execution_id: ExecutionId,
    facts: Sequence[EventData],
    asked: Asked,
    source: ExecutionState | None = None,
) -> Begun:
    """Record the beginning; the log lets one of several with the same id be first, and the others be it."""
    created = facts[0]
    assert isinstance(created, ExecutionCreated)
    created = await with_personal(services, caller.tenant, created, source)
    facts = [created, *facts[1:]]
    events = new_events(services, caller, created.workflow_id, execution_id, facts, created.personal)
    try:
        appended = await services.log.append(execution_stream(execution_id), GENESIS, events)
    except VersionConflict:
        begun = await _begun_before(services, caller, execution_id, created.fingerprint)
        assert begun is not None  # the conflict says that it is there
        return begun
    recorded = [decode_joined(await services.log.whole(frame, opened=True)) for frame in appended.frames]
    if any(isinstance(fact, ContainerReused) for fact in facts):
        recorded = await services.log.hydrate(recorded)
    state = fold([_with_outputs(event, source) for event in recorded])
    assert state is not None
    return Begun(state, None if len(facts) > 1 else appended.frames[0].decode())


def _with_outputs(event: Event, source: ExecutionState | None) -> Event:
    """A reused block with its outputs, which the log would have to look up, and the source has at hand."""
    data = event.data
    if source is None or not isinstance(data, BlockReused) or data.path not in source.blocks:
        return event
    outputs = source.blocks[data.path].outputs
    return msgspec.structs.replace(event, data=msgspec.structs.replace(data, outputs=outputs))


async def _begun_before(
    services: Services, caller: Caller, execution_id: ExecutionId, fingerprint: str | None
) -> Begun | None:
    """The execution that this idempotency key made, if it did. Raises KeyUsedDifferently."""
    if fingerprint is None:
        return None
    try:
        state = (await load_execution(services, caller, execution_id)).state
    except ExecutionUnknown:
        return None
    admission.check_repeat(state, fingerprint)
    return Begun(state, is_new=False)
