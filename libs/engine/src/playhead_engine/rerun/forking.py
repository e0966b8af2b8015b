"""The facts with which a fork begins: what it takes over, what was said for it, and what it leaves out."""

from collections.abc import Iterable, Iterator
from datetime import datetime

from playhead_contracts.events import (
    BlockOverridden,
    BlockReused,
    BlockSkipped,
    ChildFork,
    ContainerReused,
    Cutoff,
    EventData,
    IterationReused,
)
from playhead_contracts.ids import BlockPath
from playhead_contracts.workflow import ContainerBlock
from playhead_engine.graph import Graph
from playhead_engine.outcomes import chosen_by, digest_of_outcome
from playhead_engine.rerun.history import History
from playhead_engine.rerun.plan import Action, Plan, PlannedBlock
from playhead_engine.rerun.planner import RerunOrder, depends_on, original


def fork_facts(graph: Graph, plan: Plan, history: History, order: RerunOrder, at: datetime) -> list[EventData]:
    """What follows `execution.created` in the fork, which begins at the moment `at`.

    References lead to the original facts, never to another fork's reuse.
    """
    return list(_facts(graph, plan.blocks, history, order, at))


def cutoffs(graph: Graph, plan: Plan, history: History) -> dict[BlockPath, Cutoff]:
    """The blocks that the fork may take over after all, and what must come out again for that."""
    actions: dict[BlockPath, Action] = {block.path: block.action for block in plan.blocks}
    source = history.state
    return {
        block.path: Cutoff(
            reference=original(source, source.blocks[block.path]),
            after={path: digest_of_outcome(source.blocks[path]) for path in depends_on(graph, block.path, actions)},
            decision=source.blocks[block.path].decision,
            variables=source.blocks[block.path].variables,
        )
        for block in plan.blocks
        if block.may_be_cut_off
    }


def child_forks(plan: Plan, history: History) -> dict[BlockPath, ChildFork]:
    """The children that the fork runs again from within."""
    found: dict[BlockPath, ChildFork] = {}
    for block in plan.blocks:
        before = history.state.blocks.get(block.path)
        if block.child_from is not None and before is not None and before.child is not None:
            found[block.path] = ChildFork(execution_id=before.child.execution_id, from_block=block.child_from)
    return found


def _facts(
    graph: Graph, planned: Iterable[PlannedBlock], history: History, order: RerunOrder, at: datetime
) -> Iterator[EventData]:
    source = history.state
    for block in planned:
        path = block.path
        match block.action:
            case "reuse" if "[" in path:
                settled = history.inside[path]
                assert settled.reference is not None
                yield BlockReused(
                    path=path,
                    reference=settled.reference,
                    decision=settled.decision,
                    variables=settled.variables,
                )
            case "reuse":
                before = source.blocks[path]
                yield BlockReused(
                    path=path,
                    reference=original(source, before),
                    decision=before.decision,
                    variables=before.variables,
                )
            case "override":
                outputs, before = order.overrides[path], source.blocks.get(path)
                decision = chosen_by(graph.node(path), outputs, None if before is None else before.decision)
                yield BlockOverridden(path=path, outputs=outputs, decision=decision)
            case "leave_out" if path in graph.nodes:
                yield BlockSkipped(path=path, reason=f"the rerun ends at {order.until_block}")
            case "partly":
                yield from _container(graph, block, history, order, at)
            case _:
                pass


def _container(
    graph: Graph, block: PlannedBlock, history: History, order: RerunOrder, at: datetime
) -> Iterator[EventData]:
    definition = graph.node(block.path).block
    timeout = definition.timeout if isinstance(definition, ContainerBlock) else None
    yield ContainerReused(
        path=block.path,
        reference=history.starts[block.path],
        iterations=block.iterations_reused,
        deadline=None if timeout is None else at + timeout,
    )
    for index in block.iterations_reused:
        iteration = history.iterations[block.path][index]
        yield IterationReused(
            path=block.path, index=index, reference=iteration.reference, variables=iteration.variables
        )
    yield from _facts(graph, block.blocks, history, order, at)
