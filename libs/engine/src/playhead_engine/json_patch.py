"""What changed between two JSON values, as a JSON Patch (RFC 6902) of few and small operations.

Objects are compared member by member. Of arrays the longest common part stays where it is: a list that grew at its end,
or lost its first item, is one operation. Where saying each change takes more than the new value, the value is replaced.
"""

from collections.abc import Sequence
from typing import Any, Literal, cast

import msgspec
from msgspec import UNSET, UnsetType

from playhead_contracts.events import Json

_ENOUGH_CELLS = 40_000
"""Pairs of items that are compared for the longest common part of two arrays; above that, items are paired in order."""


class Operation(msgspec.Struct, frozen=True, rename={"kind": "op"}):
    """One change. `path` is a JSON Pointer (RFC 6901)."""

    kind: Literal["add", "remove", "replace"]
    path: str
    value: Json | UnsetType = UNSET


def json_patch(a: Json, b: Json) -> list[Operation]:
    """The operations that make `b` of `a`, in order; none if they are the same JSON. Numbers 1 and 1.0 are not."""
    return _changes("", a, b)


def _changes(path: str, a: Json, b: Json) -> list[Operation]:
    if _is_same(a, b):
        return []
    whole = Operation("replace", path, b)
    if isinstance(a, dict) and isinstance(b, dict):
        changes = _of_members(path, cast("dict[str, Json]", a), cast("dict[str, Json]", b))
    elif isinstance(a, list) and isinstance(b, list):
        changes = _of_items(path, cast("list[Json]", a), cast("list[Json]", b))
    else:
        return [whole]
    # Two that have nothing in common are told apart in one operation; the document itself is never replaced for that.
    return [whole] if path and len(changes) > 1 and _size(changes) > _size([whole]) else changes


def _of_members(path: str, a: dict[str, Json], b: dict[str, Json]) -> list[Operation]:
    found: list[Operation] = []
    for name, value in a.items():
        place = f"{path}/{escaped(name)}"
        found += _changes(place, value, b[name]) if name in b else [Operation("remove", place)]
    found += [Operation("add", f"{path}/{escaped(name)}", value) for name, value in b.items() if name not in a]
    return found


def _of_items(path: str, a: list[Json], b: list[Json]) -> list[Operation]:
    """From the end to the beginning: what comes before a change keeps its index."""
    start = 0
    while start < min(len(a), len(b)) and _is_same(a[start], b[start]):
        start += 1
    end = 0
    while end < min(len(a), len(b)) - start and _is_same(a[-1 - end], b[-1 - end]):
        end += 1
    before, after = a[start : len(a) - end], b[start : len(b) - end]
    found: list[Operation] = []
    for begin, old, new in reversed(_stretches(before, after)):
        paired = min(len(old), len(new))
        place = start + begin
        # Of a stretch that became longer, what is added comes after what is changed; all are added at one index.
        found += [Operation("add", f"{path}/{place + paired}", value) for value in reversed(new[paired:])]
        found += [Operation("remove", f"{path}/{place + index}") for index in reversed(range(paired, len(old)))]
        for index in reversed(range(paired)):
            found += _changes(f"{path}/{place + index}", old[index], new[index])
    return found


_Stretch = tuple[int, Sequence[Json], Sequence[Json]]
"""Where it begins in the old array, what was there, and what is there now."""


def _stretches(a: Sequence[Json], b: Sequence[Json]) -> list[_Stretch]:
    """What lies between the items that stay, in order."""
    if not a or not b or len(a) * len(b) > _ENOUGH_CELLS:
        return [(0, a, b)]
    found: list[_Stretch] = []
    last_a = last_b = 0
    for index_a, index_b in [*_common(a, b), (len(a), len(b))]:
        if index_a > last_a or index_b > last_b:
            found.append((last_a, a[last_a:index_a], b[last_b:index_b]))
        last_a, last_b = index_a + 1, index_b + 1
    return found


def _common(a: Sequence[Json], b: Sequence[Json]) -> list[tuple[int, int]]:
    """The indexes of a longest common subsequence."""
    texts_a, texts_b = [_text(each) for each in a], [_text(each) for each in b]
    lengths = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i in range(len(a) - 1, -1, -1):
        row, below = lengths[i], lengths[i + 1]
        for j in range(len(b) - 1, -1, -1):
            row[j] = below[j + 1] + 1 if texts_a[i] == texts_b[j] else max(below[j], row[j + 1])
    found: list[tuple[int, int]] = []
    i = j = 0
    while i < len(a) and j < len(b):
        if texts_a[i] == texts_b[j]:
            found.append((i, j))
            i, j = i + 1, j + 1
        elif lengths[i + 1][j] >= lengths[i][j + 1]:
            i += 1
        else:
            j += 1
    return found


def _is_same(a: Json, b: Json) -> bool:
    """Whether two values are the same JSON. To Python, True is 1, and 1 is 1.0."""
    if a is b:
        return True
    if a != b:
        return False
    return isinstance(a, str) or _text(a) == _text(b)


def _text(value: Json) -> bytes:
    return msgspec.json.encode(value, order="sorted")


def _size(operations: Sequence[Operation]) -> int:
    return len(msgspec.json.encode(operations))


def escaped(name: str) -> str:
    """A member's name as a segment of a JSON Pointer."""
    return name.replace("~", "~0").replace("/", "~1")


def segments(path: str) -> list[str]:
    """The names and indexes of a JSON Pointer."""
    return [each.replace("~1", "/").replace("~0", "~") for each in path.split("/")[1:]]


def found_at(value: Json, path: str) -> Json:
    """The value at a place, None if there is none."""
    current: Any = value
    for segment in segments(path):
        if isinstance(current, dict):
            current = cast("dict[str, Json]", current).get(segment)
        elif isinstance(current, list) and segment.isdigit() and int(segment) < len(cast("list[Json]", current)):
            current = cast("list[Json]", current)[int(segment)]
        else:
            return None
    return current
