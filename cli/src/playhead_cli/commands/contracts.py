"""The contracts of the bus and of HTTP, for builders in other languages."""

from pathlib import Path
from typing import Annotated, Any

import typer

from playhead_cli.options import AsJson

contracts = typer.Typer(
    help="What is said on the wire: JSON Schemas, AsyncAPI and OpenAPI.",
    no_args_is_help=True,
)


def register(app: typer.Typer) -> None:
    app.add_typer(contracts, name="contracts")


@contracts.command("export")
def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Made if it is not there; files in it are replaced.")],
    as_json: AsJson = False,
) -> None:
    """Write JSON Schemas (2020-12) of everything on the wire, by type and version; asyncapi.json and openapi.json."""
    from importlib.metadata import version

    from playhead_cli.screen import print_json, screen
    from playhead_contracts.asyncapi import asyncapi
    from playhead_contracts.schemas import schemas
    from playhead_gateway.app import openapi_document

    written = schemas() | {"asyncapi.json": asyncapi(version("playhead")), "openapi.json": openapi_document()}
    for name, document in written.items():
        _write(folder / name, document)
    if as_json:
        print_json({"folder": str(folder), "files": sorted(written)})
    else:
        screen().print(f"{len(written) - 2} schemas, asyncapi.json and openapi.json in {folder}")


@contracts.command("check")
def check(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="What `playhead contracts export` wrote earlier.", exists=True)
    ],
    record: Annotated[
        bool, typer.Option("--record", help="If nothing is broken, bring the files up to date, and add what is new.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say whether programs that were written for the contracts in DIR are right with this version of Playhead.

    Status 1, and every change that is not additive, if they are not.
    """
    import msgspec

    from playhead_cli.screen import print_json, screen
    from playhead_contracts.compatibility import check_all, is_same_form
    from playhead_contracts.schemas import promised

    now = promised()
    names = {str(path.relative_to(folder)): path for path in folder.rglob("*.json")}
    known: dict[str, Any] = {name: msgspec.json.decode(path.read_bytes()) for name, path in names.items()}
    found = check_all(known, now)
    changed = sorted(name for name in now if name not in known or not is_same_form(known[name], now[name]))
    if record and not found:
        for name in changed:
            _write(folder / name, now[name])
    if as_json:
        print_json({"breaks": found, "changed": changed, "recorded": record and not found})
    elif found:
        screen().print("\n".join(str(each) for each in found), markup=False)
        screen().print(f"{len(found)} changes are not additive: give each event type a new version, with an upcaster")
    else:
        said = "recorded" if record else "new, or with more in them"
        screen().print(f"nothing is broken; {len(changed)} of {len(now)} contracts {said}")
    if found:
        raise typer.Exit(1)


def _write(target: Path, document: object) -> None:
    import msgspec

    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
