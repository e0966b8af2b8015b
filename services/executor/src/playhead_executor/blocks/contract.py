"""What all kinds of block share: a `BlockCall` goes in, an `Outcome` or a `BlockFailure` comes out."""

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

import msgspec

from playhead_contracts.errors import PlayheadError
from playhead_contracts.events import BlockError, Json

CUT = "…"
"""The end of a text from outside that was cut off. Before it, the beginning of a secret is looked for, too."""


class BlockFailure(PlayheadError):
    """The block failed, and the author is told why. Whatever else a runner raises is a bug of ours."""

    def __init__(self, error: BlockError):
        super().__init__(f"{error.type}: {error.message}")
        self.error = error


class Outcome(msgspec.Struct, frozen=True):
    """What a block that completed gave: its outputs, and the handles it chose if it is one that chooses."""

    outputs: Json
    decision: tuple[str, ...] | None = None


class Progress(Protocol):
    """What a block can tell of itself while it runs."""

    @property
    def steps(self) -> Mapping[str, Json]:
        """What the finished steps of this block instance gave, by name, earlier attempts included."""
        ...

    async def step_completed(self, name: str, outputs: Json) -> None:
        """Record a finished step; returns when it is in the log."""
        ...

    async def chunk(self, content: Json) -> None:
        """Tell who is listening a piece of what is to come; the completion keeps the beginning of such a text."""
        ...


class BlockCall(msgspec.Struct, frozen=True):
    """One attempt at one block instance."""

    execution_id: str
    path: str
    attempt: int
    config: Any
    """The block as it stands in the document. Only the runner of its kind looks at it, and knows its type."""
    inputs: dict[str, Json]
    """Resolved and ready to use, secrets included: nothing of it goes into a log line or message of ours."""
    idempotency_key: str
    """Printable ASCII. Equal for every try at the same piece of work, so that outside it is done once."""
    started_at: datetime
    """When this piece of work began, UTC. Code that runs again after a crash reads the same time again."""
    log: logging.LoggerAdapter[logging.Logger]
    """Bound to the execution and the block."""
    progress: Progress | None = None


class BlockRunner(Protocol):
    """Runs every block of one kind. Called concurrently; a cancelled call leaves nothing running."""

    async def run(self, call: BlockCall) -> Outcome:
        """Run one block to its end. Raises BlockFailure."""
        ...
