"""JSON Schemas (2020-12) of everything on the wire, generated from the types that Playhead itself decodes with.

A consumer in another language validates and generates code from these; nothing in them is written by hand but what the
types say of themselves. They are served at `/contracts/`, and `playhead contracts export` writes them.

Event data has a schema for each version in which it was ever written: the present one is generated, older ones are kept
as files in `superseded/`.
"""

from collections.abc import Iterable, Iterator
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Literal, cast, get_args

import msgspec

from playhead_contracts.commands import (
    AnswerPause,
    AnyCommand,
    Chunk,
    Command,
    DelegatePause,
    ExtendPause,
    Nudge,
    NudgeReply,
    PauseAnswered,
    PauseChanged,
    Rejected,
    Task,
    TaskResult,
    TaskResultReply,
)
from playhead_contracts.docstrings import fields_of, said_of
from playhead_contracts.events import Data, Envelope, EventData
from playhead_contracts.ids import CONTRACT_BASE, event_schema
from playhead_contracts.problems import Problem
from playhead_contracts.requests import REQUESTS, Receipt, Refused, Result
from playhead_contracts.workflow import WorkflowDocument

DIALECT = "https://json-schema.org/draft/2020-12/schema"
SCHEMA_MEDIA_TYPE = "application/schema+json"
SUPERSEDED = files("playhead_contracts") / "superseded"

RECURRING = {
    "type": "What it is: an event by its type, a message by its kind.",
    "id": "What makes a repeat the same.",
    "tenant": "Whose it is.",
    "execution_id": "Which execution it is.",
    "workflow_id": "Which workflow it is.",
    "traceparent": "W3C Trace Context.",
    "reply_to": "The subject to which the answer goes.",
    "reply": "Which answers are wanted: the receipt alone, or the result as well.",
    "command_id": "Which command is answered.",
    "status": "The HTTP status that it would have.",
    "body": "The body that it would have over HTTP.",
    "problem": "The problem document.",
    "title": "What kind of problem it is, in words.",
    "detail": "What is wrong here.",
    "input": "What it is given.",
    "variables": "Variables, by name.",
    "version": "The version of the definition; the newest, if not said.",
    "timeout": "How long it may take, e.g. `30s`.",
    "mode": "How to answer over HTTP.",
    "task": "The type of the task.",
    "worker": "How the worker calls itself.",
    "accepted": "Whether it was taken.",
    "index": "Which piece it is, from 0.",
    "content": "The piece.",
    "blobs": "Where the large fields are that are not here: the digest of each, by its name.",
    "path": "Which block instance it is, e.g. `pay`, or `each[2]/pay` in the third iteration of a loop.",
    "attempt": "Which attempt at the block it is, from 1.",
    "inputs": "What the block was given, evaluated.",
    "outputs": "What it gave.",
    "error": "Why it failed.",
    "parent": "Set when the execution is a child: the block that waits for it.",
    "duration_ms": "How long the attempt took, in milliseconds.",
    "started_at": "When the attempt began.",
    "child": "The child execution.",
    "pause_id": "Which pause it is.",
    "epoch": "The number of the claim: one higher than that of the claim before.",
    "executor": "The name of the executor that claims the execution.",
    "command": "The id of the command that it was about.",
    "reason": "Why, in words.",
    "answer": "What was answered, as the form asks.",
    "action": "Which of the actions was taken.",
    "comment": "What else they said.",
    "digest": "sha256 of the canonical JSON of the document, or of what was proposed.",
    "key": "Digest of the Idempotency-Key that came with it.",
    "expires_at": "When the time for an answer is over.",
    "remind_at": "When people are reminded.",
    "document": "The document as it was published.",
    "task_id": "Which task it is; new for each attempt.",
    "deadline": "When it fails with `timeout`.",
    "key_id": "Which key it is. The key itself is written nowhere.",
}
"""What fields are that recur, where they say nothing of their own."""

Kind = Literal["document", "event", "command", "answer", "task", "live", "internal"]
Json = dict[str, Any]


class Contract(msgspec.Struct, frozen=True, kw_only=True):
    """One schema: the file name under which it is exported and served, what it describes, and in which version.

    What is `internal` is said between our own services, and may change in any release. A `version` is that of the event
    data; everything else only ever gains members.
    """

    name: str
    kind: Kind
    type: str
    version: int = 1
    is_present: bool = True
    """False: nothing is written in this version any more; what was written can be read for ever."""


class Message(msgspec.Struct, frozen=True):
    """One type that is said on the wire."""

    contract: Contract
    struct: type[msgspec.Struct]


def event_types() -> tuple[type[Data], ...]:
    """The classes of event data, in the order in which they are declared."""
    return cast("tuple[type[Data], ...]", get_args(EventData))


@cache
def messages() -> tuple[Message, ...]:
    """All types that are said on the wire, in their present version."""

    def of(kind: Kind, type_name: str, struct: type[msgspec.Struct], name: str, version: int = 1) -> Message:
        return Message(Contract(name=name, kind=kind, type=type_name, version=version), struct)

    internal = (AnswerPause, ExtendPause, DelegatePause, PauseAnswered, PauseChanged, Rejected, Nudge, NudgeReply)
    commands = cast("tuple[type[Command], ...]", get_args(AnyCommand))
    return (
        of("document", "envelope", Envelope, "envelope.json"),
        of("document", "problem", Problem, "problem.json"),
        *(
            of(
                "event",
                data.type_name(),
                data,
                event_schema(data.type_name(), data.SCHEMA_VERSION),
                data.SCHEMA_VERSION,
            )
            for data in event_types()
        ),
        *(of("command", kind, struct, f"commands/{kind}.json") for kind, struct in REQUESTS.items()),
        of("command", TaskResult.kind(), TaskResult, f"commands/{TaskResult.kind()}.json"),
        *(of("answer", name, struct, f"answers/{name}.json") for name, struct in _ANSWERS.items()),
        of("task", "task", Task, "task.json"),
        of("live", "chunk", Chunk, "chunk.json"),
        *(
            of("internal", command.kind(), command, f"internal/exec.{command.kind()}.json")
            for command in commands
            if command is not TaskResult
        ),
        *(of("internal", struct.__name__, struct, f"internal/{struct.__name__}.json") for struct in internal),
    )


_ANSWERS: dict[str, type[msgspec.Struct]] = {
    "receipt": Receipt,
    "result": Result,
    "refused": Refused,
    "task_result": TaskResultReply,
}


@cache
def contracts() -> tuple[Contract, ...]:
    """Everything that there is a schema of."""
    document = Contract(name="workflow.json", kind="document", type="workflow")
    return (*(message.contract for message in messages()), document, *(old for old, _ in superseded(SUPERSEDED)))


@cache
def schemas() -> dict[str, Json]:
    """Every schema by the file name it is exported under, e.g. `events/block.completed.v1.json`."""
    found: dict[str, Json] = {}
    structs = tuple(message.struct for message in messages())
    refs, components = described(structs, "#/$defs/{name}")
    for message, ref in zip(messages(), refs, strict=True):
        found[message.contract.name] = _whole(message.contract.name, ref, components)
    # On the wire they are members of the document itself (`Problem.encode`).
    del found["problem.json"]["properties"]["facts"]
    document = WorkflowDocument.model_json_schema(by_alias=True, mode="validation")
    found["workflow.json"] = {**_head("workflow.json"), **document}
    return found | {old.name: schema for old, schema in superseded(SUPERSEDED)}


def promised() -> dict[str, Json]:
    """The schemas that others may build on: all but what our services say among themselves."""
    return {each.name: schemas()[each.name] for each in contracts() if each.kind != "internal"}


def described(structs: Iterable[type[msgspec.Struct]], ref_template: str) -> tuple[tuple[Json, ...], dict[str, Json]]:
    """A reference to the schema of each struct, and the schemas of these and of what they hold by name, in which every
    field says what it says in the source."""
    wanted = tuple(structs)
    made = msgspec.json.schema_components(wanted, ref_template=ref_template)
    # As JSON has it: defaults are tuples in Python, and arrays in a schema.
    refs, components = msgspec.json.decode(msgspec.json.encode(made), type=tuple[tuple[Json, ...], dict[str, Json]])
    for struct in _every_struct(wanted):
        schema = components[struct.__name__]
        if said := said_of(struct):
            schema["description"] = said
        for name, said in (RECURRING | fields_of(struct)).items():
            if name in schema["properties"]:
                schema["properties"][name]["description"] = said
    return refs, components


def superseded(folder: Traversable) -> Iterator[tuple[Contract, Json]]:
    """The schemas of older versions, from their files."""
    for file in sorted(folder.iterdir(), key=lambda each: each.name):
        if file.name.endswith(".json"):
            kind, _, version = file.name.removesuffix(".json").rpartition(".v")
            schema = msgspec.json.decode(file.read_bytes())
            name = event_schema(kind, int(version))
            yield Contract(name=name, kind="event", type=kind, version=int(version), is_present=False), schema


def _head(name: str) -> Json:
    return {"$schema": DIALECT, "$id": CONTRACT_BASE + name}


def _whole(name: str, ref: Json, components: dict[str, Json]) -> Json:
    # The message itself at the top, for readers and generators that start there; what it refers to below.
    own = ref["$ref"].rsplit("/", 1)[1]
    below = sorted(_reached(components[own], components) - {own})
    definitions = {each: components[each] for each in below}
    return {**_head(name), **components[own], **({"$defs": definitions} if definitions else {})}


def _reached(schema: object, components: dict[str, Json], found: frozenset[str] = frozenset()) -> frozenset[str]:
    """The names of all schemas that one refers to, at any depth."""
    match schema:
        case {"$ref": str(ref)} if (name := ref.rsplit("/", 1)[1]) not in found:
            return _reached(components[name], components, found | {name})
        case dict():
            parts = cast("Iterable[object]", schema.values())
        case list():
            parts = cast("Iterable[object]", schema)
        case _:
            return found
    for part in parts:
        found = _reached(part, components, found)
    return found


def _every_struct(structs: Iterable[type[msgspec.Struct]]) -> set[type[msgspec.Struct]]:
    """These, and all that stand in their fields."""
    found: set[type[msgspec.Struct]] = set()
    waiting: list[object] = list(structs)
    while waiting:
        kind = waiting.pop()
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind not in found:
            found.add(kind)
            waiting += [field.type for field in msgspec.structs.fields(kind)]
        else:
            waiting += get_args(kind)
    return found
