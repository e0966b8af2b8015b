"""Ed25519 keys (RFC 8032) for what must be believed without believing the database: checkpoints, archives.

A key is a PEM file, as `openssl genpkey -algorithm ed25519` writes it, or the 32 bytes themselves in base64.
"""

import base64
import binascii
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from playhead_contracts.errors import PlayheadError

_PEM = b"-----BEGIN"
_RAW_BYTES = 32


class BadKey(PlayheadError):
    """What should be a key is none."""


class PublicKey:
    """What signatures are checked with. It is no secret."""

    def __init__(self, key: Ed25519PublicKey):
        self._key = key

    @classmethod
    def read(cls, where: str | Path) -> "PublicKey":
        """The key in a file, or the key itself. That of a private key is taken from it. Raises BadKey."""
        content = _content(where)
        if b"PRIVATE KEY" in content:
            return SigningKey.read(where).public
        try:
            if content.startswith(_PEM):
                key = load_pem_public_key(content)
            else:
                key = Ed25519PublicKey.from_public_bytes(_raw(content))
        except ValueError as error:
            raise BadKey(f"no public key: {error}") from error
        if not isinstance(key, Ed25519PublicKey):
            raise BadKey("no public key of Ed25519, but of another kind")
        return cls(key)

    @property
    def key_id(self) -> str:
        """16 hexadecimal digits that tell it from others."""
        return sha256(self._key.public_bytes_raw()).hexdigest()[:16]

    def is_signed(self, content: bytes, signature: str) -> bool:
        """Whether the private key that belongs to it made this signature of these bytes."""
        try:
            self._key.verify(base64.b64decode(signature, validate=True), content)
        except (InvalidSignature, binascii.Error, ValueError):
            return False
        return True

    def pem(self) -> bytes:
        return self._key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


class SigningKey:
    """What signs. Whoever has it can sign anything in its name."""

    def __init__(self, key: Ed25519PrivateKey):
        self._key = key
        self.public = PublicKey(key.public_key())

    @classmethod
    def new(cls) -> "SigningKey":
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def read(cls, where: str | Path) -> "SigningKey":
        """The key in a file, or the key itself. Raises BadKey, which does not show it."""
        content = _content(where)
        try:
            if content.startswith(_PEM):
                key = load_pem_private_key(content, password=None)
            else:
                key = Ed25519PrivateKey.from_private_bytes(_raw(content))
        except (ValueError, TypeError) as error:
            raise BadKey(f"no signing key: {error}") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise BadKey("no signing key of Ed25519, but of another kind")
        return cls(key)

    @property
    def key_id(self) -> str:
        """That of the public key."""
        return self.public.key_id

    def sign(self, content: bytes) -> str:
        """The signature of these bytes, in base64. The same bytes have the same signature."""
        return base64.b64encode(self._key.sign(content)).decode()

    def raw(self) -> bytes:
        """The 32 bytes themselves."""
        return self._key.private_bytes_raw()

    def pem(self) -> bytes:
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _content(where: str | Path) -> bytes:
    """What is in the file of that name, if there is one; else the text itself."""
    try:
        return Path(where).expanduser().read_bytes().strip()
    except OSError as error:
        if isinstance(where, Path) or _is_path(where):
            raise BadKey(f"the file of the key cannot be read: {error.strerror or error}") from error
        return where.strip().encode()


def _is_path(text: str) -> bool:
    try:
        _raw(text.strip().encode())
    except BadKey:
        return not text.strip().startswith(_PEM.decode())
    return False


def _raw(content: bytes) -> bytes:
    try:
        raw = base64.b64decode(content, validate=True)
    except binascii.Error as error:
        raise BadKey("no key: it is neither PEM nor base64") from error
    if len(raw) != _RAW_BYTES:
        raise BadKey(f"no key: base64 of {_RAW_BYTES} bytes was expected, these are {len(raw)}")
    return raw
