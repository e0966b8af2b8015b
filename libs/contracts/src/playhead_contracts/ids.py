"""The names of things. Ids are UUID text (RFC 9562) unless stated; `NewType` keeps them apart for the type checker."""

from typing import NewType

TenantId = NewType("TenantId", str)
"""Lower-case token of letters, digits, `-` and `_`; it stands in bus subjects."""

WorkflowId = NewType("WorkflowId", str)
"""What the author wrote as `id` in the document; the same alphabet as a tenant."""

ExecutionId = NewType("ExecutionId", str)
EventId = NewType("EventId", str)
PauseId = NewType("PauseId", str)
BlockPath = NewType("BlockPath", str)
"""The address of one block instance inside an execution: the block's id, prefixed by its containers."""

StreamId = NewType("StreamId", str)

TOKEN_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_-]{0,63}$"
"""Tenants, workflow ids: safe as one token of a NATS subject and as a path segment of a URL."""

BLOCK_ID_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]{0,63}$"
"""Block ids are identifiers, so that `blocks.<id>` is a plain CEL selection."""

EVENT_TYPE_PATTERN = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$"
"""Types of events, which become tokens of a subject on the bus."""


def execution_stream(execution_id: ExecutionId) -> StreamId:
    return StreamId(f"execution:{execution_id}")


def workflow_stream(tenant: TenantId, workflow_id: WorkflowId) -> StreamId:
    """The stream of one workflow's definitions. Workflow ids are only unique within their tenant."""
    return StreamId(f"workflow:{tenant}:{workflow_id}")


def event_stream(tenant: TenantId, event_id: EventId) -> StreamId:
    """The stream of one event from outside, which it is alone in. The id follows from its tenant, source and id."""
    return StreamId(f"event:{tenant}:{event_id}")


def trigger_stream(tenant: TenantId, trigger_id: str) -> StreamId:
    """The stream of what was published under one trigger's id, which is unique within its tenant."""
    return StreamId(f"trigger:{tenant}:{trigger_id}")


def operations_stream(tenant: TenantId) -> StreamId:
    """The stream of what people do to a tenant as a whole: keys made, exports written, and so on."""
    return StreamId(f"operations:{tenant}")


def execution_of(stream_id: StreamId) -> ExecutionId | None:
    """The execution whose stream this is, or None for the stream of something else."""
    kind, _, name = stream_id.partition(":")
    return ExecutionId(name) if kind == "execution" else None


CONTRACT_BASE = "urn:playhead:contract:"
"""Begins the `$id` of every JSON Schema; the rest is its name at `/contracts/`."""


def event_schema(event_type: str, schema_version: int) -> str:
    """The name of the JSON Schema of an event's data, e.g. `events/block.completed.v1.json`."""
    return f"events/{event_type}.v{schema_version}.json"
