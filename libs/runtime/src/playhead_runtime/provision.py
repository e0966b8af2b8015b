"""The streams and consumers that Playhead needs on the bus, made or brought up to date.

Safe at any time and from several processes at once: creating what is there with the same settings changes
nothing. So a service that finds its stream gone (a server was replaced) provisions again and goes on; what
was in it is sent again from the log.
"""

import asyncio
from datetime import timedelta
from typing import Any

import msgspec

from playhead_contracts import subjects
from playhead_contracts.ids import ExecutionId, TenantId
from playhead_contracts.requests import ADMITTED
from playhead_runtime.bus import Bus, BusRejected, BusUnavailable, NotAllowed

_NANOSECONDS = 1_000_000_000
_DUPLICATE_WINDOW_SECONDS = 120
_CHUNKS_SECONDS = 600
_MIB = 1 << 20
_WAIT_SECONDS = 20.0
_LOOK_SECONDS = 0.25
_NOT_THERE = 10059

LOG_METADATA = "playhead-log"
"""What the stream of events says in its metadata: where the whole log is."""
_MOST_HELD = 100_000
"""Commands whose clients wait for a result: all gateways hold that many together."""

_NAME_IN_USE = 10058
"""The stream exists with other settings: it wants an update."""


class StreamSizes(msgspec.Struct, frozen=True, kw_only=True):
    """How large the streams may become, in bytes: JetStream sets this much of its store aside. And how old the events
    may become, and where the rest of the log is that their stream tells its consumers.
    """

    commands_bytes: int = 512 * _MIB
    events_bytes: int = 1024 * _MIB
    tasks_bytes: int = 512 * _MIB
    inbox_bytes: int = 256 * _MIB
    dead_letters_bytes: int = 128 * _MIB
    chunks_bytes: int = 64 * _MIB
    """In memory."""
    events_max_age: timedelta = timedelta(days=7)
    log_url: str = "/v1/log"


class _ApiError(msgspec.Struct, frozen=True):
    code: int
    err_code: int = 0
    description: str = ""


class _Names(msgspec.Struct, frozen=True):
    streams: list[str] | None = None


class _ApiAnswer(msgspec.Struct, frozen=True):
    error: _ApiError | None = None


async def provision(
    bus: Bus, replicas: int = 1, *, ack_wait_seconds: float = 5.0, sizes: StreamSizes | None = None
) -> None:
    """Make or update all streams, and the executors' consumer. `ack_wait_seconds` is the lease of a command to them.

    Errors as `provision_streams`.
    """
    await provision_streams(bus, replicas, sizes)
    await _ensure_consumer(bus, _executor_consumer(ack_wait_seconds))


async def provision_streams(bus: Bus, replicas: int = 1, sizes: StreamSizes | None = None) -> None:
    """Make or update all streams. Without `sizes` the stream of events stays as it is, if it is there: how much it
    holds is said by whoever fills it.

    A user that may not make streams waits for those that it may ask about: somebody else makes them. Raises
    BusUnavailable when the bus can not do it now, BusRejected when it never will (too old, or a stream exists whose
    kind can not be changed).
    """
    for config in _streams(replicas, sizes or StreamSizes()):
        await _ensure_stream(bus, config, may_update=sizes is not None or config["name"] != subjects.EVENTS_STREAM)


async def missing_streams(bus: Bus) -> list[str]:
    """Those of our streams that are not there. Raises BusUnavailable."""
    found = msgspec.json.decode(await bus.api("STREAM.NAMES", b""), type=_Names)
    return [config["name"] for config in _streams(1, StreamSizes()) if config["name"] not in (found.streams or ())]


async def provision_admission(
    bus: Bus, replicas: int = 1, *, ack_wait_seconds: float = 10.0, sizes: StreamSizes | None = None
) -> None:
    """Make or update what the gateways need: the streams of commands, events from outside and dead letters, and their
    consumers. `ack_wait_seconds` is the lease of a client's command. Errors as `provision`.
    """
    wanted = (subjects.COMMANDS_STREAM, subjects.INBOX_STREAM, subjects.DEAD_LETTERS_STREAM)
    for config in _streams(replicas, sizes or StreamSizes()):
        if config["name"] in wanted:
            await _ensure_stream(bus, config)
    commands = [subjects.command(TenantId("*"), kind) for kind in ADMITTED]
    admission = _consumer(subjects.ADMISSION_CONSUMER, commands, ack_wait_seconds, _MOST_HELD)
    await _ensure_consumer(bus, admission)
    inbox = _consumer(subjects.INBOX_CONSUMER, [subjects.INBOX_FILTER], ack_wait_seconds, _MOST_HELD)
    await _ensure_consumer(bus, inbox, subjects.INBOX_STREAM)


async def provision_events(bus: Bus, replicas: int = 1, *, sizes: StreamSizes | None = None) -> None:
    """Make or update the stream of the bus copy alone. Errors as `provision`."""
    for config in _streams(replicas, sizes or StreamSizes()):
        if config["name"] == subjects.EVENTS_STREAM:
            await _ensure_stream(bus, config)


def _streams(replicas: int, sizes: StreamSizes) -> list[dict[str, Any]]:
    common = {
        "storage": "file",
        "num_replicas": replicas,
        "duplicate_window": _DUPLICATE_WINDOW_SECONDS * _NANOSECONDS,
        "allow_direct": True,
    }
    return [
        common
        | {
            "name": subjects.COMMANDS_STREAM,
            # Timers stand in the stream of the commands because a message schedule can only fire into its
            # own stream.
            "subjects": [subjects.COMMANDS_FILTER, subjects.EXECUTION_COMMANDS_FILTER, subjects.TIMERS_FILTER],
            "retention": "workqueue",
            # A stream with schedules can not refuse new messages when it is full (error 10052), so the
            # oldest go. A command is a nudge: the reconciler sends it again from the log.
            "discard": "old",
            "max_bytes": sizes.commands_bytes,
            "allow_msg_schedules": True,
            "allow_msg_ttl": True,
        },
        common
        | {
            "name": subjects.EVENTS_STREAM,
            "subjects": [subjects.EVENTS_FILTER],
            "retention": "limits",
            # A copy: what is too old here is read from the log.
            "discard": "old",
            "max_bytes": sizes.events_bytes,
            "max_age": int(sizes.events_max_age.total_seconds() * _NANOSECONDS),
            "duplicate_window": _NANOSECONDS
            * int(min(_DUPLICATE_WINDOW_SECONDS, sizes.events_max_age.total_seconds())),
            "allow_atomic": True,
            "metadata": {LOG_METADATA: sizes.log_url},
        },
        common
        | {
            "name": subjects.TASKS_STREAM,
            "subjects": [subjects.TASKS_FILTER],
            "retention": "workqueue",
            "discard": "new",
            "max_bytes": sizes.tasks_bytes,
        },
        common
        | {
            "name": subjects.INBOX_STREAM,
            "subjects": [subjects.INBOX_FILTER],
            "retention": "workqueue",
            # Who hands in an event is told that there is no room, and keeps it.
            "discard": "new",
            "max_bytes": sizes.inbox_bytes,
        },
        common
        | {
            "name": subjects.DEAD_LETTERS_STREAM,
            "subjects": [subjects.DEAD_LETTERS_FILTER],
            "retention": "limits",
            "discard": "old",
            "max_bytes": sizes.dead_letters_bytes,
        },
        common
        | {
            "name": subjects.CHUNKS_STREAM,
            "subjects": [subjects.CHUNKS_FILTER],
            "retention": "limits",
            # Pieces of outputs on their way, for those who come a little later. The outputs themselves are facts.
            "storage": "memory",
            "discard": "old",
            "max_bytes": sizes.chunks_bytes,
            "max_age": _CHUNKS_SECONDS * _NANOSECONDS,
            "republish": {
                "src": subjects.CHUNKS_FILTER,
                "dest": subjects.live(TenantId("{{wildcard(1)}}"), ExecutionId("{{wildcard(2)}}")),
            },
        },
    ]


def _executor_consumer(ack_wait_seconds: float) -> dict[str, Any]:
    filters = [subjects.EXECUTION_COMMANDS_FILTER, subjects.TASK_RESULTS_FILTER]
    return _consumer(subjects.EXECUTOR_CONSUMER, filters, ack_wait_seconds, 10_000)


def _consumer(name: str, filters: list[str], ack_wait_seconds: float, most_pending: int) -> dict[str, Any]:
    return {
        "durable_name": name,
        "name": name,
        "filter_subjects": filters,
        "deliver_policy": "all",
        "ack_policy": "explicit",
        "ack_wait": int(ack_wait_seconds * _NANOSECONDS),
        # Who takes them counts failures by itself and says why it gives up (a dead letter); the server would be
        # silent.
        "max_deliver": -1,
        "max_ack_pending": most_pending,
    }


async def _ensure_stream(bus: Bus, config: dict[str, Any], *, may_update: bool = True) -> None:
    name = config["name"]
    try:
        error = await _call(bus, f"STREAM.CREATE.{name}", config)
    except NotAllowed:
        await _wait_for_stream(bus, name)
        return
    if error is not None and error.err_code == _NAME_IN_USE:
        error = await _call(bus, f"STREAM.UPDATE.{name}", config) if may_update else None
    _raise(f"stream {name}", error)


async def _wait_for_stream(bus: Bus, name: str) -> None:
    """Return when somebody else has made it, or at once when this user may not even ask: then it needs it not."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _WAIT_SECONDS
    while True:
        try:
            error = await _call(bus, f"STREAM.INFO.{name}", {})
        except NotAllowed:
            return
        if error is None or error.err_code != _NOT_THERE or loop.time() >= deadline:
            _raise(f"stream {name}", error)
            return
        await asyncio.sleep(_LOOK_SECONDS)


async def _ensure_consumer(bus: Bus, config: dict[str, Any], stream: str = subjects.COMMANDS_STREAM) -> None:
    name = config["name"]
    body = {"stream_name": stream, "config": config}
    _raise(f"consumer {name}", await _call(bus, f"CONSUMER.CREATE.{stream}.{name}", body))


async def _call(bus: Bus, name: str, body: dict[str, Any]) -> _ApiError | None:
    answer = await bus.api(name, msgspec.json.encode(body))
    return msgspec.json.decode(answer, type=_ApiAnswer).error


def _raise(what: str, error: _ApiError | None) -> None:
    if error is None:
        return
    text = f"{what}: {error.description} ({error.err_code})"
    if error.err_code == _NOT_THERE:
        raise BusUnavailable(f"{text}; the projector makes it")
    raise BusUnavailable(text) if error.code >= 500 else BusRejected(text)
