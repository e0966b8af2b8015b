"""Checking values against JSON Schema (Draft 2020-12): inputs of workflows, forms of pauses."""

from functools import lru_cache

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
