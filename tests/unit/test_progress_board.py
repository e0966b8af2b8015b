"""What `playhead watch` draws: a line for each block, bars, waits, and questions."""

from datetime import UTC, datetime, timedelta

import msgspec
from rich.console import Console

from playhead_cli.gateway import Told
from playhead_cli.progress import Board
from playhead_contracts.commands import Chunk
from playhead_contracts.events import (
    BlockCompleted,
    BlockDispatched,
    BlockError,
    BlockFailed,
    BlockRetryScheduled,
    BlockStarted,
    ContainerStart,
    EventData,
    ExecutionCreated,
    ExecutionStarted,
    IterationCompleted,
    PauseRequested,
    Watch,
    WatchedEvent,
    encode_data,
    encode_envelope,
    join,
)
from playhead_contracts.ids import BlockPath, ExecutionId, PauseId, WorkflowId
from tests.unit.graphs import recorded

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NAMES = {
    "fetch": "Fetch the order",
    "each": "each",
    "all": "all",
    "ask": "ask",
    "nap": "nap",
    "count": "count",
    "retry": "retry",
    "last": "last",
}


def board_of(*facts: EventData) -> Board:
    board = Board(NAMES)
    created = ExecutionCreated(workflow_id=WorkflowId("w"), workflow_version=1, digest="sha256:0")
    begun = ExecutionStarted(executor="e", epoch=1, command="run")
    for version, fact in enumerate((created, begun, *facts), 1):
        event = recorded(fact, version, START + timedelta(seconds=version))
        frame = join(encode_envelope(event.envelope), encode_data(fact))
        board.note(Told(str(version), fact.type_name(), frame))
    return board


def lines_of(board: Board, after_seconds: float = 20) -> list[str]:
    console = Console(width=120, force_terminal=False, color_system=None, record=True)
    with console.capture() as captured:
        console.print(board.drawn(START + timedelta(seconds=after_seconds)))
    return [" ".join(line.split()) for line in captured.get().splitlines()]


def path(text: str) -> BlockPath:
    return BlockPath(text)


def test_nothing_is_known_before_the_first_event() -> None:
    assert lines_of(Board(NAMES)) == ["waiting for the first event"]


def test_each_block_has_a_line_with_its_time_and_attempt() -> None:
    board = board_of(
        BlockCompleted(path=path("fetch"), outputs=1, duration_ms=1234.0),
        BlockStarted(path=path("last"), attempt=2),
        BlockFailed(path=path("nap"), error=BlockError(type="boom", message="It broke"), handled=True),
    )
    lines = lines_of(board)
    assert lines[0].startswith("running ")
    assert lines[1] == "✓ Fetch the order 1.2 s"
    assert "· each" in lines
    assert "▶ last 16 s attempt 2" in lines
    assert any(line.startswith("✗ nap") and line.endswith("boom: It broke") for line in lines)


def test_containers_have_bars() -> None:
    board = board_of(
        BlockStarted(path=path("all"), container=ContainerStart(kind="parallel", count=4, concurrency=2)),
        IterationCompleted(path=path("all"), index=0, outputs=1),
        IterationCompleted(path=path("all"), index=1, error=BlockError(type="boom", message="It broke")),
        BlockStarted(path=path("each"), container=ContainerStart(kind="loop")),
        IterationCompleted(path=path("each"), index=0, outputs=1),
    )
    lines = lines_of(board)
    assert any(line.startswith("▶ all") and line.endswith("2 of 4, 1 failed") and "━" in line for line in lines)
    assert any(line.startswith("▶ each") and line.endswith("1 iterations") for line in lines)


def test_what_is_waited_for_is_said() -> None:
    event = WatchedEvent(type="payment.settled")
    error = BlockError(type="busy", message="Later")
    pause_id = PauseId("p-1")
    board = board_of(
        BlockStarted(path=path("nap"), until=START + timedelta(seconds=100)),
        BlockStarted(path=path("last"), watch=Watch(events=(event,), need="any")),
        BlockDispatched(path=path("count"), attempt=1, task_id="t", task="word-count"),
        BlockRetryScheduled(path=path("retry"), attempt=1, error=error, due_at=START + timedelta(seconds=25)),
        PauseRequested(pause_id=pause_id, path=path("ask"), message="Pay 100?", digest="sha256:0"),
    )
    piece = Chunk(execution_id=ExecutionId("x"), path=path("count"), attempt=1, index=0, content="so far 100")
    board.note(Told("", "block.chunk", msgspec.json.encode(piece)))
    lines = lines_of(board)
    assert any(line.startswith("◷ nap") and line.endswith("over in 1:20") for line in lines)
    assert any("any of the events payment.settled; 0 came" in line for line in lines)
    assert any(line.endswith("a worker for word-count: so far 100") for line in lines)
    assert any(line.startswith("↻ retry") and line.endswith("again in 5.0 s after busy: Later") for line in lines)
    assert "? Pay 100? (ask)" in lines
    assert any(line.startswith("playhead resume") and line.endswith("p-1") for line in lines)
