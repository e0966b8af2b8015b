"""Forgetting a person: what was sealed with their key can never be read again."""

from typing import Annotated

import typer

from playhead_cli.options import DEFAULT_URL, AsJson, Url


def register(app: typer.Typer) -> None:
    app.command("forget")(forget)


def forget(
    subject: Annotated[str, typer.Argument(help="Whom: what `personal.subject` of their workflows gives.")],
    cancel: Annotated[bool, typer.Option("--cancel", help="Cancel executions of theirs that have not ended.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Let executions of theirs that have not ended lose their values.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Destroy the key of a person, so that their values are gone from log, bus, read models and exports. No way back.

    It asks first; without a terminal it needs --yes. Asked again, it does what is left to do.
    """
    from playhead_cli.answers import Forgotten
    from playhead_cli.gateway import Gateway
    from playhead_cli.screen import print_json, screen

    if not yes:
        typer.confirm(f"Forget all personal values of {subject!r}? They can never be read again.", abort=True)
    with Gateway(url) as gateway:
        order = {"subject": subject, "cancel": cancel, "force": force}
        answer = gateway.post("/v1/subjects/forget", order)
    if as_json:
        print_json(answer.body)
        return
    found = answer.as_(Forgotten)
    if not found.key_ids:
        screen().print("there is nothing of them, or it was forgotten before")
        return
    number = found.executions
    screen().print(f"forgotten: their values in {number} execution{'' if number == 1 else 's'}")
    if found.cancelled:
        screen().print(f"cancelled: {', '.join(found.cancelled)}")
    screen().print("processes that had the key drop it within 30 seconds; backups of the database may still have it")
