"""Sealed values: what is stored in place of a value about a person, and opening it again.

A sealed value stands in its field as `{"$sealed": "<base64>", "key": "<key id>"}`, or, if it was a text, as the text
`sealed:<key id>:<base64>`, so that whoever reads past it still finds an object where there was one and a text where
there was one. The base64 is a nonce of 12 bytes and what AES-256-GCM makes of the value's JSON with it; tenant and key
id are authenticated with it. The envelope's `seal` lists the fields: nothing else is ever opened, so a value that
somebody sends in this form stays what it is.

Sealing comes before everything else: the hash chain, the store of large values and the bus only know the sealed form.
When the key is gone, an object reads as `{"$forgotten": true}` and a text as `(forgotten)`.
"""

import base64
import binascii
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import cast

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from playhead_contracts.errors import Corrupt
from playhead_contracts.events import Json, Seal
from playhead_contracts.ids import TenantId

KEY_BYTES = 32
NONCE_BYTES = 12

FORGOTTEN: dict[str, Json] = {"$forgotten": True}
FORGOTTEN_TEXT = "(forgotten)"

_SEALED, _KEY = "$sealed", "key"
_TEXT = "sealed:"
_BEGINNINGS = (b'{"$sealed"', b'"sealed:')

_Members = dict[str, msgspec.Raw]
_members = msgspec.json.Decoder(_Members)
_encoder = msgspec.json.Encoder(order="sorted")

Key = AESGCM
"""A key, ready to be used."""

Keys = Mapping[str, Key | None]
"""Keys by id; None for one that is gone."""


class BrokenSeal(Corrupt):
    """A sealed value is not what was written."""


class Sealed(msgspec.Struct, frozen=True):
    """A sealed value, as its form says."""

    key_id: str
    content: str
    """base64"""
    is_text: bool


def seal_fields(data: bytes, seal: Seal, key: Key | None, tenant: TenantId) -> tuple[bytes, Seal | None]:
    """Encoded data with the fields of a seal closed, and the seal of those that there were. Without the key they are
    forgotten at once.

    Of a field on whose way there is something else than an object, that is closed. What is null stays so.
    """
    closed: list[str] = []

    def close(value: bytes, field: str) -> bytes:
        closed.append(field)
        return _forgotten(value[:1] == b'"') if key is None else _closed(value, key, seal.key_id, tenant)

    data = _changed(data, seal.fields, close, closed)
    return data, Seal(seal.key_id, tuple(closed)) if closed else None


def open_fields(data: bytes, seal: Seal, keys: Keys, tenant: TenantId) -> bytes:
    """Stored data with the fields of its seal as they were. What is open already stays so. Raises BrokenSeal."""

    def opened(value: bytes, _: str) -> bytes:
        found = read_sealed(msgspec.json.decode(value)) if value.startswith(_BEGINNINGS) else None
        return value if found is None or found.key_id != seal.key_id else _opened(found, keys, tenant)

    # Backwards: what was closed around something closed is opened first.
    return _changed(data, seal.fields[::-1], opened, ())


def read_sealed(value: Json) -> Sealed | None:
    """A value in sealed form, None if it has another."""
    match value:
        case str() if value.startswith(_TEXT):
            key_id, colon, content = value.removeprefix(_TEXT).partition(":")
            return Sealed(key_id, content, True) if colon else None
        case dict():
            said = cast("dict[str, Json]", value)
            content, key_id = said.get(_SEALED), said.get(_KEY)
            if len(said) == 2 and isinstance(content, str) and isinstance(key_id, str):
                return Sealed(key_id, content, False)
            return None
        case _:
            return None


def may_hold_sealed(content: bytes) -> bool:
    """Whether JSON may have a value in sealed form in it. Cheap to ask."""
    return b'"$sealed"' in content or b'"sealed:' in content


def open_value(value: Json, keys: Keys, tenant: TenantId) -> Json:
    """A JSON value in which everything that is sealed with one of `keys` is open; the rest stays. Raises BrokenSeal."""
    found = read_sealed(value)
    if found is not None:
        return msgspec.json.decode(_opened(found, keys, tenant)) if found.key_id in keys else value
    match value:
        case dict():
            members = cast("dict[str, Json]", value)
            return {name: open_value(inner, keys, tenant) for name, inner in members.items()}
        case list():
            return [open_value(inner, keys, tenant) for inner in cast("list[Json]", value)]
        case _:
            return value


def _closed(value: bytes, key: Key, key_id: str, tenant: TenantId) -> bytes:
    nonce = secrets.token_bytes(NONCE_BYTES)
    content = base64.b64encode(nonce + key.encrypt(nonce, value, _context(tenant, key_id)))
    if value[:1] == b'"':
        return b'"%b%b:%b"' % (_TEXT.encode(), key_id.encode(), content)
    return b'{"$sealed":"%b","key":"%b"}' % (content, key_id.encode())


def _opened(found: Sealed, keys: Keys, tenant: TenantId) -> bytes:
    key = keys.get(found.key_id)
    if key is None:
        return _forgotten(found.is_text)
    try:
        content = base64.b64decode(found.content, validate=True)
        return key.decrypt(content[:NONCE_BYTES], content[NONCE_BYTES:], _context(tenant, found.key_id))
    except (InvalidTag, binascii.Error, ValueError) as exc:
        raise BrokenSeal(f"a value that is sealed with key {found.key_id} is not what was written") from exc


def _forgotten(is_text: bool) -> bytes:
    return _encoder.encode(FORGOTTEN_TEXT if is_text else FORGOTTEN)


def _context(tenant: TenantId, key_id: str) -> bytes:
    return f"playhead/{tenant}/{key_id}".encode()


def _changed(data: bytes, fields: Sequence[str], change: Callable[[bytes, str], bytes], done: Collection[str]) -> bytes:
    """A JSON object in which the values at these JSON Pointers are others. What is not touched stays byte for byte.

    Nothing is touched that is inside of what is `done`.
    """
    members = _members.decode(data)
    is_changed = False
    for field in fields:
        if any(field == outer or field.startswith(f"{outer}/") for outer in done):
            continue
        names = field.split("/")[1:]
        if "~" in field:
            names = [name.replace("~1", "/").replace("~0", "~") for name in names]
        value = members.get(names[0])
        if value is not None:
            before = bytes(value)
            after = _inside(before, names, 1, field, change)
            if after != before:
                members[names[0]] = msgspec.Raw(after)
                is_changed = True
    return _encoder.encode(members) if is_changed else data


def _inside(data: bytes, names: Sequence[str], depth: int, field: str, change: Callable[[bytes, str], bytes]) -> bytes:
    """The value that `depth` names led to, with what the others lead to changed."""
    if data == b"null":
        return data
    if depth == len(names) or not data.startswith(b"{"):
        return change(data, "/".join(field.split("/")[: depth + 1]))
    members = _members.decode(data)
    inner = members.get(names[depth])
    if inner is None:
        return data
    before = bytes(inner)
    after = _inside(before, names, depth + 1, field, change)
    if after == before:
        return data
    members[names[depth]] = msgspec.Raw(after)
    return _encoder.encode(members)
