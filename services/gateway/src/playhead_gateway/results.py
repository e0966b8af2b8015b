"""What an execution has come to, as the body that callers get: a pure function of its state and its graph."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from playhead_contracts.events import BlockError, Json, PauseAction, Quorum
from playhead_contracts.ids import BlockPath, PauseId
from playhead_contracts.workflow import Block
from playhead_engine.graph import Graph
from playhead_engine.pauses import asked_now
from playhead_engine.pauses.answering import actions_of
from playhead_engine.state import BlockState, BlockStatus, ExecutionState, ExecutionStatus, PauseState
from playhead_gateway.read_models import Counts


class BlockOutput(msgspec.Struct, frozen=True):
    """What one block gave. `status` is `pending` as long as nothing is known of it."""

    type: str
    status: str
    content: Json
    display_name: str


class Answer(msgspec.Struct, frozen=True):
    """The one text that the execution gave, for callers that want nothing else; or why there is none."""

    text: str | None
    reason: Literal["single", "multiple", "none", "non_string", "failed"]


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why it did not complete, and at which block."""

    type: str
    message: str
    block: str | None = None
    retryable: bool = False
    details: dict[str, Json] = {}


class OpenPause(msgspec.Struct, frozen=True):
    """A question to people. `execution_id` is that of a child, when it is the child that asks."""

    pause_id: str
    execution_id: str
    path: str
    message: str
    form: dict[str, Json] | None
    show: dict[str, Json]
    order: tuple[str, ...]
    labels: dict[str, str]
    actions: tuple[PauseAction, ...]
    assignees: tuple[str, ...]
    """Who may answer now; nobody named means whoever may answer pauses."""
    quorum: Quorum | None
    votes: int
    digest: str
    requested_at: datetime
    expires_at: datetime | None


class Metadata(msgspec.Struct, frozen=True):
    started_at: datetime | None
    ended_at: datetime | None
    duration_ms: float | None
    blocks: Counts


class Result(msgspec.Struct, kw_only=True):
    """The body of an execution. `version` is that of the workflow.

    `outputs` has, until the execution has ended, only what is completed; then all that are wanted, with their status.
    """

    execution_id: str
    workflow_id: str
    version: int
    status: str
    output: Json
    outputs: dict[str, BlockOutput]
    answer: Answer
    has_errors: bool
    error: Failure | UnsetType = UNSET
    pauses: list[OpenPause] | UnsetType = UNSET
    http_status: int | UnsetType = UNSET
    """What a `response` block said, for whoever puts this API behind one of their own."""
    metadata: Metadata


class Forked(Result, kw_only=True):
    """The body of a fork, with the plan that it follows."""

    plan: Json


def result_of(
    state: ExecutionState,
    graph: Graph,
    children: Sequence[ExecutionState] = (),
    *,
    only: Collection[PauseId] | None = None,
) -> Result:
    """The result so far. `outputs` are of the blocks asked for, or of those that nothing follows.

    `children` are the child executions that ask people something; of all open pauses, `only` these are told, if given.
    """
    outputs = {
        path: _output(path, graph, block)
        for path in map(BlockPath, state.outputs_asked or graph.terminals)
        if path in graph.nodes and _is_told(block := state.blocks.get(path), is_ended=state.is_ended)
    }
    open_pauses = [
        _open_pause(each, pause)
        for each in (state, *children)
        for pause in each.open_pauses()
        if only is None or pause.pause_id in only
    ]
    return Result(
        execution_id=state.execution_id,
        workflow_id=state.workflow_id,
        version=state.workflow_version,
        status=state.status,
        output=state.output,
        outputs=outputs,
        answer=_answer(state, graph, outputs.values()),
        has_errors=state.error is not None or state.counts.failed > 0,
        error=UNSET if state.error is None else _failure(state.error, state.failed_block),
        pauses=open_pauses or UNSET,
        http_status=UNSET if state.http_status is None else state.http_status,
        metadata=Metadata(
            started_at=state.started_at,
            ended_at=state.ended_at,
            duration_ms=_milliseconds(state.started_at, state.ended_at),
            blocks=Counts(state.counts.run, state.counts.reused, state.counts.skipped, state.counts.failed),
        ),
    )


def with_plan(result: Result, state: ExecutionState) -> Result:
    """The result, and the plan if the execution is a fork."""
    return result if state.plan is None else Forked(**msgspec.structs.asdict(result), plan=state.plan)


def display_name_of(path: BlockPath, block: Block) -> str:
    """What people call a block."""
    return block.display_name or path


def _is_told(block: BlockState | None, *, is_ended: bool) -> bool:
    return is_ended or (block is not None and block.status is BlockStatus.COMPLETED)


def _output(path: BlockPath, graph: Graph, block: BlockState | None) -> BlockOutput:
    definition = graph.nodes[path].block
    return BlockOutput(
        type=definition.type,
        status="pending" if block is None else block.status,
        content=None if block is None else block.outputs,
        display_name=display_name_of(path, definition),
    )


def _answer(state: ExecutionState, graph: Graph, outputs: Iterable[BlockOutput]) -> Answer:
    if state.error is not None:
        return Answer(None, "failed")
    if state.status is not ExecutionStatus.COMPLETED:
        return Answer(None, "none")
    # What the author declared as the output is the answer; only without that the blocks are asked.
    is_declared = graph.document.output is not None or state.http_status is not None
    if is_declared and state.outputs_asked is None:
        given = [] if state.output is None else [state.output]
    else:
        given = [each.content for each in outputs if each.status == BlockStatus.COMPLETED]
    if len(given) != 1:
        return Answer(None, "multiple" if given else "none")
    return Answer(given[0], "single") if isinstance(given[0], str) else Answer(None, "non_string")


def _failure(error: BlockError, block: BlockPath | None) -> Failure:
    return Failure(error.type, error.message, block, error.retryable, error.details)


def _open_pause(state: ExecutionState, pause: PauseState) -> OpenPause:
    return OpenPause(
        pause_id=pause.pause_id,
        execution_id=state.execution_id,
        path=pause.path,
        message=pause.message,
        form=pause.form,
        show=pause.show,
        order=pause.order or tuple(sorted(pause.show)),
        labels=pause.labels,
        actions=tuple(actions_of(pause).values()),
        assignees=asked_now(pause),
        quorum=pause.quorum,
        votes=len(pause.votes),
        digest=pause.digest,
        requested_at=pause.requested_at,
        expires_at=pause.expires_at,
    )


def _milliseconds(since: datetime | None, until: datetime | None) -> float | None:
    return None if since is None or until is None else (until - since).total_seconds() * 1000
