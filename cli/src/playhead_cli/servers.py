"""Where the database and the bus are, for commands that go past the gateway."""

import os
from pathlib import Path

import msgspec

from playhead_cli.options import DEFAULT_DATA
from playhead_contracts.errors import PlayheadError
from playhead_runtime.embedded_nats import USER
from playhead_runtime.embedded_postgres import DATABASE, OWNER, SERVICE


class NotConfigured(PlayheadError):
    """Nobody said where a server is."""

    exit_code = 2


class Place(msgspec.Struct, frozen=True):
    """URLs, with passwords."""

    nats_url: str
    database_url: str
    owner_database_url: str


class _Kept(msgspec.Struct):
    """What `servers.json` of an embedded system says."""

    nats_port: int
    nats_password: str
    postgres_port: int
    owner_password: str
    service_password: str


def place_of(data: Path) -> Place:
    """The servers of the `playhead dev` that runs on this directory. Raises NotConfigured."""
    try:
        kept = msgspec.json.decode((data / "servers.json").read_bytes(), type=_Kept)
    except OSError as error:
        raise NotConfigured(f"{data} is no data of `playhead dev`: {error}") from error
    postgres = f"127.0.0.1:{kept.postgres_port}/{DATABASE}"
    return Place(
        nats_url=f"nats://{USER}:{kept.nats_password}@127.0.0.1:{kept.nats_port}",
        database_url=f"postgresql://{SERVICE}:{kept.service_password}@{postgres}",
        owner_database_url=f"postgresql://{OWNER}:{kept.owner_password}@{postgres}",
    )


def database_url(data: Path | None) -> str:
    """The URL of the services' role. Raises NotConfigured."""
    place = _place(data, "PLAYHEAD_DATABASE_URL")
    return place.database_url if place else os.environ["PLAYHEAD_DATABASE_URL"]


def owner_database_url(data: Path | None) -> str:
    """The URL of whoever owns the schema. Raises NotConfigured."""
    if data is None and (url := os.environ.get("PLAYHEAD_DATABASE_OWNER_URL")):
        return url
    place = _place(data, "PLAYHEAD_DATABASE_URL")
    return place.owner_database_url if place else os.environ["PLAYHEAD_DATABASE_URL"]


def nats_url(data: Path | None) -> str:
    """The URL of the bus. Raises NotConfigured."""
    place = _place(data, "PLAYHEAD_NATS_URL")
    return place.nats_url if place else os.environ["PLAYHEAD_NATS_URL"]


def _place(data: Path | None, variable: str) -> Place | None:
    """The servers of `data`; None when the variable says where they are; else those of a `playhead dev` in here."""
    if data is not None:
        return place_of(data)
    if os.environ.get(variable):
        return None
    if (DEFAULT_DATA / "servers.json").exists():
        return place_of(DEFAULT_DATA)
    raise NotConfigured(f"set {variable}, or give --data with the directory of a running `playhead dev`")
