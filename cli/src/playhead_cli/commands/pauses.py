"""Pauses: what waits for people, and answering it."""

from typing import Annotated

import typer

from playhead_cli.options import DEFAULT_URL, AsJson, ExecutionId, Url

PauseId = Annotated[str, typer.Argument(metavar="PAUSE", help="The pause.")]


def register(app: typer.Typer) -> None:
    app.command()(pauses)
    app.command()(resume)
    app.command()(extend)
    app.command()(delegate)


def pauses(
    status: Annotated[str, typer.Option("--status", help="open, answered, closed, expired, or all.")] = "open",
    workflow: Annotated[str | None, typer.Option("--workflow", help="Only of this workflow.")] = None,
    execution: Annotated[str | None, typer.Option("--execution", help="Only of this execution.")] = None,
    assignee: Annotated[
        str | None, typer.Option("--assignee", help="Only those for this person, group:NAME or scope:NAME.")
    ] = None,
    mine: Annotated[bool, typer.Option("--mine", help="Only those that you may answer.")] = False,
    due: Annotated[str | None, typer.Option("--due", help="Only those due within this time, such as 2d.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=200, help="How many at most.")] = 50,
    cursor: Annotated[str | None, typer.Option("--cursor", help="Go on where a list ended.")] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """List what waits for an answer."""
    from playhead_cli.answers import Inbox
    from playhead_cli.gateway import Gateway
    from playhead_cli.inputs import moment_from_now
    from playhead_cli.screen import counts_line, inbox_table, print_json, screen

    with Gateway(url) as gateway:
        answer = gateway.get(
            "/v1/pauses",
            status=None if status == "all" else status,
            workflow=workflow,
            execution=execution,
            assignee=assignee,
            mine="true" if mine else None,
            due_before=None if due is None else moment_from_now("--due", due),
            limit=limit,
            cursor=cursor,
        )
    if as_json:
        print_json(answer.body)
        return
    found, console = answer.as_(Inbox), screen()
    console.print(inbox_table(found.items) if found.items else "nothing waits for an answer")
    console.print(counts_line(found.counts))
    if found.next_cursor:
        console.print(f"[dim]more: --cursor {found.next_cursor}[/]", soft_wrap=True)


def resume(
    execution_id: ExecutionId,
    pause_id: PauseId,
    input_: Annotated[
        str | None, typer.Option("--input", help="The answer: a JSON object, @FILE, or -. Without it you are asked.")
    ] = None,
    action: Annotated[str | None, typer.Option("--action", help="What you decide, such as approve.")] = None,
    comment: Annotated[str | None, typer.Option("--comment", help="Why; kept with the decision.")] = None,
    mode: Annotated[str | None, typer.Option("--mode", help="sync, stream or async; else as it was started.")] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Answer a pause; the execution goes on. The answer shown is of the kind that the execution was started with."""
    import sys

    from playhead_cli.answers import PauseShown, Result
    from playhead_cli.commands.executions import print_events
    from playhead_cli.gateway import Gateway
    from playhead_cli.inputs import read_object
    from playhead_cli.prompting import prompt_for
    from playhead_cli.screen import print_json, screen, show_result
    from playhead_contracts.events import Json

    with Gateway(url) as gateway:
        order: dict[str, Json] = {}
        if input_ is not None:
            order["input"] = read_object("--input", input_)
        elif action is None or sys.stdin.isatty():
            shown = gateway.get(f"/v1/pauses/{pause_id}").as_(PauseShown)
            said = prompt_for(shown, screen(to_stderr=True), action=action)
            # Bound to what was just read: should it have changed, the answer is refused.
            order = {"input": said.values, "digest": shown.digest}
            action, comment = said.action, comment or said.comment
        order |= {
            name: value
            for name, value in {"action": action, "comment": comment, "mode": mode}.items()
            if value is not None
        }
        answer = gateway.post(f"/v1/executions/{execution_id}/pauses/{pause_id}/resume", order)
        if answer.is_stream:
            print_events(answer.events(), as_json=as_json)
        elif as_json:
            print_json(answer.body)
        else:
            show_result(screen(), answer.as_(Result))


def extend(
    execution_id: ExecutionId,
    pause_id: PauseId,
    for_: Annotated[str | None, typer.Option("--for", help="How long from now on, such as 2d.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="A moment, such as 2030-01-31T09:00:00Z.")] = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Why; kept with the fact.")] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Give people more time to answer; for whoever started the execution, and for operators."""
    _change(
        url,
        f"/v1/executions/{execution_id}/pauses/{pause_id}/extend",
        {"expires_in": for_, "expires_at": until, "reason": reason},
        "it has that time",
        as_json=as_json,
    )


def delegate(
    execution_id: ExecutionId,
    pause_id: PauseId,
    to: Annotated[str, typer.Option("--to", help="Who may answer in your place.")],
    reason: Annotated[str | None, typer.Option("--reason", help="Why; kept with the fact.")] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Pass your right to answer on to somebody else."""
    path = f"/v1/executions/{execution_id}/pauses/{pause_id}/delegate"
    _change(url, path, {"to": to, "reason": reason}, f"{to} may answer now, in your place", as_json=as_json)


def _change(url: str, path: str, order: "dict[str, str | None]", done: str, *, as_json: bool) -> None:
    from playhead_cli.gateway import Gateway
    from playhead_cli.screen import print_json, screen

    with Gateway(url) as gateway:
        answer = gateway.post(path, {name: value for name, value in order.items() if value is not None})
    if as_json:
        print_json(answer.body)
    else:
        screen().print(done)
