"""Where the database and the bus are, for commands that go past the gateway."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from playhead_cli.options import DEFAULT_DATA
from playhead_contracts.errors import PlayheadError
from playhead_runtime.embedded_nats import USER
from playhead_runtime.embedded_postgres import DATABASE, OWNER, SERVICE

if TYPE_CHECKING:
    from playhead_cli.verifying import Witnesses
    from playhead_eventlog.signing import SigningKey

CHECKPOINTS = "checkpoints"
"""The folder in the data of `playhead dev` where signed checkpoints and their keys are."""
ARCHIVE = "archive"
"""The folder there that executions are moved to."""
SIGNING_KEY, PUBLIC_KEY = "signing.pem", "signing.pub"


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


def witnesses_of(folders: Sequence[Path], keys: Sequence[str], data: Path | None) -> "Witnesses | None":
    """The signed checkpoints to hold the log against: those that were named, else those of a `playhead dev`, if any.

    Raises BadInput when only one of folders and keys was named, and BadKey.
    """
    from playhead_cli.inputs import BadInput
    from playhead_cli.verifying import Witnesses
    from playhead_eventlog.signing import PublicKey

    if bool(folders) != bool(keys):
        raise BadInput("--checkpoints and --public-key go together: a checkpoint is worth what its signature is worth")
    if folders:
        return Witnesses(tuple(folders), tuple(PublicKey.read(key) for key in keys))
    place = data_of(data)
    if place is None or not (place / CHECKPOINTS / PUBLIC_KEY).exists():
        return None
    return Witnesses((place / CHECKPOINTS,), (PublicKey.read(place / CHECKPOINTS / PUBLIC_KEY),))


def data_of(data: Path | None) -> Path | None:
    """The directory of the `playhead dev` that is meant, if one is and not servers elsewhere."""
    if data is not None:
        return data
    is_elsewhere = bool(os.environ.get("PLAYHEAD_DATABASE_URL"))
    return None if is_elsewhere or not (DEFAULT_DATA / "servers.json").exists() else DEFAULT_DATA


def archive_url(given: str | None, data: Path | None) -> str | None:
    """Where archived executions are: where it was said, or where the variable says; else beside a `playhead dev`."""
    place = data_of(data)
    beside = None if place is None else str(place.resolve() / ARCHIVE)
    return given or (os.environ.get("PLAYHEAD_ARCHIVE_URL") if data is None else None) or beside


def make_signing_key(folder: Path) -> "SigningKey":
    """A new key in a folder, in `SIGNING_KEY` and `PUBLIC_KEY`. Raises FileExistsError when there is one."""
    from playhead_eventlog.signing import SigningKey

    key = SigningKey.new()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Never readable by others, not even for a moment.
    opened = os.open(folder / SIGNING_KEY, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(opened, "wb") as file:
        file.write(key.pem())
    (folder / PUBLIC_KEY).write_bytes(key.public.pem())
    return key


def _place(data: Path | None, variable: str) -> Place | None:
    """The servers of `data`; None when the variable says where they are; else those of a `playhead dev` in here."""
    if data is not None:
        return place_of(data)
    if os.environ.get(variable):
        return None
    if (DEFAULT_DATA / "servers.json").exists():
        return place_of(DEFAULT_DATA)
    raise NotConfigured(f"set {variable}, or give --data with the directory of a running `playhead dev`")
