"""The read models."""

from playhead_projector.projections.block_states import BLOCK_STATES
from playhead_projector.projections.execution_states import EXECUTION_STATES
from playhead_projector.projections.executions import EXECUTIONS
from playhead_projector.projections.pauses import PAUSES
from playhead_projector.projections.projection import Projection
from playhead_projector.projections.workflows import WORKFLOWS

ALL = (EXECUTIONS, BLOCK_STATES, PAUSES, EXECUTION_STATES, WORKFLOWS)

__all__ = ["ALL", "Projection"]
