"""Two executions side by side, block by block."""

from collections.abc import Collection
from typing import Literal

import msgspec

from playhead_contracts.events import BlockReference, Json
from playhead_contracts.ids import BlockPath, ExecutionId
from playhead_engine.json_patch import Operation, json_patch
from playhead_engine.state import BlockState, ExecutionState


class ComparedBlock(msgspec.Struct, frozen=True, omit_defaults=True):
    """How block `path` fared in `b` when held against `a`."""

    path: BlockPath
    verdict: Literal["reused", "same", "changed", "added", "gone"]
    a_status: str | None = None
    b_status: str | None = None
    a_outputs: Json = None
    b_outputs: Json = None
    patch: tuple[Operation, ...] = ()
    """Of a changed block: what makes b's outputs of a's."""


class Saved(msgspec.Struct, frozen=True):
    """What b did not do again, for it took it over from a."""

    blocks: int
    duration_ms: float
    """How long those blocks took in a."""
    external: int
    """How many of them act outside."""


class Comparison(msgspec.Struct, frozen=True):
    a: ExecutionId
    b: ExecutionId
    same_output: bool
    blocks: tuple[ComparedBlock, ...]
    saved: Saved


def compare(a: ExecutionState, b: ExecutionState, external: Collection[BlockPath] = ()) -> Comparison:
    """`reused`: b took it over from a; `same` and `changed`: both have it, by status and outputs.

    `external` are the block instances of a that act outside.
    """
    paths = list(dict.fromkeys([*a.blocks, *b.blocks]))
    blocks = tuple(_compared(path, a, b) for path in paths)
    reused = [block.path for block in blocks if block.verdict == "reused"]
    return Comparison(
        a=a.execution_id,
        b=b.execution_id,
        same_output=a.output == b.output and a.status == b.status,
        blocks=blocks,
        saved=Saved(
            blocks=len(reused),
            duration_ms=sum(a.blocks[path].duration_ms or 0.0 for path in reused),
            external=sum(path in external for path in reused),
        ),
    )


def _compared(path: BlockPath, a: ExecutionState, b: ExecutionState) -> ComparedBlock:
    left, right = a.blocks.get(path), b.blocks.get(path)
    if left is None:
        verdict = "added"
    elif right is None:
        verdict = "gone"
    elif _is_taken_over(left, right, a):
        verdict = "reused"
    else:
        verdict = "same" if (left.status, left.outputs) == (right.status, right.outputs) else "changed"
    patch = json_patch(left.outputs, right.outputs) if left and right and verdict == "changed" else ()
    return ComparedBlock(
        path=path,
        verdict=verdict,
        a_status=left.status if left else None,
        b_status=right.status if right else None,
        a_outputs=left.outputs if left else None,
        b_outputs=right.outputs if right else None,
        patch=tuple(patch),
    )


def _is_taken_over(left: BlockState, right: BlockState, a: ExecutionState) -> bool:
    original = left.reused_from or BlockReference(execution_id=a.execution_id, version=left.version)
    return right.reused_from == original
