"""The keys of people: made when an execution first needs one, kept in the database, and destroyed to forget.

A key is looked up at most every `REMEMBER_SECONDS` by each process, so that much later at the latest nobody has one
that was destroyed. With a master key (`PLAYHEAD_MASTER_KEY`) what the database holds is wrapped with it: a copy of the
database alone then opens nothing.
"""

import secrets
import time
import uuid
from collections.abc import Collection
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from playhead_contracts.errors import Corrupt
from playhead_contracts.ids import ExecutionId, StreamId, TenantId, execution_of
from playhead_eventlog import queries
from playhead_eventlog.reader import Reader
from playhead_eventlog.sealing import KEY_BYTES, NONCE_BYTES, Key, Keys

REMEMBER_SECONDS = 30.0
MOST_REMEMBERED = 10_000


class VaultClosed(Corrupt):
    """A key in the vault is wrapped, and not with the master key that this process has."""


class _Known(NamedTuple):
    key: Key | None
    until: float


class Vault:
    """The keys of one log's people. Every method raises LogUnavailable."""

    def __init__(self, reader: Reader, master_key: bytes | None = None):
        self._reader = reader
        self._master = None if master_key is None else AESGCM(master_key)
        self._known: dict[str, _Known] = {}

    async def key_for(self, tenant: TenantId, subject: str) -> str:
        """The id of the key of a person, which is made if there is none. Raises VaultClosed."""
        new_id, new_key = str(uuid.uuid4()), secrets.token_bytes(KEY_BYTES)
        stored = new_key if self._master is None else _wrapped(self._master, new_id, new_key)
        row = (tenant, subject, new_id, stored, self._master is not None)
        [(key_id, key, is_wrapped)] = await self._reader.fetch(queries.KEY_FOR, row)
        self._remember(str(key_id), self._unwrapped(str(key_id), bytes(key), is_wrapped))
        return str(key_id)

    async def find(self, tenant: TenantId, subject: str) -> str | None:
        """The id of the key of a person, None if there is none: nothing is sealed, or all is forgotten."""
        rows = await self._reader.fetch(queries.FIND_KEY, (tenant, subject))
        return str(rows[0][0]) if rows else None

    async def exists(self, key_id: str) -> bool:
        """Whether a key is there now, whatever this process remembers."""
        self._known.pop(key_id, None)
        return (await self.keys([key_id]))[key_id] is not None

    async def keys(self, key_ids: Collection[str]) -> Keys:
        """These keys; None for each that is gone. Raises VaultClosed."""
        if not key_ids:
            return {}
        now, wanted = time.monotonic(), set(key_ids)
        found = {key_id: known.key for key_id in wanted if (known := self._known.get(key_id)) and known.until > now}
        missing = [key_id for key_id in wanted - found.keys() if _is_id(key_id)]
        if missing:
            rows = await self._reader.fetch(queries.READ_KEYS, (missing,))
            there = {str(key_id): self._unwrapped(str(key_id), bytes(key), wrapped) for key_id, key, wrapped in rows}
            for key_id in missing:
                self._remember(key_id, there.get(key_id))
                found[key_id] = there.get(key_id)
        return {key_id: found.get(key_id) for key_id in wanted}

    async def executions(self, tenant: TenantId, key_id: str) -> list[ExecutionId]:
        """The executions that were begun with a key, in order."""
        rows = await self._reader.fetch(queries.EXECUTIONS_OF_KEY, (tenant, f'%"key_id":"{key_id}"%'))
        streams = (execution_of(StreamId(row[0])) for row in rows)
        return [execution_id for execution_id in streams if execution_id is not None]

    async def destroy(self, tenant: TenantId, subject: str, key_id: str) -> bool:
        """Destroy the key of a person; whether it was still there."""
        rows = await self._reader.fetch(queries.FORGET, (tenant, subject, key_id))
        self._known.pop(key_id, None)
        return bool(rows[0][0])

    def _remember(self, key_id: str, key: Key | None) -> None:
        if len(self._known) >= MOST_REMEMBERED:
            self._known.clear()
        self._known[key_id] = _Known(key, time.monotonic() + REMEMBER_SECONDS)

    def _unwrapped(self, key_id: str, stored: bytes, is_wrapped: bool) -> Key:
        if not is_wrapped:
            return Key(stored)
        if self._master is None:
            raise VaultClosed(f"key {key_id} is wrapped: set PLAYHEAD_MASTER_KEY")
        try:
            return Key(self._master.decrypt(stored[:NONCE_BYTES], stored[NONCE_BYTES:], key_id.encode()))
        except InvalidTag as exc:
            raise VaultClosed(f"key {key_id} is wrapped with another PLAYHEAD_MASTER_KEY") from exc


def _wrapped(master: AESGCM, key_id: str, key: bytes) -> bytes:
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + master.encrypt(nonce, key, key_id.encode())


def _is_id(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
