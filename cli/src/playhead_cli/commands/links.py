"""Links: where somebody without a key answers a pause."""

from typing import Annotated

import typer

from playhead_cli.options import DEFAULT_URL, AsJson, Url


def register(app: typer.Typer) -> None:
    app.command()(link)


def link(
    pause_id: Annotated[str, typer.Argument(metavar="PAUSE", help="The pause.")],
    for_: Annotated[
        str | None, typer.Option("--for", help="Who answers with it. Without this, whoever holds the link.")
    ] = None,
    group: Annotated[
        list[str] | None, typer.Option("--group", help="A group that they belong to; several times for several.")
    ] = None,
    expires_in: Annotated[
        str | None, typer.Option("--expires-in", help="How long it works, such as 2d. Else as long as the pause.")
    ] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Make a link to the page on which a pause is answered. Whoever has it can answer, without a key."""
    from playhead_cli.answers import IssuedLink
    from playhead_cli.gateway import Gateway
    from playhead_cli.screen import print_json, screen

    with Gateway(url) as gateway:
        order = {"for": for_, "groups": group or None, "expires_in": expires_in}
        answer = gateway.post(f"/v1/pauses/{pause_id}/links", order)
    if as_json:
        print_json(answer.body)
        return
    issued = answer.as_(IssuedLink)
    screen().print(issued.url, markup=False, soft_wrap=True)
    who = issued.subject or "whoever has it"
    screen(to_stderr=True).print(
        f"[dim]answers as {who}, until {issued.expires_at:%Y-%m-%d %H:%M} UTC; it is not stored: keep it[/]"
    )
