"""Read models that other packages bring, found through the entry point group `playhead.projections`.

An entry point is a `Projection`. One that cannot be used harms no other: it is left out, with the reason.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import entry_points

import msgspec

from playhead_contracts.errors import PlayheadError
from playhead_projector.projections import ALL, KINDS, Projection

GROUP = "playhead.projections"

_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}", re.ASCII)
_OURS = ("checkpoints", "checkpoints_pkey", "open_watches", "open_watches_pkey", "relay", "courier")
"""Names in the schema `read`, and in its checkpoints, that are no projection's."""


class BadProjection(PlayheadError):
    """An installed package registers something that is no usable projection."""


class Installed(msgspec.Struct, frozen=True):
    """What other packages bring: the projections, and the entry points that are none, with the reason."""

    projections: tuple[Projection, ...]
    faults: dict[str, str]


@lru_cache(maxsize=1)
def installed() -> Installed:
    """Every installed projection, in the order of the names of their entry points."""
    found: list[Projection] = []
    faults: dict[str, str] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        try:
            projection = entry.load()
            check(projection, [*ALL, *found])
        except BadProjection as exc:
            faults[entry.name] = f"{entry.value}: {exc}"
        except Exception as exc:  # noqa: BLE001 - it is somebody else's code, and its fault is told as its own
            faults[entry.name] = f"{entry.value} cannot be loaded: {type(exc).__name__}: {exc}"
        else:
            found.append(projection)
    return Installed(tuple(found), faults)


def every_projection() -> tuple[Projection, ...]:
    """Those of Playhead, and those that are installed."""
    return (*ALL, *installed().projections)


def check(projection: object, others: Sequence[Projection]) -> None:
    """Raises BadProjection for what is no projection, has a table that cannot be, or takes a name that is taken."""
    if not isinstance(projection, Projection):
        raise BadProjection("it is no playhead_projector.projections.Projection")
    table = projection.table
    for name in (table.name, *table.columns, *table.indexes):
        if not _NAME.fullmatch(name):
            raise BadProjection(f"{name!r} is no name: small letters, digits and _, at most 41, a letter first")
    if projection.version < 1:
        raise BadProjection("versions begin at 1")
    for name, kind in table.columns.items():
        if kind.removesuffix(" not null") not in KINDS:
            raise BadProjection(
                f"column {name}: {kind!r} is none of {', '.join(sorted(KINDS))}, with or without not null"
            )
    if not table.key or not table.columns.keys() >= {*table.key, *table.kept, *table.added}:
        raise BadProjection("key, kept and added must name columns, and there must be a key")
    for name in (*table.key, *table.added):
        if not table.columns[name].endswith(" not null"):
            raise BadProjection(f"column {name} must be not null")
    if table.added & {*table.key, *table.kept} or any(
        table.columns[name].split()[0] not in ("integer", "bigint", "numeric") for name in table.added
    ):
        raise BadProjection("added columns are integer, bigint or numeric, and neither of the key nor kept")
    taken = {*_OURS, *(relation for other in others for relation in other.table.relations)}
    if clash := taken.intersection(table.relations):
        raise BadProjection(f"the name {min(clash)} is taken")
