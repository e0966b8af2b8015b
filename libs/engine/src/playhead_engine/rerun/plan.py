"""A plan: for every block what happens to it, and every reason why."""

from hashlib import sha256
from typing import Literal

import msgspec

from playhead_contracts.base_blocks import Effects
from playhead_contracts.events import Json
from playhead_contracts.ids import BlockPath, ExecutionId

Why = Literal[
    "target",
    "downstream_of",
    "route_may_change",
    "definition_changed",
    "input_changed",
    "inputs_changed",
    "new_block",
    "removed_block",
    "missing_state",
    "was_failed",
    "was_paused",
    "overridden",
    "unchanged",
    "skipped_before",
    "not_wanted",
    "restarts",
]
"""`input_changed`: what it reads of the execution's input or variables; `inputs_changed`: what other blocks give it."""

Action = Literal["run", "reuse", "decide", "partly", "override", "leave_out"]
"""`decide`: it was skipped, and the same decisions are looked at again. `partly`: a container of which some iterations
are taken over. `leave_out`: it is not in the picture, for nothing that is wanted needs it, or it is no longer there."""


class Reason(msgspec.Struct, frozen=True, omit_defaults=True):
    """One reason. `of` is the block that it comes from, `detail` what a person needs to understand it."""

    why: Why
    of: BlockPath | None = None
    detail: str | None = None


class PlannedBlock(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What happens to one block, and why."""

    path: BlockPath
    action: Action
    reasons: tuple[Reason, ...]
    effects: Effects = "none"
    """What running it does outside."""
    asks: bool = False
    """People are asked, also those who have answered before."""
    may_be_cut_off: bool = False
    """With early cutoff: it is taken over after all if the blocks it depends on give the same again."""
    child_from: str | None = None
    """Of a `workflow` block: its child is run again from there, and not started anew."""
    iterations_reused: tuple[int, ...] = ()
    blocks: tuple["PlannedBlock", ...] = ()
    """Of a container that runs partly: the blocks of the iteration that is run from the middle."""


class Plan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a rerun repeats (`scope`), where it starts, and what it takes over. Paths are those of outermost blocks."""

    execution_id: ExecutionId
    at_version: int
    from_block: str
    workflow_version: int
    digest: str
    """Of everything else here: a rerun that names it is refused when the plan would not be this one any more."""
    start: tuple[BlockPath, ...]
    scope: tuple[BlockPath, ...]
    reused: tuple[BlockPath, ...]
    repeats: tuple[BlockPath, ...] = ()
    """Blocks that have run and act outside (`effects: external`): that is done once more."""
    asks_again: tuple[BlockPath, ...] = ()
    """Pauses that people have seen, and will be asked anew."""
    notes: tuple[str, ...] = ()
    """What could not be reused, and why, in words."""
    blocks: tuple[PlannedBlock, ...]


def digest_of_plan(plan: Plan) -> str:
    """sha256 over the canonical JSON of a plan, without its digest."""
    content: dict[str, Json] = msgspec.to_builtins(plan)
    content.pop("digest", None)
    return "sha256:" + sha256(msgspec.json.encode(content, order="sorted")).hexdigest()
