"""What expressions can read, and the reading of it, path by path."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import cast

import msgspec

from playhead_contracts.events import Json
from playhead_engine.expressions.references import Path, Root


class Reference(msgspec.Struct, frozen=True):
    """Something that an expression reads: `blocks.score.risk` is `Reference("blocks", ("score", "risk"))`.

    The path ends before the first index that is a number or computed.
    """

    root: Root
    path: tuple[str, ...]


class Scope(msgspec.Struct, frozen=True):
    """What expressions can read. `variables` are `vars`; a block in `absent` gave nothing and reads as null.

    `blocks` holds outputs by block id; for a block in `absent` it may hold what there is, such as its error.
    """

    input: Json
    variables: Mapping[str, Json]
    execution: Mapping[str, Json]
    blocks: Mapping[str, Json]
    absent: AbstractSet[str]
    secrets: Mapping[str, str] = {}
    loop: Mapping[str, Json] = {}
    """Of the nearest loop around: `index`, `item`, `previous`."""
    parallel: Mapping[str, Json] = {}
    """Of the nearest parallel around: `index`, `item`."""
    event: Mapping[str, Json] = {}
    """The event that a filter looks at: `type`, `source`, `id`, `subject`, `time`, `position`, `data`."""


class _Missing:
    """What `read` gives where there is nothing, since None is a value."""


MISSING = _Missing()


def reference_of(path: Path) -> Reference:
    """The names that the path begins with."""
    names: list[str] = []
    for step in path.steps:
        if isinstance(step, int):
            break
        names.append(step)
    return Reference(path.root, tuple(names))


def _root_of(scope: Scope, root: Root) -> Json:
    match root:
        case "input":
            return scope.input
        case "blocks":
            return scope.blocks
        case "vars":
            return scope.variables
        case "execution":
            return scope.execution
        case "secrets":
            return scope.secrets
        case "loop":
            return scope.loop
        case "parallel":
            return scope.parallel
        case "event":
            return scope.event


def read(scope: Scope, path: Path) -> Json:
    """The value at the path, or `MISSING`.

    For an asked path it is what `has` selects from: an object with the last step in it, or an empty one.
    """
    is_absent = path.root == "blocks" and path.steps[0] in scope.absent
    value = _root_of(scope, path.root)
    if not path.asked:
        found = _walk(value, path.steps)
        return None if found is MISSING and is_absent else found
    parent = _walk(value, path.steps[:-1])
    last = path.steps[-1]
    if isinstance(parent, Mapping):
        return {last: True} if last in parent else {}
    return {} if is_absent else MISSING


def _walk(value: Json, steps: Sequence[str | int]) -> Json:
    for step in steps:
        if isinstance(step, str) and isinstance(value, Mapping):
            value = cast("Mapping[str, Json]", value).get(step, MISSING)
        elif isinstance(step, int) and isinstance(value, list) and step < len(cast("list[Json]", value)):
            value = cast("list[Json]", value)[step]
        else:
            return MISSING
    return value


def why_missing(scope: Scope, path: Path) -> str:
    """Which step of the path leads nowhere, and what there is in its place. Names only, never values."""
    for length in range(1, len(path.steps) + 1):
        if _walk(_root_of(scope, path.root), path.steps[:length]) is MISSING:
            break
    else:
        length = len(path.steps)
    known = Path(path.root, path.steps[: length - 1])
    parent = _walk(_root_of(scope, path.root), known.steps)
    missing = f"there is no {Path(path.root, path.steps[:length])}"
    if not isinstance(parent, Mapping):
        return f"{missing}: {known} is {_kind_of(parent)}"
    names = sorted(str(name) for name in cast("Mapping[str, Json]", parent))
    listed = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    return f"{missing}: {known} has {listed or 'nothing'}"


def _kind_of(value: Json) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return f"a list of {len(cast('list[Json]', value))}"
        case _:
            return "an object"
