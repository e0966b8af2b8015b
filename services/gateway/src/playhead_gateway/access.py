"""Who is calling, and what they may do: API keys, and the open tenant of a single machine.

A key is shown once, when it is made; what is stored is its sha256. Keys are random and long, so a plain hash is enough:
there is nothing to guess. A revoked key may still be let in for `REMEMBER_SECONDS`, by gateways that looked it up.
"""

import asyncio
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from hashlib import sha256
from secrets import token_urlsafe
from typing import Literal
from urllib.parse import urlsplit
from uuid import UUID

import msgspec
import psycopg
from psycopg.rows import TupleRow

from playhead_contracts.errors import Forbidden, Refused
from playhead_contracts.events import Actor, EventData, KeyCreated, KeyRevoked
from playhead_contracts.ids import EventId, TenantId
from playhead_eventlog import open_log
from playhead_eventlog.operations import record_operation
from playhead_gateway import queries
from playhead_gateway.read_models import ReadModels, ReadModelsUnavailable
from playhead_gateway.settings import is_loopback
from playhead_runtime.clock import Clock
from playhead_runtime.ids import derived_id, new_id

ADMIN = "admin"
SCOPES = (
    "workflows:read",
    "workflows:write",
    "executions:read",
    "executions:run",
    "pauses:answer",
    ADMIN,
)
"""What a key may be allowed. `admin` holds all the others."""

_OWN_SCOPE = re.compile(r"[a-z][a-z0-9_-]*(:[a-z0-9_-]+)+")
"""Scopes that a team names itself, such as `refunds:approve`: pauses can be assigned to them."""
_RESERVED = frozenset(scope.partition(":")[0] for scope in SCOPES)
_CLI_AGENT = "playhead-cli"

REMEMBER_SECONDS = 30.0
_REMEMBER_KEYS = 10_000


SEND_A_KEY = "send an API key as `Authorization: Bearer <key>` or `X-API-Key: <key>`"


class Unauthorized(Refused):
    problem, title, status = "unauthorized", "Who are you?", 401


class ScopeMissing(Forbidden):
    problem, title = "scope-missing", "The key does not allow this"

    def __init__(self, wanted: Iterable[str]):
        names = " or ".join(wanted)
        super().__init__(f"this needs a key with the scope {names}", facts={"scope": names})


class NotFromHere(Forbidden):
    problem, title = "not-from-here", "Only this machine may call"


class UnknownScope(Refused):
    problem, title, status = "unknown-scope", "There is no such scope", 422


class Caller(msgspec.Struct, frozen=True):
    """Whoever is calling: one key of one tenant."""

    tenant: TenantId
    name: str
    scopes: frozenset[str]
    groups: frozenset[str] = frozenset()
    channel: str = "http"
    anonymous: bool = False
    """Nobody knows who they are: what is for somebody by name, or asks for different people, is not for them."""
    kind: Literal["key", "system"] = "key"

    @property
    def actor(self) -> Actor:
        return Actor(kind=self.kind, name=self.name, channel=self.channel)

    @property
    def is_operator(self) -> bool:
        return ADMIN in self.scopes

    def check(self, wanted: tuple[str, ...]) -> None:
        """Raises ScopeMissing unless the key has one of the scopes."""
        if ADMIN not in self.scopes and self.scopes.isdisjoint(wanted):
            raise ScopeMissing(wanted)


class Access:
    """Tells callers by the headers of their requests."""

    def __init__(self, read_models: ReadModels, open_tenant: str | None):
        self._read_models = read_models
        self._open = None if open_tenant is None else Caller(TenantId(open_tenant), "local", frozenset((ADMIN,)))
        self._known: dict[bytes, tuple[Caller | None, float]] = {}

    async def key_holder(self, headers: Mapping[str, str]) -> Caller | None:
        """Whose key these headers hold (names in lower case); None if they hold none. Raises as `caller`."""
        key = _key_of(headers)
        if key is None:
            return None
        caller = await self._look_up(sha256(key.encode(errors="replace")).digest())
        if caller is None:
            raise Unauthorized("this API key is not known, or was revoked")
        return caller

    async def caller(self, headers: Mapping[str, str]) -> Caller:
        """Who sends these headers (names in lower case).

        Raises Unauthorized, NotFromHere, or ReadModelsUnavailable when a key cannot be looked up.
        """
        channel = "cli" if headers.get("user-agent", "").startswith(_CLI_AGENT) else "http"
        if self._open is not None:
            _check_from_here(headers)
            return msgspec.structs.replace(self._open, channel=channel)
        caller = await self.key_holder(headers)
        if caller is None:
            raise Unauthorized(SEND_A_KEY)
        return msgspec.structs.replace(caller, channel=channel)

    async def _look_up(self, key_hash: bytes) -> Caller | None:
        now = asyncio.get_running_loop().time()
        known = self._known.get(key_hash)
        if known is not None and now < known[1]:
            return known[0]
        row = await self._read_models.find_key(key_hash)
        caller = None if row is None else Caller(TenantId(row[0]), row[1], frozenset(row[2]), frozenset(row[3]))
        if len(self._known) >= _REMEMBER_KEYS:
            self._known.clear()
        self._known[key_hash] = (caller, now + REMEMBER_SECONDS)
        return caller


def _key_of(headers: Mapping[str, str]) -> str | None:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    return headers.get("x-api-key") or None


def _check_from_here(headers: Mapping[str, str]) -> None:
    # No key protects this door. A page in a browser of this machine could come in by a name of its own that
    # leads to 127.0.0.1 (DNS rebinding; the Host header tells), or send a form across sites (Origin tells).
    host = urlsplit("//" + headers.get("host", ""))
    if not is_loopback(host.hostname or ""):
        raise NotFromHere("without API keys only requests to a loopback name such as 127.0.0.1 are served")
    origin = headers.get("origin")
    if origin is not None and not is_loopback(urlsplit(origin).hostname or ""):
        raise NotFromHere(f"without API keys no pages of other sites are served, such as {origin}")
    if headers.get("sec-fetch-site") == "cross-site":
        raise NotFromHere("without API keys no pages of other sites are served")


class NewKey(msgspec.Struct, frozen=True):
    """A key that was just made. `key` is not stored: this is the one time that it can be read."""

    key_id: str
    key: str
    tenant: str
    name: str
    scopes: tuple[str, ...]
    groups: tuple[str, ...]
    created_at: datetime


class KeyInfo(msgspec.Struct, frozen=True):
    """What is known of a key."""

    key_id: str
    tenant: str
    name: str
    scopes: list[str]
    groups: list[str]
    created_at: datetime
    revoked_at: datetime | None


BY_ITSELF = Actor(kind="system", name="playhead")
"""Who makes a key when nobody asked for one: a first start does."""


async def create_key(
    database_url: str,
    tenant: str,
    name: str,
    scopes: Iterable[str],
    groups: Iterable[str] = (),
    *,
    by: Actor = BY_ITSELF,
) -> NewKey:
    """Make a key of `tenant`; `name` is who it stands for in the log. Scopes of a team's own are taken, too.

    `by` is who makes it: that is recorded before the key is there. Raises UnknownScope and NoSuchTenant, or
    ReadModelsUnavailable or LogUnavailable when the database does not answer.
    """
    wanted = tuple(dict.fromkeys(scopes))
    if unknown := [scope for scope in wanted if scope not in SCOPES and not _is_own(scope)]:
        detail = f"{', '.join(unknown)}: scopes are {', '.join(SCOPES)}, or names of your own such as refunds:approve"
        raise UnknownScope(detail)
    key_id, key = new_id(), "ph_" + token_urlsafe(32)
    belongs = tuple(dict.fromkeys(groups))
    created = KeyCreated(key_id=key_id, name=name, scopes=wanted, groups=belongs)
    await _record(database_url, tenant, created, by, EventId(new_id()))
    row = (key_id, tenant, name, sha256(key.encode()).digest(), list(wanted), list(belongs))
    made = await _run(database_url, queries.ADD_KEY, row)
    return NewKey(key_id, key, tenant, name, wanted, belongs, made[0][0])


def _is_own(scope: str) -> bool:
    return _OWN_SCOPE.fullmatch(scope) is not None and scope.partition(":")[0] not in _RESERVED


async def list_keys(database_url: str, tenant: str) -> list[KeyInfo]:
    """The keys of a tenant, revoked ones too, oldest first. Raises ReadModelsUnavailable."""
    return [KeyInfo(*row) for row in await _run(database_url, queries.LIST_KEYS, (tenant,))]


async def revoke_key(database_url: str, tenant: str, key_id: str, *, by: Actor = BY_ITSELF) -> bool:
    """End a key for good. False if the tenant has no such key; twice is the same as once.

    `by` is who ends it: that is recorded before it is done, once. Raises ReadModelsUnavailable and LogUnavailable.
    """
    try:
        known_form = str(UUID(key_id))
    except ValueError:
        return False
    found = [key for key in await list_keys(database_url, tenant) if key.key_id == known_form]
    if not found:
        return False
    revoked = KeyRevoked(key_id=known_form, name=found[0].name)
    event_id = EventId(derived_id(revoked.type_name(), tenant, known_form))
    await _record(database_url, tenant, revoked, by, event_id)
    return bool(await _run(database_url, queries.REVOKE_KEY, (tenant, known_form)))


async def _record(database_url: str, tenant: str, fact: EventData, by: Actor, event_id: EventId) -> None:
    async with open_log(database_url, readers=1) as log:
        await record_operation(log, TenantId(tenant), fact, by, event_id=event_id, at=Clock().now())


async def _run(database_url: str, query: str, parameters: tuple[object, ...]) -> list[TupleRow]:
    try:
        async with await psycopg.AsyncConnection.connect(database_url) as connection:
            cursor = await connection.execute(query, parameters)  # pyright: ignore[reportArgumentType]
            return await cursor.fetchall()
    except psycopg.OperationalError as exc:
        raise ReadModelsUnavailable("the database does not answer") from exc
