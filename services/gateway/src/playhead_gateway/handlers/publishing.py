"""Workflow documents: publishing, checking and showing them."""

from datetime import datetime
from typing import Literal

import msgspec

from playhead_contracts.errors import Fault, InvalidDocument
from playhead_contracts.events import Json
from playhead_contracts.ids import WorkflowId
from playhead_contracts.workflow_text import read_document
from playhead_engine import documents
from playhead_gateway.access import Caller
from playhead_gateway.bodies import media_type
from playhead_gateway.definitions import PublishedVersion
from playhead_gateway.handlers.listening import Reply
from playhead_gateway.problems import TooLarge, UnsupportedMediaType, WorkflowUnknown
from playhead_gateway.services import Services

_MEDIA: dict[str, Literal["json", "yaml"]] = {
    "application/json": "json",
    "application/yaml": "yaml",
    "application/x-yaml": "yaml",
    "text/yaml": "yaml",
}


class Published(msgspec.Struct, frozen=True):
    workflow_id: str
    version: int
    digest: str


class Verdict(msgspec.Struct, frozen=True):
    """What a check of a document found. It is valid if there are no errors; warnings do not count."""

    valid: bool
    errors: tuple[Fault, ...]
    warnings: tuple[Fault, ...]


class WorkflowView(msgspec.Struct, frozen=True):
    """A workflow: its newest version in full, and all there are, newest first."""

    workflow_id: str
    version: int
    digest: str
    published_at: datetime
    document: dict[str, Json]
    versions: list[PublishedVersion]


class VersionView(msgspec.Struct, frozen=True):
    """One version, for ever the same."""

    workflow_id: str
    version: int
    digest: str
    published_at: datetime
    document: dict[str, Json]


async def publish(services: Services, caller: Caller, body: bytes, content_type: str | None) -> Reply:
    """201 for a new version, 200 if the newest one is this very document. Raises InvalidDocument and TooLarge."""
    raw = read_written(services, body, content_type)
    published, is_new = await services.definitions.publish(caller.tenant, raw, caller.actor)
    workflow_id = str(raw["id"])
    return Reply(
        status=201 if is_new else 200,
        body=Published(workflow_id, published.version, published.digest),
        location=f"/v1/workflows/{workflow_id}/versions/{published.version}",
    )


def validate(services: Services, body: bytes, content_type: str | None) -> Verdict:
    """Every fault of a document, at its place. Records nothing. Raises TooLarge."""
    try:
        raw = read_written(services, body, content_type)
    except InvalidDocument as exc:
        return Verdict(False, exc.errors, ())
    checked = documents.check(raw, services.definitions.custom, services.definitions.limits)
    return Verdict(not checked.faults, checked.faults, checked.warnings)


async def show_workflow(services: Services, caller: Caller, workflow_id: str) -> WorkflowView:
    """Raises WorkflowUnknown."""
    found = await services.definitions.latest(caller.tenant, WorkflowId(workflow_id))
    versions = await services.definitions.versions(caller.tenant, found.workflow_id)
    return WorkflowView(found.workflow_id, found.version, found.digest, found.published_at, found.raw, versions)


async def show_version(services: Services, caller: Caller, workflow_id: str, version: str) -> VersionView:
    """Raises WorkflowUnknown, also for what is no version at all."""
    if not (version.isascii() and version.isdigit()):
        raise WorkflowUnknown(f"versions are numbers; there is no version {version[:32]!r}")
    found = await services.definitions.version(caller.tenant, WorkflowId(workflow_id), int(version[:20]))
    return VersionView(found.workflow_id, found.version, found.digest, found.published_at, found.raw)


def read_written(services: Services, body: bytes, content_type: str | None) -> dict[str, Json]:
    """A document that somebody wrote, in YAML or JSON. Raises UnsupportedMediaType, TooLarge and InvalidDocument."""
    media = _MEDIA.get(media_type(content_type))
    if media is None:
        raise UnsupportedMediaType(
            f"send the document as {', '.join(_MEDIA)}; not as {media_type(content_type)[:100] or 'nothing'}"
        )
    most = services.definitions.limits.max_document_bytes
    if len(body) > most:
        raise TooLarge("a workflow document", "max_document_bytes", most)
    return read_document(body, media)
