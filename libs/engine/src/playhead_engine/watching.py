"""Events that `wait` blocks wait for: what their filters read when the block begins, and whether an event matches."""

from collections.abc import Iterable

from playhead_contracts.events import Json
from playhead_engine.scope import Reference, Scope


def captured_of(references: Iterable[Reference], scope: Scope) -> dict[str, Json]:
    """What `references` read in `scope`, as nested objects by root; what is not there is left out."""
    raise NotImplementedError
