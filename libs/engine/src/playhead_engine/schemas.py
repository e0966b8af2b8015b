"""Checking values against JSON Schema (Draft 2020-12): inputs of workflows, forms of pauses."""

from functools import lru_cache
from typing import cast

import jsonschema_rs
import msgspec

from playhead_contracts.errors import Fault
from playhead_contracts.events import Json
from playhead_contracts.pointers import pointer


@lru_cache(maxsize=1024)
def _validator(schema: bytes) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(msgspec.json.decode(schema), validate_formats=True, offline=True)


def faults_of(schema: dict[str, Json], value: Json) -> tuple[Fault, ...]:
    """Every way in which `value` does not fit `schema`, each at its place; empty if it fits."""
    validator = _validator(msgspec.json.encode(schema, order="sorted"))
    return tuple(
        Fault(pointer=pointer(*error.instance_path), detail=error.message) for error in validator.iter_errors(value)
    )


def with_defaults(schema: dict[str, Json], value: dict[str, Json]) -> dict[str, Json]:
    """The value with the defaults of `schema` where it has nothing, in objects and lists inside of it, too.

    References to `$defs` are followed; where the schema offers alternatives, nothing is chosen.
    """
    return cast("dict[str, Json]", _filled(schema, value, schema))


_DEEPEST = 20


def _filled(schema: Json, value: Json, root: dict[str, Json], depth: int = 0) -> Json:
    here = _followed(schema, root)
    if depth > _DEEPEST or here is None:
        return value
    if isinstance(value, dict):
        found = dict(cast("dict[str, Json]", value))
        for name, inner in _object(here.get("properties")).items():
            field = _followed(inner, root)
            if name in found:
                found[name] = _filled(inner, found[name], root, depth + 1)
            elif field is not None and "default" in field:
                found[name] = field["default"]
        return found
    items: Json = here.get("items")
    if isinstance(value, list) and isinstance(items, dict):
        return [_filled(items, item, root, depth + 1) for item in cast("list[Json]", value)]
    return cast("Json", value)


def _followed(schema: Json, root: dict[str, Json]) -> dict[str, Json] | None:
    for _ in range(_DEEPEST):
        if not isinstance(schema, dict):
            return None
        here = cast("dict[str, Json]", schema)
        reference: Json = here.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#/"):
            return here
        schema = root
        for name in reference[2:].split("/"):
            schema = _object(schema).get(name.replace("~1", "/").replace("~0", "~"))
    return None


def _object(value: Json) -> dict[str, Json]:
    return cast("dict[str, Json]", value) if isinstance(value, dict) else {}
