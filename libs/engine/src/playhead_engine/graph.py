"""A workflow document as the engine sees it: blocks, the edges between them, and their expressions, compiled once.

An edge leaves its source by a handle: `next` for the plain one, `error` for the one a failure takes, the name of a
case for a block that chooses. A container has a *body*, which is a graph of its own; an edge never leaves its body.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import NamedTuple

from playhead_contracts.base_blocks import BaseBlock, Effects
from playhead_contracts.events import Json
from playhead_contracts.fields import ERROR
from playhead_contracts.human import HumanBlock
from playhead_contracts.ids import BlockPath
from playhead_contracts.workflow import (
    AnyBlock,
    Block,
    ConditionBlock,
    ContainerBlock,
    CustomBlock,
    FunctionBlock,
    HttpBlock,
    LoopBlock,
    ParallelBlock,
    PublishBlock,
    ResponseBlock,
    RouterBlock,
    TaskBlock,
    VariablesBlock,
    WaitBlock,
    WorkflowBlock,
    WorkflowDocument,
)
from playhead_engine.expressions import Expression, Template, compile_expression, compile_template
from playhead_engine.expressions.scope import Reference
from playhead_engine.limits import DEFAULT_LIMITS, Limits
from playhead_engine.traits import BUILTIN_TRAITS, BlockTraits

_GONE_TYPE = BlockTraits(effects=True)
"""Of a type that was registered when the document was published, and is not now."""

_INDEXES = re.compile(r"\[\d+\]")


class Edge(NamedTuple):
    """From block to block of one body, by id."""

    source: str
    handle: str
    target: str


class Node:
    """One block with its edges.

    `path` is its place in the document, such as `each/score`, and `index` its number there, counted from the top;
    `effects` says that it touches the outside, so its start must be logged first.
    """

    def __init__(self, index: int, block_id: str, path: BlockPath, block: Block, body: "Body", effects: bool):
        self.index = index
        self.id = block_id
        self.path = path
        self.block = block
        self.body = body
        self.effects = effects
        self.incoming: tuple[Edge, ...] = ()
        self.handles = block.handles
        self.inner: Body | None = None

    @cached_property
    def successors(self) -> tuple[str, ...]:
        """Where edges lead, by id."""
        return tuple(dict.fromkeys(target for targets in self.handles.values() for target in targets))

    @cached_property
    def handles_errors(self) -> bool:
        """Whether a failure goes on from here: along an error edge, or in spite of it."""
        return bool(self.handles.get(ERROR)) or self.block.continues_on_error

    @cached_property
    def collects(self) -> bool:
        """Whether a failure inside is a result like any other."""
        return isinstance(self.block, ParallelBlock) and self.block.on_branch_error == "collect"

    @cached_property
    def is_contained(self) -> bool:
        """Whether a container around the block takes a failure that the block does not handle."""
        owner = self.body.owner
        return owner is not None and (owner.handles_errors or owner.collects or owner.is_contained)

    @cached_property
    def outside(self) -> Effects:
        """What running the block does outside, as it was declared or else by its type."""
        match self.block:
            case BaseBlock(effects=declared) if declared is not None:
                return declared
            case HttpBlock(method="GET" | "HEAD" | "OPTIONS"):
                return "none"
            case HttpBlock(method="PUT" | "DELETE"):
                return "idempotent"
            case HttpBlock() | PublishBlock() | TaskBlock() | WorkflowBlock():
                return "external"
            case CustomBlock() if self.effects:
                return "external"
            case _:
                return "none"

    @cached_property
    def references(self) -> frozenset[Reference]:
        """Everything that the block's own templates and expressions read."""
        compiled: list[Template | Expression] = [*self.templates.values(), *self.expressions.values()]
        return frozenset(reference for each in compiled for reference in each.references)

    @cached_property
    def all_references(self) -> frozenset[Reference]:
        """What the block and everything inside of it read."""
        inner = self.inner.nodes.values() if self.inner is not None else ()
        return self.references.union(*(node.all_references for node in inner))

    @cached_property
    def templates(self) -> dict[str, Template]:
        """The fields of the block that may hold `{{ }}`, compiled, by field name."""
        return {name: compile_template(value) for name, value in templated_fields(self.block).items()}

    @cached_property
    def expressions(self) -> dict[str, Expression | Template]:
        """The CEL expressions of the block, by field name (`case <name>` for those of a condition)."""
        return dict(_expressions_of(self.block))


class Body:
    """The blocks of the whole document, or those inside of the container `owner`."""

    def __init__(self, owner: Node | None):
        self.owner = owner
        self.nodes: dict[BlockPath, Node] = {}

    @cached_property
    def entries(self) -> tuple[Node, ...]:
        """Blocks that nothing leads to, in document order."""
        return tuple(node for node in self.nodes.values() if not node.incoming)

    @cached_property
    def terminals(self) -> tuple[BlockPath, ...]:
        """The ids of blocks that nothing follows, in document order."""
        return tuple(path for path, node in self.nodes.items() if not any(h != ERROR for h in node.handles))

    def downstream(self, paths: set[BlockPath]) -> set[BlockPath]:
        """`paths` and everything in this body that can be reached from them."""
        reached: set[BlockPath] = set()
        todo = list(paths)
        while todo:
            path = todo.pop()
            if path not in reached:
                reached.add(path)
                todo.extend(BlockPath(target) for target in self.nodes[path].successors)
        return reached

    def upstream(self, paths: set[BlockPath]) -> set[BlockPath]:
        """`paths` and everything in this body from which they can be reached."""
        reached: set[BlockPath] = set()
        todo = list(paths)
        while todo:
            path = todo.pop()
            if path not in reached:
                reached.add(path)
                todo.extend(BlockPath(edge.source) for edge in self.nodes[path].incoming)
        return reached

    def topological(self) -> list[BlockPath]:
        """Every block of this body after all that lead to it; among equals, document order."""
        missing = {path: len(node.incoming) for path, node in self.nodes.items()}
        order = [path for path, count in missing.items() if count == 0]
        for path in order:
            for targets in self.nodes[path].handles.values():
                for target in map(BlockPath, targets):
                    missing[target] -= 1
                    if missing[target] == 0:
                        order.append(target)
        return order


class Graph:
    """The blocks of one published workflow version, and the limits that hold for them."""

    def __init__(self, document: WorkflowDocument, traits: Mapping[str, BlockTraits], limits: Limits):
        self.document = document
        self.limits = limits
        self._traits = traits
        self._by_path: dict[str, Node] = {}
        self.root = self._body(None, document.blocks, "")

    @property
    def nodes(self) -> dict[BlockPath, Node]:
        """The blocks of the outermost body, in document order."""
        return self.root.nodes

    @cached_property
    def output(self) -> Template | None:
        return None if self.document.output is None else compile_template(self.document.output)

    @property
    def terminals(self) -> tuple[BlockPath, ...]:
        """Blocks of the outermost body that nothing follows, in document order."""
        return self.root.terminals

    def node(self, path: str) -> Node:
        """The block of which `path` is an instance. Raises KeyError when the document has no such block."""
        return self._by_path[path if "[" not in path else _INDEXES.sub("", path)]

    def all_nodes(self) -> Iterator[Node]:
        """Every block of the document, outer ones before what is inside of them."""
        yield from self._by_path.values()

    def _body(self, owner: Node | None, blocks: Mapping[str, AnyBlock], prefix: str) -> Body:
        body = Body(owner)
        for block_id, block in blocks.items():
            if not isinstance(block, BaseBlock):
                continue  # a note
            path = BlockPath(prefix + block_id)
            traits = self._traits.get(block.type, _GONE_TYPE)
            node = Node(len(self._by_path), block_id, path, block, body, traits.effects)
            self._by_path[path] = body.nodes[BlockPath(block_id)] = node
            if isinstance(block, ContainerBlock):
                node.inner = self._body(node, block.blocks, f"{path}/")
        incoming: dict[str, list[Edge]] = {block_id: [] for block_id in body.nodes}
        for block_id, node in body.nodes.items():
            for handle, targets in node.handles.items():
                for target in targets:
                    incoming[target].append(Edge(block_id, handle, target))
        for block_id, edges in incoming.items():
            body.nodes[BlockPath(block_id)].incoming = tuple(edges)
        return body


def build_graph(
    document: WorkflowDocument, custom: Mapping[str, BlockTraits] | None = None, limits: Limits = DEFAULT_LIMITS
) -> Graph:
    """The graph of a checked document. `custom` are the traits of block types that packages registered."""
    return Graph(document, {**BUILTIN_TRAITS, **(custom or {})}, limits)


def templated_fields(block: BaseBlock) -> dict[str, Json]:
    """The values of a block in which `{{ }}` is evaluated when it begins, by field name as in the document."""
    match block:
        case FunctionBlock():
            return {"inputs": block.inputs}
        case HttpBlock():
            auth = {} if block.auth is None else {"auth": block.auth.model_dump()}
            return {"url": block.url, "headers": block.headers, "query": block.query, "body": block.body, **auth}
        case HumanBlock():
            end = {} if block.expires_at is None else {"expires_at": block.expires_at}
            return {"message": block.message, "show": block.show, "assignees": block.assignees, **end}
        case ResponseBlock():
            return {"body": block.body}
        case WaitBlock():
            return _times_of(block)
        case TaskBlock():
            return {"inputs": block.inputs}
        case WorkflowBlock():
            return {"input": block.input, "variables": block.variables}
        case VariablesBlock():
            return {"set": block.set}
        case PublishBlock():
            return {"data": block.data, "subject": block.subject}
        case CustomBlock():
            return {"config": block.config}
        case _:
            return {}


def _times_of(block: WaitBlock) -> dict[str, Json]:
    if block.events is not None:
        return {"from": block.from_}
    return {"for": block.for_} if isinstance(block.for_, str) else {"until": block.until}


def _expressions_of(block: BaseBlock) -> Iterator[tuple[str, Expression | Template]]:
    match block:
        case ConditionBlock():
            for name, source in block.cases.items():
                yield f"case {name}", compile_expression(source)
        case RouterBlock():
            yield "route", compile_expression(block.route)
        case LoopBlock():
            yield from _values({"for": block.for_, "for_each": block.for_each})
            for name, source in {"while": block.while_, "do_while": block.do_while}.items():
                if source is not None:
                    yield name, compile_expression(source)
            if block.break_when is not None:
                yield "break_when", compile_expression(block.break_when)
        case ParallelBlock():
            yield from _values({"count": block.count, "collection": block.collection})
        case WaitBlock():
            for number, awaited in enumerate(block.events or ()):
                if awaited.match is not None:
                    yield f"match {number}", compile_expression(awaited.match)
        case _:
            pass
    if isinstance(block, ContainerBlock) and block.result is not None:
        yield "result", compile_template(block.result)


def _values(fields: Mapping[str, Json]) -> Iterator[tuple[str, Expression | Template]]:
    """Fields in which text is an expression as it stands, unless it is a template."""
    for name, value in fields.items():
        if isinstance(value, str) and "{{" not in value:
            yield name, compile_expression(value)
        elif value is not None:
            yield name, compile_template(value)
