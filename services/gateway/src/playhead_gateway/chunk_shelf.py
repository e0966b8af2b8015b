"""Pieces of outputs on their way, in the order in which one client sees them: each once, after their block's start.

What the bus kept from before the client came is on the shelf at first. While history is told, pieces wait there for
the fact that began their attempt, or, of a block without effects, whose start is not in the log, for its end. When
history is told, what is left belongs to blocks at work. From then on pieces pass as they come.
"""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from playhead_contracts.commands import Chunk
from playhead_contracts.ids import BlockPath
from playhead_engine.state import BlockStatus, ExecutionState, container_of_scope, scope_of_path

CHUNK_TYPE = "block.chunk"

_AT_WORK = frozenset({BlockStatus.RUNNING, BlockStatus.DISPATCHED, BlockStatus.INTERRUPTED})
_decode = msgspec.json.Decoder(Chunk).decode


class _Attempt(NamedTuple):
    path: str
    attempt: int


def read_chunk(frame: bytes) -> Chunk | None:
    """A piece as executors and workers tell it. Workers speak any language: what is none is passed over."""
    try:
        return _decode(frame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


class ChunkShelf:
    """The pieces of one execution for one client."""

    def __init__(self, kept: Iterable[Chunk]):
        self._is_history = True
        self._kept: dict[_Attempt, dict[int, Chunk]] = {}
        self._told: dict[_Attempt, int] = {}
        for chunk in kept:
            self._keep(chunk)

    @property
    def is_idle(self) -> bool:
        """Whether facts may pass without asking the shelf."""
        return not self._kept and not self._told

    def reconnected(self, state: ExecutionState) -> list[Chunk]:
        """Those of blocks at work at the version that the client has seen; of what is over there, none are kept."""
        found: list[Chunk] = []
        for attempt in list(self._kept):
            path = BlockPath(attempt.path)
            block = state.blocks.get(path)
            if _is_left(state, path) or (block is not None and attempt.attempt < block.attempt):
                del self._kept[attempt]
            elif block is not None and attempt.attempt == block.attempt:
                found += self._take(attempt) if block.status in _AT_WORK else []
                self._kept.pop(attempt, None)
        return found

    def begun(self, path: str, attempt: int) -> list[Chunk]:
        """Those that follow the start of this attempt."""
        return self._take(_Attempt(path, attempt))

    def over(self, path: str, attempt: int) -> list[Chunk]:
        """Those that go before the end of this attempt. It tells no more."""
        left = self._take(_Attempt(path, attempt))
        self._told.pop(_Attempt(path, attempt), None)
        return left

    def caught_up(self) -> list[Chunk]:
        """History is told: those that are left."""
        self._is_history = False
        return [chunk for attempt in list(self._kept) for chunk in self._take(attempt)]

    def came(self, chunk: Chunk) -> list[Chunk]:
        """One has come live: it, or nothing if it was told before or has to wait."""
        self._keep(chunk)
        return [] if self._is_history else self._take(_Attempt(chunk.path, chunk.attempt))

    def _keep(self, chunk: Chunk) -> None:
        attempt = _Attempt(chunk.path, chunk.attempt)
        if chunk.index > self._told.get(attempt, -1):
            self._kept.setdefault(attempt, {}).setdefault(chunk.index, chunk)

    def _take(self, attempt: _Attempt) -> list[Chunk]:
        kept = self._kept.pop(attempt, None)
        if not kept:
            return []
        self._told[attempt] = max(kept)
        return [kept[index] for index in sorted(kept)]


def _is_left(state: ExecutionState, path: BlockPath) -> bool:
    """Whether an iteration around this instance is over: the state may have forgotten the instance."""
    while scope := scope_of_path(path):
        path, index = container_of_scope(scope)
        container = state.containers.get(path)
        if container is None:
            return path in state.blocks
        if index < container.begun and index not in container.open:
            return True
    return False
