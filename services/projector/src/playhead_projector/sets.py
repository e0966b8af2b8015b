"""The names of sets of read models: the live one, and those beside it in schemas of their own."""

import re
from collections.abc import Sequence

from playhead_contracts.errors import Conflict, NotFound, Refused
from playhead_projector.queries import LIVE, SET_PREFIX
from playhead_projector.store import Store

LIVE_NAME = "live"
BUILDING_NAME = "building"

_NAME = re.compile(r"[a-z0-9_]{1,40}", re.ASCII)


class UnknownSet(NotFound):
    """There are no read models of this name beside the live ones."""

    def __init__(self, name: str):
        super().__init__(f"there is no set of read models {name!r}; `playhead rebuild --list` shows those there are")


class SetExists(Conflict):
    """The name is taken."""

    def __init__(self, name: str):
        super().__init__(
            f"there is a set of read models {name!r} already; give another --name, or drop it with --abort"
        )


class SetIsOfAnotherVersion(Conflict):
    """A set that other code built cannot go on."""

    def __init__(self, name: str, projections: Sequence[str]):
        super().__init__(f"{', '.join(projections)} of set {name!r} was built by another version; build the set anew")


class BadSetName(Refused):
    """No schema can be named like this."""

    problem, title, status = "bad-name", "This cannot be a name", 422

    def __init__(self, name: str):
        super().__init__(
            f"{name!r} cannot name read models: a name is of small letters, digits and _, at most 40 of them, "
            f"and is not {LIVE_NAME} or {BUILDING_NAME}"
        )


def checked_name(name: str) -> str:
    """A name for a new set. Raises BadSetName."""
    if not _may_name(name):
        raise BadSetName(name)
    return name


async def has_set(store: Store, name: str) -> bool:
    """Whether there is a set of this name beside the live one."""
    return _may_name(name) and await store.has_schema(SET_PREFIX + name)


async def schema_of(store: Store, name: str) -> str:
    """The schema of a set, or that of the live one. Raises UnknownSet."""
    if name == LIVE_NAME:
        return LIVE
    if not await has_set(store, name):
        raise UnknownSet(name)
    return SET_PREFIX + name


def _may_name(name: str) -> bool:
    return name not in (LIVE_NAME, BUILDING_NAME) and _NAME.fullmatch(name) is not None
