"""The waits for events that are open, so arranged that an event finds those it may match without asking all of them.

Waits stand by tenant and awaited type, and within that, where their filter tells one, by a text that the event must
have at some path (see `key_of`): ten thousand executions that each wait for their own order cost one look-up an event.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec

from playhead_contracts.events import Json, Watch
from playhead_contracts.ids import BlockPath, ExecutionId, TenantId
from playhead_engine.watching import OWN_PREFIX, Key, awaited_type, key_of, log_types, text_at

WatchKey = tuple[ExecutionId, BlockPath]


class OpenWatch(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A block that waits for events. It began with the event of `version`, which stands at `opened_at` in the log."""

    tenant: TenantId
    execution_id: ExecutionId
    path: BlockPath
    version: int
    opened_at: int
    after: int
    """Events count from behind this position on."""
    watch: Watch
    taken: tuple[int, ...] = ()
    """Which of the events have come."""
    behind: int | None = None
    """Up to where it has looked at what came early; None once it goes along with the courier."""

    @property
    def key(self) -> WatchKey:
        return self.execution_id, self.path


class Awaiting(msgspec.Struct, frozen=True):
    """One of the events that a watch waits for."""

    watch: OpenWatch
    number: int


_Slot = tuple[WatchKey, int]


class _Shelf:
    """All that wait for events of one type of one tenant."""

    def __init__(self) -> None:
        self._any: dict[_Slot, Awaiting] = {}
        self._by_text: dict[tuple[str | int, ...], dict[str, dict[_Slot, Awaiting]]] = {}

    def __bool__(self) -> bool:
        return bool(self._any or self._by_text)

    def put(self, slot: _Slot, awaiting: Awaiting, key: Key | None) -> None:
        if key is None:
            self._any[slot] = awaiting
        else:
            self._by_text.setdefault(key.path, {}).setdefault(key.text, {})[slot] = awaiting

    def take(self, slot: _Slot, key: Key | None) -> None:
        if key is None:
            self._any.pop(slot, None)
            return
        texts = self._by_text.get(key.path, {})
        texts.get(key.text, {}).pop(slot, None)
        if not texts.get(key.text, True):
            del texts[key.text]
        if not texts:
            self._by_text.pop(key.path, None)

    def find(self, seen: Mapping[str, Json]) -> list[Awaiting]:
        found = list(self._any.values())
        for path, texts in self._by_text.items():
            text = text_at(path, seen)
            if text is not None:
                found += texts.get(text, {}).values()
        return found


class OpenWatches:
    """The open waits, in memory."""

    def __init__(self, watches: Iterable[OpenWatch] = ()):
        self._of: dict[ExecutionId, dict[BlockPath, OpenWatch]] = {}
        self._shelves: dict[tuple[TenantId, str | None], _Shelf] = {}
        self._slots: dict[WatchKey, dict[int, Key | None]] = {}
        self._taken: dict[WatchKey, set[int]] = {}
        self._log_types: Counter[str] = Counter()
        self.catching_up: dict[WatchKey, OpenWatch] = {}
        for watch in watches:
            self.open(watch)

    def __len__(self) -> int:
        return sum(len(paths) for paths in self._of.values())

    def has(self, execution_id: ExecutionId) -> bool:
        """Whether a block of this execution waits."""
        return execution_id in self._of

    def get(self, key: WatchKey) -> OpenWatch | None:
        return self._of.get(key[0], {}).get(key[1])

    def wants_type(self, log_type: str) -> bool:
        """Whether anybody who goes along waits for events of this type of the log."""
        return self._log_types[log_type] > 0

    def wants(self, tenant: TenantId, event_type: str) -> bool:
        """Whether anybody who goes along waits for events of this type, as others see it."""
        return any(self._shelves_for(tenant, event_type))

    def awaiting(self, tenant: TenantId, seen: Mapping[str, Json]) -> list[Awaiting]:
        """Who may wait for this event (`as_seen`), of those who go along; their filters are still to be asked."""
        return [each for shelf in self._shelves_for(tenant, str(seen["type"])) for each in shelf.find(seen)]

    def open(self, watch: OpenWatch) -> None:
        """Add a wait, in the place of what was known of it, or of an earlier one of its block."""
        self.close(watch.key)
        self._of.setdefault(watch.execution_id, {})[watch.path] = watch
        self._taken[watch.key] = set(watch.taken)
        if watch.behind is not None:
            self.catching_up[watch.key] = watch
            return
        slots = self._slots[watch.key] = {}
        for number, watched in enumerate(watch.watch.events):
            if number in watch.taken:
                continue
            kind, key = awaited_type(watched), key_of(watched, watch.watch.captured)
            slots[number] = key
            shelf = self._shelves.setdefault((watch.tenant, kind), _Shelf())
            shelf.put((watch.key, number), Awaiting(watch, number), key)
            self._log_types.update(log_types(kind))

    def is_open(self, watch: OpenWatch, number: int) -> bool:
        """Whether an event is still waited for, as far as is known here."""
        taken = self._taken.get(watch.key)
        return taken is not None and number not in taken

    def is_done(self, watch: OpenWatch) -> bool:
        """Whether all of its events have come, as far as is known here."""
        return len(self._taken.get(watch.key, ())) == len(watch.watch.events)

    def as_it_is(self, key: WatchKey) -> OpenWatch:
        """A wait with what has come by now."""
        return msgspec.structs.replace(self._of[key[0]][key[1]], taken=tuple(sorted(self._taken[key])))

    def take(self, watch: OpenWatch, number: int) -> None:
        """One of the events has come, and is no longer waited for."""
        self._taken[watch.key].add(number)
        self._unshelve(watch, number)

    def close(self, key: WatchKey) -> None:
        """Take a wait out, if it is there."""
        execution_id, path = key
        watch = self.get(key)
        if watch is None:
            return
        for number in list(self._slots.get(key, ())):
            self._unshelve(watch, number)
        self._slots.pop(key, None)
        self._taken.pop(key, None)
        self.catching_up.pop(key, None)
        paths = self._of[execution_id]
        del paths[path]
        if not paths:
            del self._of[execution_id]

    def of(self, execution_id: ExecutionId) -> list[OpenWatch]:
        """The waits of an execution."""
        return list(self._of.get(execution_id, {}).values())

    def _unshelve(self, watch: OpenWatch, number: int) -> None:
        slots = self._slots.get(watch.key, {})
        if number not in slots:
            return
        key, kind = slots.pop(number), awaited_type(watch.watch.events[number])
        shelf = self._shelves[watch.tenant, kind]
        shelf.take((watch.key, number), key)
        if not shelf:
            del self._shelves[watch.tenant, kind]
        self._log_types.subtract(log_types(kind))

    def _shelves_for(self, tenant: TenantId, event_type: str) -> list[_Shelf]:
        # Who names no type waits for messages, never for events of ours.
        kinds = (event_type,) if event_type.startswith(OWN_PREFIX) else (event_type, None)
        return [shelf for kind in kinds if (shelf := self._shelves.get((tenant, kind))) is not None]
