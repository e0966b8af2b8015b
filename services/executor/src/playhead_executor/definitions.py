"""The published workflow versions that executions run. A version never changes, so what was read once is kept."""

from collections import OrderedDict
from collections.abc import Mapping

from playhead_contracts.errors import Corrupt
from playhead_contracts.events import WorkflowPublished
from playhead_contracts.ids import TenantId, WorkflowId, workflow_stream
from playhead_engine.documents import parse
from playhead_engine.graph import Graph, build_graph
from playhead_engine.state import ExecutionState
from playhead_engine.traits import BlockTraits
from playhead_eventlog import EventLog

KEPT = 512


class DefinitionMissing(Corrupt):
    """An execution runs a version that the log does not hold."""


class Definitions:
    """Graphs by workflow version, read from the log when first needed."""

    def __init__(self, log: EventLog, custom: Mapping[str, BlockTraits]):
        self._log = log
        self._custom = custom
        self._graphs: OrderedDict[tuple[TenantId, WorkflowId, int], Graph] = OrderedDict()

    async def graph_of(self, state: ExecutionState) -> Graph:
        """The graph that this execution runs, to its end. Raises DefinitionMissing, InvalidDocument."""
        key = (state.tenant, state.workflow_id, state.workflow_version)
        graph = self._graphs.get(key)
        if graph is None:
            graph = await self._read(*key)
            self._graphs[key] = graph
            if len(self._graphs) > KEPT:
                self._graphs.popitem(last=False)
        self._graphs.move_to_end(key)
        return graph

    async def _read(self, tenant: TenantId, workflow_id: WorkflowId, version: int) -> Graph:
        for event in await self._log.read(workflow_stream(tenant, workflow_id)):
            data = event.data
            if isinstance(data, WorkflowPublished) and data.workflow_version == version:
                return build_graph(parse(data.document, self._custom), self._custom)
        raise DefinitionMissing(f"workflow {workflow_id} of {tenant} has no version {version} in the log")
