"""The `function` block: a piece of the author's Python that can reach its inputs and nothing else.

pydantic-monty runs it, an interpreter of its own in a pool of worker processes: no files, network,
environment or processes, and a worker that breaks takes nobody with it. Every call checks out a session of
its own, which starts empty, so calls of different tenants share workers and nothing besides. Code is pure by
construction: the clock stands at the call's `started_at`, `random` is seeded with its idempotency key, and
sleeping takes no time, so a call that is made again after a crash gives the same outputs again.

The value of the last expression is the output. Text that is printed is dropped: it would carry payloads into
the logs. A function, module, range or cycle in the output arrives as its text, because monty hands it over as
that.

AsyncMonty and not Monty in threads, because cancelling a call kills the snippet, which a thread cannot do, at
no loss of speed: 3,000 calls at once with a checkout each, on 2 cores, 4,400/s with 2 workers and 4,400 to
5,400/s with 4, against 4,200/s and 3,600/s in threads; one call at a time takes 0.30 ms, against 0.27 ms.
This runner as a whole: 4,200 to 4,400/s with its 4 workers, the event loop late by 2.4 ms at most.
"""

import asyncio
import os
from types import TracebackType
from typing import Self

import msgspec
from pydantic_monty import (
    AsyncMonty,
    MontyCrashedError,
    MontyRuntimeError,
    MontySyntaxError,
    OSPolicy,
    ResourceLimits,
)

from playhead_contracts.events import BlockError, Json
from playhead_contracts.workflow import FunctionBlock
from playhead_executor.blocks.contract import BlockCall, BlockFailure, Outcome
from playhead_executor.blocks.json_values import NotJson, TooLarge, json_copy

# Outputs up to here are checked at once; larger ones, which can take 0.2 s, beside the event loop.
_CHECKED_AT_ONCE_BYTES = 16 * 1024

_MAX_MESSAGE_LENGTH = 2_000  # code chooses the text of its exceptions, and they become part of an event

# How long a worker may go on after its limit before it is killed. Monty looks at the clock between
# operations, and a single one (a product of two huge numbers) can take long; nobody else has the worker then.
_KILL_AFTER_SECONDS = 0.2

# What monty says of its own limits. Code can raise the same exceptions itself: errors like any other.
_TIME_LIMIT = "feed time limit exceeded"
_MEMORY_LIMITS = ("memory limit exceeded", "the worker exceeded its memory limit")


class Allowance(msgspec.Struct, frozen=True):
    """The most that a snippet gets, whatever its block asks for."""

    seconds: float = 60.0
    memory_mb: int = 512
    output_bytes: int = 1024 * 1024
    """Of its outputs, as JSON."""


class FunctionRunner:
    """Runs `function` blocks. An async context manager that owns the workers.

    Callers wait for a worker in the order in which they came. A block's `timeout` begins when it has one.
    """

    def __init__(self, workers: int | None = None, most: Allowance | None = None):
        """`workers` is how many snippets run at once. By default no fewer than four, however few cores there
        are, so that the others go on, if more slowly, when some have run away.
        """
        self._most = most or Allowance()
        count = workers or max(4, os.cpu_count() or 1)
        self._pool = AsyncMonty(min_processes=count, max_processes=count, feed_duration_limit_grace=_KILL_AFTER_SECONDS)
        self._turn = asyncio.Semaphore(count)  # first come, first served, which the pool does not promise

    async def __aenter__(self) -> Self:
        await self._pool.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._pool.__aexit__(kind, error, trace)

    async def run(self, call: BlockCall) -> Outcome:
        """Run the code once. An output that is not a dict becomes `{"result": output}`.

        Raises BlockFailure of type `syntax_error` (nothing was run; details: `message`, `line`), `code_error`
        (details: `exception`, `message`, `line`), `timeout`, `memory`, `output_not_json` (details: `pointer`),
        `output_too_large`, or `sandbox_crashed`. That one alone is retryable: after the others, the same code
        would meet the same end.
        """
        async with self._turn:
            value = await self._feed(call)
        outputs = await _checked(value, self._most.output_bytes)
        return Outcome(outputs if isinstance(outputs, dict) else {"result": outputs})

    async def _feed(self, call: BlockCall) -> object:
        block: FunctionBlock = call.config
        seconds = min(block.timeout.total_seconds(), self._most.seconds)
        memory_mb = min(block.memory_mb, self._most.memory_mb)
        limits = ResourceLimits(max_feed_duration_secs=seconds, max_memory=memory_mb * 1024 * 1024)
        policy = OSPolicy(datetime=call.started_at, random_start={"seed": call.idempotency_key}, sleep="zero")
        try:
            async with self._pool.checkout(limits=limits, os_policy=policy) as session:
                return await session.feed_run(block.code, inputs={"inputs": call.inputs}, print_callback=_drop_printed)
        except MontySyntaxError as error:
            raise BlockFailure(_syntax_error(error)) from error
        except MontyRuntimeError as error:
            raise BlockFailure(_runtime_error(error, seconds, memory_mb)) from error
        except MontyCrashedError as error:
            raise BlockFailure(_crash(error, seconds)) from error


def _drop_printed(stream: str, text: str) -> None:
    # Without a callback monty prints on our own stdout.
    pass


def _syntax_error(error: MontySyntaxError | MontyRuntimeError) -> BlockError:
    message = _message(error)
    return BlockError(type="syntax_error", message=message, details={"message": message, **_line(error)})


def _runtime_error(error: MontyRuntimeError, seconds: float, memory_mb: int) -> BlockError:
    exception = error.exception()
    message = _message(error)
    match exception:
        case TimeoutError() if message.startswith(_TIME_LIMIT):
            return _timeout(seconds)
        case MemoryError() if message.startswith(_MEMORY_LIMITS):
            return BlockError(
                type="memory",
                message=f"the code needs more than {memory_mb} MB"
                " (memory_mb of the block, at most PLAYHEAD_FUNCTION_MAX_MEMORY_MB)",
            )
        case NotImplementedError() if (frames := error.traceback()) and frames[-1].function_name is None:
            return _syntax_error(error)  # a construct that monty does not know, such as `yield`
        case _:
            name = type(exception).__name__
            details = {"exception": name, "message": message, **_line(error)}
            return BlockError(type="code_error", message=f"{name}: {message}" if message else name, details=details)


def _message(error: MontySyntaxError | MontyRuntimeError) -> str:
    return error.display("msg")[:_MAX_MESSAGE_LENGTH]


def _line(error: MontySyntaxError | MontyRuntimeError) -> dict[str, Json]:
    frames = error.traceback()
    return {"line": frames[-1].line} if frames else {}


def _timeout(seconds: float) -> BlockError:
    message = f"the code ran longer than {seconds:g} s (timeout of the block, at most PLAYHEAD_FUNCTION_MAX_SECONDS)"
    return BlockError(type="timeout", message=message)


def _crash(error: MontyCrashedError, seconds: float) -> BlockError:
    if error.timed_out:
        return _timeout(seconds)
    return BlockError(type="sandbox_crashed", message="the sandbox broke while it ran the code", retryable=True)


async def _checked(value: object, max_bytes: int) -> Json:
    try:
        try:
            return json_copy(value, min(_CHECKED_AT_ONCE_BYTES, max_bytes))
        except TooLarge:
            return await asyncio.to_thread(json_copy, value, max_bytes)
    except NotJson as error:
        raise BlockFailure(
            BlockError(
                type="output_not_json",
                message=f"the output is not JSON: {error}",
                details={"pointer": error.pointer},
            )
        ) from error
    except TooLarge as error:
        message = f"the output is larger than {max_bytes} bytes (PLAYHEAD_FUNCTION_MAX_OUTPUT_BYTES)"
        raise BlockFailure(BlockError(type="output_too_large", message=message)) from error
