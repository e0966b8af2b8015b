"""Run-from-block: what running an execution again from one of its blocks repeats, and what it takes over.

The plan is a pure function of the source's state, the graph now, the target and the changed input. Some blocks must run
again by themselves (the seeds): the target, blocks whose definition or input changed, new blocks, blocks that the
source never completed. Everything downstream of a seed runs again with it, so that no block is reused whose past could
turn out differently: a reused merge after a re-decided branch, an error handler of a block that now succeeds. What is
left and was completed is reused by reference. What is left and was skipped is decided anew, from the same decisions.

A pause that was not answered is a seed like any block that did not complete, so a rerun never walks past a gate.
"""

import re
from collections.abc import Mapping
from typing import Literal

import msgspec

from playhead_contracts.errors import InvalidInput
from playhead_contracts.events import BlockReference, BlockReused, Json
from playhead_contracts.ids import BlockPath, ExecutionId
from playhead_contracts.workflow import AnyBlock
from playhead_engine.graph import Graph, Node
from playhead_engine.state import BlockStatus, ExecutionState

Reason = Literal[
    "target",
    "downstream_of",
    "definition_changed",
    "inputs_changed",
    "new_block",
    "failed_before",
    "missing_state",
    "unchanged",
    "skipped_before",
]


class RerunRefused(InvalidInput):
    problem, title = "rerun-refused", "The execution cannot be run again from there"


class PlannedBlock(msgspec.Struct, frozen=True, omit_defaults=True):
    """What happens to one block, and why."""

    path: BlockPath
    action: Literal["run", "reuse", "decide"]
    """`decide`: it was skipped, and the same decisions will be looked at again."""
    reason: Reason
    of: BlockPath | None = None
    """For `downstream_of`: the block that pulls it in."""


class Plan(msgspec.Struct, frozen=True):
    """What a rerun repeats (`scope`), where it starts, and what it takes over."""

    execution_id: ExecutionId
    at_version: int
    from_block: BlockPath
    start: tuple[BlockPath, ...]
    scope: tuple[BlockPath, ...]
    reused: tuple[BlockPath, ...]
    blocks: tuple[PlannedBlock, ...]


def plan_rerun(
    graph: Graph,
    source: ExecutionState,
    from_block: str,
    new_input: Json,
    before: Mapping[str, AnyBlock] | None = None,
) -> Plan:
    """The plan for running `source` again from `from_block` with `graph` and `new_input`.

    `before` are the blocks of the definition that the source ran, when `graph` is of another. Raises RerunRefused when
    the definition has no such block.
    """
    # A block inside of a container runs again with its container: a loop from its first iteration on.
    target = BlockPath(re.split(r"[\[/]", from_block, maxsplit=1)[0])
    if target not in graph.nodes or not _is_known(graph, from_block):
        raise RerunRefused(f"there is no block {from_block!r}; blocks: {', '.join(graph.nodes)}")
    seeds: dict[BlockPath, Reason] = {}
    for path, node in graph.nodes.items():
        reason = "target" if path == target else _reason_to_run(node, source, new_input, before)
        if reason is not None:
            seeds[path] = reason
    pulled: dict[BlockPath, BlockPath] = {}
    for seed in seeds:
        for path in graph.root.downstream({seed}):
            if path != seed:
                pulled.setdefault(path, seed)
    planned = tuple(_planned(path, source, seeds, pulled) for path in graph.root.topological())
    scope = tuple(block.path for block in planned if block.action == "run")
    return Plan(
        execution_id=source.execution_id,
        at_version=source.version,
        from_block=target,
        start=tuple(path for path in scope if path not in pulled),
        scope=scope,
        reused=tuple(block.path for block in planned if block.action == "reuse"),
        blocks=planned,
    )


def reused_events(plan: Plan, source: ExecutionState) -> list[BlockReused]:
    """The facts that a fork takes over. References lead to the original completion, never to another reuse."""
    return [
        BlockReused(
            path=path,
            reference=source.blocks[path].reused_from
            or BlockReference(execution_id=source.execution_id, version=source.blocks[path].version),
            decision=source.blocks[path].decision,
            variables=source.blocks[path].variables,
        )
        for path in plan.reused
    ]


def _is_known(graph: Graph, path: str) -> bool:
    try:
        graph.node(path)
    except KeyError:
        return False
    return True


def _reason_to_run(
    node: Node, source: ExecutionState, new_input: Json, before: Mapping[str, AnyBlock] | None
) -> Reason | None:
    if before is not None and node.path not in before:
        return "new_block"
    if before is not None and before[node.path] != node.block:
        return "definition_changed"
    block = source.blocks.get(node.path)
    if block is None or block.status not in (BlockStatus.COMPLETED, BlockStatus.SKIPPED, BlockStatus.FAILED):
        return "missing_state"
    if block.status is BlockStatus.FAILED:
        return "failed_before"
    if block.status is BlockStatus.SKIPPED:
        return None
    if new_input != source.input and _reads_changed_input(node, source.input, new_input):
        return "inputs_changed"
    return None


def _reads_changed_input(node: Node, old: Json, new: Json) -> bool:
    return any(
        reference.root == "input" and _select(old, reference.path) != _select(new, reference.path)
        for reference in node.all_references
    )


def _select(value: Json, path: tuple[str, ...]) -> Json:
    for name in path:
        if not isinstance(value, dict) or name not in value:
            return None
        value = value[name]  # pyright: ignore[reportUnknownVariableType]
    return value  # pyright: ignore[reportUnknownVariableType]


def _planned(
    path: BlockPath,
    source: ExecutionState,
    seeds: Mapping[BlockPath, Reason],
    pulled: Mapping[BlockPath, BlockPath],
) -> PlannedBlock:
    if path in seeds:
        return PlannedBlock(path, "run", seeds[path])
    if path in pulled:
        return PlannedBlock(path, "run", "downstream_of", pulled[path])
    if source.blocks[path].status is BlockStatus.SKIPPED:
        return PlannedBlock(path, "decide", "skipped_before")
    return PlannedBlock(path, "reuse", "unchanged")
