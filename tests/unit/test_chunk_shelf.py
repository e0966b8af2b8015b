"""In which order one client is told pieces of outputs, whenever it came."""

from playhead_contracts.commands import Chunk
from playhead_contracts.events import ExecutionCreated
from playhead_contracts.ids import BlockPath, ExecutionId, WorkflowId
from playhead_engine.folding import create
from playhead_engine.state import BlockState, BlockStatus, ContainerState, ExecutionState
from playhead_gateway.chunk_shelf import ChunkShelf
from tests.unit.graphs import recorded


def piece(index: int, path: str = "write", attempt: int = 1) -> Chunk:
    return Chunk(
        execution_id=ExecutionId("x-1"), path=BlockPath(path), attempt=attempt, index=index, content=f"{path}{index}"
    )


def state_with(*blocks: BlockState, **containers: ContainerState) -> ExecutionState:
    created = ExecutionCreated(workflow_id=WorkflowId("w"), workflow_version=1, digest="sha256:0")
    state = create(recorded(created, 1))
    state.blocks.update({block.path: block for block in blocks})
    state.containers.update({BlockPath(path): container for path, container in containers.items()})
    return state


def block(path: str, status: BlockStatus, attempt: int = 1) -> BlockState:
    return BlockState(path=BlockPath(path), status=status, attempt=attempt)


def test_kept_pieces_follow_the_start_of_their_attempt_in_order_and_once() -> None:
    shelf = ChunkShelf([piece(2), piece(0), piece(1), piece(1), piece(0, attempt=2)])
    assert shelf.came(piece(3)) == [], "history is not told yet"
    assert shelf.begun("write", 1) == [piece(0), piece(1), piece(2), piece(3)]
    assert shelf.begun("write", 1) == []
    assert shelf.over("write", 1) == []
    assert shelf.begun("write", 2) == [piece(0, attempt=2)]


def test_pieces_of_a_block_without_a_start_go_before_its_end() -> None:
    shelf = ChunkShelf([piece(0), piece(1)])
    assert shelf.over("write", 1) == [piece(0), piece(1)]
    assert shelf.caught_up() == []


def test_what_is_left_when_history_is_told_is_at_work() -> None:
    shelf = ChunkShelf([piece(0), piece(0, "other")])
    assert shelf.begun("write", 1) == [piece(0)]
    assert shelf.caught_up() == [piece(0, "other")]
    assert shelf.came(piece(0)) == [], "told before"
    assert shelf.came(piece(1)) == [piece(1)]
    assert shelf.came(piece(1)) == []
    assert shelf.came(piece(0, attempt=2)) == [piece(0, attempt=2)]


def test_who_comes_again_is_told_what_is_at_work_from_the_first_piece_on() -> None:
    at_work = [
        block("running", BlockStatus.RUNNING),
        block("task", BlockStatus.DISPATCHED, 2),
        block("done", BlockStatus.COMPLETED),
        block("retried", BlockStatus.RETRYING),
    ]
    each = ContainerState(kind="loop", begun=3, open=[2])
    kept = [
        piece(0, "done"),
        piece(1, "running"),
        piece(0, "running"),
        piece(0, "task", 1),
        piece(0, "task", 2),
        piece(0, "retried"),
        piece(0, "each[0]/a"),
        piece(0, "each[2]/a"),
        piece(0, "later"),
    ]
    shelf = ChunkShelf(kept)
    told = shelf.reconnected(state_with(*at_work, each=each))
    assert told == [piece(0, "running"), piece(1, "running"), piece(0, "task", 2)]
    assert shelf.caught_up() == [piece(0, "each[2]/a"), piece(0, "later")], "the state knows nothing of these"


def test_a_shelf_with_nothing_on_it_is_idle() -> None:
    shelf = ChunkShelf([])
    shelf.caught_up()
    assert shelf.is_idle
    shelf.came(piece(0))
    assert not shelf.is_idle
    shelf.over("write", 1)
    assert shelf.is_idle
