"""The one form in which a workflow document is stored, so that order survives where it means something.

JSON objects have no order (RFC 8259), and the log writes them with their keys sorted. Some mappings of a document are
read in the order in which they are written: the cases of a condition, the actions and the shown values of a pause.
Where that is not the order of their keys, the canonical form is a list of mappings with one entry each, which authors
may write as well. The properties of a form are an object by JSON Schema, so their order goes into `x-order`.
"""

from collections.abc import Mapping
from typing import cast

from playhead_contracts.events import Json

ORDER_KEYWORD = "x-order"
"""In an object of a form's schema: the names of its properties, in the order in which people are asked."""


def canonical_document(document: Mapping[str, Json]) -> dict[str, Json]:
    """The document as it is stored: of the same meaning, and its own canonical form."""
    return {**document, "blocks": _blocks(document.get("blocks"))} if "blocks" in document else dict(document)


def ordered_entries(value: Json) -> dict[str, Json] | None:
    """A mapping in the order it was written: as a mapping, or as a list of mappings with one entry each.

    None for anything else, and for a name that is there twice.
    """
    if isinstance(value, dict):
        return cast("dict[str, Json]", value)
    if not isinstance(value, list):
        return None
    entries: dict[str, Json] = {}
    for item in cast("list[Json]", value):
        if isinstance(item, str):
            item = {item: None}
        if not isinstance(item, dict) or len(cast("dict[str, Json]", item)) != 1:
            return None
        for name, entry in cast("dict[str, Json]", item).items():
            if name in entries:
                return None
            entries[name] = entry
    return entries


def _blocks(blocks: Json) -> Json:
    if not isinstance(blocks, dict):
        return blocks
    return {block_id: _block(block) for block_id, block in cast("dict[str, Json]", blocks).items()}


def _block(block: Json) -> Json:
    if not isinstance(block, dict):
        return block
    found = dict(cast("dict[str, Json]", block))
    match found.get("type"):
        case "condition":
            _keep_order(found, "cases")
        case "human":
            _settle_human(found)
        case "loop" | "parallel":
            found["blocks"] = _blocks(found.get("blocks"))
        case _:
            pass
    return found


def _settle_human(block: dict[str, Json]) -> None:
    following = block.get("next")
    if "actions" not in block and isinstance(following, dict):
        names = list(cast("dict[str, Json]", following))
        if names != sorted(names):
            block["actions"] = cast("Json", names)
    _keep_order(block, "show")
    _keep_order(block, "actions")
    if "form" in block:
        block["form"] = _with_order(block["form"])
    actions: Json = block.get("actions")
    if isinstance(actions, dict):
        block["actions"] = {name: _action(action) for name, action in cast("dict[str, Json]", actions).items()}
    elif isinstance(actions, list):
        block["actions"] = [
            {name: _action(action) for name, action in cast("dict[str, Json]", item).items()}
            if isinstance(item, dict)
            else item
            for item in cast("list[Json]", actions)
        ]


def _action(action: Json) -> Json:
    written = cast("dict[str, Json]", action)
    if not isinstance(action, dict) or "form" not in written:
        return written
    return {**written, "form": _with_order(written["form"])}


def _keep_order(block: dict[str, Json], field: str) -> None:
    entries = ordered_entries(block.get(field))
    if entries is None:
        return
    if list(entries) == sorted(entries):
        block[field] = entries
    else:
        block[field] = [{name: entry} for name, entry in entries.items()]


def _with_order(schema: Json) -> Json:
    """The schema, in which every object says the order of its properties if that is not the order of their names."""
    if isinstance(schema, list):
        return [_with_order(item) for item in cast("list[Json]", schema)]
    if not isinstance(schema, dict):
        return schema
    written = cast("dict[str, Json]", schema)
    found: dict[str, Json] = {
        name: value if name in ("const", "enum", "default", "examples") else _with_order(value)
        for name, value in written.items()
    }
    properties = written.get("properties")
    if isinstance(properties, dict) and ORDER_KEYWORD not in written:
        names = list(cast("dict[str, Json]", properties))
        if names != sorted(names):
            found[ORDER_KEYWORD] = cast("Json", names)
    return found
