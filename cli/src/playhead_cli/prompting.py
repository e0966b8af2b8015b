"""Asking a person at the terminal: which action, and the fields of the form, one by one."""

import json
from collections.abc import Callable, Mapping
from typing import cast

import msgspec
from rich.console import Console
from rich.text import Text

from playhead_cli.answers import PauseShown
from playhead_cli.facts import compact
from playhead_contracts.canonical import ORDER_KEYWORD
from playhead_contracts.events import Json
from playhead_engine.schemas import faults_of

Ask = Callable[[str], str]
"""Shows a prompt and gives what was typed; raises EOFError or KeyboardInterrupt when there is no more."""

_YES, _NO = ("y", "yes", "true"), ("n", "no", "false")
_SKIPPED = object()


class Prompted(msgspec.Struct, frozen=True):
    """What somebody said at the terminal."""

    action: str
    values: dict[str, Json]
    comment: str | None


def prompt_for(pause: PauseShown, console: Console, ask: Ask = input, action: str | None = None) -> Prompted:
    """Show a pause and ask for an answer. What does not fit is told and asked again."""
    console.print(Text.assemble(("? ", "bold yellow"), (pause.message, "bold")))
    for name in pause.order or sorted(pause.show):
        console.print(Text(f"    {pause.labels.get(name, name)}: {_said(pause.show[name])}"))
    names = [each.name for each in pause.actions]
    chosen = action if action in names else _choose(console, ask, "action", names)
    found = next(each for each in pause.actions if each.name == chosen)
    form = found.form or (None if found.denies else pause.form)
    values = {} if form is None else _object(console, ask, form, form, "", {"approved"})
    if form is not None and "approved" in _properties(form):
        values["approved"] = not found.denies
    comment = ask("comment (may stay empty): ").strip()
    return Prompted(chosen, values, comment or None)


def _choose(console: Console, ask: Ask, name: str, choices: list[str]) -> str:
    console.print(Text("    " + "   ".join(f"{number}) {choice}" for number, choice in enumerate(choices, 1))))
    while True:
        said = ask(f"{name}: ").strip()
        if said in choices:
            return said
        if said.isdigit() and 0 < int(said) <= len(choices):
            return choices[int(said) - 1]
        console.print(Text(f"    one of {', '.join(choices)}, or its number", "red"))


def _object(
    console: Console, ask: Ask, schema: Mapping[str, Json], root: Mapping[str, Json], place: str, passed: set[str]
) -> dict[str, Json]:
    properties = _properties(schema)
    order = cast("list[str]", schema.get(ORDER_KEYWORD, list(properties)))
    required = cast("list[str]", schema.get("required", []))
    values: dict[str, Json] = {}
    for name in [*(each for each in order if each in properties), *(each for each in properties if each not in order)]:
        if name in passed and not place:
            continue
        field = _followed(properties[name], root)
        value = _field(console, ask, field, root, f"{place}{name}", name in required)
        if value is not _SKIPPED:
            values[name] = value
    return values


def _field(
    console: Console, ask: Ask, schema: Mapping[str, Json], root: Mapping[str, Json], place: str, required: bool
) -> Json:
    kind: Json = schema.get("type")
    title = str(schema.get("title", place))
    if kind == "object" and _properties(schema):
        if not required and not _is_wanted(ask, title):
            return _SKIPPED
        return _object(console, ask, schema, root, f"{place}.", set())
    items: Json = schema.get("items")
    if kind == "array" and isinstance(items, dict):
        return _list(console, ask, _followed(cast("dict[str, Json]", items), root), root, place, title)
    while True:
        said = ask(_prompt(schema, title, required)).strip()
        if not said:
            if "default" in schema:
                return schema["default"]
            if not required:
                return _SKIPPED
        value = _read(said, schema)
        faults = faults_of({**schema, "$defs": root.get("$defs", {})}, value)
        if said and not faults:
            return value
        console.print(Text(f"    {faults[0].detail if said else 'is required'}", "red"))


def _list(
    console: Console, ask: Ask, items: Mapping[str, Json], root: Mapping[str, Json], place: str, title: str
) -> list[Json]:
    values: list[Json] = []
    while True:
        if items.get("type") == "object":
            if not _is_wanted(ask, f"{title} {len(values) + 1}"):
                return values
            values.append(_object(console, ask, items, root, f"{place}[{len(values)}].", set()))
            continue
        value = _field(console, ask, items, root, f"{place}[{len(values)}] (empty: no more)", required=False)
        if value is _SKIPPED:
            return values
        values.append(value)


def _is_wanted(ask: Ask, title: str) -> bool:
    return ask(f"{title}? [y/N]: ").strip().lower() in _YES


def _prompt(schema: Mapping[str, Json], title: str, required: bool) -> str:
    kinds: Json = schema.get("type")
    said = ", ".join(str(each) for each in cast("list[Json]", schema["enum"])) if "enum" in schema else kinds
    if kinds == "boolean":
        said = "y/n"
    default = f" [{compact(schema['default'])}]" if "default" in schema else "" if required else " (may stay empty)"
    return f"{title} ({said or 'JSON'}){default}: "


def _read(said: str, schema: Mapping[str, Json]) -> Json:
    """What was typed, as what the field takes: text stays text, everything else is JSON."""
    kind: Json = schema.get("type")
    enum: Json = schema.get("enum")
    if isinstance(enum, list):
        return next((each for each in cast("list[Json]", enum) if str(each) == said), said)
    if kind == "string":
        return said
    if kind == "boolean" and said.lower() in (*_YES, *_NO):
        return said.lower() in _YES
    try:
        return json.loads(said)
    except ValueError:
        return said


def _properties(schema: Json) -> dict[str, dict[str, Json]]:
    found: Json = cast("dict[str, Json]", schema).get("properties") if isinstance(schema, dict) else None
    return cast("dict[str, dict[str, Json]]", found) if isinstance(found, dict) else {}


def _followed(schema: Mapping[str, Json], root: Mapping[str, Json]) -> Mapping[str, Json]:
    reference: Json = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/$defs/"):
        definitions = cast("dict[str, dict[str, Json]]", root.get("$defs", {}))
        return definitions.get(reference.removeprefix("#/$defs/"), {})
    return schema


def _said(value: Json) -> str:
    return value if isinstance(value, str) else compact(value)
