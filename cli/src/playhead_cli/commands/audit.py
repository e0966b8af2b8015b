"""Who did what."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from playhead_cli.options import DEFAULT_URL, AsJson, Url

if TYPE_CHECKING:
    from playhead_cli.answers import Audited
    from playhead_cli.gateway import Gateway


def register(app: typer.Typer) -> None:
    app.command()(audit)


def audit(
    operation: Annotated[
        str | None,
        typer.Option(
            "--operation",
            help="Only such: publish, publish_trigger, remove_trigger, start, rerun, cancel, answer, vote, delegate, "
            "extend, create_key, revoke_key, create_webhook, change_webhook, export, forget, archive.",
        ),
    ] = None,
    actor: Annotated[str | None, typer.Option("--actor", help="Only what this person or key did.")] = None,
    since: Annotated[str | None, typer.Option("--since", help="RFC 3339, with an offset.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="RFC 3339, with an offset.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many at most.")] = 50,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Who published, started, cancelled, answered, reran, exported, forgot, made keys; newest first, from the log."""
    from itertools import islice

    from playhead_cli.gateway import Gateway
    from playhead_cli.screen import line, print_json, screen, table

    wanted = {"operation": operation, "actor": actor, "since": since, "until": until, "limit": min(limit, 1000)}
    with Gateway(url) as gateway:
        found = list(islice(_operations(gateway, wanted), limit))
    if as_json:
        print_json({"items": found})
        return
    made = table("position", "at (UTC)", "who", "channel", "operation", "what")
    for each in found:
        who = each.actor.name if each.actor.kind == "person" else f"{each.actor.name} ({each.actor.kind})"
        at = f"{each.at:%Y-%m-%d %H:%M:%S}"
        made.add_row(str(each.position), at, who, each.actor.channel or "-", each.operation, line(_what(each)))
    screen().print(made if found else "nothing was done")


def _operations(gateway: "Gateway", wanted: Mapping[str, object]) -> "Iterator[Audited]":
    from playhead_cli.answers import AuditPage

    cursor: str | None = None
    while True:
        page = gateway.get("/v1/audit", **wanted, cursor=cursor).as_(AuditPage)
        yield from page.items
        if page.next_cursor is None:
            return
        cursor = page.next_cursor


def _what(done: "Audited") -> str:
    from playhead_cli.facts import compact

    about = [text for text in (done.workflow_id, done.execution_id) if text]
    return "  ".join([*about, *(f"{name}={compact(value)}" for name, value in done.details.items())])
