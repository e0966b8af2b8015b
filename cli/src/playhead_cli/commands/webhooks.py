"""Webhooks: who is told about pauses, and what became of telling them."""

from typing import TYPE_CHECKING, Annotated

import typer

from playhead_cli.options import DEFAULT_URL, AsJson, Url

if TYPE_CHECKING:
    from playhead_cli.gateway import Answer

Name = Annotated[str, typer.Argument(metavar="NAME", help="The webhook.")]

webhooks = typer.Typer(help="Webhooks: URLs that are told about pauses.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    app.add_typer(webhooks, name="webhooks")


@webhooks.command("create")
def create_webhook(
    name: Name,
    target: Annotated[str, typer.Argument(metavar="TARGET", help="The URL to post to.")],
    event: Annotated[
        list[str] | None, typer.Option("--event", help="Only such events, as pause.requested; several for several.")
    ] = None,
    workflow: Annotated[
        list[str] | None, typer.Option("--workflow", help="Only of this workflow; several times for several.")
    ] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Have a URL told about pauses from now on. The secret is shown once, now."""
    from playhead_cli.gateway import Gateway

    order = {"name": name, "url": target, "events": event or None, "workflows": workflow or None}
    with Gateway(url) as gateway:
        answer = gateway.post("/v1/webhooks", order)
    _show_secret(answer, as_json=as_json)


@webhooks.command("list")
def list_webhooks(url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """List who is told."""
    from playhead_cli.answers import Webhooks
    from playhead_cli.gateway import Gateway
    from playhead_cli.screen import line, print_json, screen, table

    with Gateway(url) as gateway:
        answer = gateway.get("/v1/webhooks")
    if as_json:
        print_json(answer.body)
        return
    found = answer.as_(Webhooks).items
    made = table("name", "state", "events", "workflows", "url")
    for each in found:
        state = "disabled" if each.disabled_at else "enabled"
        made.add_row(each.name, state, ", ".join(each.events), ", ".join(each.workflows or ["all"]), line(each.url))
    screen().print(made if found else "there are no webhooks")


@webhooks.command("show")
def show_webhook(name: Name, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Show one webhook, without its secret."""
    from playhead_cli.gateway import Gateway

    with Gateway(url) as gateway:
        answer = gateway.get(f"/v1/webhooks/{name}")
    _show(answer, as_json=as_json)


@webhooks.command("delete")
def delete_webhook(name: Name, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Tell it no more. What is still to be delivered fails; the log of deliveries stays."""
    from playhead_cli.gateway import Gateway
    from playhead_cli.screen import print_json, screen

    with Gateway(url) as gateway:
        answer = gateway.delete(f"/v1/webhooks/{name}")
    if as_json:
        print_json(answer.body)
    else:
        screen().print("deleted")


@webhooks.command("rotate")
def rotate_secret(name: Name, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Give it a new secret, shown once, now. For 24 hours messages are signed with the one before, too."""
    from playhead_cli.gateway import Gateway

    with Gateway(url) as gateway:
        answer = gateway.post(f"/v1/webhooks/{name}/rotate", {})
    _show_secret(answer, as_json=as_json)


@webhooks.command("enable")
def enable_webhook(name: Name, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Tell one again that was disabled because it had answered 410."""
    from playhead_cli.gateway import Gateway

    with Gateway(url) as gateway:
        answer = gateway.post(f"/v1/webhooks/{name}/enable", {})
    _show(answer, as_json=as_json)


@webhooks.command("test")
def send_test(name: Name, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Send it an event `webhook.test`; `playhead webhooks deliveries` shows what became of it."""
    from playhead_cli.gateway import Gateway

    with Gateway(url) as gateway:
        answer = gateway.post(f"/v1/webhooks/{name}/test", {})
    _show_sent(answer, as_json=as_json)


@webhooks.command("deliveries")
def list_deliveries(
    webhook: Annotated[str | None, typer.Option("--webhook", help="Only for this webhook.")] = None,
    pause: Annotated[str | None, typer.Option("--pause", help="Only about this pause.")] = None,
    status: Annotated[str | None, typer.Option("--status", help="pending, delivered or failed.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=200, help="How many at most.")] = 50,
    cursor: Annotated[str | None, typer.Option("--cursor", help="Go on where a list ended.")] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """List what was to be told to whom, newest first."""
    from playhead_cli.answers import Deliveries
    from playhead_cli.gateway import Gateway
    from playhead_cli.screen import line, print_json, screen, status_text, table

    with Gateway(url) as gateway:
        answer = gateway.get(
            "/v1/webhooks/deliveries", webhook=webhook, pause=pause, status=status, limit=limit, cursor=cursor
        )
    if as_json:
        print_json(answer.body)
        return
    found, console = answer.as_(Deliveries), screen()
    made = table("delivery", "webhook", "event", "status", "tries", "made (UTC)", "next (UTC)", "error")
    for each in found.items:
        next_at = f"{each.next_attempt_at:%m-%d %H:%M:%S}" if each.next_attempt_at else "-"
        made.add_row(
            each.delivery_id,
            each.webhook,
            each.event,
            status_text(each.status),
            str(len(each.attempts)),
            f"{each.created_at:%m-%d %H:%M:%S}",
            next_at,
            line(each.error or ""),
        )
    console.print(made if found.items else "there are no deliveries")
    if found.next_cursor:
        console.print(f"[dim]more: --cursor {found.next_cursor}[/]", soft_wrap=True)


@webhooks.command("resend")
def resend_delivery(
    delivery_id: Annotated[str, typer.Argument(metavar="DELIVERY", help="The delivery.")],
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Send a delivery once more, under the same webhook-id."""
    from playhead_cli.gateway import Gateway

    with Gateway(url) as gateway:
        answer = gateway.post(f"/v1/webhooks/deliveries/{delivery_id}/resend", {})
    _show_sent(answer, as_json=as_json)


def _show_secret(answer: "Answer", *, as_json: bool) -> None:
    from playhead_cli.answers import WebhookSecret
    from playhead_cli.screen import print_json, screen

    if as_json:
        print_json(answer.body)
        return
    made = answer.as_(WebhookSecret)
    screen().print(made.secret, markup=False, soft_wrap=True)
    until = (
        f"; the one before is valid until {made.old_secret_until:%Y-%m-%d %H:%M} UTC" if made.old_secret_until else ""
    )
    screen(to_stderr=True).print(
        f"[dim]the secret of {made.name}, by which it verifies our signatures; it is shown this once{until}[/]",
        soft_wrap=True,
    )


def _show(answer: "Answer", *, as_json: bool) -> None:
    from playhead_cli.answers import Webhook
    from playhead_cli.screen import print_json, screen

    if as_json:
        print_json(answer.body)
        return
    found, console = answer.as_(Webhook), screen()
    console.print(f"{found.name}  {found.url}", markup=False, soft_wrap=True)
    console.print(f"  events: {', '.join(found.events)}; workflows: {', '.join(found.workflows or ['all'])}")
    if found.disabled_at:
        console.print(f"  [red]disabled at {found.disabled_at:%Y-%m-%d %H:%M} UTC[/]: {found.disabled_reason}")


def _show_sent(answer: "Answer", *, as_json: bool) -> None:
    from playhead_cli.answers import Delivery
    from playhead_cli.screen import print_json, screen

    if as_json:
        print_json(answer.body)
        return
    sent = answer.as_(Delivery)
    screen().print(f"delivery {sent.delivery_id} is on its way to {sent.webhook}", markup=False)
