"""What the expressions of one block instance see of its execution.

A block sees the blocks of its own body, in its own iteration, those of the bodies around it, and the containers around
it themselves, which read as `index`, `item` and, for loops, `previous`: the result of the iteration before.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import cast

import msgspec

from playhead_contracts.errors import PlayheadError
from playhead_contracts.events import BlockError, Json
from playhead_contracts.ids import BlockPath
from playhead_engine.expressions.scope import Reference, Scope
from playhead_engine.graph import Body
from playhead_engine.state import BlockStatus, ExecutionState, container_of_scope


class CannotBegin(PlayheadError):
    """A block cannot begin as its author wrote it; becomes its failure."""

    def __init__(self, error: BlockError):
        super().__init__(error.message)
        self.error = error


class Place(msgspec.Struct, frozen=True):
    """Where an instance stands: the body its block is in, and the prefix of its path, such as `each[2]/`."""

    body: Body
    prefix: str

    def path(self, block_id: str) -> BlockPath:
        """The instance of a block of this body at this place."""
        return BlockPath(self.prefix + block_id)


class _Around(msgspec.Struct, frozen=True):
    """A container around a place, with the iteration that the place is in."""

    id: str
    path: BlockPath
    index: int
    place: Place


def scope_of(
    state: ExecutionState,
    place: Place,
    references: Iterable[Reference],
    secrets: Mapping[str, str] | None = None,
) -> Scope:
    """What `references` can see from `place`: only the blocks they name.

    Without `secrets`, a secret reads as its own reference, which is what may be recorded. Raises CannotBegin when a
    secret is missing.
    """
    blocks: dict[str, Json] = {}
    absent: set[str] = set()
    names: dict[str, str] = {}
    nearest: dict[str, Mapping[str, Json]] = {}
    for reference in references:
        match reference.root:
            case "secrets" if reference.path:
                name = reference.path[0]
                names[name] = "{{ secrets.%s }}" % name if secrets is None else _secret(secrets, name)
            case "blocks" if reference.path and reference.path[0] not in blocks:
                _read_block(state, place, reference.path[0], blocks, absent)
            case "loop" | "parallel" if reference.root not in nearest:
                nearest[reference.root] = _nearest(state, place, reference.root)
            case _:
                pass
    return Scope(
        input=state.input,
        variables=state.variables,
        execution={
            "id": state.execution_id,
            "workflow_id": state.workflow_id,
            "workflow_version": state.workflow_version,
            "created_at": state.created_at.isoformat().replace("+00:00", "Z"),
        },
        blocks=blocks,
        absent=absent,
        secrets=names,
        loop=nearest.get("loop", {}),
        parallel=nearest.get("parallel", {}),
    )


def _secret(secrets: Mapping[str, str], name: str) -> str:
    value = secrets.get(name)
    if value is None:
        raise CannotBegin(BlockError(type="secret_missing", message=f"There is no secret named {name}"))
    return value


def _read_block(state: ExecutionState, place: Place, block_id: str, blocks: dict[str, Json], absent: set[str]) -> None:
    path = place.path(block_id)
    if place.prefix and BlockPath(block_id) not in place.body.nodes:
        for around in _containers_around(place):
            if around.id == block_id:
                blocks[block_id] = _seen_from_inside(state, around)
                return
            if BlockPath(block_id) in around.place.body.nodes:
                path = around.place.path(block_id)
                break
    block = state.blocks.get(path)
    if block is not None and block.status is BlockStatus.COMPLETED:
        blocks[block_id] = block.outputs
        return
    absent.add(block_id)
    if block is not None and block.error is not None:
        blocks[block_id] = {"error": msgspec.to_builtins(block.error)}


def _containers_around(place: Place) -> Iterator[_Around]:
    """From the innermost to the outermost."""
    while place.body.owner is not None:
        owner = place.body.owner
        path, index = container_of_scope(place.prefix[:-1])
        place = Place(owner.body, path.removesuffix(owner.id))
        yield _Around(owner.id, path, index, place)


def _nearest(state: ExecutionState, place: Place, kind: str) -> Mapping[str, Json]:
    for around in _containers_around(place):
        if state.containers[around.path].kind == kind:
            return _seen_from_inside(state, around)
    return {}


def _seen_from_inside(state: ExecutionState, around: _Around) -> Mapping[str, Json]:
    container = state.containers[around.path]
    inputs = state.blocks[around.path].inputs or {}
    items = cast("list[Json] | None", inputs.get("items"))
    seen: dict[str, Json] = {
        "index": around.index,
        "item": items[around.index] if items is not None else None,
    }
    if container.kind == "loop":
        seen["previous"] = container.results[around.index - 1] if around.index > 0 else None
    return seen
