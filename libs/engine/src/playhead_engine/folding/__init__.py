"""Events -> state: what each kind of fact changes."""

from playhead_engine.folding.fold import TRANSITIONS, create, evolve, fold, mark_running, own_copy
from playhead_engine.folding.keeping import EXECUTIONS, FOLD_VERSION, ExecutionFold, in_order, state_json

__all__ = [
    "EXECUTIONS",
    "FOLD_VERSION",
    "TRANSITIONS",
    "ExecutionFold",
    "create",
    "evolve",
    "fold",
    "in_order",
    "mark_running",
    "own_copy",
    "state_json",
]
