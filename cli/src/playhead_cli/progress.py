"""An execution as it goes on, drawn in the terminal: a line for each block, and what is waited for."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from threading import Lock

import msgspec
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from playhead_cli.answers import OpenPause, Result
from playhead_cli.facts import compact, read_chunk
from playhead_cli.gateway import Gateway, Told
from playhead_cli.screen import line, show_result, status_text
from playhead_contracts.events import decode_joined
from playhead_contracts.ids import BlockPath
from playhead_engine.folding import create, evolve
from playhead_engine.state import BlockState, BlockStatus, ContainerState, ExecutionState

_BAR_WIDTH = 24
_TEXT_WIDTH = 60
_REDRAWN_PER_SECOND = 8

_MARKS = {
    BlockStatus.RUNNING: ("▶", "blue"),
    BlockStatus.DISPATCHED: ("▶", "blue"),
    BlockStatus.WAITING: ("◷", "cyan"),
    BlockStatus.PAUSED: ("?", "bold yellow"),
    BlockStatus.RETRYING: ("↻", "yellow"),
    BlockStatus.INTERRUPTED: ("!", "yellow"),
    BlockStatus.COMPLETED: ("✓", "green"),
    BlockStatus.FAILED: ("✗", "red"),
    BlockStatus.SKIPPED: ("-", "bright_black"),
}


class Board:
    """What is drawn. Events are noted by one thread while another draws."""

    def __init__(self, names: Mapping[str, str]):
        """`names` are the blocks of the outermost graph, in their order, with what people call them."""
        self._names = names
        self._state: ExecutionState | None = None
        self._pauses: tuple[OpenPause, ...] = ()
        self._texts: dict[str, str] = {}
        self._lock = Lock()
        self.result: Result | None = None

    def note(self, told: Told) -> None:
        """One more event of the stream."""
        with self._lock:
            match told.event:
                case "block.chunk":
                    chunk = read_chunk(told.data)
                    said = chunk.content if isinstance(chunk.content, str) else f" {compact(chunk.content)}"
                    self._texts[chunk.path] = (self._texts.get(chunk.path, "") + said)[-_TEXT_WIDTH:]
                case "paused":
                    self._pauses = msgspec.json.decode(told.data, type=Result).pauses
                case "result":
                    self.result = msgspec.json.decode(told.data, type=Result)
                case _:
                    if told.event_id:
                        self._evolve(told.data)

    def drawn(self, now: datetime) -> RenderableType:
        """How it stands at a moment."""
        with self._lock:
            state = self._state
            if state is None:
                return Text("waiting for the first event", "dim")
            rows = Table.grid(padding=(0, 2))
            for path, name in self._names.items():
                rows.add_row(*self._row(state, BlockPath(path), name, now))
            head = Text.assemble(
                status_text(state.status), "  ", (state.execution_id, "bold"), f"  {state.workflow_id}"
            )
            return Group(head, rows, *self._questions(state))

    def _evolve(self, frame: bytes) -> None:
        event = decode_joined(frame)
        if self._state is None:
            self._state = create(event)
        else:
            evolve(self._state, event.data, event.version, event.recorded_at, event.envelope.actor)

    def _row(
        self, state: ExecutionState, path: BlockPath, name: str, now: datetime
    ) -> tuple[RenderableType, RenderableType, RenderableType, RenderableType, RenderableType]:
        block = state.blocks.get(path)
        if block is None:
            return Text("·", "dim"), Text(name, "dim"), Text(""), Text(""), Text("")
        mark, style = _MARKS[block.status]
        attempt = f"attempt {block.attempt}" if block.attempt > 1 else ""
        container = state.containers.get(path)
        detail = line(self._detail(block, now)) if container is None else _bar(container)
        return Text(mark, style), Text(name), Text(_took(block, now), "dim"), Text(attempt, "yellow"), detail

    def _detail(self, block: BlockState, now: datetime) -> str:
        match block.status:
            case BlockStatus.RUNNING:
                return self._texts.get(block.path, "").strip().replace("\n", " ")
            case BlockStatus.DISPATCHED if block.task is not None:
                said = self._texts.get(block.path, "").strip().replace("\n", " ")
                return f"a worker for {block.task.task}: {said}" if said else f"a worker for {block.task.task}"
            case BlockStatus.WAITING:
                return _waited_for(block, now)
            case BlockStatus.RETRYING:
                why = "" if block.error is None else f" after {block.error.type}: {block.error.message}"
                return f"again {_left(block.until, now)}{why}"
            case BlockStatus.PAUSED:
                return "waits for people"
            case BlockStatus.FAILED:
                return "" if block.error is None else f"{block.error.type}: {block.error.message}"
            case BlockStatus.SKIPPED:
                return (block.reason or "").replace("_", " ")
            case BlockStatus.INTERRUPTED | BlockStatus.COMPLETED | BlockStatus.DISPATCHED:
                return "reused" if block.reused_from is not None else ""

    def _questions(self, state: ExecutionState) -> Iterable[RenderableType]:
        """The open pauses: its own as they are, those of children as they were told last."""
        own = {pause.pause_id: pause for pause in state.open_pauses()}
        asked = set(state.asked_pauses())
        for pause in own.values():
            yield _question(pause.message, pause.path, state.execution_id, pause.pause_id)
        for pause in self._pauses:
            if pause.pause_id in asked and pause.pause_id not in own:
                yield _question(pause.message, pause.path, pause.execution_id, pause.pause_id)


def watch_board(gateway: Gateway, execution_id: str, console: Console) -> str:
    """Draw an execution until it has ended, and its result then. Returns how it ended."""
    board = Board(_names(gateway, execution_id))

    def drawn() -> RenderableType:
        return board.drawn(datetime.now(UTC))

    with Live(get_renderable=drawn, console=console, refresh_per_second=_REDRAWN_PER_SECOND):
        for told in gateway.watch(execution_id):
            board.note(told)
    if board.result is None:
        return ""
    show_result(console, board.result)
    return board.result.status


class _Shown(msgspec.Struct):
    workflow_id: str
    version: int


class _Document(msgspec.Struct):
    blocks: dict[str, dict[str, object]]


class _Published(msgspec.Struct):
    document: _Document


def _names(gateway: Gateway, execution_id: str) -> dict[str, str]:
    shown = gateway.get(f"/v1/executions/{execution_id}").as_(_Shown)
    version = gateway.get(f"/v1/workflows/{shown.workflow_id}/versions/{shown.version}").as_(_Published)
    blocks = version.document.blocks.items()
    return {path: str(block.get("display_name") or path) for path, block in blocks if block.get("type") != "note"}


def _bar(container: ContainerState) -> RenderableType:
    over = container.begun - len(container.open)
    failed = f", {len(container.errors)} failed" if container.errors else ""
    if container.count is None:
        return Text(f"{over} iterations{failed}")
    row = Table.grid(padding=(0, 1))
    bar = ProgressBar(total=max(container.count, 1), completed=over, width=_BAR_WIDTH)
    row.add_row(bar, Text(f"{over} of {container.count}{failed}"))
    return row


def _waited_for(block: BlockState, now: datetime) -> str:
    parts: list[str] = []
    if block.child is not None:
        parts.append(f"execution {block.child.execution_id}, {block.child.status}")
    if block.watch is not None:
        missing = [event.type or "any" for event in block.watch.events]
        parts.append(f"{block.watch.need} of the events {', '.join(missing)}; {len(block.matched)} came")
    if block.until is not None:
        parts.append(f"over {_left(block.until, now)}")
    if block.deadline is not None:
        parts.append(f"gives up {_left(block.deadline, now)}")
    return ", ".join(parts)


def _question(message: str, path: str, execution_id: str, pause_id: str) -> RenderableType:
    asked = Text.assemble(("? ", "bold yellow"), (message, "bold"), f"  ({path})")
    return Group(asked, Text(f"  playhead resume {execution_id} {pause_id}", "dim"))


def _took(block: BlockState, now: datetime) -> str:
    if block.duration_ms is not None:
        return _seconds(block.duration_ms / 1000)
    if block.started_at is None or block.status is BlockStatus.SKIPPED:
        return ""
    return _seconds(((block.ended_at or now) - block.started_at).total_seconds())


def _left(at: datetime | None, now: datetime) -> str:
    return "soon" if at is None or at <= now else f"in {_seconds((at - now).total_seconds())}"


def _seconds(seconds: float) -> str:
    if seconds < 10:
        return f"{max(seconds, 0):.1f} s"
    minutes, whole = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{whole:02}" if hours else f"{minutes}:{whole:02}" if minutes else f"{whole} s"
