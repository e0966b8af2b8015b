"""The streams and consumers that Playhead needs on the bus, made or brought up to date.

Safe at any time and from several processes at once: creating what is there with the same settings changes
nothing. So a service that finds its stream gone (a server was replaced) provisions again and goes on; what
was in it is sent again from the log.
"""

from typing import Any

import msgspec

from playhead_contracts import subjects
from playhead_contracts.ids import ExecutionId, TenantId
from playhead_runtime.bus import Bus, BusRejected, BusUnavailable

_NANOSECONDS = 1_000_000_000
_DAY_SECONDS = 86_400
_DUPLICATE_WINDOW_SECONDS = 120
_CHUNKS_SECONDS = 600
_MIB = 1 << 20

_NAME_IN_USE = 10058
"""The stream exists with other settings: it wants an update."""


class StreamSizes(msgspec.Struct, frozen=True, kw_only=True):
    """How large the streams may become, in bytes. JetStream sets this much of its store aside."""

    commands_bytes: int = 512 * _MIB
    events_bytes: int = 1024 * _MIB
    tasks_bytes: int = 512 * _MIB
    dead_letters_bytes: int = 128 * _MIB
    chunks_bytes: int = 64 * _MIB
    """In memory."""


class _ApiError(msgspec.Struct, frozen=True):
    code: int
    err_code: int = 0
    description: str = ""


class _ApiAnswer(msgspec.Struct, frozen=True):
    error: _ApiError | None = None


async def provision(
    bus: Bus, replicas: int = 1, *, ack_wait_seconds: float = 5.0, sizes: StreamSizes | None = None
) -> None:
    """Make or update all streams, and the executors' consumer. `ack_wait_seconds` is the lease of a command.

    Raises BusUnavailable when the bus can not do it now, BusRejected when it never will (too old, or a
    stream exists whose kind can not be changed).
    """
    for config in _streams(replicas, sizes or StreamSizes()):
        await _ensure_stream(bus, config)
    await _ensure_consumer(bus, _executor_consumer(ack_wait_seconds))


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
            "subjects": [subjects.COMMANDS_FILTER, subjects.TIMERS_FILTER],
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
            "max_age": 7 * _DAY_SECONDS * _NANOSECONDS,
            "allow_atomic": True,
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
    return {
        "durable_name": subjects.EXECUTOR_CONSUMER,
        "name": subjects.EXECUTOR_CONSUMER,
        "filter_subject": subjects.COMMANDS_FILTER,
        "deliver_policy": "all",
        "ack_policy": "explicit",
        "ack_wait": int(ack_wait_seconds * _NANOSECONDS),
        # The executors count failures themselves and say why they give up (a dead letter); the server would
        # be silent.
        "max_deliver": -1,
        "max_ack_pending": 10_000,
    }


async def _ensure_stream(bus: Bus, config: dict[str, Any]) -> None:
    name = config["name"]
    error = await _call(bus, f"STREAM.CREATE.{name}", config)
    if error is not None and error.err_code == _NAME_IN_USE:
        error = await _call(bus, f"STREAM.UPDATE.{name}", config)
    _raise(f"stream {name}", error)


async def _ensure_consumer(bus: Bus, config: dict[str, Any]) -> None:
    stream, name = subjects.COMMANDS_STREAM, config["name"]
    path = f"CONSUMER.CREATE.{stream}.{name}.{config['filter_subject']}"
    _raise(f"consumer {name}", await _call(bus, path, {"stream_name": stream, "config": config}))


async def _call(bus: Bus, name: str, body: dict[str, Any]) -> _ApiError | None:
    answer = await bus.api(name, msgspec.json.encode(body))
    return msgspec.json.decode(answer, type=_ApiAnswer).error


def _raise(what: str, error: _ApiError | None) -> None:
    if error is None:
        return
    text = f"{what}: {error.description} ({error.err_code})"
    raise BusUnavailable(text) if error.code >= 500 else BusRejected(text)
