"""Signed checkpoints of the log: the key, what was signed, and signing at once."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from playhead_cli.options import AsJson, Data

if TYPE_CHECKING:
    from playhead_eventlog.checkpoints import Checkpoint
    from playhead_projector.settings import Settings

checkpoints = typer.Typer(help="Signed checkpoints of the log, kept outside of the database.", no_args_is_help=True)

Folder = Annotated[
    Path | None,
    typer.Option(
        "--checkpoints", envvar="PLAYHEAD_CHECKPOINT_DIR", help="The folder; else that of a `playhead dev` in here."
    ),
]
SigningKeyFile = Annotated[
    str | None,
    typer.Option(
        "--signing-key", envvar="PLAYHEAD_SIGNING_KEY", help="The file of the private key; else that of `playhead dev`."
    ),
]
PublicKeys = Annotated[
    list[str] | None,
    typer.Option(
        "--public-key",
        envvar=["PLAYHEAD_PUBLIC_KEY", "PLAYHEAD_SIGNING_KEY"],
        help="The file of a public key; several times for more.",
    ),
]


def register(app: typer.Typer) -> None:
    app.add_typer(checkpoints, name="checkpoints")


@checkpoints.command()
def keygen(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to; not the folder of the checkpoints.")],
    as_json: AsJson = False,
) -> None:
    """Make a key to sign with (Ed25519): `signing.pem`, which is secret, and `signing.pub`, which is for auditors."""
    from playhead_cli.inputs import BadInput
    from playhead_cli.screen import print_json, screen
    from playhead_cli.servers import PUBLIC_KEY, SIGNING_KEY, make_signing_key

    try:
        key = make_signing_key(folder)
    except FileExistsError:
        raise BadInput(
            f"{folder} has a key already; checkpoints that it signed need it, so it is not replaced"
        ) from None
    if as_json:
        print_json({"key_id": key.key_id, "signing_key": str(folder / SIGNING_KEY), "public": str(folder / PUBLIC_KEY)})
        return
    screen().print(f"key {key.key_id}", markup=False)
    screen().print(f"PLAYHEAD_SIGNING_KEY={folder / SIGNING_KEY}  (for the projector alone)", markup=False)
    screen().print(f"{folder / PUBLIC_KEY}  (for auditors: keep a copy elsewhere)", markup=False, soft_wrap=True)


@checkpoints.command("list")
def list_checkpoints(
    folder: Folder = None, public_key: PublicKeys = None, data: Data = None, as_json: AsJson = False
) -> None:
    """List what was signed, oldest first, and whether each signature holds. Exit code 1 if one does not.

    Whether the log is what was signed, `playhead verify` tells.
    """
    from playhead_cli.screen import print_json, screen, table
    from playhead_cli.servers import witnesses_of
    from playhead_eventlog.checkpoints import BrokenCheckpoint, Checkpoints, read_checkpoint

    found = witnesses_of([] if folder is None else [folder], public_key or [], data)
    if found is None:
        raise _nowhere()
    signed: list[Checkpoint] = []
    broken: list[str] = []
    for each in Checkpoints(found.folders[0]).lines():
        try:
            signed.append(read_checkpoint(each.line, found.keys))
        except BrokenCheckpoint as error:
            broken.append(f"{each.file} line {each.number}: {error}")
    if as_json:
        print_json({"items": signed, "broken": broken})
    else:
        made = table("position", "events", "signed (UTC)", "key", "digest")
        for each in signed:
            at = f"{each.signed_at:%Y-%m-%d %H:%M:%S}"
            made.add_row(str(each.position), str(each.events), at, each.key_id, each.digest)
        screen().print(made if signed else "nothing was signed yet")
        for each in broken:
            screen().print(f"[red]broken[/]: {each}", soft_wrap=True)
    if broken:
        raise typer.Exit(1)


@checkpoints.command("sign-now")
def sign_now(
    folder: Folder = None, signing_key: SigningKeyFile = None, data: Data = None, as_json: AsJson = False
) -> None:
    """Have the log signed now. A running projector that signs is asked to; if there is none, it is done here."""
    import asyncio

    from playhead_cli.screen import print_json, screen
    from playhead_cli.servers import CHECKPOINTS, SIGNING_KEY, data_of, database_url
    from playhead_projector.settings import Settings

    if folder is None and (place := data_of(data)) is not None:
        folder = place / CHECKPOINTS
        signing_key = signing_key or str(folder / SIGNING_KEY)
    if folder is None:
        raise _nowhere()
    settings = Settings(database_url=database_url(data), nats_url="", checkpoint_dir=folder, signing_key=signing_key)
    checkpoint = asyncio.run(_sign_now(settings, folder))
    if as_json:
        print_json(checkpoint)
        return
    console = screen()
    if checkpoint is None:
        console.print("the log has no event yet")
    else:
        console.print(f"signed: {checkpoint.events} events up to position {checkpoint.position}", markup=False)


async def _sign_now(settings: "Settings", folder: Path) -> "Checkpoint | None":
    import asyncio

    from playhead_contracts.errors import Unavailable
    from playhead_eventlog import open_log
    from playhead_eventlog.checkpoints import Checkpoints, unchecked_checkpoint
    from playhead_projector.checkpoints.signer import SIGNER_LOCK, Signer
    from playhead_projector.store import open_store
    from playhead_runtime.clock import Clock

    to = Checkpoints(folder)
    async with open_log(settings.database_url, readers=1) as log, open_store(settings.database_url) as store:
        if await store.try_lock(SIGNER_LOCK):
            signing = settings.signing()
            assert signing is not None
            await Signer(log, settings.database_url, signing, Clock()).sign_now()
        else:
            to.ask()
            try:
                async with asyncio.timeout(30):
                    while to.is_asked:  # noqa: ASYNC110 - another process: the file is the event
                        await asyncio.sleep(0.05)
            except TimeoutError:
                to.answer()
                raise Unavailable(
                    "the projector that signs did not do it within 30 s; its health check says why"
                ) from None
    last = to.last()
    return None if last is None else unchecked_checkpoint(last.line)


def _nowhere() -> Exception:
    from playhead_cli.servers import NotConfigured

    return NotConfigured(
        "say where the checkpoints are: --checkpoints, or --data with the directory of a `playhead dev`"
    )
