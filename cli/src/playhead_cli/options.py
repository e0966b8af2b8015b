"""Options that many commands have."""

from pathlib import Path
from typing import Annotated

import typer

JSON_WANTED = "playhead.json"
DEFAULT_URL = "http://127.0.0.1:8088"
DEFAULT_DATA = Path(".playhead")


def _note_json(ctx: typer.Context, value: bool) -> bool:
    # Errors are shown by the group, which does not see the options of its commands.
    ctx.meta[JSON_WANTED] = value
    return value


Url = Annotated[
    str, typer.Option("--url", envvar="PLAYHEAD_URL", help="The gateway; a key is taken from PLAYHEAD_API_KEY.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.", callback=_note_json)]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="The data directory of a running `playhead dev`. Else PLAYHEAD_DATABASE_URL and PLAYHEAD_NATS_URL count, "
        "else ./.playhead.",
    ),
]
ExecutionId = Annotated[str, typer.Argument(metavar="ID", help="The execution.")]
JsonInput = Annotated[str | None, typer.Option("--input", help="JSON, @FILE (JSON or YAML), or - for standard input.")]
