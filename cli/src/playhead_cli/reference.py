"""The tables of docs/reference that follow from the code. `python -m playhead_cli.reference FILE...` renews them.

A table stands between `<!-- generated: NAME -->` and `<!-- end -->`; everything else in a file is written by people.
"""

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from playhead_cli import event_reference
from playhead_contracts.base_blocks import Retry
from playhead_contracts.docstrings import fields_of
from playhead_contracts.workflow import BLOCK_MODELS, CustomBlock, WorkflowDocument
from playhead_engine.folding import TRANSITIONS
from playhead_engine.limits import DEFAULT_LIMITS, Limits
from playhead_engine.state import BlockStatus, ExecutionStatus
from playhead_engine.traits import BUILTIN_TRAITS

_MARKED = re.compile(r"(<!-- generated: ([a-z ]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text: str) -> str:
    """The text with every generated table as the code has it now. Raises KeyError for a table that nobody makes."""
    return _MARKED.sub(lambda found: found[1] + "\n" + TABLES[found[2]]() + "\n" + found[3], text)


def _fields(model: Any, without: frozenset[str]) -> Iterator[str]:
    schema: dict[str, Any] = model.model_json_schema()
    if "$ref" in schema:  # of a model that holds itself
        schema = schema["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    required = set(schema.get("required", ()))
    for name, field in schema["properties"].items():
        if name not in without:
            yield _field(name, field, name in required)


def _field(name: str, field: Mapping[str, Any], is_required: bool) -> str:
    default: Any = field.get("default")
    if is_required:
        return f"`{name}` (required)"
    if default in (None, "", [], {}, False):
        return f"`{name}`"
    return f"`{name}` ({_plain(default)})"


def _plain(value: Any) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    found = re.fullmatch(r"P(?:(\d+)D)?T?(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?", text)
    if found is None or text in ("", "P"):
        return text
    return "".join(f"{amount}{unit}" for amount, unit in zip(found.groups(), "dhms", strict=True) if amount)


_COMMON = frozenset({"type", "display_name", "enabled", "at_most_once", "next", "on_error", "continue_on_error"})


def _block_types() -> str:
    lines = [
        "| type | fields (and what they are when left out) | acts outside | may have |",
        "| --- | --- | --- | --- |",
    ]
    for kind, model in (*BLOCK_MODELS.items(), ("*any other*", CustomBlock)):
        names = set(model.model_fields)
        own = ", ".join(_fields(model, _COMMON | {"retry"}))
        acts = {True: "yes", False: "no"}[BUILTIN_TRAITS[kind].effects] if kind in BUILTIN_TRAITS else "as registered"
        common = [name for name in ("next", "on_error", "continue_on_error", "retry") if name in names]
        acts = "" if kind == "note" else acts
        lines.append(f"| `{kind}` | {own} | {acts} | {', '.join(f'`{name}`' for name in common)} |")
    return "\n".join(lines)


def _retry() -> str:
    return "\n".join(f"- {field}" for field in _fields(Retry, frozenset()))


def _document() -> str:
    return ", ".join(_fields(WorkflowDocument, frozenset()))


def _limits() -> str:
    said = fields_of(Limits)
    lines = ["| limit | default | what it bounds |", "| --- | --- | --- |"]
    names = [field.name for field in msgspec.structs.fields(Limits)]
    return "\n".join([*lines, *(f"| `{name}` | {getattr(DEFAULT_LIMITS, name):,} | {said[name]} |" for name in names)])


def _transitions() -> str:
    lines = ["| event | may come while the execution is | leads to |", "| --- | --- | --- |"]
    for event, (allowed, after) in TRANSITIONS.items():
        when = ", ".join(status for status in ExecutionStatus if status in allowed)
        lines.append(f"| `{event.type_name()}` | {when} | {after or ''} |")
    return "\n".join(lines)


def _statuses() -> str:
    return ", ".join(f"`{status}`" for status in BlockStatus)


TABLES: Mapping[str, Callable[[], str]] = {
    "block types": _block_types,
    "block statuses": _statuses,
    "retry": _retry,
    "document": _document,
    "limits": _limits,
    "transitions": _transitions,
    "event list": event_reference.event_list,
    "events": event_reference.events,
    "envelope": event_reference.envelope,
    "parts": event_reference.parts,
}
"""The tables, by name."""


def main(files: list[str]) -> None:
    """Bring files up to date."""
    for name in files:
        path = Path(name)
        path.write_text(filled(path.read_text()))


if __name__ == "__main__":
    main(sys.argv[1:])
