"""Which edges lead on from a block that has settled."""

from playhead_contracts.fields import ELSE, ERROR, NEXT
from playhead_engine.graph import Edge
from playhead_engine.state import BlockState, BlockStatus


def is_active(edge: Edge, source: BlockState) -> bool:
    """Whether a settled source activates this edge."""
    if source.continues:
        return edge.handle in (NEXT, ELSE)
    match source.status:
        case BlockStatus.COMPLETED:
            return edge.handle == NEXT if source.decision is None else edge.handle in source.decision
        case BlockStatus.FAILED:
            return source.handled and edge.handle == ERROR
        case _:
            return False
