"""Run-from-block: what running an execution again repeats, what it takes over, why, and the facts it begins with."""

from playhead_engine.rerun.forking import child_forks, cutoffs, fork_facts
from playhead_engine.rerun.history import History
from playhead_engine.rerun.plan import Plan, PlannedBlock, Reason, digest_of_plan
from playhead_engine.rerun.planner import PlanChanged, RerunOrder, RerunRefused, plan_rerun

__all__ = [
    "History",
    "Plan",
    "PlanChanged",
    "PlannedBlock",
    "Reason",
    "RerunOrder",
    "RerunRefused",
    "child_forks",
    "cutoffs",
    "digest_of_plan",
    "fork_facts",
    "plan_rerun",
]
