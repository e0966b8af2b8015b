"""What a block is given besides its config, and how it says that it failed."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, Protocol, TypeVar, overload

Json = Any
"""A JSON value: None, bool, int, float, str, list or dict."""

T = TypeVar("T")


class BlockFailed(Exception):
    """Raised by a block that failed for a reason its author knows: `type` is for documents, `message` for people.

    `retryable` says that it may go away by itself; `retry_after_seconds` how long it surely will not. Anything else
    that a block raises is a failure of type `raised`.
    """

    def __init__(
        self,
        type: str,
        message: str,
        *,
        retryable: bool = False,
        details: Mapping[str, Json] | None = None,
        retry_after_seconds: float | None = None,
    ):
        super().__init__(message)
        self.type = type
        self.message = message
        self.retryable = retryable
        self.details: dict[str, Json] = dict(details or {})
        self.retry_after_seconds = retry_after_seconds


class BlockContext(Protocol):
    """One attempt at one block instance.

    Cancellation is asyncio's: `asyncio.CancelledError` is raised where the block waits; it may clean up, and raises it
    again.
    """

    @property
    def execution_id(self) -> str: ...

    @property
    def path(self) -> str:
        """The instance's address, such as `each[2]/charge`."""
        ...

    @property
    def attempt(self) -> int:
        """1 for the first."""
        ...

    @property
    def started_at(self) -> datetime:
        """When this attempt began, UTC."""
        ...

    @property
    def log(self) -> "logging.LoggerAdapter[logging.Logger]":
        """Bound to the execution and the block. What is logged is not recorded."""
        ...

    def idempotency_key(self, step: str | None = None) -> str:
        """Equal for every attempt at this block instance, or at this step of it, so that outside it is done once."""
        ...

    @overload
    async def step(self, name: str, fn: Callable[[], Awaitable[T]]) -> T: ...
    @overload
    async def step(self, name: str, fn: Callable[[], T]) -> T: ...
    async def step(self, name: str, fn: Callable[[], Any]) -> Any:
        """Run `fn` once, durably: when this returns, its result is in the log.

        After a crash, and in a later attempt, a step that was finished gives its recorded result without running. A
        step in flight at a crash runs again: pass on `idempotency_key(name)`. The result is JSON, or what msgspec makes
        JSON of; it comes back as plain JSON. A name can be used once in a block. What `fn` raises is raised, and
        nothing is recorded.
        """
        ...

    def heartbeat(self) -> None:
        """Say that the block is alive. One that declares `heartbeat` and is silent for longer fails, retryably."""
        ...

    async def chunk(self, content: Json) -> None:
        """Give a piece of what is to come to whoever is listening. Kept for some minutes, and never in the log; if all
        are text, the completion of the block tells the beginning of it."""
        ...
