"""JSON Schemas (2020-12) of everything on the wire, generated from the types that Playhead itself decodes with.

A consumer in another language validates and generates code from these; nothing in them is written by hand.
"""

from typing import Any, get_args

import msgspec

from playhead_contracts.commands import AnswerPause, AnyCommand, Nudge, NudgeReply, PauseAnswered, Rejected
from playhead_contracts.events import Envelope, EventData
from playhead_contracts.problems import Problem
from playhead_contracts.workflow import WorkflowDocument

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schemas() -> dict[str, dict[str, Any]]:
    """Every schema by the file name it is exported under, e.g. `events/block.completed.json`."""
    found: dict[str, dict[str, Any]] = {"envelope.json": _of(Envelope), "problem.json": _of(Problem)}
    for data in get_args(EventData):
        found[f"events/{data.type_name()}.json"] = _of(data)
    for command in get_args(AnyCommand):
        found[f"commands/{command.kind()}.json"] = _of(command)
    for message in (AnswerPause, PauseAnswered, Rejected, Nudge, NudgeReply):
        found[f"requests/{message.__name__}.json"] = _of(message)
    document = WorkflowDocument.model_json_schema(by_alias=True, mode="validation")
    found["workflow.json"] = {"$schema": DIALECT, **document}
    return found


def _of(message: type[msgspec.Struct]) -> dict[str, Any]:
    schema = msgspec.json.schema(message)
    definitions: dict[str, Any] = schema.get("$defs", {})
    # The message itself at the top, for readers and generators that start there; what it refers to below.
    name = schema["$ref"].rsplit("/", 1)[1]
    top = definitions.pop(name)
    return {"$schema": DIALECT, **top, **({"$defs": definitions} if definitions else {})}
