"""The door for workflow documents that people write: every fault at its place, never only the first."""

from playhead_engine.documents.check import Checked, check, parse

__all__ = [
    "Checked",
    "check",
    "parse",
]
