"""Blocks whose types packages bring: their config, their context, their time, and what they raise."""

import asyncio
import inspect
import logging
import traceback
from collections.abc import Callable
from datetime import datetime
from time import monotonic
from typing import Any

import msgspec

from playhead_blocks import BlockFailed, BlockType
from playhead_contracts.events import BlockError, Json
from playhead_contracts.workflow import CustomBlock
from playhead_executor.blocks.contract import BlockCall, BlockFailure, Outcome
from playhead_runtime.ids import derived_id

_FRAMES = 5
"""How much of a traceback is recorded: where it was raised, without values."""


class ExtensionRunner:
    """Runs the blocks of one type that a package registered."""

    def __init__(self, kind: BlockType):
        self._kind = kind

    async def run(self, call: BlockCall) -> Outcome:
        """Run one block. Raises BlockFailure: `config_invalid`, `timeout`, `heartbeat_lost`, what the block says of
        itself, or `raised`."""
        try:
            config = self._kind.config_of(call.inputs)
        except ValueError as wrong:
            raise _failure("config_invalid", str(wrong)) from wrong
        definition: CustomBlock = call.config
        timeout = None if definition.timeout is None else definition.timeout.total_seconds()
        context = Context(call)
        try:
            async with asyncio.timeout(timeout):
                return Outcome(_plain(await self._watched(config, context)))
        except TimeoutError as late:
            if timeout is None:
                raise _raised(late) from late
            raise _failure("timeout", f"It was not done after {timeout:g} s", retryable=True) from late
        except BlockFailed as failed:
            raise BlockFailure(
                BlockError(
                    type=failed.type,
                    message=failed.message,
                    retryable=failed.retryable,
                    details=failed.details,
                    retry_after_seconds=failed.retry_after_seconds,
                )
            ) from failed
        except BlockFailure:
            raise
        except Exception as raised:
            call.log.warning("block raised", exc_info=raised)
            raise _raised(raised) from raised

    async def _watched(self, config: Any, context: "Context") -> Any:
        """The block's result; it is ended when it has been silent for longer than its type allows."""
        silence = self._kind.heartbeat_seconds
        if silence is None:
            return await self._kind.function(config, context)
        running = asyncio.ensure_future(self._kind.function(config, context))
        try:
            while not running.done():
                left = context.last_beat + silence - monotonic()
                if left <= 0:
                    raise _failure("heartbeat_lost", f"It was silent for more than {silence:g} s", retryable=True)
                await asyncio.wait({running}, timeout=left)
            return running.result()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


class Context:
    """One attempt, as the block sees it (`playhead_blocks.BlockContext`)."""

    def __init__(self, call: BlockCall):
        self._call = call
        self._names: set[str] = set()
        self.last_beat = monotonic()

    @property
    def execution_id(self) -> str:
        return self._call.execution_id

    @property
    def path(self) -> str:
        return self._call.path

    @property
    def attempt(self) -> int:
        return self._call.attempt

    @property
    def started_at(self) -> datetime:
        return self._call.started_at

    @property
    def log(self) -> "logging.LoggerAdapter[logging.Logger]":
        return self._call.log

    def idempotency_key(self, step: str | None = None) -> str:
        key = self._call.idempotency_key
        return key if step is None else derived_id(key, step)

    async def step(self, name: str, fn: Callable[[], Any]) -> Any:
        if name in self._names:
            raise ValueError(f"the step {name!r} is there a second time in this block")
        self._names.add(name)
        progress = self._call.progress
        assert progress is not None
        if name in progress.steps:
            return progress.steps[name]
        result = fn()
        if inspect.isawaitable(result):
            result = await result
        outputs = _plain(result)
        await progress.step_completed(name, outputs)
        self.heartbeat()
        return outputs

    def heartbeat(self) -> None:
        self.last_beat = monotonic()

    async def chunk(self, content: Json) -> None:
        assert self._call.progress is not None
        await self._call.progress.chunk(_plain(content))
        self.heartbeat()


def _plain(value: Any) -> Json:
    """The value as JSON values. Raises BlockFailure when it is none."""
    if hasattr(value, "model_dump"):
        value = value.model_dump(mode="json")
    try:
        return msgspec.to_builtins(value)
    except (TypeError, ValueError) as wrong:
        raise _failure("output_not_json", f"The result is no JSON: {wrong}") from wrong


def _raised(error: BaseException) -> BlockFailure:
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    return _failure(
        "raised",
        f"{type(error).__name__}: {error}",
        at=[f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno} {frame.name}" for frame in frames],
    )


def _failure(kind: str, message: str, *, retryable: bool = False, **details: Json) -> BlockFailure:
    return BlockFailure(BlockError(type=kind, message=message, retryable=retryable, details=details))
