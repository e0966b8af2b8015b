"""How each type of block begins: done on the spot, waiting for a person or for time, or handed to a runner."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from hashlib import sha256

import msgspec

from playhead_contracts.durations import parse_duration
from playhead_contracts.events import (
    BlockCompleted,
    BlockError,
    BlockFailed,
    BlockStarted,
    EventData,
    Json,
    PauseRequested,
)
from playhead_contracts.ids import BlockPath, PauseId
from playhead_contracts.workflow import (
    ELSE,
    ConditionBlock,
    CustomBlock,
    FunctionBlock,
    HttpBlock,
    HumanBlock,
    ResponseBlock,
    WaitBlock,
)
from playhead_engine.expressions import ExpressionFailed, compile_expression
from playhead_engine.graph import Node
from playhead_engine.scope import Reference, Scope
from playhead_engine.state import BlockStatus, ExecutionState


class Run(msgspec.Struct, frozen=True):
    """A block to hand to a runner. `inputs` are as recorded: a secret in them stands as its reference."""

    path: BlockPath
    attempt: int
    inputs: dict[str, Json]
    started_at: datetime
    effects: bool


class CannotBegin(Exception):
    """A block cannot begin as its author wrote it; becomes its failure."""

    def __init__(self, error: BlockError):
        super().__init__(error.message)
        self.error = error


def begin(node: Node, state: ExecutionState, attempt: int, at: datetime, new_id: Callable[[], str]) -> Run | EventData:
    """Begin a ready block: the fact it leads to at once, or the run it needs.

    Whatever cannot be evaluated fails the block; a pause that cannot be opened is never passed.
    """
    try:
        match node.block:
            case ConditionBlock():
                return _choose(node, node.block, state, at)
            case ResponseBlock():
                return _respond(node, state, at)
            case HumanBlock():
                return _ask(node, node.block, state, at, PauseId(new_id()))
            case WaitBlock():
                return _wait(node, node.block, state, at)
            case _:
                inputs = run_inputs(node, state)
                return Run(path=node.path, attempt=attempt, inputs=inputs, started_at=at, effects=node.effects)
    except CannotBegin as cannot:
        error = cannot.error
    except ExpressionFailed as failed:
        error = BlockError(type="expression_failed", message=str(failed))
    return BlockFailed(path=node.path, attempt=attempt, error=error, handled=node.handles_errors, started_at=at)


def run_inputs(node: Node, state: ExecutionState, secrets: Mapping[str, str] | None = None) -> dict[str, Json]:
    """What a runner gets for this block. Secrets as in `resolve`; raises CannotBegin."""
    resolved = resolve(node, state, secrets)
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


def resolve(node: Node, state: ExecutionState, secrets: Mapping[str, str] | None = None) -> dict[str, Json]:
    """The block's fields with every `{{ }}` evaluated.

    Without `secrets`, a secret resolves to its own reference, which is what may be recorded. Raises CannotBegin.
    """
    resolved: dict[str, Json] = {}
    for name, template in node.templates.items():
        try:
            resolved[name] = template.evaluate(scope_of(state, template.references, secrets))
        except ExpressionFailed as failed:
            raise CannotBegin(
                BlockError(type="expression_failed", message=f"{name}: {failed}", details={"field": name})
            ) from failed
    return resolved


def scope_of(state: ExecutionState, references: Iterable[Reference], secrets: Mapping[str, str] | None = None) -> Scope:
    """What `references` can see of an execution: only the blocks they name."""
    blocks: dict[str, Json] = {}
    absent: set[str] = set()
    names: dict[str, str] = {}
    for reference in references:
        if reference.root == "secrets" and reference.path:
            name = reference.path[0]
            names[name] = "{{ secrets.%s }}" % name if secrets is None else _secret(secrets, name)
        if reference.root != "blocks" or not reference.path:
            continue
        block_id = reference.path[0]
        block = state.blocks.get(BlockPath(block_id))
        if block is not None and block.status is BlockStatus.COMPLETED:
            blocks[block_id] = block.outputs
            continue
        absent.add(block_id)
        if block is not None and block.error is not None:
            blocks[block_id] = {"error": msgspec.to_builtins(block.error)}
    execution = {
        "id": state.execution_id,
        "workflow_id": state.workflow_id,
        "workflow_version": state.workflow_version,
        "created_at": state.created_at.isoformat().replace("+00:00", "Z"),
    }
    return Scope(
        input=state.input,
        variables=state.variables,
        execution=execution,
        blocks=blocks,
        absent=frozenset(absent),
        secrets=names,
    )


def _secret(secrets: Mapping[str, str], name: str) -> str:
    value = secrets.get(name)
    if value is None:
        raise CannotBegin(BlockError(type="secret_missing", message=f"There is no secret named {name}"))
    return value


def proposal_digest(message: str, show: dict[str, Json], form: dict[str, Json] | None) -> str:
    """sha256 over the canonical JSON of what a person is shown."""
    shown = msgspec.json.encode({"message": message, "show": show, "form": form}, order="sorted")
    return "sha256:" + sha256(shown).hexdigest()


def _choose(node: Node, block: ConditionBlock, state: ExecutionState, at: datetime) -> EventData:
    chosen: str | None = None
    for case, source in block.cases.items():
        expression = compile_expression(source)
        try:
            value = expression.evaluate(scope_of(state, expression.references))
        except ExpressionFailed as failed:
            raise CannotBegin(
                BlockError(type="expression_failed", message=f"case {case}: {failed}", details={"case": case})
            ) from failed
        if not isinstance(value, bool):
            raise CannotBegin(
                BlockError(
                    type="expression_failed",
                    message=f"case {case}: {source!r} gives {value!r}, which is neither true nor false",
                    details={"case": case},
                )
            )
        if value:
            chosen = case
            break
    handle = chosen or (ELSE if ELSE in node.handles else None)
    return BlockCompleted(
        path=node.path,
        outputs={"case": handle},
        decision=() if handle is None else (handle,),
        started_at=at,
        inputs={},
    )


def _respond(node: Node, state: ExecutionState, at: datetime) -> EventData:
    assert isinstance(node.block, ResponseBlock)
    body = resolve(node, state).get("body")
    outputs = {"status": node.block.status, "body": body}
    return BlockCompleted(path=node.path, outputs=outputs, locks=True, started_at=at, inputs={})


def _ask(node: Node, block: HumanBlock, state: ExecutionState, at: datetime, pause_id: PauseId) -> EventData:
    resolved = resolve(node, state)
    message = str(resolved["message"])
    show: dict[str, Json] = resolved["show"]
    return PauseRequested(
        pause_id=pause_id,
        path=node.path,
        message=message,
        digest=proposal_digest(message, show, block.form),
        form=block.form,
        show=show,
        assignees=tuple(block.assignees),
        expires_at=None if block.expires_in is None else at + block.expires_in,
    )


def _wait(node: Node, block: WaitBlock, state: ExecutionState, at: datetime) -> EventData:
    until = _end_of_wait(block, resolve(node, state), at)
    return BlockStarted(path=node.path, inputs={"until": until.isoformat().replace("+00:00", "Z")}, until=until)


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
