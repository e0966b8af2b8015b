"""How far marked values reach: which blocks and variables of a workflow may hold something that came of one.

A fixed point over the blocks as they stand in the document, whatever their order: a block is reached when it asks for
something marked, when it reads the input where it is marked, or reads a variable or a block that is reached. A
container is reached with any block inside of it, since its results and its failure are theirs; and what reads the item
or the previous result of a reached container is reached. Being chosen by something personal does not reach a block:
decisions, times and counts are how the workflow goes, and stay readable.

Every `workflow` block is reached: what is marked in a child is only known when it starts, and it seals with the key of
its parent.
"""

from collections.abc import Iterable, Iterator

import msgspec

from playhead_contracts.events import Json
from playhead_contracts.human import HumanBlock
from playhead_contracts.ids import BlockPath
from playhead_contracts.workflow import LoopBlock, ResponseBlock, VariablesBlock, WorkflowBlock
from playhead_engine.expressions.scope import Reference
from playhead_engine.graph import Body, Graph, Node
from playhead_engine.privacy.marks import Names, marked_in, outermost


class Reach(msgspec.Struct):
    """What may hold something personal."""

    input: tuple[Names, ...]
    variables: set[str]
    blocks: set[BlockPath]
    """By their path in the document."""
    output: bool = False

    def is_read(self, body: Body | None, references: Iterable[Reference]) -> bool:
        """Whether any of what is read from inside of a body may hold something personal."""
        return any(self._leads_there(body, reference) for reference in references)

    def _leads_there(self, body: Body | None, reference: Reference) -> bool:
        path = reference.path
        match reference.root:
            case "input":
                return any(_touch(path, mark) for mark in self.input)
            case "vars":
                return path[0] in self.variables if path else bool(self.variables)
            case "blocks":
                return self._is_block(body, path)
            case "loop" | "parallel" as kind:
                return path[:1] != ("index",) and any(
                    isinstance(owner.block, LoopBlock) == (kind == "loop") and owner.path in self.blocks
                    for owner in _owners(body)
                )
            case _:
                return False

    def _is_block(self, body: Body | None, path: Names) -> bool:
        while body is not None and path:
            found = body.nodes.get(BlockPath(path[0]))
            if found is not None:
                return found.path in self.blocks
            body = None if body.owner is None else body.owner.body
        return True  # nobody knows what it is


def reach(
    graph: Graph,
    marked: Iterable[Names] = (),
    variables: Iterable[str] = (),
    blocks: Iterable[BlockPath] = (),
) -> Reach:
    """How far the marks of the document reach, together with those that come from elsewhere: of the input, of
    variables, and of blocks (of a fork's source, or a child's parent).
    """
    marks = outermost((*marked_in(graph.document.input), *marked))
    found = Reach(marks, set(variables), set(blocks))
    nodes = list(graph.all_nodes())
    size = -1
    while size != (size := len(found.blocks) + len(found.variables)):
        for node in nodes:
            if node.path not in found.blocks and _is_reached(node, found):
                found.blocks.add(node.path)
                if node.body.owner is not None:
                    found.blocks.add(node.body.owner.path)
            if isinstance(node.block, VariablesBlock) and node.path in found.blocks:
                found.variables.update(node.block.set)
        nodes.reverse()  # whichever way a long document is written, some passes are enough
    found.output = _is_output_reached(graph, found)
    return found


def _is_reached(node: Node, found: Reach) -> bool:
    block = node.block
    if isinstance(block, WorkflowBlock) or (isinstance(block, HumanBlock) and any(map(marked_in, _forms(block)))):
        return True
    if node.inner is not None and any(each.path in found.blocks for each in node.inner.nodes.values()):
        return True
    # Some of what a container reads is looked at inside of it: for such, its body comes first.
    bodies = (node.body,) if node.inner is None else (node.inner, node.body)
    return any(found.is_read(body, node.references) for body in bodies)


def _is_output_reached(graph: Graph, found: Reach) -> bool:
    if any(isinstance(node.block, ResponseBlock) and node.path in found.blocks for node in graph.all_nodes()):
        return True
    if graph.output is None:
        return any(graph.nodes[end].path in found.blocks for end in graph.terminals)
    return found.is_read(graph.root, graph.output.references)


def _owners(body: Body | None) -> Iterator[Node]:
    while body is not None and body.owner is not None:
        yield body.owner
        body = body.owner.body


def _forms(block: HumanBlock) -> Iterator[Json]:
    yield block.form
    yield from (action.form for action in block.decisions.values())


def _touch(path: Names, mark: Names) -> bool:
    """Whether one is the other, or around it."""
    shorter = min(len(path), len(mark))
    return path[:shorter] == mark[:shorter]
