"""Triggers: workflows that are started by events."""

from pathlib import Path
from typing import Annotated

import typer

from playhead_cli.options import DEFAULT_URL, AsJson, Url

File = Annotated[Path, typer.Argument(help="A trigger document, YAML or JSON.")]
TriggerId = Annotated[str, typer.Argument(metavar="TRIGGER", help="The trigger.")]

triggers = typer.Typer(help="Triggers: workflows that are started by events.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    app.add_typer(triggers, name="triggers")


@triggers.command("publish")
def publish_trigger(file: File, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Have a workflow started for each event that comes from now on and fits."""
    from playhead_cli.answers import PublishedTrigger
    from playhead_cli.commands.workflows import media_type
    from playhead_cli.gateway import Gateway
    from playhead_cli.inputs import read_file
    from playhead_cli.screen import print_json, screen, show_faults

    with Gateway(url) as gateway:
        answer = gateway.post_bytes("/v1/triggers", read_file(file), media_type(file))
    if as_json:
        print_json(answer.body)
        return
    published = answer.as_(PublishedTrigger)
    console = screen()
    what = "published" if answer.status == 201 else "already published, unchanged:"
    console.print(f"{what} [bold]{published.trigger_id}[/] version {published.version}  [dim]{published.digest}[/]")
    if published.warnings:
        console.print("warnings:")
        show_faults(console, published.warnings)


@triggers.command("list")
def list_triggers(url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """List the triggers, and what they have started."""
    from playhead_cli.answers import Triggers
    from playhead_cli.gateway import Gateway
    from playhead_cli.screen import line, print_json, screen, table

    with Gateway(url) as gateway:
        answer = gateway.get("/v1/triggers?limit=200")
    if as_json:
        print_json(answer.body)
        return
    found = answer.as_(Triggers).items
    made = table("trigger", "workflow", "on", "started", "due", "refused", "failed", "last error")
    for each in found:
        counts = each.counts
        numbers = (str(number) for number in (counts.started, counts.due, counts.refused, counts.failed))
        name = each.trigger_id if each.enabled else f"{each.trigger_id} (disabled)"
        made.add_row(name, each.workflow_id, each.subject, *numbers, line(counts.last_error or ""))
    screen().print(made if found else "there are no triggers")


@triggers.command("show")
def show_trigger(trigger_id: TriggerId, url: Url = DEFAULT_URL) -> None:
    """Show a trigger with its document and counts, as JSON."""
    from playhead_cli.gateway import Gateway
    from playhead_cli.screen import print_json

    with Gateway(url) as gateway:
        print_json(gateway.get(f"/v1/triggers/{trigger_id}").body)


@triggers.command("remove")
def remove_trigger(trigger_id: TriggerId, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Start nothing for events that come from now on. What was started goes on."""
    from playhead_cli.gateway import Gateway
    from playhead_cli.screen import print_json, screen

    with Gateway(url) as gateway:
        answer = gateway.delete(f"/v1/triggers/{trigger_id}")
    if as_json:
        print_json(answer.body)
    else:
        screen().print("removed")
