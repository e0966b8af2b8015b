"""State -> what happens next: the rules of one execution."""

from playhead_engine.scheduling.activity import is_active
from playhead_engine.scheduling.advance import (
    Advance,
    Moment,
    advance,
    finish,
    has_timers,
    next_due,
    release,
)

__all__ = [
    "Advance",
    "Moment",
    "advance",
    "finish",
    "has_timers",
    "is_active",
    "next_due",
    "release",
]
