"""What a block came to, as far as those that follow it can tell."""

from hashlib import sha256
from typing import cast

import msgspec

from playhead_contracts.events import Json
from playhead_contracts.human import HumanBlock
from playhead_contracts.workflow import ConditionBlock, RouterBlock
from playhead_engine.graph import Node
from playhead_engine.state import BlockState


def digest_of_outcome(block: BlockState) -> str:
    """The same for two ends of a block exactly if nothing after it can tell them apart."""
    outcome = [block.status, block.outputs, block.decision, block.continues, block.handled, block.variables]
    return sha256(msgspec.json.encode(outcome, order="sorted")).hexdigest()


def chosen_by(node: Node, outputs: Json, before: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """The branches that a block takes which is said to give `outputs`; for one that chooses, they say which."""
    said = cast("dict[str, Json]", outputs) if isinstance(outputs, dict) else {}
    match node.block:
        case ConditionBlock():
            chosen = said.get("case")
        case RouterBlock():
            chosen = said.get("route")
        case HumanBlock():
            chosen = said.get("action")
        case _:
            return None
    names = cast("list[Json]", chosen) if isinstance(chosen, list) else [chosen]
    found = tuple(name for name in names if isinstance(name, str) and name in node.handles)
    return found or before
