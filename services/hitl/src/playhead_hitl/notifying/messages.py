"""What a webhook is told: the body, without and with links.

The body is stored without links. They are made when it is sent, so that no authority to answer lies in a table, and
what is sent again days later has links that work. What is personal is stored sealed, and open when it is sent.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from playhead_contracts.events import Event, Json, PauseExpired, PauseResolved
from playhead_contracts.ids import ExecutionId, PauseId, TenantId
from playhead_engine.state import ExecutionState, PauseState
from playhead_eventlog import read_sealed
from playhead_runtime.ids import derived_id
from playhead_runtime.links import Link, LinkSettings, page_url

MOST_BYTES = 64 * 1024
"""Receivers take small bodies. What does not fit is left out, and can be asked for over HTTP."""
CUT_MESSAGE = 2000
"""As many characters are left of the question then."""


class _Message(msgspec.Struct, frozen=True):
    type: str
    timestamp: msgspec.Raw
    data: dict[str, msgspec.Raw]


_messages = msgspec.json.Decoder(_Message)
_moments = msgspec.json.Decoder(datetime | None)


def message_about(event: Event, pause: PauseState, state: ExecutionState) -> bytes:
    """The body that tells of an event. `pause` and `state` are as the event left them."""
    data = _about_pause(pause, state) | _about_end(event, pause)
    body = _encode(event, data)
    omitted: list[str] = []
    for name in ("message", "show", "form", "actions", "answer", "comment"):
        if len(body) <= MOST_BYTES:
            break
        if data.get(name):
            omitted.append(name)
            is_cut = name == "message" and read_sealed(pause.message) is None
            data |= {name: pause.message[:CUT_MESSAGE] if is_cut else None, "omitted": omitted}
            body = _encode(event, data)
    return body


def with_links(
    body: bytes,
    tenant: TenantId,
    execution_id: ExecutionId,
    pause_id: PauseId,
    page_for: Sequence[str] | None,
    settings: LinkSettings,
    now: datetime,
) -> bytes:
    """The body as it is sent at `now`: with where to see and to answer, and links to the page for those asked.

    `page_for` is as `people_asked` gives it; there are links if the settings say where the page is, and have a secret.
    """
    message = _messages.decode(body)
    base = (settings.public_url or "").rstrip("/")
    execution = f"{base}/v1/executions/{execution_id}"
    links: dict[str, Any] = {"execution": execution, "resume": f"{execution}/pauses/{pause_id}/resume"}
    made = settings.links()
    if made is not None and base and page_for is not None:
        ends_at = settings.link_end(now, _moments.decode(message.data["expires_at"]))
        links["page"] = [
            {"for": subject, "url": page_url(base, made.issue(link))}
            for subject in (page_for or (None,))
            # A repeat of the same message makes the same link.
            for link in [
                Link(
                    tenant=tenant,
                    execution_id=execution_id,
                    pause_id=pause_id,
                    subject=subject,
                    expires_at=ends_at,
                    link_id=derived_id("link", pause_id, *([] if subject is None else [subject])),
                )
            ]
            if ends_at > now
        ]
    data = message.data | {"links": msgspec.Raw(msgspec.json.encode(links))}
    return msgspec.json.encode(_Message(message.type, message.timestamp, data))


def _encode(event: Event, data: dict[str, Json]) -> bytes:
    return msgspec.json.encode({"type": event.envelope.type, "timestamp": event.recorded_at, "data": data})


def _about_pause(pause: PauseState, state: ExecutionState) -> dict[str, Json]:
    in_order = [*pause.order, *(name for name in pause.show if name not in pause.order)]
    return {
        "pause_id": pause.pause_id,
        "execution_id": state.execution_id,
        "workflow_id": state.workflow_id,
        "path": pause.path,
        "status": pause.status,
        "message": pause.message,
        # Sealed, it is one value; `sender` opens it.
        "show": pause.show
        if read_sealed(pause.show)
        else {name: pause.show[name] for name in in_order if name in pause.show},
        "labels": pause.labels,
        "form": pause.form,
        "actions": pause.actions,
        "assignees": pause.assignees,
        "digest": pause.digest,
        "expires_at": pause.expires_at,
        "requested_at": pause.requested_at,
    }


def _about_end(event: Event, pause: PauseState) -> dict[str, Json]:
    match event.data:
        case PauseResolved():
            return {
                "resolution": event.data.resolution,
                "action": pause.action,
                "answer": pause.answer,
                "comment": pause.comment,
                "reason": pause.reason,
                "resolved_by": pause.resolved_by,
                "resolved_at": pause.resolved_at,
            }
        case PauseExpired():
            return {
                "expired_at": event.data.expired_at,
                "outcome": event.data.outcome,
                "action": pause.action,
                "answer": pause.answer,
            }
        case _:
            return {}
