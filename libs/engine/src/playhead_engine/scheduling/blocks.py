"""How each type of block begins: done on the spot, waiting for something, or handed to a runner."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import cast

import msgspec

from playhead_contracts.durations import parse_duration
from playhead_contracts.events import (
    BlockCompleted,
    BlockDispatched,
    BlockError,
    BlockFailed,
    BlockStarted,
    EventData,
    EventPublished,
    Json,
    Watch,
    WatchedEvent,
)
from playhead_contracts.fields import ELSE
from playhead_contracts.human import HumanBlock
from playhead_contracts.ids import BlockPath, ExecutionId, PauseId
from playhead_contracts.workflow import (
    AwaitedEvent,
    ConditionBlock,
    ContainerBlock,
    CustomBlock,
    FunctionBlock,
    HttpBlock,
    PublishBlock,
    ResponseBlock,
    RouterBlock,
    TaskBlock,
    VariablesBlock,
    WaitBlock,
    WorkflowBlock,
)
from playhead_engine.expressions import ExpressionFailed
from playhead_engine.graph import Node
from playhead_engine.limits import Limits
from playhead_engine.pauses.asking import CannotAsk, ask
from playhead_engine.scheduling.containers import start_container
from playhead_engine.scheduling.instance_scope import CannotBegin, Place, scope_of
from playhead_engine.state import BlockStatus, ExecutionState
from playhead_engine.variables import fits, kind_of
from playhead_engine.watching import captured_of

__all__ = ["Beginning", "CannotBegin", "Run", "begin", "resolve", "run_inputs"]

MAX_MESSAGE_BYTES = 512 * 1024
"""What a `publish` or `task` block may put on the bus, as JSON: whoever is there gets it in one message."""


class Run(msgspec.Struct, frozen=True):
    """A block to hand to a runner. `inputs` are as recorded: a secret in them stands as its reference."""

    path: BlockPath
    attempt: int
    inputs: dict[str, Json]
    started_at: datetime
    effects: bool
    child: ExecutionId | None = None
    """For a `workflow` block: the execution to start."""


class Beginning(msgspec.Struct, frozen=True):
    """The circumstances in which a ready block begins. `at` is now, UTC."""

    state: ExecutionState
    place: Place
    at: datetime
    new_id: Callable[[], str]
    limits: Limits


def begin(node: Node, now: Beginning, attempt: int) -> list[EventData | Run]:
    """Begin a ready block: the facts it leads to at once, and the run it needs, which comes after them.

    Whatever cannot be evaluated fails the block; a pause that cannot be opened is never passed.
    """
    path = now.place.path(node.id)
    try:
        match node.block:
            case ConditionBlock():
                return [_choose(node, node.block, now)]
            case RouterBlock():
                return [_route(node, node.block, now)]
            case ResponseBlock():
                return [_respond(node, node.block, now)]
            case HumanBlock():
                return [_ask(node, node.block, now)]
            case WaitBlock():
                return [_wait(node, node.block, now)]
            case VariablesBlock():
                return [_set_variables(node, now)]
            case PublishBlock():
                return _publish(node, node.block, now)
            case ContainerBlock():
                return [start_container(node, now.place, now.state, now.at, now.limits)]
            case TaskBlock():
                return [_dispatch(node, node.block, now, attempt)]
            case WorkflowBlock():
                return _start_child(node, node.block, now, attempt)
            case _:
                run = Run(path, attempt, run_inputs(node, now.place, now.state), now.at, node.effects)
                started = BlockStarted(path=path, attempt=attempt, inputs=run.inputs)
                return [started, run] if run.effects else [run]
    except CannotBegin as cannot:
        error = cannot.error
    except ExpressionFailed as failed:
        error = BlockError(type="expression_failed", message=str(failed))
    return [BlockFailed(path=path, attempt=attempt, error=error, started_at=now.at)]


def run_inputs(
    node: Node, place: Place, state: ExecutionState, secrets: Mapping[str, str] | None = None
) -> dict[str, Json]:
    """What a runner gets for the instance of this block at `place`. Secrets as in `resolve`; raises CannotBegin."""
    resolved = resolve(node, place, state, secrets)
    match node.block:
        case FunctionBlock():
            return resolved["inputs"]
        case HttpBlock():
            return {
                "method": node.block.method,
                **resolved,
                "timeout_seconds": node.block.timeout.total_seconds(),
            }
        case CustomBlock():
            return resolved["config"]
        case _:
            return resolved


def resolve(
    node: Node, place: Place, state: ExecutionState, secrets: Mapping[str, str] | None = None
) -> dict[str, Json]:
    """The block's fields with every `{{ }}` evaluated.

    Without `secrets`, a secret resolves to its own reference, which is what may be recorded. Raises CannotBegin.
    """
    resolved: dict[str, Json] = {}
    for name, template in node.templates.items():
        try:
            resolved[name] = template.evaluate(scope_of(state, place, template.references, secrets))
        except ExpressionFailed as failed:
            raise _expression_failed(name, failed, {"field": name}) from failed
    return resolved


def _expression_failed(what: str, failed: ExpressionFailed, details: dict[str, Json]) -> CannotBegin:
    return CannotBegin(BlockError(type="expression_failed", message=f"{what}: {failed}", details=details))


def _evaluated(node: Node, now: Beginning, name: str, details: dict[str, Json]) -> Json:
    expression = node.expressions[name]
    try:
        return expression.evaluate(scope_of(now.state, now.place, expression.references))
    except ExpressionFailed as failed:
        raise _expression_failed(name, failed, details) from failed


def _choose(node: Node, block: ConditionBlock, now: Beginning) -> EventData:
    chosen: str | None = None
    for case, source in block.cases.items():
        value = _evaluated(node, now, f"case {case}", {"case": case})
        if not isinstance(value, bool):
            message = f"case {case}: {source!r} gives {value!r}, which is neither true nor false"
            raise CannotBegin(BlockError(type="expression_failed", message=message, details={"case": case}))
        if value:
            chosen = case
            break
    handle = chosen or (ELSE if ELSE in node.handles else None)
    return BlockCompleted(
        path=now.place.path(node.id),
        outputs={"case": handle},
        decision=() if handle is None else (handle,),
        started_at=now.at,
        inputs={},
    )


def _route(node: Node, block: RouterBlock, now: Beginning) -> EventData:
    value = _evaluated(node, now, "route", {"field": "route"})
    names = cast("list[Json]", value) if isinstance(value, list) else [value]
    decision: list[str] = []
    for name in names:
        if not isinstance(name, str):
            message = f"route: {block.route!r} gives {value!r}, which is neither a name nor a list of names"
            raise CannotBegin(BlockError(type="route_invalid", message=message, details={"field": "route"}))
        handle = name if name in block.next else ELSE
        if handle not in block.next:
            message = f"route: there is no branch {name!r}; branches are {', '.join(block.next)}"
            raise CannotBegin(BlockError(type="route_unknown", message=message, details={"route": name}))
        decision.append(handle)
    chosen = tuple(dict.fromkeys(decision))
    return BlockCompleted(
        path=now.place.path(node.id), outputs={"route": value}, decision=chosen, started_at=now.at, inputs={}
    )


def _respond(node: Node, block: ResponseBlock, now: Beginning) -> EventData:
    body = resolve(node, now.place, now.state).get("body")
    return BlockCompleted(
        path=now.place.path(node.id),
        outputs={"status": block.status, "body": body},
        locks=True,
        started_at=now.at,
        inputs={},
    )


def _set_variables(node: Node, now: Beginning) -> EventData:
    values: dict[str, Json] = resolve(node, now.place, now.state)["set"]
    declared = now.state.initial_variables
    for name, value in values.items():
        if name in declared and not fits(declared[name], value):
            message = f"vars.{name} is {kind_of(declared[name])}, and this is {kind_of(value)}"
            raise CannotBegin(BlockError(type="variable_type", message=message, details={"variable": name}))
    return BlockCompleted(path=now.place.path(node.id), outputs=values, variables=values, started_at=now.at, inputs={})


def _publish(node: Node, block: PublishBlock, now: Beginning) -> list[EventData | Run]:
    resolved = resolve(node, now.place, now.state)
    _check_message("data", resolved["data"])
    subject: Json = resolved["subject"]
    path = now.place.path(node.id)
    published = EventPublished(
        path=path,
        event_id=now.new_id(),
        event_type=block.event,
        content=resolved["data"],
        subject=None if subject is None else str(subject),
    )
    completed = BlockCompleted(path=path, outputs={"event_id": published.event_id}, started_at=now.at, inputs={})
    return [published, completed]


def _check_message(field: str, value: Json) -> None:
    size = len(msgspec.json.encode(value))
    if size > MAX_MESSAGE_BYTES:
        message = f"{field}: it takes {size} bytes, and the bus carries {MAX_MESSAGE_BYTES}"
        raise CannotBegin(BlockError(type="message_too_large", message=message, details={"field": field}))


def _dispatch(node: Node, block: TaskBlock, now: Beginning, attempt: int) -> EventData:
    inputs = resolve(node, now.place, now.state)["inputs"]
    _check_message("inputs", inputs)
    return BlockDispatched(
        path=now.place.path(node.id),
        attempt=attempt,
        task_id=now.new_id(),
        task=block.task,
        inputs=inputs,
        deadline=now.at + block.timeout,
    )


def _start_child(node: Node, block: WorkflowBlock, now: Beginning, attempt: int) -> list[EventData | Run]:
    most = now.limits.max_child_depth
    if now.state.depth >= most:
        message = f"This would be a child {now.state.depth + 1} levels deep; the limit is {most} (max_child_depth)"
        raise CannotBegin(BlockError(type="too_deep", message=message, details={"max_child_depth": most}))
    path = now.place.path(node.id)
    inputs = run_inputs(node, now.place, now.state)
    before = now.state.blocks.get(path)
    # Interrupted while it started its child: it goes on with that very one.
    resumed = before.child if before is not None and before.status is BlockStatus.INTERRUPTED else None
    child = resumed.execution_id if resumed is not None else ExecutionId(now.new_id())
    deadline = None if block.timeout is None or not block.wait else now.at + block.timeout
    started = BlockStarted(path=path, attempt=attempt, inputs=inputs, deadline=deadline, child=child)
    return [started, Run(path, attempt, inputs, now.at, True, child)]


def _ask(node: Node, block: HumanBlock, now: Beginning) -> EventData:
    resolved, path = resolve(node, now.place, now.state), now.place.path(node.id)
    try:
        return ask(block, path, resolved, now.state, PauseId(now.new_id()), now.at)
    except CannotAsk as cannot:
        raise CannotBegin(cannot.error) from cannot


def _wait(node: Node, block: WaitBlock, now: Beginning) -> EventData:
    resolved = resolve(node, now.place, now.state)
    path = now.place.path(node.id)
    if block.events is not None:
        return BlockStarted(
            path=path,
            watch=_watch(node, block, block.events, resolved["from"], now),
            deadline=None if block.timeout is None else now.at + block.timeout,
        )
    until = _end_of_wait(block, resolved, now.at)
    return BlockStarted(path=path, inputs={"until": until.isoformat().replace("+00:00", "Z")}, until=until)


def _watch(node: Node, block: WaitBlock, events: list[AwaitedEvent], since: Json, now: Beginning) -> Watch:
    references = node.references
    scope = scope_of(now.state, now.place, references)
    watched = tuple(WatchedEvent(type=event.type, match=event.match) for event in events)
    captured = captured_of([each for each in references if each.root != "event"], scope)
    match since:
        case "start" | "now":
            return Watch(events=watched, need=block.need, since=since, captured=captured)
        case bool():
            pass
        case int() if since >= 0:
            return Watch(events=watched, need=block.need, position=since, captured=captured)
        case _:
            pass
    message = f"from: should be `start`, `now` or a position in the log, and is {since!r}"
    raise CannotBegin(BlockError(type="wait_invalid", message=message, details={"field": "from"}))


def _end_of_wait(block: WaitBlock, fields: Mapping[str, Json], at: datetime) -> datetime:
    text = fields.get("until") if block.until is not None else fields.get("for")
    try:
        if isinstance(block.for_, timedelta):
            return at + block.for_
        if block.until is None:
            return at + parse_duration(str(text))
        until = datetime.fromisoformat(str(text))
    except ValueError as wrong:
        raise CannotBegin(BlockError(type="wait_invalid", message=f"{text}: {wrong}")) from wrong
    except OverflowError as too_far:
        raise CannotBegin(BlockError(type="wait_invalid", message=f"{text} is too far away")) from too_far
    if until.tzinfo is None:
        raise CannotBegin(BlockError(type="wait_invalid", message=f"{text} has no time zone; write it as ...Z"))
    return until
