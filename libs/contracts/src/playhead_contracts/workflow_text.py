"""The text of a workflow document: YAML or JSON in, one plain value out, and the digest that both share.

What is read is JSON, or YAML 1.2's core schema, and strictly: only `true` and `false` are booleans (`no` and
`on` are text), dates are text, keys are text and stand once, numbers are finite and whole ones have 64 bits.
"""

import hashlib
import json
import math
from collections import Counter
from typing import Literal, NoReturn, cast

import msgspec

from playhead_contracts.errors import Fault, InvalidDocument
from playhead_contracts.events import Json
from playhead_contracts.pointers import pointer
from playhead_contracts.yaml_tree import YamlTree

MAX_NODES = 100_000
"""Keys and values of a document, aliases expanded."""
MAX_DEPTH = 100


def read_document(text: bytes, media: Literal["json", "yaml"]) -> dict[str, Json]:
    """The mapping that the text holds, as plain JSON values.

    Raises InvalidDocument with one fault per thing that is wrong; what is broken as text has its line and
    column in the fault's detail.
    """
    try:
        decoded = text.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise _broken(f"not UTF-8 at byte {exc.start}") from exc
    if media == "json":
        value, faults = _read_json(decoded), list[Fault]()
    else:
        tree = YamlTree(decoded, max_nodes=MAX_NODES, max_depth=MAX_DEPTH)
        value, faults = tree.read(), tree.faults
    faults += _faults_of(value)
    if not isinstance(value, dict):
        faults.append(Fault("#", "a workflow document is a mapping with `id` and `blocks`"))
    if faults:
        raise InvalidDocument(f"the {media.upper()} is not a workflow document", errors=faults)
    return cast("dict[str, Json]", value)


def canonical_json(value: Json) -> bytes:
    """The one text of a JSON value: keys sorted, no white space, UTF-8."""
    return msgspec.json.encode(value, order="sorted")


def digest_of(document: dict[str, Json]) -> str:
    """`sha256:` and the hex digest of the canonical JSON of a document as it was read by `read_document`.

    Of what was written, that is, and not of the models: a default that is added to them changes no digest.
    """
    return "sha256:" + hashlib.sha256(canonical_json(document)).hexdigest()


class _Repeated(dict[str, Json]):
    """An object whose text has keys twice. Only the walk knows where it stands."""

    keys_twice: tuple[str, ...] = ()


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    value = dict(pairs)
    if len(value) == len(pairs):
        return value
    repeated = _Repeated(value)
    times = Counter(name for name, _ in pairs)
    repeated.keys_twice = tuple(name for name in value if times[name] > 1)
    return repeated


def _integer(text: str) -> int | float:
    # Python raises for integers of more than 4300 digits; what does not fit 64 bits is refused by the walk.
    return int(text) if len(text) <= 20 else math.inf


def _read_json(text: str) -> Json:
    try:
        return json.loads(text, object_pairs_hook=_object, parse_int=_integer, parse_constant=_no_constant)
    except json.JSONDecodeError as exc:
        raise _broken(f"not valid JSON at line {exc.lineno}, column {exc.colno}: {exc.msg}") from exc
    except RecursionError as exc:
        raise _broken(f"nested deeper than {MAX_DEPTH} levels") from exc


def _no_constant(name: str) -> NoReturn:
    raise _broken(f"{name} is no JSON number")


def _faults_of(value: Json) -> list[Fault]:
    """What both languages can write and a document cannot hold. Stops at the limits of size."""
    faults: list[Fault] = []
    rest: list[tuple[tuple[str | int, ...], Json]] = [((), value)]
    seen = 0
    while rest:
        path, node = rest.pop()
        seen += 1
        if seen > MAX_NODES:
            raise _broken(f"more than {MAX_NODES} values")
        if len(path) > MAX_DEPTH:
            raise _broken(f"nested deeper than {MAX_DEPTH} levels", *path[:8])
        if isinstance(node, _Repeated):
            faults += [Fault(pointer(*path, key), f"the key {key!r} stands twice") for key in node.keys_twice]
        if isinstance(node, dict):
            fields = cast("dict[str, Json]", node)
            faults += [Fault(pointer(*path), "a key is not Unicode text") for key in fields if not _is_text(key)]
            rest += [((*path, key), field) for key, field in reversed(fields.items())]
        elif isinstance(node, list):
            rest += [((*path, index), item) for index, item in enumerate(cast("list[Json]", node))][::-1]
        elif (problem := _problem(node)) is not None:
            faults.append(Fault(pointer(*path), problem))
    return faults


def _problem(scalar: str | float | bool | None) -> str | None:
    if isinstance(scalar, str):
        return None if _is_text(scalar) else "a lone surrogate is not Unicode text"
    if isinstance(scalar, float):
        return None if math.isfinite(scalar) else "not a finite number that fits"
    if isinstance(scalar, int) and not -(2**63) <= scalar < 2**63:
        return "a whole number of more than 64 bits"
    return None


def _is_text(text: str) -> bool:
    return text.isascii() or text.encode(errors="replace").decode() == text


def _broken(detail: str, *path: str | int) -> InvalidDocument:
    return InvalidDocument(detail, errors=[Fault(pointer(*path), detail)])
