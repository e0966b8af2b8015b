"""What running an execution again from some of its blocks repeats, and what it takes over: a pure function.

Blocks are looked at in the order of the graph. A block runs again when it is a target, when it has no good end to take
over (it failed, waits, is new, or was never reached), when its definition changed, or when something that it reads is
not what it was. What it reads is compared by value: first the values its references select, and where these differ,
what its expressions make of them. Everything downstream of a block that runs is run or decided again with it, so that
no block is taken over whose past could turn out differently: no merge after another branch, no old error handler.
What is left and was completed is taken over by reference. What is left and was skipped is decided anew.

A pause that was not answered counts as a block without a good end, so a rerun never walks past a gate. A container is
taken over iteration by iteration where its iterations do not depend on those that run again.

With early cutoff a block in the scope that was only pulled in may be taken over after all, once every block it depends
on has given the same again: the constructive traces of Mokhov, Mitchell and Peyton Jones, "Build Systems a la Carte"
(2018). A pause is never cut off: people are asked.
"""

import re
from collections.abc import Iterable, Mapping
from copy import copy
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import cast

import msgspec

from playhead_contracts.errors import Conflict, InvalidInput
from playhead_contracts.events import (
    BlockCompleted,
    BlockDispatched,
    BlockReference,
    BlockStarted,
    Json,
    PauseRequested,
)
from playhead_contracts.human import HumanBlock
from playhead_contracts.ids import BlockPath
from playhead_contracts.workflow import (
    AnyBlock,
    ConditionBlock,
    ContainerBlock,
    LoopBlock,
    ParallelBlock,
    RouterBlock,
    VariablesBlock,
    WorkflowBlock,
)
from playhead_engine.expressions.scope import Reference
from playhead_engine.graph import Body, Graph, Node
from playhead_engine.outcomes import chosen_by
from playhead_engine.rerun.history import History
from playhead_engine.rerun.plan import Action, Plan, PlannedBlock, Reason, digest_of_plan
from playhead_engine.scheduling.activity import is_active
from playhead_engine.scheduling.blocks import Beginning, Run, begin
from playhead_engine.scheduling.instance_scope import Place
from playhead_engine.state import BlockState, BlockStatus, ExecutionState

_HEAD = re.compile(r"([^\[/]+)(?:\[(\d+)\])?(?:/(.+))?")
_RUNS: tuple[Action, ...] = ("run", "partly")
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class RerunRefused(InvalidInput):
    problem, title = "rerun-refused", "The execution cannot be run again from there"


class PlanChanged(Conflict):
    problem, title = "plan-changed", "The plan would be another one now"


class RerunOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be run again. Targets are paths of blocks, or of iterations such as `each[3]` and `each[3]/pay`."""

    targets: tuple[str, ...]
    input: Json = None
    variables: dict[str, Json] = {}
    """What the fork begins with."""
    until_block: str | None = None
    overrides: dict[str, Json] = {}
    """What blocks are said to give, in place of what they gave."""
    early_cutoff: bool = False


class _Target(msgspec.Struct, frozen=True):
    """A target below a block: an iteration of it, and perhaps a path inside of that."""

    index: int | None
    rest: str | None


def plan_rerun(
    graph: Graph,
    history: History,
    order: RerunOrder,
    before: Mapping[str, AnyBlock] | None = None,
    workflow_version: int | None = None,
) -> Plan:
    """The plan for running an execution again with `graph`.

    `before` are the blocks of the definition that the source ran, when `graph` is of another. Raises RerunRefused when
    a target, an override or `until_block` is none of the blocks.
    """
    return _Planner(graph, history, order, before).plan(workflow_version)


class _Planner:
    def __init__(self, graph: Graph, history: History, order: RerunOrder, before: Mapping[str, AnyBlock] | None):
        self.graph, self.history, self.order, self.before = graph, history, order, before
        self.source = history.state
        self.targets = _targets(graph, history, order.targets)
        for name in (*order.overrides, *((order.until_block,) if order.until_block else ())):
            if BlockPath(name) not in graph.nodes:
                raise _unknown(graph, name)
        self.actions: dict[BlockPath, Action] = {}
        self.notes: list[str] = []
        self.then = _as_it_would_be(self.source, order)
        """The fork as far as it is known: what is taken over, overridden or skipped."""
        self.variables_before = dict(self.source.initial_variables)
        """What `vars` was to the blocks that are taken over."""

    def plan(self, workflow_version: int | None) -> Plan:
        wanted = set(self.graph.nodes)
        if self.order.until_block is not None:
            wanted = self.graph.root.upstream({BlockPath(self.order.until_block)})
            for path in self.targets:
                if path not in wanted:
                    raise RerunRefused(f"{path} does not lead to {self.order.until_block}, so it would not run")
        planned = tuple(self._look_at(path, path in wanted) for path in self.graph.root.topological())
        gone = tuple(
            PlannedBlock(path=BlockPath(name), action="leave_out", reasons=(Reason("removed_block"),))
            for name in self.before or ()
            if BlockPath(name) not in self.graph.nodes and BlockPath(name) in self.source.blocks
        )
        planned = tuple(self._with_cutoff(block) for block in planned)
        scope = tuple(block.path for block in planned if block.action in _RUNS)
        reused = tuple(block.path for block in planned if block.action == "reuse")
        if not scope and not self.order.overrides:
            why = "; ".join(self.notes) or "name a block in from_block, or change the input or the definition"
            raise RerunRefused(f"nothing would run: {why}")
        if not reused and not self.order.overrides and len(scope) > 1:
            self.notes.insert(0, self._why_nothing_is_reused(planned))
        plan = Plan(
            execution_id=self.source.execution_id,
            at_version=self.source.version,
            from_block=", ".join(self.order.targets),
            workflow_version=workflow_version or self.source.workflow_version,
            digest="",
            start=tuple(
                block.path
                for block in planned
                if block.action in _RUNS and all(reason.why != "downstream_of" for reason in block.reasons)
            ),
            scope=scope,
            reused=reused,
            repeats=tuple(self._repeated(planned)),
            asks_again=tuple(self._asked_again(planned)),
            notes=tuple(self.notes),
            blocks=planned + gone,
        )
        return msgspec.structs.replace(plan, digest=digest_of_plan(plan))

    def _look_at(self, path: BlockPath, is_wanted: bool) -> PlannedBlock:
        node = self.graph.nodes[path]
        action, reasons = self._decide(node, is_wanted)
        planned = PlannedBlock(
            path=path,
            action=action,
            reasons=tuple(reasons),
            effects=node.outside if action in _RUNS else "none",
            asks=action in _RUNS and any(isinstance(each.block, HumanBlock) for each in _within(node)),
        )
        if action == "run" and isinstance(node.block, WorkflowBlock):
            rests = [target.rest for target in self.targets.get(path, []) if target.rest is not None]
            planned = msgspec.structs.replace(planned, child_from=rests[0] if rests else None)
        if action == "run" and node.inner is not None:
            partly = self._partly(node, planned)
            planned = partly or planned
        self.actions[path] = planned.action
        self._imagine(node, planned.action)
        return planned

    def _decide(self, node: Node, is_wanted: bool) -> tuple[Action, list[Reason]]:
        if not is_wanted:
            return "leave_out", [Reason("not_wanted")]
        if node.path in self.order.overrides:
            return "override", [Reason("overridden")]
        reasons = [*self._own_reasons(node), *self._pulled(node)]
        if any(reason.why in ("downstream_of",) for reason in reasons):
            return "run", reasons
        block = self.source.blocks.get(node.path)
        was_active, would_be_active = self._activity(node, self.source.blocks), self._activity(node, self.then.blocks)
        if not would_be_active:
            # It is skipped, whatever it was: no reason of its own can make it run.
            kept = [reason for reason in reasons if reason.why in ("target", "definition_changed")]
            if any(reason.why == "target" for reason in kept):
                self.notes.append(f"{node.path} is a target, but what comes before it is kept and leads elsewhere")
            skipped = Reason("skipped_before") if block is not None and not was_active else Reason("route_may_change")
            return "decide", [*kept, skipped]
        if not was_active:
            reasons.append(Reason("route_may_change"))
        if not reasons and block is not None and block.status is BlockStatus.SKIPPED:
            if not node.block.enabled:
                return "decide", [Reason("skipped_before")]
            reasons.append(Reason("missing_state", detail="it was left out when the execution ended"))
        if reasons:
            return "run", reasons
        reasons = self._reads_something_else(node)
        return ("run", reasons) if reasons else ("reuse", [Reason("unchanged")])

    def _own_reasons(self, node: Node) -> list[Reason]:
        path, reasons = node.path, list[Reason]()
        if path in self.targets:
            reasons.append(Reason("target"))
        if self.before is not None and path not in self.before:
            return [*reasons, Reason("new_block")]
        if self.before is not None and self.before[path] != node.block:
            reasons.append(Reason("definition_changed"))
        block = self.source.blocks.get(path)
        match block.status if block is not None else None:
            case BlockStatus.COMPLETED | BlockStatus.SKIPPED:
                pass
            case BlockStatus.FAILED:
                reasons.append(Reason("was_failed"))
            case BlockStatus.PAUSED:
                reasons.append(Reason("was_paused"))
            case None:
                reasons.append(Reason("missing_state", detail="it was never reached"))
            case status:
                reasons.append(Reason("missing_state", detail=f"it was {status}"))
        return reasons

    def _pulled(self, node: Node) -> list[Reason]:
        reasons: list[Reason] = []
        for source in dict.fromkeys(BlockPath(edge.source) for edge in node.incoming):
            if self.actions[source] in _RUNS:
                reasons.append(Reason("downstream_of", of=source))
                if _chooses(self.graph.nodes[source]):
                    reasons.append(Reason("route_may_change", of=source))
        return reasons

    def _activity(self, node: Node, blocks: Mapping[BlockPath, BlockState]) -> bool:
        """Whether an edge leads to the block in a state in which every block before it is known."""
        if not node.incoming:
            return True
        sources = ((edge, blocks.get(BlockPath(edge.source))) for edge in node.incoming)
        return any(source is not None and is_active(edge, source) for edge, source in sources)

    def _reads_something_else(self, node: Node) -> list[Reason]:
        """Why a completed block would see something else than it did; empty if it would not."""
        changed = [each for each in node.all_references if self._has_changed(node, each)]
        if not changed or self._comes_to_the_same(node, changed):
            return []
        reasons: list[Reason] = []
        for reference in sorted(changed, key=lambda each: (each.root, each.path)):
            name = ".".join((reference.root, *reference.path))
            if reference.root == "blocks":
                reasons.append(Reason("inputs_changed", of=BlockPath(reference.path[0]), detail=name))
            else:
                reasons.append(Reason("input_changed", detail=name))
        return reasons

    def _has_changed(self, node: Node, reference: Reference) -> bool:
        match reference.root:
            case "input":
                return _select(self.source.input, reference.path) != _select(self.order.input, reference.path)
            case "vars":
                return _select(self.variables_before, reference.path) != _select(self.then.variables, reference.path)
            case "blocks" if reference.path and BlockPath(reference.path[0]) in self.graph.nodes:
                name, path = BlockPath(reference.path[0]), reference.path[1:]
                if name == node.path or _hides(node, name):
                    return False
                before, now = self.source.blocks.get(name), self.then.blocks.get(name)
                return _select(_seen(before), path) != _select(_seen(now), path)
            case _:
                return False

    def _comes_to_the_same(self, node: Node, changed: Iterable[Reference]) -> bool:
        """Whether what differs makes no difference to what the block does."""
        block = self.source.blocks[node.path]
        if node.inner is not None and not set(changed) <= _of_items(node):
            return False
        now = Beginning(self.then, Place(self.graph.root, ""), _LONG_AGO, lambda: "planned", self.graph.limits)
        match begin(node, now, 1):
            case [Run(inputs=inputs)] | [BlockStarted(), Run(inputs=inputs)]:
                return block.inputs is not None and inputs == block.inputs
            case [BlockDispatched(inputs=inputs)]:
                return block.inputs is not None and inputs == block.inputs
            case [BlockStarted(container=container, inputs=inputs)] if container is not None:
                return inputs == block.inputs
            case [BlockCompleted() as done]:
                return (done.outputs, done.decision) == (block.outputs, block.decision)
            case [PauseRequested() as asked]:
                pause = None if block.pause_id is None else self.source.pauses.get(block.pause_id)
                return pause is not None and (asked.digest, asked.assignees) == (pause.digest, pause.assignees)
            case _:
                return False

    def _imagine(self, node: Node, action: Action) -> None:
        """Note what the fork knows of a block before anything runs."""
        path, before = node.path, self.source.blocks.get(node.path)
        match action:
            case "reuse" if before is not None:
                self.then.blocks[path] = before
                if before.variables:
                    self.then.variables.update(before.variables)
                    self.variables_before.update(before.variables)
            case "override":
                outputs = self.order.overrides[path]
                self.then.blocks[path] = BlockState(
                    path=path,
                    status=BlockStatus.COMPLETED,
                    outputs=outputs,
                    decision=chosen_by(node, outputs, None if before is None else before.decision),
                )
            case "decide" | "leave_out":
                # Not as it was before: there it may have been skipped because the execution ended.
                is_passed = action == "decide" and not node.block.enabled
                continues = is_passed and self._activity(node, self.then.blocks)
                self.then.blocks[path] = BlockState(path=path, status=BlockStatus.SKIPPED, continues=continues)
            case _:
                pass

    def _with_cutoff(self, planned: PlannedBlock) -> PlannedBlock:
        if not self.order.early_cutoff or planned.action != "run" or planned.asks:
            return planned
        block = self.source.blocks.get(planned.path)
        is_completed = block is not None and block.status is BlockStatus.COMPLETED
        is_only_pulled = all(reason.why in ("downstream_of", "route_may_change") for reason in planned.reasons)
        if not is_completed or not is_only_pulled or self._has_changed_otherwise(planned.path):
            return planned
        settled = (BlockStatus.COMPLETED, BlockStatus.SKIPPED)
        sources = [self.source.blocks.get(path) for path in depends_on(self.graph, planned.path, self.actions)]
        if any(source is None or source.status not in settled for source in sources):
            return planned
        return msgspec.structs.replace(planned, may_be_cut_off=True)

    def _has_changed_otherwise(self, path: BlockPath) -> bool:
        """Whether it reads something that differs before anything has run."""
        node = self.graph.nodes[path]
        return any(
            self._has_changed(node, each)
            for each in node.all_references
            if each.root != "blocks" or not each.path or self.actions.get(BlockPath(each.path[0])) not in _RUNS
        )

    def _partly(self, node: Node, planned: PlannedBlock) -> PlannedBlock | None:
        """The container with the iterations that can be taken over; None if all of it runs."""
        below = self.targets.get(node.path, [])
        whys = {reason.why for reason in planned.reasons}
        if not below or any(target.index is None for target in below):
            return None
        if not whys <= {"target", "was_failed"} or self._reads_something_else_around(node):
            return None
        found = self._iterations(node, node.path, below)
        if isinstance(found, str):
            reason = Reason("restarts", detail=found)
            self.notes.append(f"{node.path} restarts from its beginning: {found}")
            return msgspec.structs.replace(planned, reasons=(*planned.reasons, reason))
        reused, inner = found
        return msgspec.structs.replace(planned, action="partly", iterations_reused=reused, blocks=inner)

    def _reads_something_else_around(self, node: Node) -> bool:
        return any(self._has_changed(node, each) for each in node.all_references)

    def _iterations(
        self, node: Node, path: BlockPath, below: list[_Target]
    ) -> tuple[tuple[int, ...], tuple[PlannedBlock, ...]] | str:
        """The iterations that are taken over, and what happens in those that run from the middle; or why none can."""
        block, known = node.block, self.history.iterations.get(path)
        if known is None or path not in self.history.starts:
            return "it had not begun"
        touched: dict[int, list[str]] = {}
        for target in below:
            assert target.index is not None
            rests = touched.setdefault(target.index, [])
            if target.rest is not None:
                rests.append(target.rest)
        if isinstance(block, LoopBlock):
            if block.while_ is not None or block.do_while is not None or block.break_when is not None:
                return "whether another iteration follows is decided by the ones before it"
            first = min(touched)
            reused = tuple(range(first))
            if any(index not in known or not known[index].is_ok for index in reused):
                return f"not every iteration before {first} has a result"
            middle = {first: touched[first]}
        else:
            reused = tuple(index for index, each in sorted(known.items()) if each.is_ok and index not in touched)
            middle = touched
        inner: list[PlannedBlock] = []
        for index, rests in middle.items():
            if rests and node.inner is not None:
                inner += self._inside(node.inner, f"{path}[{index}]/", rests)
        return reused, tuple(inner)

    def _inside(self, body: Body, prefix: str, rests: list[str]) -> list[PlannedBlock]:
        """What happens to the blocks of one iteration: as for the outermost ones, but that nothing around changed."""
        targets: dict[BlockPath, list[_Target]] = {}
        for rest in rests:
            block_id, target = _split(rest)
            targets.setdefault(block_id, []).append(target)
        actions: dict[BlockPath, Action] = {}
        found: list[PlannedBlock] = []
        for block_id in body.topological():
            node, path = body.nodes[block_id], BlockPath(prefix + block_id)
            pulled = [
                Reason("downstream_of", of=BlockPath(prefix + edge.source))
                for edge in node.incoming
                if actions[BlockPath(edge.source)] in _RUNS
            ]
            settled = self.history.inside.get(path)
            planned = PlannedBlock(path=path, action="run", reasons=tuple(pulled), effects=node.outside)
            if block_id in targets and not pulled:
                planned = msgspec.structs.replace(planned, reasons=(Reason("target"),))
                below = targets[block_id]
                if node.inner is not None and all(target.index is not None for target in below):
                    iterations = self._iterations(node, path, below)
                    if isinstance(iterations, str):
                        reason = Reason("restarts", detail=iterations)
                        planned = msgspec.structs.replace(planned, reasons=(*planned.reasons, reason))
                    else:
                        reused, inner = iterations
                        planned = msgspec.structs.replace(
                            planned, action="partly", iterations_reused=reused, blocks=inner
                        )
            elif not pulled and settled is None:
                planned = msgspec.structs.replace(planned, reasons=(Reason("missing_state"),))
            elif not pulled and settled is not None:
                match settled.status:
                    case BlockStatus.COMPLETED:
                        planned = PlannedBlock(path=path, action="reuse", reasons=(Reason("unchanged"),))
                    case BlockStatus.SKIPPED:
                        planned = PlannedBlock(path=path, action="decide", reasons=(Reason("skipped_before"),))
                    case _:
                        planned = msgspec.structs.replace(planned, reasons=(Reason("was_failed"),))
            actions[block_id] = planned.action
            found.append(planned)
        return found

    def _repeated(self, planned: Iterable[PlannedBlock]) -> Iterable[BlockPath]:
        for block in planned:
            if block.action not in _RUNS or self.source.blocks.get(block.path) is None:
                continue
            was = self.source.blocks[block.path].status
            for node in _within(self.graph.nodes[block.path]):
                if node.outside == "external" and was is not BlockStatus.SKIPPED:
                    yield node.path

    def _asked_again(self, planned: Iterable[PlannedBlock]) -> Iterable[BlockPath]:
        asked = {re.sub(r"\[\d+\]", "", pause.path) for pause in self.source.pauses.values()}
        for block in planned:
            if block.action in _RUNS:
                for node in _within(self.graph.nodes[block.path]):
                    if isinstance(node.block, HumanBlock) and node.path in asked:
                        yield node.path

    def _why_nothing_is_reused(self, planned: Iterable[PlannedBlock]) -> str:
        changed = [
            block.path
            for block in planned
            if any(reason.why in ("definition_changed", "new_block") for reason in block.reasons)
        ]
        read = {reason.detail for block in planned for reason in block.reasons if reason.why == "input_changed"} - {
            None
        }
        if changed:
            return f"everything runs again: the definition of {', '.join(changed)} is not what it was"
        if read:
            return f"everything runs again: {', '.join(sorted(cast('set[str]', read)))} is not what it was"
        if all(block.path not in self.source.blocks for block in planned):
            return "everything runs: the execution had not done anything yet"
        return "everything runs again: the targets are where it begins"


def depends_on(graph: Graph, path: BlockPath, actions: Mapping[BlockPath, Action]) -> tuple[BlockPath, ...]:
    """The blocks in a rerun's scope that decide whether a block would run again, and on what."""
    node = graph.nodes[path]
    found = {BlockPath(edge.source) for edge in node.incoming}
    found |= {BlockPath(each.path[0]) for each in node.all_references if each.root == "blocks" and each.path}
    if any(each.root == "vars" for each in node.all_references):
        upstream = graph.root.upstream({path}) - {path}
        found |= {
            each for each in upstream if any(isinstance(n.block, VariablesBlock) for n in _within(graph.nodes[each]))
        }
    return tuple(sorted(each for each in found if actions.get(each) in _RUNS))


def original(source: ExecutionState, block: BlockState) -> BlockReference:
    """Where the completion of a block is: never in another reuse."""
    return block.reused_from or BlockReference(execution_id=source.execution_id, version=block.version)


def _targets(graph: Graph, history: History, targets: Iterable[str]) -> dict[BlockPath, list[_Target]]:
    found: dict[BlockPath, list[_Target]] = {}
    for target in targets:
        try:
            node = graph.node(target)
        except KeyError:
            head, below = _split_at_child(graph, history, target)
            found.setdefault(head, []).append(below)
            continue
        if target.endswith("]") and node.inner is None:
            raise RerunRefused(f"{target}: {node.path} has no iterations")
        _check_indexes(history, target)
        head, below = _split(target)
        found.setdefault(head, []).append(below)
    return found


def _split_at_child(graph: Graph, history: History, target: str) -> tuple[BlockPath, _Target]:
    """A `workflow` block, and the path of a block in the child that it started. Raises RerunRefused."""
    name, _, rest = target.partition("/")
    node = graph.nodes.get(BlockPath(name))
    if node is None or not rest or not isinstance(node.block, WorkflowBlock):
        raise _unknown(graph, target)
    block = history.state.blocks.get(node.path)
    if block is None or block.child is None:
        raise RerunRefused(f"{name} has started no child execution that could be run again from {rest}")
    return node.path, _Target(None, rest)


def _check_indexes(history: History, target: str) -> None:
    for match in re.finditer(r"\[(\d+)\]", target):
        path, index = BlockPath(target[: match.start()]), int(match.group(1))
        known = history.iterations.get(path)
        container = history.state.containers.get(path)
        count = max((*(known or ()), *(container.open if container else ())), default=-1) + 1
        if known is not None and index >= count:
            raise RerunRefused(f"{path} has no iteration {index}: there were {count}")


def _split(path: str) -> tuple[BlockPath, _Target]:
    match = _HEAD.fullmatch(path)
    assert match is not None
    name, index, rest = match.groups()
    return BlockPath(name), _Target(None if index is None else int(index), rest)


def _unknown(graph: Graph, name: str) -> RerunRefused:
    known = [node.path for node in graph.all_nodes()]
    near = get_close_matches(name, known, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"blocks: {', '.join(known[:50])}"
    return RerunRefused(f"there is no block {name!r}; {hint}")


def _as_it_would_be(source: ExecutionState, order: RerunOrder) -> ExecutionState:
    then = copy(source)
    then.input, then.variables, then.initial_variables = order.input, dict(order.variables), order.variables
    then.blocks, then.containers, then.iterations = {}, {}, {}
    return then


def _chooses(node: Node) -> bool:
    return isinstance(node.block, ConditionBlock | RouterBlock) or len(node.handles) > 1


def _within(node: Node) -> Iterable[Node]:
    """The block and everything inside of it."""
    yield node
    if node.inner is not None:
        for inner in node.inner.nodes.values():
            yield from _within(inner)


def _hides(node: Node, name: BlockPath) -> bool:
    """Whether a block inside of a container has the name, so that a reference from inside means that one."""
    return any(each.id == name for each in _within(node) if each is not node)


def _of_items(node: Node) -> frozenset[Reference]:
    """What the items or the count of a container read, and nothing inside of it does."""
    assert isinstance(node.block, ContainerBlock)
    fields = ("for", "for_each") if not isinstance(node.block, ParallelBlock) else ("count", "collection")
    items = frozenset(
        reference for name in fields if name in node.expressions for reference in node.expressions[name].references
    )
    others = frozenset(
        reference
        for name, expression in (*node.expressions.items(), *node.templates.items())
        if name not in fields
        for reference in expression.references
    )
    assert node.inner is not None
    inside = frozenset(reference for inner in node.inner.nodes.values() for reference in inner.all_references)
    return items - others - inside


def _seen(block: BlockState | None) -> Json:
    """What expressions see of a block."""
    if block is None:
        return None
    if block.status is BlockStatus.COMPLETED:
        return block.outputs
    return None if block.error is None else {"error": msgspec.to_builtins(block.error)}


def _select(value: Json, path: tuple[str, ...]) -> Json:
    for name in path:
        if not isinstance(value, dict) or name not in value:
            return None
        value = cast("dict[str, Json]", value)[name]
    return value  # pyright: ignore[reportUnknownVariableType]
