"""The contracts of the bus, for builders in other languages."""

from pathlib import Path
from typing import Annotated

import typer

from playhead_cli.options import AsJson

contracts = typer.Typer(help="What is said on the wire, as JSON Schemas.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    app.add_typer(contracts, name="contracts")


@contracts.command("export")
def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Made if it is not there; files in it are replaced.")],
    as_json: AsJson = False,
) -> None:
    """Write a JSON Schema (2020-12) for every event, command, request and document."""
    import msgspec

    from playhead_cli.screen import print_json, screen
    from playhead_contracts.schemas import schemas

    written = schemas()
    for name, schema in written.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(msgspec.json.format(msgspec.json.encode(schema), indent=2) + b"\n")
    if as_json:
        print_json({"folder": str(folder), "files": sorted(written)})
    else:
        screen().print(f"{len(written)} schemas in {folder}")
