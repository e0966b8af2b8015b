"""What is different: between two versions of an execution, and between two executions."""

import msgspec

from playhead_contracts.ids import BlockPath
from playhead_engine.compare import Comparison, compare
from playhead_engine.folding import state_json
from playhead_engine.json_patch import Operation, json_patch
from playhead_engine.state import ExecutionState
from playhead_gateway.access import Caller
from playhead_gateway.handlers.loading import definition_of, load_execution, state_until
from playhead_gateway.handlers.starting import state_at_version
from playhead_gateway.handlers.viewing import read_version
from playhead_gateway.problems import VersionUnknown
from playhead_gateway.services import Services


class Diff(msgspec.Struct, frozen=True, rename={"since": "from", "until": "to"}):
    """A JSON Patch (RFC 6902) that makes the state at version `to` of the state at version `from`."""

    since: int
    until: int
    patch: list[Operation]


async def diff_states(services: Services, caller: Caller, execution_id: str, since: str, until: str) -> Diff:
    """Between two versions, either of which may be the later one.

    Raises ImpossibleMoment, ExecutionUnknown, VersionUnknown and LogUnavailable.
    """
    versions = read_version(since), read_version(until)
    earlier = await state_at_version(services, caller, execution_id, min(versions))
    shown = {earlier.version: state_json(earlier)}
    later = await state_until(services, earlier.execution_id, max(versions), earlier)
    if later.version < max(versions):
        raise VersionUnknown(f"the execution is at version {later.version}, and was never at {max(versions)}")
    shown[later.version] = state_json(later)
    return Diff(*versions, patch=json_patch(shown[versions[0]], shown[versions[1]]))


async def compare_executions(services: Services, caller: Caller, a: str, b: str) -> Comparison:
    """Two executions of the caller, block by block."""
    left = (await load_execution(services, caller, a)).state
    right = (await load_execution(services, caller, b)).state
    return compare(left, right, await _outside(services, left))


async def _outside(services: Services, state: ExecutionState) -> frozenset[BlockPath]:
    """Its block instances that act outside when they run, so that running them again does it once more."""
    graph = (await definition_of(services, state)).graph
    return frozenset(path for path in state.blocks if graph.node(path).outside == "external")
