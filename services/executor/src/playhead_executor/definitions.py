"""The published workflow versions that executions run. A version never changes, so what was read once is kept."""

from collections import OrderedDict
from collections.abc import Mapping

import msgspec

from playhead_contracts.errors import Corrupt, NotFound
from playhead_contracts.events import WorkflowPublished
from playhead_contracts.ids import TenantId, WorkflowId, workflow_stream
from playhead_contracts.workflow import WorkflowDocument
from playhead_engine.graph import Graph, build_graph
from playhead_engine.limits import Limits
from playhead_engine.state import ExecutionState
from playhead_engine.traits import BlockTraits
from playhead_eventlog import EventLog, RawEvent

KEPT = 512


class DefinitionMissing(Corrupt):
    """An execution runs a version that the log does not hold."""


class WorkflowUnknown(NotFound):
    problem, title = "workflow-unknown", "There is no such workflow"


class Published(msgspec.Struct, frozen=True):
    """One published version of a workflow."""

    version: int
    digest: str
    graph: Graph


class Definitions:
    """Graphs by workflow version, read from the log when first needed."""

    def __init__(self, log: EventLog, custom: Mapping[str, BlockTraits], limits: Limits):
        self._log = log
        self._custom = custom
        self._limits = limits
        self._kept: OrderedDict[tuple[TenantId, WorkflowId, int], Published] = OrderedDict()
        self._newest: dict[tuple[TenantId, WorkflowId], int] = {}

    async def graph_of(self, state: ExecutionState) -> Graph:
        """The graph that this execution runs, to its end. Raises DefinitionMissing."""
        try:
            return (await self.published(state.tenant, state.workflow_id, state.workflow_version)).graph
        except WorkflowUnknown as unknown:
            raise DefinitionMissing(unknown.detail) from unknown

    async def published(self, tenant: TenantId, workflow_id: WorkflowId, version: int | None) -> Published:
        """One version of a workflow, or the newest. Raises WorkflowUnknown and LogUnavailable."""
        if version is None:
            version = await self._newest_version(tenant, workflow_id)
        key = (tenant, workflow_id, version)
        if (kept := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
            return kept
        raws = await self._log.read_raw(workflow_stream(tenant, workflow_id), version - 1, 1)
        if not raws:
            raise WorkflowUnknown(f"there is no version {version} of a workflow {workflow_id}")
        self._kept[key] = published = self._built(raws[0])
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return published

    async def _newest_version(self, tenant: TenantId, workflow_id: WorkflowId) -> int:
        place = (tenant, workflow_id)
        known = self._newest.get(place, 0)
        raws = await self._log.read_raw(workflow_stream(tenant, workflow_id), known)
        if raws:
            known = self._newest[place] = raws[-1].version
        if known == 0:
            raise WorkflowUnknown(f"there is no workflow {workflow_id}")
        return known

    def _built(self, raw: RawEvent) -> Published:
        event = raw.decode()
        assert isinstance(event.data, WorkflowPublished)
        # What was accepted stays accepted, whatever later rules say.
        document = WorkflowDocument.model_validate(event.data.document)
        return Published(event.version, event.data.digest, build_graph(document, self._custom, self._limits))
