"""Loops and parallels: how they begin, whether another iteration follows, and what they give.

A loop has one iteration open at a time, a parallel as many as its `max_concurrency` allows; iterations begin in the
order of their index. What an iteration gave is recorded when all blocks of its body have settled.
"""

from datetime import datetime
from typing import cast

import msgspec

from playhead_contracts.events import BlockCompleted, BlockError, BlockStarted, ContainerStart, IterationCompleted, Json
from playhead_contracts.ids import BlockPath
from playhead_contracts.workflow import ContainerBlock, LoopBlock, ParallelBlock
from playhead_engine.expressions import ExpressionFailed
from playhead_engine.graph import Node
from playhead_engine.limits import Limits
from playhead_engine.scheduling.instance_scope import CannotBegin, Place, scope_of
from playhead_engine.state import BlockStatus, ContainerState, ExecutionState
from playhead_engine.variables import kind_of

DEFAULT_ITERATIONS = 1_000
"""The safety limit of `while` and `do_while`, whose number of iterations nobody knows beforehand."""


def start_container(node: Node, place: Place, state: ExecutionState, at: datetime, limits: Limits) -> BlockStarted:
    """The fact that a container begins, with its items or its count. Raises CannotBegin."""
    block = node.block
    assert isinstance(block, LoopBlock | ParallelBlock)
    is_loop = isinstance(block, LoopBlock)
    counted, collected = ("for", "for_each") if is_loop else ("count", "collection")
    inputs: dict[str, Json] = {}
    count: int | None = None
    if collected in node.expressions:
        items = _items(collected, _evaluated(node, place, state, collected), limits)
        inputs, count = {"items": items}, len(items)
    elif counted in node.expressions:
        count = _count(counted, _evaluated(node, place, state, counted))
        inputs = {"count": count}
    if count is not None:
        _check_count(block, count, limits)
    concurrency = 1
    if isinstance(block, ParallelBlock):
        concurrency = max(1, min(count or 1, block.max_concurrency or limits.max_branches))
    return BlockStarted(
        path=place.path(node.id),
        inputs=inputs,
        deadline=None if block.timeout is None else at + block.timeout,
        container=ContainerStart(kind="loop" if is_loop else "parallel", count=count, concurrency=concurrency),
    )


def another_follows(node: Node, place: Place, state: ExecutionState, index: int, limits: Limits) -> bool:
    """Whether iteration `index` of an open container is to begin. Raises CannotBegin at the safety limit."""
    block = node.block
    if not isinstance(block, LoopBlock) or state.containers[place.path(node.id)].count is not None:
        return True
    if block.while_ is not None and not _is_true(node, inside(node, place, index), state, "while"):
        return False
    most = min(block.max_iterations or DEFAULT_ITERATIONS, limits.max_iterations)
    if index >= most:
        raise CannotBegin(
            BlockError(
                type="too_many_iterations",
                message=f"The loop is not done after {most} iterations, which is its limit (max_iterations)",
                details={"max_iterations": most},
            )
        )
    return True


def complete_iteration(node: Node, place: Place, state: ExecutionState, index: int) -> IterationCompleted:
    """The fact that an iteration is over whose blocks have all settled."""
    path, within = place.path(node.id), inside(node, place, index)
    block = node.block
    try:
        result = _result(node, within, state)
        last = False
        if isinstance(block, LoopBlock):
            last = block.break_when is not None and _is_true(node, within, state, "break_when")
            last = last or (block.do_while is not None and not _is_true(node, within, state, "do_while"))
    except CannotBegin as cannot:
        return IterationCompleted(path=path, index=index, error=cannot.error)
    return IterationCompleted(path=path, index=index, outputs=result, last=last)


def iteration_failure(state: ExecutionState, path: BlockPath, index: int) -> BlockError:
    """Why an iteration failed in which a block failed that nobody there handles."""
    failed = state.iterations[f"{path}[{index}]"].failed
    assert failed is not None
    error = state.blocks[failed].error or BlockError(type="unknown", message="no error was recorded")
    return BlockError(
        type=error.type,
        message=f"{failed}: {error.message}",
        retryable=error.retryable,
        details={**error.details, "block": failed},
    )


def container_failure(
    node: Node, container: ContainerState, at: datetime, deadline: datetime | None
) -> BlockError | None:
    """Why nothing more begins in an open container; None if it is at work as it should."""
    if deadline is not None and deadline <= at:
        # Looked at first: what a deadline ends inside fails as well, and is not the cause.
        return BlockError(type="timeout", message=f"It was not done by {_text(deadline)}", retryable=True)
    if container.errors and not node.collects:
        index, error = next(iter(container.errors.items()))
        what = "iteration" if container.kind == "loop" else "branch"
        # The path of a failed block says which iteration it was in.
        message = error.message if "block" in error.details else f"{what} {index}: {error.message}"
        return msgspec.structs.replace(error, message=message, details={**error.details, "index": index})
    return None


def complete_container(node: Node, state: ExecutionState, path: BlockPath, at: datetime) -> BlockCompleted:
    """The fact that a container is done: what its iterations gave."""
    container, block = state.containers[path], state.blocks[path]
    outputs: dict[str, Json] = {"results": list(container.results)}
    if container.kind == "loop":
        outputs["iterations"] = len(container.results)
    if node.collects:
        errors = sorted(container.errors.items())
        outputs["errors"] = [{"index": index, "error": msgspec.to_builtins(error)} for index, error in errors]
    began = block.started_at or at
    return BlockCompleted(
        path=path, attempt=block.attempt, outputs=outputs, duration_ms=(at - began).total_seconds() * 1000
    )


def inside(node: Node, place: Place, index: int) -> Place:
    """The place of the blocks in one iteration of a container."""
    assert node.inner is not None
    return Place(node.inner, f"{place.path(node.id)}[{index}]/")


def _result(node: Node, within: Place, state: ExecutionState) -> Json:
    assert isinstance(node.block, ContainerBlock)
    if node.block.result is not None:
        return _evaluated(node, within, state, "result")
    ends = within.body.terminals
    if len(ends) == 1:
        return _outputs(state, within, ends[0])
    return {end: _outputs(state, within, end) for end in ends if _is_completed(state, within, end)}


def _is_completed(state: ExecutionState, within: Place, block_id: str) -> bool:
    return state.blocks[within.path(block_id)].status is BlockStatus.COMPLETED


def _outputs(state: ExecutionState, within: Place, block_id: str) -> Json:
    return state.blocks[within.path(block_id)].outputs


def _evaluated(node: Node, place: Place, state: ExecutionState, field: str) -> Json:
    expression = node.expressions[field]
    try:
        return expression.evaluate(scope_of(state, place, expression.references))
    except ExpressionFailed as failed:
        raise CannotBegin(
            BlockError(type="expression_failed", message=f"{field}: {failed}", details={"field": field})
        ) from failed


def _is_true(node: Node, place: Place, state: ExecutionState, field: str) -> bool:
    value = _evaluated(node, place, state, field)
    if not isinstance(value, bool):
        raise CannotBegin(
            BlockError(
                type="expression_failed",
                message=f"{field}: gives {value!r}, which is neither true nor false",
                details={"field": field},
            )
        )
    return value


def _items(field: str, value: Json, limits: Limits) -> list[Json]:
    match value:
        case list():
            items = cast("list[Json]", value)
        case dict():
            fields = cast("dict[str, Json]", value)
            # The log keeps objects with their keys sorted, so theirs is the one order that never changes.
            items = [{"key": key, "value": fields[key]} for key in sorted(fields)]
        case _:
            raise CannotBegin(
                BlockError(
                    type="collection_invalid",
                    message=f"{field}: should be a list or an object, and is {_said(value)}",
                    details={"field": field},
                )
            )
    size = len(msgspec.json.encode(items))
    if size > limits.max_items_bytes:
        message = f"{field}: the collection takes {size} bytes; {limits.max_items_bytes} are allowed (max_items_bytes)"
        raise CannotBegin(BlockError(type="collection_too_large", message=message, details={"field": field}))
    return items


def _count(field: str, value: Json) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise CannotBegin(
            BlockError(
                type="count_invalid",
                message=f"{field}: should be a whole number from 0 on, and is {_said(value)}",
                details={"field": field},
            )
        )
    return value


def _check_count(block: LoopBlock | ParallelBlock, count: int, limits: Limits) -> None:
    if isinstance(block, LoopBlock):
        most, name = min(block.max_iterations or limits.max_iterations, limits.max_iterations), "max_iterations"
    else:
        most, name = limits.max_branches, "max_branches"
    if count > most:
        what = "iterations" if isinstance(block, LoopBlock) else "branches"
        raise CannotBegin(
            BlockError(
                type=f"too_many_{what}",
                message=f"There would be {count} {what}; the limit is {most} ({name})",
                details={name: most},
            )
        )


def _said(value: Json) -> str:
    """A value as it is told: a number as it stands, all else by its kind."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else kind_of(value)


def _text(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
