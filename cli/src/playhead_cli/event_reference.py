"""The tables of docs/reference/events.md: every event, when it happens, its fields and an example."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import msgspec

from playhead_contracts.events import Data
from playhead_contracts.ids import event_schema
from playhead_contracts.schemas import contracts, event_types, schemas

_EXAMPLES = Path(__file__).parents[3] / "tests" / "golden" / "events"
"""In a clone of the repository, where alone the reference is made."""

_STREAMS = {
    "workflow": "workflow:<tenant>:<workflow>",
    "trigger": "trigger:<tenant>:<trigger>",
    "event.received": "event:<tenant>:<id>",
    "key": "operations:<tenant>",
    "webhook": "operations:<tenant>",
    "log": "operations:<tenant>",
    "subject": "operations:<tenant>",
    "checkpoint": "operations:<tenant>",
    "execution.archived": "operations:<tenant>",
}
"""The streams of events that are not in that of their execution, by type or by its first word."""

_GROUPS = {
    "execution": "Executions",
    "block": "Blocks",
    "container": "Containers",
    "iteration": "Iterations",
    "task": "Remote workers",
    "event": "Events",
    "child": "Child executions",
    "pause": "Pauses",
    "workflow": "Workflows",
    "trigger": "Triggers",
    "key": "Keys",
    "webhook": "Webhooks",
    "log": "Exports",
    "subject": "Forgetting",
}


def events() -> str:
    """Every type of event."""
    lines: list[str] = []
    grouped: dict[str, list[type[Data]]] = {}
    for kind in event_types():
        grouped.setdefault(kind.type_name().partition(".")[0], []).append(kind)
    for word, kinds in grouped.items():
        lines += [f"### {_GROUPS.get(word, word.capitalize())}", ""]
        for kind in kinds:
            lines += _event(kind)
    return "\n".join(lines).rstrip("\n")


def event_list() -> str:
    """All types at a glance."""
    lines = ["| event | when |", "| --- | --- |"]
    for kind in event_types():
        name, said = kind.type_name(), schemas()[event_schema(kind.type_name(), kind.SCHEMA_VERSION)]["description"]
        first = said.partition("\n")[0]
        lines.append(f"| [`{name}`](#{_anchor(name)}) | {_cell(first)} |")
    return "\n".join(lines)


def envelope() -> str:
    """What every event has besides its data."""
    return "\n".join(_fields(schemas()["envelope.json"]))


def parts() -> str:
    """What stands in fields of events and has fields itself."""
    found: dict[str, Any] = {}
    for each in contracts():
        if each.kind == "event" or each.name == "envelope.json":
            found |= schemas()[each.name].get("$defs", {})
    lines: list[str] = []
    for name in sorted(found):
        lines += [f"### {name}", "", found[name].get("description", ""), "", *_fields(found[name]), ""]
    return "\n".join(lines).rstrip("\n")


def _event(kind: type[Data]) -> Iterator[str]:
    name, version = kind.type_name(), kind.SCHEMA_VERSION
    schema = schemas()[event_schema(name, version)]
    stream = _STREAMS.get(name) or _STREAMS.get(name.partition(".")[0]) or "execution:<id>"
    yield from (f"#### {name}", "", schema["description"], "")
    said = f"Version {version}, in the stream `{stream}`. Schema: `/contracts/{event_schema(name, version)}`"
    older = [each for each in contracts() if each.type == name and not each.is_present]
    yield said + "".join(f", earlier `/contracts/{each.name}`" for each in older) + "."
    yield ""
    yield from _fields(schema)
    yield ""
    if (example := _EXAMPLES / f"{name}.v{version}.json").exists():
        yield from ("```json", msgspec.json.format(example.read_bytes().strip(), indent=2).decode(), "```", "")


def _fields(schema: Mapping[str, Any]) -> Iterator[str]:
    required = set(schema.get("required", ()))
    yield "| field | type | what it is |"
    yield "| --- | --- | --- |"
    for name, field in schema["properties"].items():
        if name != "type" or "enum" not in field:
            kind = _type(field) + ("" if name in required else _otherwise(field))
            yield f"| `{name}` | {kind} | {_cell(field.get('description', ''))} |"


def _otherwise(field: Mapping[str, Any]) -> str:
    """What it is when it is not there."""
    default = field.get("default")
    return ", optional" if default in (None, [], {}) else f", else `{msgspec.json.encode(default).decode()}`"


def _type(field: Mapping[str, Any]) -> str:
    if "$ref" in field:
        name = field["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{_anchor(name)})"
    if "anyOf" in field:
        kinds = [_type(each) for each in field["anyOf"] if each.get("type") != "null"]
        return " or ".join(kinds)
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    match field.get("type"):
        case "array":
            return f"list of {_type(field.get('items', {}))}"
        case "object":
            inside = field.get("additionalProperties", True)
            return "object" if isinstance(inside, bool) else f"object of {_type(cast('dict[str, Any]', inside))}"
        case "string" if field.get("format") == "date-time":
            return "time"
        case str(kind):
            return kind
        case _:
            return "JSON"


def _anchor(heading: str) -> str:
    return heading.lower().replace(".", "")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
