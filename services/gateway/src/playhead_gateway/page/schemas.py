"""Reading one schema of a form: references followed, `allOf` put together, null taken out.

What comes out is made for showing fields. Whether an answer fits is always asked of the whole schema, as written.
"""

from collections.abc import Mapping
from typing import cast
from urllib.parse import unquote

import msgspec

from playhead_contracts.events import Json

Schema = Mapping[str, Json]

_ANNOTATIONS = frozenset({"title", "description", "default", "examples", "readOnly", "$comment", "deprecated", "type"})


class Plain(msgspec.Struct, frozen=True):
    """A schema without `$ref`, `allOf` and null. `refs` are those that led here: one more time round is no end."""

    schema: dict[str, Json]
    is_nullable: bool
    refs: frozenset[str]


def plain(schema: Json, root: Schema, refs: frozenset[str]) -> Plain | None:
    """The schema made plain; None for one that no single set of fields stands for."""
    found = as_object(schema)
    if found is None:
        return None
    is_nullable = False
    while True:
        if isinstance(ref := found.get("$ref"), str):
            target = as_object(_target(ref, root))
            merged = None if target is None or ref in refs else _merged(target, _without(found, "$ref", "$defs"))
            refs |= {ref}
        elif parts := _schemas(found.get("allOf")):
            merged = {}
            for part in [*parts, _without(found, "allOf")]:
                inner = plain(part, root, refs)
                merged = None if inner is None or merged is None else _merged(merged, inner.schema)
                refs |= frozenset() if inner is None else inner.refs
        elif (other := _besides_null(found)) is not None:
            is_nullable, merged = True, other
        else:
            return Plain(found, is_nullable, refs)
        if merged is None:
            return None
        found = merged


def as_object(value: Json) -> dict[str, Json] | None:
    """The value if it is a JSON object."""
    return cast("dict[str, Json]", value) if isinstance(value, dict) else None


def as_list(value: Json) -> list[Json]:
    """The value if it is a JSON array, else an empty list."""
    return cast("list[Json]", value) if isinstance(value, list) else []


def json_text(value: Json) -> str:
    """The value as one line of JSON."""
    return msgspec.json.encode(value).decode()


def alternatives(schema: Schema) -> list[dict[str, Json]]:
    """What `oneOf` or `anyOf` offer."""
    return _schemas(schema.get("oneOf")) or _schemas(schema.get("anyOf"))


def _schemas(value: Json) -> list[dict[str, Json]]:
    found = [as_object(item) for item in as_list(value)]
    return [item for item in found if item is not None]


def _without(schema: Schema, *names: str) -> dict[str, Json]:
    return {name: value for name, value in schema.items() if name not in names}


def _besides_null(schema: dict[str, Json]) -> dict[str, Json] | None:
    """The schema without the null that it allows, or None if it allows no null beside something else."""
    types = as_list(schema.get("type"))
    if "null" in types:
        others = [name for name in types if name != "null"]
        rest = {**schema, "type": others[0] if len(others) == 1 else others}
        return {**rest, "enum": [v for v in as_list(rest["enum"]) if v is not None]} if "enum" in rest else rest
    if "enum" in schema and None in as_list(schema["enum"]) and len(as_list(schema["enum"])) > 1:
        return {**schema, "enum": [value for value in as_list(schema["enum"]) if value is not None]}
    for keyword in ("oneOf", "anyOf"):
        offered = _schemas(schema.get(keyword))
        others = [each for each in offered if each.get("type") != "null" and ("const", None) not in each.items()]
        if 0 < len(others) < len(offered):
            rest = _without(schema, keyword)
            return _merged(others[0], rest) if len(others) == 1 else {**rest, keyword: others}
    return None


def _target(ref: str, root: Schema) -> Json:
    """What a reference inside of the form points to (RFC 6901); None if it leads nowhere or outside."""
    if not ref.startswith("#"):
        return None
    found: Json = root
    for segment in unquote(ref[1:]).split("/")[1:]:
        inside = as_object(found)
        found = None if inside is None else inside.get(segment.replace("~1", "/").replace("~0", "~"))
    return found


def _merged(first: Schema, second: Schema) -> dict[str, Json] | None:
    """Both at once; what `second` says about itself counts. None if they say different things about the value."""
    found: dict[str, Json] = dict(first)
    for name, value in second.items():
        before = found.get(name)
        if name not in found or before == value or name in _ANNOTATIONS:
            found[name] = value
        elif name == "properties":
            mine, theirs = as_object(before) or {}, as_object(value) or {}
            both = {key: {"allOf": [mine[key], theirs[key]]} for key in mine.keys() & theirs.keys()}
            found[name] = {**mine, **theirs, **both}
        elif name in ("required", "x-order"):
            found[name] = list(dict.fromkeys([*as_list(before), *as_list(value)]))
        elif name in ("$defs", "definitions"):
            continue
        else:
            return None
    return found
