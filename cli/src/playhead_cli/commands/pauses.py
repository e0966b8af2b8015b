"""Pauses: what waits for people, and answering it."""

from typing import Annotated

import typer

from playhead_cli.options import DEFAULT_URL, AsJson, ExecutionId, Url


def register(app: typer.Typer) -> None:
    app.command()(pauses)
    app.command()(resume)


def pauses(
    status: Annotated[str, typer.Option("--status", help="open, answered, closed, expired, or all.")] = "open",
    workflow: Annotated[str | None, typer.Option("--workflow", help="Only of this workflow.")] = None,
    assignee: Annotated[str | None, typer.Option("--assignee", help="Only those that this person may answer.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=200, help="How many at most.")] = 50,
    cursor: Annotated[str | None, typer.Option("--cursor", help="Go on where a list ended.")] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """List what waits for an answer."""
    from playhead_cli.answers import Inbox
    from playhead_cli.gateway import Gateway
    from playhead_cli.screen import inbox_table, print_json, screen

    wanted = None if status == "all" else status
    with Gateway(url) as gateway:
        answer = gateway.get(
            "/v1/pauses", status=wanted, workflow=workflow, assignee=assignee, limit=limit, cursor=cursor
        )
    if as_json:
        print_json(answer.body)
        return
    found, console = answer.as_(Inbox), screen()
    console.print(inbox_table(found.items) if found.items else "nothing waits for an answer")
    if found.next_cursor:
        console.print(f"[dim]more: --cursor {found.next_cursor}[/]", soft_wrap=True)


def resume(
    execution_id: ExecutionId,
    pause_id: Annotated[str, typer.Argument(metavar="PAUSE", help="The pause.")],
    input_: Annotated[str, typer.Option("--input", help="The answer: a JSON object, @FILE, or -.")],
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Answer a pause; the execution goes on. The answer shown is of the kind that the execution was started with."""
    from playhead_cli.answers import Result
    from playhead_cli.commands.executions import print_events
    from playhead_cli.gateway import Gateway
    from playhead_cli.inputs import read_object
    from playhead_cli.screen import print_json, screen, show_result

    given = read_object("--input", input_)
    with Gateway(url) as gateway:
        answer = gateway.post(f"/v1/executions/{execution_id}/pauses/{pause_id}/resume", {"input": given})
    if answer.is_stream:
        print_events(answer.events(), as_json=as_json)
    elif as_json:
        print_json(answer.body)
    else:
        show_result(screen(), answer.as_(Result))
