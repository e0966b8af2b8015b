"""Webhooks: who is told about pauses, and what became of telling them."""

import re
from base64 import b64encode
from datetime import datetime, timedelta
from http import HTTPStatus
from secrets import token_bytes
from typing import Annotated, Literal, TypeVar
from urllib.parse import urlsplit

import msgspec

from playhead_contracts.errors import Conflict, Fault, NotFound
from playhead_contracts.events import WebhookChanged, WebhookCreated
from playhead_contracts.ids import TOKEN_PATTERN, EventId
from playhead_contracts.pointers import pointer
from playhead_engine.notifying import TOLD
from playhead_eventlog.operations import record_operation
from playhead_gateway.access import Caller
from playhead_gateway.bodies import Body
from playhead_gateway.handlers.listening import Reply
from playhead_gateway.paging import Page, page_of, read_place
from playhead_gateway.problems import BadRequest, InvalidRequest, is_uuid
from playhead_gateway.services import Services
from playhead_gateway.webhook_store import DeliveryFilter, DeliveryRow, WebhookRow
from playhead_runtime.ids import new_id

TEST_EVENT = "webhook.test"
MOST_WEBHOOKS = 100
"""Of a tenant: each of them is looked at for each event about a pause."""
OLD_SECRET_LASTS = timedelta(hours=24)
_SECRET_BYTES = 32
_LONGEST_URL = 2048
_RESERVED = "deliveries"
"""Not a name, for it is a path."""

_NAME = re.compile(TOKEN_PATTERN)

T = TypeVar("T")
Token = Annotated[str, msgspec.Meta(pattern=TOKEN_PATTERN)]


class WebhookUnknown(NotFound):
    problem, title = "webhook-unknown", "There is no such webhook here"

    def __init__(self, name: str):
        super().__init__(f"there is no webhook named {name[:64]}")


class WebhookExists(Conflict):
    problem, title = "webhook-exists", "There is a webhook of this name"


class TooManyWebhooks(Conflict):
    problem, title = "too-many-webhooks", "There are as many webhooks as there may be"


class WebhookDisabled(Conflict):
    problem, title = "webhook-disabled", "The webhook is disabled"

    def __init__(self, name: str):
        super().__init__(f"the webhook {name} is disabled; enable it first")


class DeliveryUnknown(NotFound):
    problem, title = "delivery-unknown", "There is no such delivery here"

    def __init__(self, delivery_id: str):
        super().__init__(f"there is no delivery {delivery_id[:64]}")


class NewWebhook(Body, frozen=True, kw_only=True):
    """`events` are types of events, all about pauses if not said; `workflows` are ids, all if not said."""

    name: Token
    url: Annotated[str, msgspec.Meta(max_length=_LONGEST_URL)]
    events: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] | None = None
    workflows: Annotated[tuple[Token, ...], msgspec.Meta(min_length=1, max_length=200)] | None = None


class WithSecret(msgspec.Struct, frozen=True):
    """A webhook and its new secret, which is shown this once."""

    name: str
    url: str
    events: list[str]
    workflows: list[str] | None
    secret: str
    old_secret_until: datetime | None


class Deleted(msgspec.Struct, frozen=True):
    name: str
    deleted: bool = True


async def create(services: Services, caller: Caller, order: NewWebhook) -> Reply:
    """Raises InvalidRequest, WebhookExists and TooManyWebhooks."""
    _check(order)
    if await services.webhooks.find(caller.tenant, order.name) is not None:
        raise _exists(order.name)
    secret = _new_secret()
    events = sorted(set(order.events or TOLD))
    host = urlsplit(order.url).hostname or ""
    created = WebhookCreated(name=order.name, host=host, events=tuple(events), workflows=order.workflows)
    await _record(services, caller, created)
    made = await services.webhooks.add(
        new_id(), caller.tenant, order.name, order.url, secret, events, order.workflows, MOST_WEBHOOKS
    )
    if made is None:
        if await services.webhooks.find(caller.tenant, order.name) is not None:
            raise _exists(order.name)
        raise TooManyWebhooks(f"there may be {MOST_WEBHOOKS} webhooks; delete one first")
    return Reply(status=HTTPStatus.CREATED, body=_with_secret(made, secret), location=f"/v1/webhooks/{made.name}")


async def list_all(services: Services, caller: Caller) -> Page[WebhookRow]:
    """All of them, by name."""
    return Page(await services.webhooks.webhooks(caller.tenant))


async def show(services: Services, caller: Caller, name: str) -> WebhookRow:
    """Raises WebhookUnknown, as all in here that take a name."""
    return _there(await services.webhooks.find(caller.tenant, _checked(name)), name)


async def delete(services: Services, caller: Caller, name: str) -> Deleted:
    """What is still to be delivered fails, and says so."""
    await _record_change(services, caller, name, "removed")
    if not await services.webhooks.delete(caller.tenant, _checked(name)):
        raise WebhookUnknown(name)
    return Deleted(name)


async def rotate(services: Services, caller: Caller, name: str) -> Reply:
    """A new secret; the one before signs, too, for a day."""
    await _record_change(services, caller, name, "secret_rotated")
    secret = _new_secret()
    row = await services.webhooks.rotate(caller.tenant, _checked(name), secret, OLD_SECRET_LASTS)
    return Reply(body=_with_secret(_there(row, name), secret))


async def enable(services: Services, caller: Caller, name: str) -> WebhookRow:
    """Tell one again that was disabled because it said so."""
    await _record_change(services, caller, name, "enabled")
    return _there(await services.webhooks.enable(caller.tenant, _checked(name)), name)


async def test(services: Services, caller: Caller, name: str) -> Reply:
    """Have `webhook.test` delivered. Raises WebhookDisabled, too."""
    row = await show(services, caller, name)
    if row.disabled_at is not None:
        raise WebhookDisabled(name)
    message = {"type": TEST_EVENT, "timestamp": services.clock.now(), "data": {"webhook": name}}
    body = msgspec.json.encode(message)
    made = await services.webhooks.send(new_id(), caller.tenant, name, TEST_EVENT, body)
    return Reply(status=HTTPStatus.ACCEPTED, body=_there(made, name))


async def list_deliveries(
    services: Services, caller: Caller, wanted: DeliveryFilter, cursor: str | None, limit: int
) -> Page[DeliveryRow]:
    """Newest first, with every attempt. Raises BadRequest."""
    if wanted.pause is not None and not is_uuid(wanted.pause):
        raise BadRequest("pause: this is not the id of a pause")
    rows = await services.webhooks.deliveries(caller.tenant, wanted, read_place(cursor), limit + 1)
    return page_of(rows, limit, lambda row: (row.created_at, row.delivery_id))


async def resend(services: Services, caller: Caller, delivery_id: str) -> Reply:
    """Send once more, with the same `webhook-id`. Raises DeliveryUnknown, WebhookUnknown and WebhookDisabled."""
    meant = await services.webhooks.meant(caller.tenant, delivery_id) if is_uuid(delivery_id) else None
    if meant is None:
        raise DeliveryUnknown(delivery_id)
    if not meant.is_there:
        raise WebhookUnknown(meant.name)
    if meant.is_disabled:
        raise WebhookDisabled(meant.name)
    await _record(services, caller, WebhookChanged(name=meant.name, change="resent", delivery_id=delivery_id))
    sent = await services.webhooks.resend(caller.tenant, delivery_id)
    if sent is None:
        raise WebhookUnknown(meant.name)
    return Reply(status=HTTPStatus.ACCEPTED, body=sent)


async def _record_change(
    services: Services, caller: Caller, name: str, change: Literal["removed", "secret_rotated", "enabled"]
) -> None:
    """Record what is about to be done to a webhook that is there. Raises WebhookUnknown."""
    _there(await services.webhooks.find(caller.tenant, _checked(name)), name)
    await _record(services, caller, WebhookChanged(name=name, change=change))


async def _record(services: Services, caller: Caller, fact: WebhookCreated | WebhookChanged) -> None:
    at = services.clock.now()
    await record_operation(services.log, caller.tenant, fact, caller.actor, event_id=EventId(new_id()), at=at)


def _exists(name: str) -> WebhookExists:
    return WebhookExists(f"there is a webhook named {name}: delete it first, or rotate its secret")


def _check(order: NewWebhook) -> None:
    faults: list[Fault] = []
    if order.name == _RESERVED or not _NAME.fullmatch(order.name):
        faults.append(Fault(pointer("name"), "this is no name for a webhook"))
    if wrong := _fault_of_url(order.url):
        faults.append(Fault(pointer("url"), wrong))
    for number, event in enumerate(order.events or ()):
        if event not in TOLD:
            faults.append(Fault(pointer("events", number), "no such event", f"one of {', '.join(sorted(TOLD))}"))
    if faults:
        raise InvalidRequest("this webhook cannot be", errors=faults)


def _fault_of_url(url: str) -> str | None:
    if not url.isascii() or not url.isprintable() or " " in url:
        return "a URL is printable ASCII without spaces"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as wrong:
        return f"this is no URL: {wrong}"
    if parts.scheme not in ("http", "https") or not host:
        return "write http:// or https:// and a host"
    if parts.username is not None or parts.password is not None:
        return "a URL with a user or password is not taken: signatures tell the receiver who calls"
    return "what follows # is never sent" if parts.fragment else None


def _checked(name: str) -> str:
    """Raises WebhookUnknown for what cannot be a name; the database is not asked for it."""
    if not _NAME.fullmatch(name):
        raise WebhookUnknown(name)
    return name


def _there(row: T | None, name: str) -> T:
    if row is None:
        raise WebhookUnknown(name)
    return row


def _with_secret(row: WebhookRow, secret: str) -> WithSecret:
    return WithSecret(row.name, row.url, row.events, row.workflows, secret, row.old_secret_until)


def _new_secret() -> str:
    return "whsec_" + b64encode(token_bytes(_SECRET_BYTES)).decode()
