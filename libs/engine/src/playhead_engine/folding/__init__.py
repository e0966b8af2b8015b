"""Events -> state: what each kind of fact changes."""

from playhead_engine.folding.fold import TRANSITIONS, create, evolve, fold, mark_running, own_copy

__all__ = [
    "TRANSITIONS",
    "create",
    "evolve",
    "fold",
    "mark_running",
    "own_copy",
]
