"""Faults of a document's structure: fields, types of blocks, JSON Schemas. Each block is judged by itself."""

import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import TypeVar

import jsonschema_rs
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from playhead_contracts.base_blocks import BaseBlock
from playhead_contracts.canonical import ordered_entries
from playhead_contracts.errors import Fault
from playhead_contracts.events import Json
from playhead_contracts.ids import BLOCK_ID_PATTERN, EVENT_TYPE_PATTERN, TOKEN_PATTERN
from playhead_contracts.pointers import pointer
from playhead_contracts.workflow import (
    BLOCK_MODELS,
    ContainerBlock,
    CustomBlock,
    NoteBlock,
    ResponseBlock,
    WorkflowDocument,
)
from playhead_engine.documents.outline import Outline, Place, mapping
from playhead_engine.traits import BlockTraits

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_META = jsonschema_rs.Draft202012Validator({"$ref": _DIALECT})
_SAID = {
    TOKEN_PATTERN: "letters, digits, - and _, at most 64 of them",
    EVENT_TYPE_PATTERN: "names of letters, digits, - and _, with dots between them",
}
"""What people are told in place of a pattern."""
_BLOCK_ID = re.compile(BLOCK_ID_PATTERN)


def closest(name: str, known: Iterable[str]) -> str | None:
    """The hint "did you mean ...?", if there is something that looks like it."""
    found = get_close_matches(name, list(known), n=1)
    return f"did you mean {found[0]}?" if found else None


def build(outline: Outline, traits: Mapping[str, BlockTraits]) -> tuple[WorkflowDocument | None, tuple[Fault, ...]]:
    """The document with every fault of its structure; None if there is one."""
    blocks, faults = _built_blocks(outline.raw, (), traits)
    document, found = built_as(WorkflowDocument, {**outline.raw, "blocks": blocks}, ())
    faults += _news(found, outline.raw, ())
    return (None if faults else document), tuple(faults)


def _built_blocks(
    owner: Mapping[str, Json], place: Place, traits: Mapping[str, BlockTraits]
) -> tuple[Json, list[Fault]]:
    """The blocks of a document or container, innermost first, as far as they are valid, and their faults."""
    faults: list[Fault] = []
    blocks: dict[str, BaseBlock | NoteBlock] = {}
    written = mapping(owner.get("blocks"))
    for block_id, block in written.items():
        at = (*place, "blocks", block_id)
        faults += _id_faults(block_id, at)
        model, found = _model_of(block, at, traits)
        faults += found
        if model is None:
            continue
        if issubclass(model, ContainerBlock):
            inner, found = _built_blocks(mapping(block), at, traits)
            faults += found
            built, found = built_as(model, {**mapping(block), "blocks": inner}, at)
            found = _news(found, mapping(block), at)
        else:
            built, found = built_as(model, block, at)
        faults += found
        if built is not None:
            blocks[block_id] = built
    return (blocks if written else owner.get("blocks", {})), faults


def _news(found: Iterable[Fault], owner: Mapping[str, Json], place: Place) -> tuple[Fault, ...]:
    """Blocks that are wrong were told of by themselves; that there are none is news only if it was written so."""
    if not mapping(owner.get("blocks")):
        return tuple(found)
    return tuple(fault for fault in found if not fault.pointer.startswith(pointer(*place, "blocks")))


def schema_faults(outline: Outline, traits: Mapping[str, BlockTraits]) -> Iterator[Fault]:
    """Faults of the JSON Schemas in the document, and of custom blocks whose config does not fit theirs."""
    yield from _of_schema(outline.raw.get("input"), ("input",))
    for body in outline.all():
        templated = {text.block for text in body.texts if "{{" in text.source}
        for block_id, block in body.blocks.items():
            place = (*body.place, "blocks", block_id)
            yield from _form_faults(block, place)
            if block_id not in templated:
                yield from _config_faults(block, place, traits)


def _form_faults(block: Mapping[str, Json], place: Place) -> Iterator[Fault]:
    if block.get("type") != "human":
        return
    forms: list[tuple[Json, Place]] = [(block.get("form"), (*place, "form"))]
    for name, action in (ordered_entries(block.get("actions")) or {}).items():
        forms.append((mapping(action).get("form"), (*place, "actions", name, "form")))
    for form, where in forms:
        if not isinstance(form, dict):
            continue
        if mapping(form).get("type") != "object":
            detail = "a form is a JSON Schema of `type: object`: its properties are the fields"
            yield Fault(pointer(*where, "type"), detail)
        yield from _of_schema(form, where)


def _config_faults(block: Mapping[str, Json], place: Place, traits: Mapping[str, BlockTraits]) -> Iterator[Fault]:
    kind: Json = block.get("type")
    traits_of = traits.get(kind) if isinstance(kind, str) else None
    if traits_of is None or traits_of.config_schema is None:
        return
    validator = jsonschema_rs.Draft202012Validator(traits_of.config_schema, offline=True)
    for error in validator.iter_errors(block.get("config", {})):
        yield Fault(pointer(*place, "config", *error.instance_path), error.message)


def _of_schema(schema: Json, place: Place) -> Iterator[Fault]:
    if not isinstance(schema, dict):
        return
    dialect: Json = mapping(schema).get("$schema", _DIALECT)
    if not isinstance(dialect, str) or dialect.rstrip("#") != _DIALECT:
        yield Fault(pointer(*place, "$schema"), f"not the dialect in use here: leave it out or say {_DIALECT}")
        return
    # The vocabularies of the meta schema each tell of the same fault.
    found = dict.fromkeys(
        Fault(pointer(*place, *error.instance_path), f"not JSON Schema: {error.message}")
        for error in _META.iter_errors(schema)
    )
    yield from found
    if found:
        return
    try:
        jsonschema_rs.Draft202012Validator(mapping(schema), offline=True)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as exc:
        # What only building finds: patterns that are no patterns, and $refs to what is not in the document.
        path: list[str | int] = exc.instance_path if isinstance(exc, jsonschema_rs.ValidationError) else []
        yield Fault(pointer(*place, *path), f"not JSON Schema: {str(exc).splitlines()[0]}")


def _id_faults(block_id: str, place: Place) -> Iterator[Fault]:
    if not _BLOCK_ID.fullmatch(block_id):
        detail = "the id of a block is letters, digits and _, at most 64 of them, and starts with no digit"
        yield Fault(pointer(*place), detail)


def _model_of(
    block: Json, place: Place, traits: Mapping[str, BlockTraits]
) -> tuple[type[BaseBlock | NoteBlock] | None, tuple[Fault, ...]]:
    known = f"types are {', '.join(sorted({*traits, *BLOCK_MODELS}))}"
    if not isinstance(block, dict):
        return None, (Fault(pointer(*place), "should be a mapping with a `type`", known),)
    kind: Json = mapping(block).get("type")
    if not isinstance(kind, str):
        return None, (Fault(pointer(*place, "type"), "should be the type of the block", known),)
    if kind not in traits and kind not in BLOCK_MODELS:
        hint = "; ".join(part for part in (closest(kind, traits), known) if part)
        return None, (Fault(pointer(*place, "type"), f"there is no type of block {kind!r}", hint),)
    return BLOCK_MODELS.get(kind, CustomBlock), ()


_Built = TypeVar("_Built", bound=BaseModel)


def built_as(model: type[_Built], value: Json, place: Place) -> tuple[_Built | None, tuple[Fault, ...]]:
    """What is written at a place, as a model; or None, and every fault that the model finds."""
    try:
        return model.model_validate(value), ()
    except ValidationError as exc:
        errors = exc.errors(include_url=False, include_input=False)
        return None, tuple(_fault(error, model, place) for error in errors)


def _fault(error: ErrorDetails, model: type[BaseModel], place: Place) -> Fault:
    # pydantic says "[key]" after a key that is itself at fault.
    path = tuple(segment for segment in error["loc"] if segment != "[key]")
    where = pointer(*place, *path)
    name = str(path[-1]) if path else ""
    match error["type"]:
        case "extra_forbidden" if issubclass(model, ResponseBlock) and name == "next":
            return Fault(where, "a response block has no `next`: nothing comes after it")
        case "extra_forbidden" if issubclass(model, NoteBlock):
            return Fault(where, "a note is only words: it has a `text`, and takes no part in the execution")
        case "extra_forbidden":
            fields = [field.alias or field_name for field_name, field in model.model_fields.items()]
            hint = closest(name, fields) or f"fields are {', '.join(sorted(fields))}"
            return Fault(where, f"there is no field {name!r} here", hint)
        case "missing":
            return Fault(where, "is required")
        case "string_pattern_mismatch" if (said := _SAID.get(str(error.get("ctx", {}).get("pattern")))) is not None:
            return Fault(where, f"should be {said}")
        case "too_short" | "string_too_short":
            return Fault(where, "should not be empty")
        case _:
            return Fault(where, _plain(error["msg"]))


def _plain(message: str) -> str:
    """What pydantic says, in words of a document."""
    plain = message.replace("valid dictionary", "mapping")
    for prefix in ("Value error, ", "Input ", "String "):
        plain = plain.removeprefix(prefix)
    plain = re.sub(r" or instance of \w+", "", plain)
    return re.sub(r"datetime\.timedelta\((?:seconds=)?(\d+)\)", r"\1s", plain)
