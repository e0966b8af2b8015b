"""Contracts only grow: what was ever published is a golden file, and every change of it is additive or is found."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema_rs
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playhead_contracts.compatibility import Break, breaks, check_all, is_same_form
from playhead_contracts.events import decode_event, encode_envelope
from playhead_contracts.ids import event_schema
from playhead_contracts.schemas import contracts, event_types, promised, schemas, superseded
from tests.unit.test_contracts import ENVELOPE

GOLDEN = Path(__file__).parent.parent / "golden"
RENEW = "run `make docs`: it records what was added, and refuses what is not additive"

Schema = dict[str, Any]


def golden() -> dict[str, Schema]:
    folder = GOLDEN / "schemas"
    return {
        path.relative_to(folder).as_posix(): msgspec.json.decode(path.read_bytes()) for path in folder.rglob("*.json")
    }


def test_what_was_published_has_only_been_added_to() -> None:
    found = check_all(golden(), promised())
    assert not found, "give the event type a new SCHEMA_VERSION and an upcaster:\n" + "\n".join(map(str, found))


def test_every_contract_has_a_golden_schema_that_is_up_to_date() -> None:
    recorded, present = golden(), promised()
    assert recorded.keys() == present.keys(), RENEW
    assert [name for name in present if not is_same_form(recorded[name], present[name])] == [], RENEW


def test_there_is_a_schema_of_every_version_of_every_event_type() -> None:
    there = {(each.type, each.version) for each in contracts() if each.kind == "event"}
    assert there == {
        (kind.type_name(), version) for kind in event_types() for version in range(1, kind.SCHEMA_VERSION + 1)
    }


@pytest.mark.parametrize("path", sorted((GOLDEN / "events").iterdir()), ids=lambda path: path.name)
def test_an_event_that_was_ever_written_decodes_and_fits_the_schema_of_its_version(path: Path) -> None:
    data = path.read_bytes().rstrip(b"\n")
    kind = msgspec.json.decode(data)["type"]
    version = int(path.stem.rpartition(".v")[2])
    envelope = msgspec.structs.replace(ENVELOPE, type=kind, schema_version=version)
    assert decode_event(encode_envelope(envelope), data).data.type_name() == kind
    jsonschema_rs.validate(schemas()[event_schema(kind, version)], msgspec.json.decode(data), validate_formats=True)


@pytest.mark.parametrize("name", promised())
def test_a_field_of_an_event_says_what_it_is(name: str) -> None:
    schema = schemas()[name]
    assert schema.get("description"), f"{name} has no docstring"
    if name.startswith("events/"):
        mute = [field for field, said in schema["properties"].items() if "description" not in said]
        assert not mute, f"fields of {name} without a docstring: {mute}"


def test_the_schemas_of_older_versions_are_those_in_their_files(tmp_path: Path) -> None:
    schema = {"type": "object"}
    (tmp_path / "README.md").write_text("why they are here")
    (tmp_path / "block.step_completed.v1.json").write_bytes(msgspec.json.encode(schema))
    (tmp_path / "block.step_completed.v2.json").write_bytes(msgspec.json.encode(schema))
    found = dict(superseded(tmp_path))
    assert [(each.name, each.type, each.version, each.is_present) for each in found] == [
        (f"events/block.step_completed.v{version}.json", "block.step_completed", version, False) for version in (1, 2)
    ]
    assert list(found.values()) == [schema, schema]


# -- whatever is changed is found


class Place(NamedTuple):
    """A field of an object in a schema."""

    schema: str
    at: tuple[str, ...]
    field: str

    def owner(self, schema: Schema) -> Schema:
        for step in self.at:
            schema = schema[step]
        return schema


def places(name: str, schema: Schema) -> Iterator[Place]:
    for field in schema.get("properties", {}):
        yield Place(name, (), field)
    for inner, definition in schema.get("$defs", {}).items():
        for field in definition.get("properties", {}):
            yield Place(name, ("$defs", inner), field)


EVENTS = {name: schema for name, schema in promised().items() if name.startswith("events/")}
PLACES = [
    place
    for name, schema in EVENTS.items()
    for place in places(name, schema)
    if (place.at, place.field) != ((), "type")
]
"""All but the tag of an event: without that it is no event (see below)."""
Mutation = Callable[[Schema, str], bool]
"""Changes a field of an object; whether it could."""


def remove(owner: Schema, field: str) -> bool:
    del owner["properties"][field]
    owner["required"] = [name for name in owner.get("required", []) if name != field]
    return True


def rename(owner: Schema, field: str) -> bool:
    owner["properties"][f"{field}_"] = owner["properties"].pop(field)
    owner["required"] = [f"{name}_" if name == field else name for name in owner.get("required", [])]
    return True


def require(owner: Schema, field: str) -> bool:
    was = owner.get("required", [])
    owner["required"] = [*was, field]
    return field not in was


def no_longer_require(owner: Schema, field: str) -> bool:
    was = owner.get("required", [])
    owner["required"] = [name for name in was if name != field]
    return field in was


def narrow(owner: Schema, field: str) -> bool:
    schema = owner["properties"][field]
    if "anyOf" in schema:
        schema["anyOf"] = schema["anyOf"][:-1]
        return True
    if "enum" in schema and len(schema["enum"]) > 1:
        schema["enum"] = schema["enum"][1:]
        return True
    if "type" not in schema and "$ref" not in schema and "enum" not in schema:
        schema["type"] = "string"
        return True
    return False


def retype(owner: Schema, field: str) -> bool:
    owner["properties"][field] = {
        "type": "boolean" if owner["properties"][field].get("type") != "boolean" else "integer"
    }
    return True


def retype_items(owner: Schema, field: str) -> bool:
    schema = owner["properties"][field]
    if schema.get("type") != "array":
        return False
    schema["items"] = {"type": "boolean"}
    return True


def rename_value(owner: Schema, field: str) -> bool:
    schema = owner["properties"][field]
    if "enum" not in schema:
        return False
    schema["enum"] = [*schema["enum"][1:], f"{schema['enum'][0]}_"]
    return True


def mean_something_else(owner: Schema, field: str) -> bool:
    schema = owner["properties"][field]
    if "default" not in schema:
        return False
    schema["default"] = "something else"
    return True


def constrain(owner: Schema, field: str) -> bool:
    owner["properties"][field]["x-anything"] = 1
    return "$ref" not in owner["properties"][field] and "anyOf" not in owner["properties"][field]


BREAKING: dict[Mutation, set[str]] = {
    remove: {"removed"},
    rename: {"removed"},
    require: {"required"},
    no_longer_require: {"optional"},
    narrow: {"narrowed"},
    retype: {"narrowed", "widened"},
    retype_items: {"narrowed", "widened"},
    rename_value: {"narrowed", "widened"},
    mean_something_else: {"default"},
    constrain: {"constraint"},
}


def changed(place: Place, mutation: Mutation) -> Schema | None:
    schema = copy.deepcopy(EVENTS[place.schema])
    return schema if mutation(place.owner(schema), place.field) else None


@settings(max_examples=600, deadline=None, derandomize=True, database=None)
@given(place=st.sampled_from(PLACES), mutation=st.sampled_from(list(BREAKING)))
def test_any_change_that_is_not_additive_is_found_and_named(place: Place, mutation: Mutation) -> None:
    schema = changed(place, mutation)
    if schema is None:
        return
    found = breaks(place.schema, EVENTS[place.schema], schema)
    rules = {each.rule for each in found}
    assert rules & BREAKING[mutation], found
    assert any(each.field.rpartition(".")[2].removesuffix("[]").startswith(place.field) for each in found), found
    assert not is_same_form(EVENTS[place.schema], schema)


def add_field(owner: Schema, field: str) -> bool:
    owner["properties"]["added"] = {"anyOf": [copy.deepcopy(owner["properties"][field]), {"type": "null"}]}
    return True


def add_value(owner: Schema, field: str) -> bool:
    schema = owner["properties"][field]
    if "enum" not in schema or field == "type":
        return False
    schema["enum"] = [*schema["enum"], "added"]
    return True


def say_otherwise(owner: Schema, field: str) -> bool:
    owner["properties"][field]["description"] = owner["description"] = owner["title"] = "in other words"
    return True


def reorder(owner: Schema, field: str) -> bool:
    owner["properties"] = dict(reversed(owner["properties"].items()))
    owner["required"] = list(reversed(owner.get("required", [])))
    schema = owner["properties"][field]
    if "anyOf" in schema:
        schema["anyOf"] = list(reversed(schema["anyOf"]))
    return True


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(
    place=st.sampled_from(PLACES), mutations=st.lists(st.sampled_from([add_field, add_value, say_otherwise, reorder]))
)
def test_what_is_additive_passes(place: Place, mutations: list[Mutation]) -> None:
    schema = copy.deepcopy(EVENTS[place.schema])
    for mutation in mutations:
        mutation(place.owner(schema), place.field)
    assert breaks(place.schema, EVENTS[place.schema], schema) == []


def test_a_contract_that_is_gone_is_found() -> None:
    less = {name: schema for name, schema in promised().items() if name != "events/block.failed.v1.json"}
    assert check_all(promised(), less) == [Break("events/block.failed.v1.json", "", "gone")]


def test_the_type_of_an_event_must_stay() -> None:
    schema = EVENTS["events/block.failed.v1.json"]
    other = copy.deepcopy(schema)
    other["properties"]["type"]["enum"] = ["block.broke"]
    assert {each.rule for each in breaks("x", schema, other)} == {"narrowed", "widened"}


def test_what_is_said_to_us_may_be_less_strict_and_never_stricter() -> None:
    was: Schema = {"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}}
    loose: Schema = {"type": "object", "properties": {"a": {"anyOf": [{"type": "string"}, {"type": "integer"}]}}}
    assert check_all({"commands/run.json": was}, {"commands/run.json": loose}) == []
    stricter = check_all({"commands/run.json": loose}, {"commands/run.json": was})
    assert {each.rule for each in stricter} == {"required", "narrowed"}
    assert {each.rule for each in check_all({"events/x.json": was}, {"events/x.json": loose})} == {
        "optional",
        "widened",
    }


def test_a_break_says_what_where_and_why() -> None:
    schema = copy.deepcopy(EVENTS["events/block.failed.v1.json"])
    schema["$defs"]["BlockError"]["required"].append("retryable")
    [found] = breaks("events/block.failed.v1.json", EVENTS["events/block.failed.v1.json"], schema)
    assert str(found) == (
        "events/block.failed.v1.json, error.retryable: it must be there, and need not have been (required)"
    )
