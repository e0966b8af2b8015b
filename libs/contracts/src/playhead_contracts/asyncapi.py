"""The AsyncAPI 3 document of the bus: every channel that somebody outside may use, and what is said on it.

Generated from the same types as the JSON Schemas (`schemas.py`), served at `/asyncapi.json`. Operations are seen from
Playhead: it *receives* commands and *sends* events. What our own services say among themselves (`playhead.exec`,
`playhead.timer`, `playhead.rpc`) is left out: it may change in any release.

AsyncAPI has no words for JetStream, so that the streams stand in `x-jetstream`.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from playhead_contracts import subjects
from playhead_contracts.commands import Chunk, Task, TaskResult, TaskResultReply
from playhead_contracts.events import Data, Envelope
from playhead_contracts.ids import CONTRACT_BASE, ExecutionId, TenantId, WorkflowId, event_schema
from playhead_contracts.message_headers import HEADERS
from playhead_contracts.requests import REPLY_TO_HEADER, REQUESTS, Receipt, Refused, Result
from playhead_contracts.schemas import contracts, described, event_types

Json = dict[str, Any]

ASYNCAPI = "3.0.0"
_TENANT, _WORKFLOW, _EXECUTION = TenantId("{tenant}"), WorkflowId("{workflow}"), ExecutionId("{execution}")

STREAMS: Mapping[str, Json] = {
    subjects.COMMANDS_STREAM: {"retention": "workqueue", "discard": "old"},
    subjects.INBOX_STREAM: {"retention": "workqueue"},
    subjects.EVENTS_STREAM: {"retention": "limits", "discard": "old"},
    subjects.TASKS_STREAM: {"retention": "workqueue", "discard": "new"},
    subjects.CHUNKS_STREAM: {"retention": "limits", "discard": "old", "storage": "memory"},
    subjects.DEAD_LETTERS_STREAM: {"retention": "limits", "discard": "old"},
}
"""What JetStream is told of the streams of these channels, as far as it is always so."""

_PARAMETERS: Mapping[str, str] = {
    "tenant": "Whose it is.",
    "workflow": "The id of the workflow. For what belongs to none: the last part of the name of its stream, or what "
    "kind of stream it is.",
    "execution": "The id of the execution.",
    "event_type": "The type of the CloudEvent; its dots part tokens of the subject.",
    "task": "The type of the task, as its block names it.",
    "kind": "The kind of the command, or `event` for an event that was handed in.",
}

_PLAIN: Json = {"type": "string"}


class _Part(NamedTuple):
    """Some channels, what is done on them, and the messages on them; by name."""

    channels: Json
    operations: Json
    messages: Json


def asyncapi(version: str) -> Json:
    """The document; `version` is that of Playhead."""
    structs = (
        *event_types(),
        *REQUESTS.values(),
        TaskResult,
        Receipt,
        Result,
        Refused,
        TaskResultReply,
        Task,
        Chunk,
        Envelope,
    )
    _, schemas = described(structs, "#/components/schemas/{name}")
    parts = [_commands(), _handed_in(), *(_event(kind) for kind in event_types()), *_own_events(), _tasks(), *_live()]
    parts += [_dead_letters()]
    return {
        "asyncapi": ASYNCAPI,
        "info": {
            "title": "Playhead",
            "version": version,
            "description": "Workflows whose every step is an event: commands in, events out, on NATS JetStream.",
        },
        "defaultContentType": "application/json",
        "servers": {
            "bus": {
                "host": "{host}",
                "protocol": "nats",
                "description": "The NATS servers of the installation, with JetStream.",
                "variables": {"host": {"default": "localhost:4222", "description": "Host and port."}},
            }
        },
        "channels": {name: each for part in parts for name, each in part.channels.items()},
        "operations": {name: each for part in parts for name, each in part.operations.items()},
        "components": {
            "messages": {name: each for part in parts for name, each in part.messages.items()},
            "schemas": schemas | dict(HEADERS) | _SCHEMAS,
            "correlationIds": {
                "ofEvents": {"location": "$message.header#/ce-correlationid", "description": "Events of one cause."}
            },
        },
    }


def _ref(where: str, name: str) -> Json:
    return {"$ref": f"#/{where}/{name}"}


def _channel(address: str | None, messages: Iterable[str], description: str, stream: str | None = None) -> Json:
    channel: Json = {
        "address": address,
        "description": description,
        "messages": {name: _ref("components/messages", name) for name in messages},
    }
    names = [name for name in _PARAMETERS if address is not None and f"{{{name}}}" in address]
    if names:
        channel["parameters"] = {name: {"description": _PARAMETERS[name]} for name in names}
    if stream is not None:
        channel["x-jetstream"] = {"stream": stream, **STREAMS[stream]}
    return channel


def _operation(action: str, channel: str, messages: Iterable[str], summary: str, reply: Json | None = None) -> Json:
    operation: Json = {
        "action": action,
        "channel": _ref("channels", channel),
        "messages": [_ref(f"channels/{channel}/messages", name) for name in messages],
        "summary": summary,
    }
    return operation if reply is None else operation | {"reply": reply}


def _message(name: str, payload: Json, headers: Json | None, summary: str, **more: Any) -> Json:
    message: Json = {"name": name, "title": name, "summary": summary, "payload": payload, **more}
    return message if headers is None else message | {"headers": headers}


def _reply(channel: str, messages: Iterable[str], location: str = "$message.payload#/reply_to") -> Json:
    said = f"A subject of the sender's; not one of ours. The header {REPLY_TO_HEADER} says the same."
    return {
        "address": {"location": location, "description": said},
        "channel": _ref("channels", channel),
        "messages": [_ref(f"channels/{channel}/messages", name) for name in messages],
    }


def _commands() -> _Part:
    part = _Part({}, {}, {})
    answers = {"Receipt": Receipt, "Result": Result, "Refused": Refused}
    taken = {"TaskResultReply": TaskResultReply}
    for name, struct in (answers | taken).items():
        part.messages[name] = _message(name, _ref("components/schemas", struct.__name__), None, _summary(struct))
    part.channels["answers"] = _channel(None, answers, "Where a command says; core NATS.")
    part.channels["taskResultAnswers"] = _channel(None, taken, "Where a worker says; core NATS.")
    for kind, struct in (*REQUESTS.items(), (TaskResult.kind(), TaskResult)):
        of_worker = struct is TaskResult
        name, channel = f"{_camel(kind)}Command", f"{_camel(kind, first=str.lower)}Commands"
        part.messages[name] = _message(
            name,
            _ref("components/schemas", struct.__name__),
            _ref("components/schemas", "WorkerHeaders" if of_worker else "CommandHeaders"),
            _summary(struct),
            **{"x-json-schema": f"{CONTRACT_BASE}commands/{kind}.json"},
        )
        part.channels[channel] = _channel(
            subjects.command(_TENANT, kind), [name], _summary(struct), subjects.COMMANDS_STREAM
        )
        reply = _reply("taskResultAnswers", taken) if of_worker else _reply("answers", answers)
        operation = f"receive{_camel(kind)}Command"
        part.operations[operation] = _operation("receive", channel, [name], _summary(struct), reply)
    return part


def _handed_in() -> _Part:
    binary = _message(
        "CloudEventIn",
        {},
        _ref("components/schemas", "CloudEventHeaders"),
        "Somebody's event, in binary mode: attributes as headers, JSON as its data.",
    )
    structured = _message(
        "StructuredCloudEventIn",
        _ref("components/schemas", "CloudEvent"),
        _ref("components/schemas", "StructuredHeaders"),
        "Somebody's event, in structured mode.",
        contentType="application/cloudevents+json",
    )
    names = ["CloudEventIn", "StructuredCloudEventIn"]
    reply = _reply("answers", ("Receipt", "Refused"), f"$message.header#/{REPLY_TO_HEADER}")
    says = (
        "Events from outside, which `wait` blocks and triggers wait for. Once taken they are on the channel `received`."
    )
    return _Part(
        channels={
            "inbox": _channel(subjects.inbox(_TENANT, "{event_type}"), names, says, subjects.INBOX_STREAM),
        },
        operations={"receiveCloudEvent": _operation("receive", "inbox", names, "Take an event from outside.", reply)},
        messages={"CloudEventIn": binary, "StructuredCloudEventIn": structured},
    )


def _event(kind: type[Data]) -> _Part:
    type_name, version = kind.type_name(), kind.SCHEMA_VERSION
    schema = CONTRACT_BASE + event_schema(type_name, version)
    name, channel = _camel(type_name), _camel(type_name, first=str.lower)
    headers: Json = {
        "allOf": [
            _ref("components/schemas", "EventHeaders"),
            {"type": "object", "properties": {"ce-type": {"const": f"dev.playhead.{type_name}"}}},
        ]
    }
    message = _message(
        name,
        _ref("components/schemas", kind.__name__),
        headers,
        _summary(kind),
        correlationId=_ref("components/correlationIds", "ofEvents"),
        **{"x-json-schema": schema},
    )
    address = subjects.event(_TENANT, _WORKFLOW, type_name)
    older = [old.name for old in contracts() if old.type == type_name and not old.is_present]
    told = _channel(address, [name], _summary(kind), subjects.EVENTS_STREAM)
    if older:
        told["x-superseded"] = [CONTRACT_BASE + each for each in older]
    return _Part(
        channels={channel: told},
        operations={f"send{name}": _operation("send", channel, [name], _summary(kind))},
        messages={name: message},
    )


def _own_events() -> Iterable[_Part]:
    where = {
        "published": (subjects.published(_TENANT, _WORKFLOW, "{event_type}"), "What a `publish` block made."),
        "received": (subjects.received(_TENANT, "{event_type}"), "What came from outside, once it is in the log."),
    }
    for channel, (address, says) in where.items():
        name = f"{_camel(channel)}CloudEvent"
        message = _message(
            name,
            {},
            _ref("components/schemas", f"{_camel(channel)}Headers"),
            says,
            correlationId=_ref("components/correlationIds", "ofEvents"),
        )
        yield _Part(
            channels={channel: _channel(address, [name], says, subjects.EVENTS_STREAM)},
            operations={f"send{name}": _operation("send", channel, [name], says)},
            messages={name: message},
        )


def _tasks() -> _Part:
    says = "Work for remote workers, who share a durable consumer for each type of task."
    message = _message("Task", _ref("components/schemas", "Task"), None, _summary(Task))
    return _Part(
        channels={"tasks": _channel(subjects.task(_TENANT, "{task}"), ["Task"], says, subjects.TASKS_STREAM)},
        operations={"sendTask": _operation("send", "tasks", ["Task"], says)},
        messages={"Task": message | {"x-json-schema": f"{CONTRACT_BASE}task.json"}},
    )


def _live() -> Iterable[_Part]:
    chunk = _message("Chunk", _ref("components/schemas", "Chunk"), None, _summary(Chunk))
    says = "Pieces of outputs on their way, kept for some minutes and passed on to the live channel."
    yield _Part(
        channels={
            "chunks": _channel(subjects.chunk(_TENANT, _EXECUTION), ["Chunk"], says, subjects.CHUNKS_STREAM),
        },
        operations={
            "sendChunk": _operation("send", "chunks", ["Chunk"], says),
            "receiveChunk": _operation("receive", "chunks", ["Chunk"], "A remote worker tells a piece."),
        },
        messages={"Chunk": chunk | {"x-json-schema": f"{CONTRACT_BASE}chunk.json"}},
    )
    committed = _message(
        "Committed",
        _ref("components/schemas", "LiveLine"),
        None,
        "The events of one commit, one JSON object a line.",
        contentType="application/x-ndjson",
    )
    says = "Events right after their commit. Core NATS: who is not there misses them. The channels of events have all."
    yield _Part(
        channels={"live": _channel(subjects.live(_TENANT, _EXECUTION), ["Committed", "Chunk"], says)},
        operations={"sendLive": _operation("send", "live", ["Committed", "Chunk"], says)},
        messages={"Committed": committed},
    )


def _dead_letters() -> _Part:
    says = "Commands that were given up, as they came, and why. `playhead dlq` lists them and sends them again."
    message = _message("DeadLetter", {}, _ref("components/schemas", "DeadLetterHeaders"), says)
    address = subjects.dead_letter(_TENANT, "{kind}")
    return _Part(
        channels={"deadLetters": _channel(address, ["DeadLetter"], says, subjects.DEAD_LETTERS_STREAM)},
        operations={"sendDeadLetter": _operation("send", "deadLetters", ["DeadLetter"], says)},
        messages={"DeadLetter": message},
    )


def _summary(struct: type) -> str:
    return " ".join((struct.__doc__ or "").split("\n\n")[0].split())


def _camel(name: str, first: Callable[[str], str] = str.upper) -> str:
    """`block.retry_scheduled` as `BlockRetryScheduled`, or with its first letter as wanted."""
    words = name.replace("_", ".").split(".")
    joined = "".join(word[:1].upper() + word[1:] for word in words)
    return first(joined[:1]) + joined[1:]


_SCHEMAS: Json = {
    "CloudEvent": {
        "type": "object",
        "description": "A CloudEvent 1.0 in its JSON format. Whatever else it says of itself is kept.",
        "required": ["specversion", "id", "source", "type"],
        "properties": {
            "specversion": {"const": "1.0"},
            "id": {"type": "string", "minLength": 1},
            "source": {"type": "string", "minLength": 1},
            "type": {"type": "string", "minLength": 1},
            "subject": _PLAIN,
            "time": {"type": "string", "format": "date-time"},
            "datacontenttype": _PLAIN,
            "dataschema": _PLAIN,
            "data": {},
        },
    },
    "LiveLine": {
        "description": "An event: its envelope, and its data as one more member.",
        "allOf": [
            _ref("components/schemas", "Envelope"),
            {
                "type": "object",
                "required": ["data"],
                "properties": {
                    "data": {
                        "oneOf": [_ref("components/schemas", kind.__name__) for kind in event_types()],
                        "discriminator": "type",
                    }
                },
            },
        ],
    },
}
