"""Workflow documents: publish and validate."""

from pathlib import Path
from typing import Annotated

import typer

from playhead_cli.options import DEFAULT_URL, AsJson, Url

File = Annotated[Path, typer.Argument(help="A workflow document, YAML or JSON.")]


def register(app: typer.Typer) -> None:
    app.command()(publish)
    app.command()(validate)


def publish(file: File, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Publish a workflow document; the same document again is the same version."""
    from playhead_cli.answers import Published
    from playhead_cli.gateway import Gateway
    from playhead_cli.inputs import read_file
    from playhead_cli.screen import print_json, screen

    with Gateway(url) as gateway:
        answer = gateway.post_bytes("/v1/workflows", read_file(file), media_type(file))
    if as_json:
        print_json(answer.body)
        return
    published = answer.as_(Published)
    what = "published" if answer.status == 201 else "already published, unchanged:"
    screen().print(f"{what} [bold]{published.workflow_id}[/] version {published.version}  [dim]{published.digest}[/]")


def validate(file: File, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Check a workflow document and name every fault at its place; publishes nothing. Exit code 1 if it is invalid."""
    from playhead_cli.answers import Validation
    from playhead_cli.gateway import Gateway
    from playhead_cli.inputs import read_file
    from playhead_cli.screen import print_json, screen, show_faults

    with Gateway(url) as gateway:
        answer = gateway.post_bytes("/v1/workflows/validate", read_file(file), media_type(file))
    found = answer.as_(Validation)
    if as_json:
        print_json(answer.body)
    else:
        console = screen()
        console.print(
            "[green]valid[/]"
            if found.valid
            else f"[red]not valid: {len(found.errors)} fault{'' if len(found.errors) == 1 else 's'}[/]"
        )
        show_faults(console, found.errors)
        if found.warnings:
            console.print("warnings:")
            show_faults(console, found.warnings)
    if not found.valid:
        raise typer.Exit(1)


def media_type(file: Path) -> str:
    """How the gateway is told to read a document."""
    return "application/json" if file.suffix.lower() == ".json" else "application/yaml"
