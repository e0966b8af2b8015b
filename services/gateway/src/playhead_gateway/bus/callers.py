"""Who sends over the bus.

The tenant is the token in the subject: who may publish there, the permissions of the NATS account say. An API key in
the headers names somebody, exactly as over HTTP. Without one the sender is nobody in particular: it may run workflows
and answer pauses, but not those that are for somebody by name, or for several different people.
"""

import re
from collections.abc import Mapping

import msgspec

from playhead_contracts.errors import Forbidden
from playhead_contracts.events import TriggeredBy
from playhead_contracts.ids import TOKEN_PATTERN, TenantId
from playhead_gateway.access import SEND_A_KEY, Caller, Unauthorized
from playhead_gateway.problems import BadRequest
from playhead_gateway.services import Services
from playhead_runtime.pull import Delivery

CHANNEL = "nats"
NOBODY = "nats"
"""The name of whoever sends without a key."""

_TOKEN = re.compile(TOKEN_PATTERN)
_SCOPES = frozenset(("executions:read", "executions:run", "pauses:answer"))


class OtherTenant(Forbidden):
    problem, title = "other-tenant", "The key is one of another tenant"


class Sent(msgspec.Struct, frozen=True):
    """A message as it came: for which tenant, of what kind, and its headers with names in lower case."""

    delivery: Delivery
    tenant: TenantId
    kind: str
    headers: Mapping[str, str]

    @property
    def name(self) -> str:
        """Tells this message from any other, however often it is delivered."""
        return f"nats:{self.delivery.stored_at}:{self.delivery.stream_seq}"

    @property
    def data(self) -> bytes:
        return self.delivery.data


def read_sent(delivery: Delivery) -> Sent:
    """What the subject says, `playhead.<door>.<tenant>.<kind>`."""
    _, _, tenant, kind = delivery.subject.split(".", 3)
    headers = {name.lower(): value for name, value in delivery.headers.items()}
    return Sent(delivery, TenantId(tenant), kind, headers)


def trigger_of(sent: Sent, by: TriggeredBy) -> Caller:
    """The trigger whose command this is: it came on a subject that is for our own services. Raises BadRequest."""
    _check_tenant(sent)
    return Caller(sent.tenant, f"trigger:{by.trigger_id}", _SCOPES, channel=CHANNEL, anonymous=True, kind="system")


def _check_tenant(sent: Sent) -> None:
    if not _TOKEN.fullmatch(sent.tenant):
        raise BadRequest("the subject has no tenant in it")


async def caller_of(services: Services, sent: Sent) -> Caller:
    """Who sends this. Raises Unauthorized, OtherTenant, BadRequest, and ReadModelsUnavailable."""
    _check_tenant(sent)
    holder = await services.access.key_holder(sent.headers)
    if holder is None:
        if services.settings.bus_keys_required:
            raise Unauthorized(SEND_A_KEY)
        return Caller(sent.tenant, NOBODY, _SCOPES, channel=CHANNEL, anonymous=True)
    if holder.tenant != sent.tenant:
        raise OtherTenant("the key is not one of the tenant in the subject")
    return msgspec.structs.replace(holder, channel=CHANNEL)
