"""A workflow document as the engine sees it: blocks, the edges between them, and their templates, compiled once.

An edge leaves its source by a handle: `next` for the plain one, `error` for the one a failure takes, the name of a
case for a block that chooses.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import NamedTuple

from playhead_contracts.events import Json
from playhead_contracts.ids import BlockPath
from playhead_contracts.workflow import (
    ERROR,
    BaseBlock,
    Block,
    ConditionBlock,
    CustomBlock,
    FunctionBlock,
    HttpBlock,
    HumanBlock,
    ResponseBlock,
    WaitBlock,
    WorkflowDocument,
)
from playhead_engine.expressions import Template, compile_expression, compile_template
from playhead_engine.scope import Reference
from playhead_engine.traits import BUILTIN_TRAITS, BlockTraits


class Edge(NamedTuple):
    source: BlockPath
    handle: str
    target: BlockPath


class Node:
    """One block with its edges.

    `index` is its place in the document; `effects` says that it touches the outside, so its start must be logged first.
    """

    def __init__(self, index: int, path: BlockPath, block: Block, effects: bool):
        self.index = index
        self.path = path
        self.block = block
        self.effects = effects
        self.incoming: tuple[Edge, ...] = ()
        self.handles = block.handles

    @cached_property
    def successors(self) -> tuple[BlockPath, ...]:
        return tuple(dict.fromkeys(BlockPath(t) for targets in self.handles.values() for t in targets))

    @cached_property
    def handles_errors(self) -> bool:
        return bool(self.handles.get(ERROR))

    @cached_property
    def references(self) -> frozenset[Reference]:
        """Everything that the block's templates and expressions read."""
        found = {reference for template in self.templates.values() for reference in template.references}
        if isinstance(self.block, ConditionBlock):
            for source in self.block.cases.values():
                found |= compile_expression(source).references
        return frozenset(found)

    @cached_property
    def templates(self) -> dict[str, Template]:
        """The fields of the block that may hold `{{ }}`, compiled, by field name."""
        return {name: compile_template(value) for name, value in templated_fields(self.block).items()}


class Graph:
    """The blocks of one published workflow version, by path, in the order of the document."""

    def __init__(self, document: WorkflowDocument, traits: Mapping[str, BlockTraits]):
        self.document = document
        self.nodes: dict[BlockPath, Node] = {}
        for index, (block_id, block) in enumerate(document.blocks.items()):
            path = BlockPath(block_id)
            self.nodes[path] = Node(index, path, block, traits[block.type].effects)
        incoming: dict[BlockPath, list[Edge]] = {path: [] for path in self.nodes}
        for node in self.nodes.values():
            for handle, targets in node.handles.items():
                for target in targets:
                    incoming[BlockPath(target)].append(Edge(node.path, handle, BlockPath(target)))
        for path, edges in incoming.items():
            self.nodes[path].incoming = tuple(edges)

    @cached_property
    def output(self) -> Template | None:
        return None if self.document.output is None else compile_template(self.document.output)

    @cached_property
    def terminals(self) -> tuple[BlockPath, ...]:
        """Blocks that nothing follows, in document order."""
        return tuple(path for path, node in self.nodes.items() if not any(h != ERROR for h in node.handles))

    def downstream(self, paths: "set[BlockPath]") -> set[BlockPath]:
        """`paths` and everything that can be reached from them."""
        reached: set[BlockPath] = set()
        todo = list(paths)
        while todo:
            path = todo.pop()
            if path not in reached:
                reached.add(path)
                todo.extend(self.nodes[path].successors)
        return reached

    def topological(self) -> list[BlockPath]:
        """Every block after all that lead to it; among equals, document order."""
        missing = {path: len(node.incoming) for path, node in self.nodes.items()}
        order = [path for path, count in missing.items() if count == 0]
        for path in order:
            for targets in self.nodes[path].handles.values():
                for target in targets:
                    missing[BlockPath(target)] -= 1
                    if missing[BlockPath(target)] == 0:
                        order.append(BlockPath(target))
        return order


def build_graph(document: WorkflowDocument, custom: Mapping[str, BlockTraits] | None = None) -> Graph:
    """The graph of a checked document. `custom` are the traits of block types that packages registered."""
    return Graph(document, {**BUILTIN_TRAITS, **(custom or {})})


def templated_fields(block: BaseBlock) -> dict[str, Json]:
    """The values of a block in which `{{ }}` is evaluated when it begins, by field name as in the document."""
    match block:
        case FunctionBlock():
            return {"inputs": block.inputs}
        case HttpBlock():
            return {"url": block.url, "headers": block.headers, "query": block.query, "body": block.body}
        case HumanBlock():
            return {"message": block.message, "show": block.show}
        case ResponseBlock():
            return {"body": block.body}
        case WaitBlock():
            return {"for": block.for_} if isinstance(block.for_, str) else {"until": block.until}
        case CustomBlock():
            return {"config": block.config}
        case _:
            return {}
