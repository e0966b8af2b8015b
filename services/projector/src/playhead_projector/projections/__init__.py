"""The read models, and what another package needs to bring one of its own (see `extensions.py`)."""

from playhead_projector.folding import Change, ChangedBlock, Changes
from playhead_projector.projections.block_states import BLOCK_STATES
from playhead_projector.projections.execution_states import EXECUTION_STATES
from playhead_projector.projections.executions import EXECUTIONS
from playhead_projector.projections.pauses import PAUSES
from playhead_projector.projections.projection import Projection
from playhead_projector.projections.workflows import WORKFLOWS
from playhead_projector.table import KINDS, Cell, Row, Table, json_text, plain_text, text_array

ALL = (EXECUTIONS, BLOCK_STATES, PAUSES, EXECUTION_STATES, WORKFLOWS)
"""Those of Playhead itself."""

__all__ = [
    "ALL",
    "KINDS",
    "Cell",
    "Change",
    "ChangedBlock",
    "Changes",
    "Projection",
    "Row",
    "Table",
    "json_text",
    "plain_text",
    "text_array",
]
