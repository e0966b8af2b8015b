"""Events in old forms, read in the present one.

What was written is never rewritten, so every form in which a type of event was ever written must be readable for ever.
An event says in which it is: `Envelope.schema_version`. Within a version a type only ever gains fields that have
defaults (`compatibility.py` tells what else there is to change). Anything else is a new version:

1. `SCHEMA_VERSION` of the class goes up by one, and the class is what is written from now on.
2. `UPCASTERS` gets the function that makes the JSON object of the new version from that of the one before. It is never
   changed again: later versions add steps of their own, and an old event goes through all of them.
3. The schema of the version before is kept, in `superseded/events`, for those who read old events themselves.

An upcaster sees the data as it is stored. A value that the log keeps apart is not there, only its name in `blobs`; one
that moves a field moves that name, too. A field that may be sealed must stay where it is: the envelope has its place.
"""

from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar, cast, get_args

import msgspec

from playhead_contracts.errors import Corrupt

JsonObject = dict[str, Any]
Upcaster = Callable[[JsonObject], JsonObject]
Upcasters = Mapping[tuple[str, int], Upcaster]
"""By type and the version that is left behind: the object of the version after it."""

UPCASTERS: Upcasters = {}


class _Kind(Protocol):
    """A class of event data."""

    SCHEMA_VERSION: int

    @classmethod
    def type_name(cls) -> str: ...


T = TypeVar("T")


class UnknownEventType(Corrupt):
    """An event of a type that this process has never heard of: a newer one wrote it."""

    def __init__(self, kind: str):
        super().__init__(f"the event type {kind!r} is not known here: its writer is newer; update this process")


class EventTooNew(Corrupt):
    """An event in a form that came after this process was made."""

    def __init__(self, kind: str, version: int, known: int):
        super().__init__(
            f"an event {kind} has schema version {version}, and this process knows 1 to {known}: its writer is newer; "
            "update this process"
        )
        self.kind, self.version, self.known = kind, version, known


class DataDecoder(Generic[T]):
    """Decodes the data of events, in whichever version they were written.

    `kinds` is the union of the classes. Raises ValueError for an upcaster that is missing, or that leads nowhere.
    """

    def __init__(self, kinds: Any, upcasters: Upcasters):
        classes = cast("tuple[_Kind, ...]", get_args(kinds) or (kinds,))
        self._decoder: msgspec.json.Decoder[T] = msgspec.json.Decoder(kinds)
        self._upcasters = upcasters
        self._present = {kind.type_name(): kind.SCHEMA_VERSION for kind in classes}
        needed = {(name, version) for name, present in self._present.items() for version in range(1, present)}
        if wrong := needed ^ upcasters.keys():
            raise ValueError(f"upcasters are missing, or lead nowhere: {sorted(wrong)}")

    def decode(self, kind: str, version: int, data: bytes | str) -> T:
        """The data of an event of this type, from the bytes that were written in this version.

        Raises UnknownEventType and EventTooNew, and msgspec.ValidationError for bytes that are no such thing.
        """
        present = self._present.get(kind)
        if version != present:
            data = self._raised(kind, version, present, data)
        return self._decoder.decode(data)

    def decode_present(self, data: bytes | str) -> T:
        """The inverse of encoding. Raises msgspec.ValidationError, also for a type that is not known."""
        return self._decoder.decode(data)

    def _raised(self, kind: str, version: int, present: int | None, data: bytes | str) -> bytes:
        if present is None:
            raise UnknownEventType(kind)
        if not 1 <= version < present:
            raise EventTooNew(kind, version, present)
        members: JsonObject = msgspec.json.decode(data)
        for step in range(version, present):
            members = self._upcasters[kind, step](members)
        return msgspec.json.encode(members)
