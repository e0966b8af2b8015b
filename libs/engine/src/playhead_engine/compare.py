"""Two executions side by side, block by block."""

from typing import Literal

import msgspec

from playhead_contracts.events import BlockReference, Json
from playhead_contracts.ids import BlockPath, ExecutionId
from playhead_engine.state import BlockState, ExecutionState


class ComparedBlock(msgspec.Struct, frozen=True, omit_defaults=True):
    """How block `path` fared in `b` when held against `a`."""

    path: BlockPath
    verdict: Literal["reused", "same", "changed", "added", "gone"]
    a_status: str | None = None
    b_status: str | None = None
    a_outputs: Json = None
    b_outputs: Json = None


class Comparison(msgspec.Struct, frozen=True):
    a: ExecutionId
    b: ExecutionId
    same_output: bool
    blocks: tuple[ComparedBlock, ...]


def compare(a: ExecutionState, b: ExecutionState) -> Comparison:
    """`reused`: b took it over from a; `same` and `changed`: both have it, by status and outputs."""
    paths = list(dict.fromkeys([*a.blocks, *b.blocks]))
    return Comparison(
        a=a.execution_id,
        b=b.execution_id,
        same_output=a.output == b.output and a.status == b.status,
        blocks=tuple(_compared(path, a, b) for path in paths),
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
    return ComparedBlock(
        path=path,
        verdict=verdict,
        a_status=left.status if left else None,
        b_status=right.status if right else None,
        a_outputs=left.outputs if left else None,
        b_outputs=right.outputs if right else None,
    )


def _is_taken_over(left: BlockState, right: BlockState, a: ExecutionState) -> bool:
    original = left.reused_from or BlockReference(execution_id=a.execution_id, version=left.version)
    return right.reused_from == original
