"""Triggers: workflows that are started by events."""

from playhead_projector.triggering.runner import TriggerRunner

__all__ = ["TriggerRunner"]
