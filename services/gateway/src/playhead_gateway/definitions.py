"""Published workflow versions: publishing them, and finding them again.

A definition is the event `workflow.published` in the stream of its workflow, and its version is the version of that
event. Versions never change, so they are kept in memory once parsed; which one is the newest is asked of the log each
time, so that what was just published is what runs, whichever gateway took it.
"""

import re
from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime

import msgspec

from playhead_contracts.canonical import canonical_document
from playhead_contracts.errors import VersionConflict
from playhead_contracts.events import Actor, Json, NewEvent, WorkflowPublished
from playhead_contracts.ids import TOKEN_PATTERN, EventId, TenantId, WorkflowId, workflow_stream
from playhead_contracts.workflow import WorkflowDocument
from playhead_contracts.workflow_text import digest_of
from playhead_engine import documents
from playhead_engine.graph import Graph, build_graph
from playhead_engine.limits import DEFAULT_LIMITS, Limits
from playhead_engine.traits import BlockTraits
from playhead_eventlog import GENESIS, EventLog, RawEvent, StreamHead
from playhead_gateway.problems import WorkflowUnknown
from playhead_runtime.clock import Clock
from playhead_runtime.ids import new_id
from playhead_runtime.tracing import current_traceparent

_NAME = re.compile(TOKEN_PATTERN)
_GONE_TYPE = BlockTraits(effects=True)
"""For a block type that was registered when the version was published, and is no more: it can still be shown."""


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """One published version: as it was written, and as the engine sees it."""

    workflow_id: WorkflowId
    version: int
    digest: str
    published_at: datetime
    raw: dict[str, Json]
    document: WorkflowDocument
    graph: Graph


class PublishedVersion(msgspec.Struct, frozen=True):
    version: int
    digest: str
    published_at: datetime


class Definitions:
    """The published versions of all tenants; the most recently used `capacity` of them in memory."""

    def __init__(
        self,
        log: EventLog,
        clock: Clock,
        custom: Mapping[str, BlockTraits],
        limits: Limits = DEFAULT_LIMITS,
        *,
        capacity: int = 512,
    ):
        self._log = log
        self._clock = clock
        self.custom = custom
        self.limits = limits
        self._capacity = capacity
        self._kept: OrderedDict[tuple[TenantId, WorkflowId, int], Definition] = OrderedDict()
        self._newest: dict[tuple[TenantId, WorkflowId], int] = {}

    async def publish(self, tenant: TenantId, raw: dict[str, Json], actor: Actor) -> tuple[PublishedVersion, bool]:
        """Publish a document, as `read_document` gives it; says whether that made a new version.

        The same document as the newest version is that version. An older one again is a new version, for it is to be
        the newest. Raises InvalidDocument and LogUnavailable.
        """
        document = documents.parse(raw, self.custom, self.limits)
        raw = canonical_document(raw)
        workflow_id, digest = WorkflowId(document.id), digest_of(raw)
        stream = workflow_stream(tenant, workflow_id)
        while True:
            known = self._newest.get((tenant, workflow_id), 0)
            raws = await self._log.read_raw(stream, max(known - 1, 0))
            if raws and (newest := _published(raws[-1])).digest == digest:
                return newest, False
            head = StreamHead(raws[-1].version, raws[-1].hash) if raws else GENESIS
            event = NewEvent(
                id=EventId(new_id()),
                data=WorkflowPublished(workflow_version=head.version + 1, digest=digest, document=raw),
                tenant=tenant,
                workflow_id=workflow_id,
                execution_id=None,
                actor=actor,
                recorded_at=self._clock.now(),
                traceparent=current_traceparent(),
            )
            try:
                await self._log.append(stream, head, [event])
            except VersionConflict:
                continue  # somebody published at the same moment: look at what it was
            return PublishedVersion(head.version + 1, digest, event.recorded_at), True

    async def latest(self, tenant: TenantId, workflow_id: WorkflowId) -> Definition:
        """The newest version. Raises WorkflowUnknown and LogUnavailable."""
        _check_name(workflow_id)
        place = (tenant, workflow_id)
        known = self._newest.get(place, 0)
        raws = await self._log.read_raw(workflow_stream(tenant, workflow_id), known)
        if raws:
            self._newest[place] = raws[-1].version
            return self._keep(tenant, workflow_id, raws[-1])
        if known == 0:
            raise WorkflowUnknown(f"there is no workflow {workflow_id[:64]}")
        return await self.version(tenant, workflow_id, known)

    async def version(self, tenant: TenantId, workflow_id: WorkflowId, version: int) -> Definition:
        """One version. Raises WorkflowUnknown and LogUnavailable."""
        place = (tenant, workflow_id, version)
        if (kept := self._kept.get(place)) is not None:
            self._kept.move_to_end(place)
            return kept
        _check_name(workflow_id)
        raws: list[RawEvent] = []
        if 0 < version < 2**31:
            raws = await self._log.read_raw(workflow_stream(tenant, workflow_id), version - 1, 1)
        if not raws:
            raise WorkflowUnknown(f"there is no version {version} of a workflow {workflow_id[:64]}")
        return self._keep(tenant, workflow_id, raws[0])

    async def versions(self, tenant: TenantId, workflow_id: WorkflowId) -> list[PublishedVersion]:
        """All versions, newest first; empty if there is no such workflow. Raises LogUnavailable."""
        raws = await self._log.read_raw(workflow_stream(tenant, workflow_id))
        return [_published(raw) for raw in reversed(raws)]

    def _keep(self, tenant: TenantId, workflow_id: WorkflowId, raw: RawEvent) -> Definition:
        event = raw.decode()
        assert isinstance(event.data, WorkflowPublished)
        # Not `documents.parse`: what was accepted stays accepted, whatever later rules say.
        document = WorkflowDocument.model_validate(event.data.document)
        kept = Definition(
            workflow_id=workflow_id,
            version=event.version,
            digest=event.data.digest,
            published_at=event.recorded_at,
            raw=event.data.document,
            document=document,
            graph=build_graph(document, self.custom),
        )
        self._kept[(tenant, workflow_id, event.version)] = kept
        if len(self._kept) > self._capacity:
            self._kept.popitem(last=False)
        return kept


def _check_name(workflow_id: WorkflowId) -> None:
    """Raises WorkflowUnknown for what cannot be the id of a workflow; the log is not asked for it."""
    if not _NAME.fullmatch(workflow_id):
        raise WorkflowUnknown(f"there is no workflow {workflow_id[:64]!r}")


def _published(raw: RawEvent) -> PublishedVersion:
    event = raw.decode()
    assert isinstance(event.data, WorkflowPublished)
    return PublishedVersion(event.version, event.data.digest, event.recorded_at)
