"""Read models past the gateway: built anew, as they were, compared, promoted."""

from typing import TYPE_CHECKING, Annotated

import typer

from playhead_cli.options import AsJson, Data

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from playhead_projector.rebuild import RebuildReport
    from playhead_projector.settings import Settings


def register(app: typer.Typer) -> None:
    app.command()(rebuild)


def rebuild(
    projection: Annotated[str | None, typer.Argument(help="One read model; all of them if not given.")] = None,
    to: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="POSITION|TIME", help="As they were then (RFC 3339), as a set beside the live ones."
        ),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="What the set is called; else after the position.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the sets there are.")] = False,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option("--compare", metavar="A B", help="Compare two sets, row by row; `live` is a name, too."),
    ] = None,
    promote: Annotated[
        str | None,
        typer.Option("--promote", metavar="NAME", help="Bring a set to the head of the log and make it the live one."),
    ] = None,
    abort: Annotated[
        str | None,
        typer.Option("--abort", metavar="NAME", help="Drop a set, and what a rebuild left behind that was killed."),
    ] = None,
    downgrade: Annotated[
        bool, typer.Option("--downgrade", help="Build also what a newer version made, as this version makes it.")
    ] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Build read models anew from the log, beside the live ones, and swap them in. Exit code 1 if one is left out.

    With --to they become a set: the tables of the schema `read` as they were then, in a schema of their own.
    """
    from playhead_cli.inputs import BadInput

    settings = _settings(data)
    chosen = [list_, compare is not None, promote is not None, abort is not None]
    if sum(chosen) > 1 or (any(chosen) and (projection or to or name or downgrade)):
        raise BadInput("--list, --compare, --promote and --abort stand alone")
    if name is not None and to is None:
        raise BadInput("--name is what a set is called, and --to makes one")
    if list_:
        _list(settings, as_json=as_json)
    elif compare is not None:
        _compare(settings, *compare, as_json=as_json)
    elif promote is not None:
        _promote(settings, promote, as_json=as_json)
    elif abort is not None:
        _abort(settings, abort, as_json=as_json)
    else:
        _rebuild(settings, projection, _moment(to), name, downgrade=downgrade, as_json=as_json)


def _rebuild(
    settings: "Settings",
    projection: str | None,
    to: "int | datetime | None",
    name: str | None,
    *,
    downgrade: bool,
    as_json: bool,
) -> None:
    import asyncio

    from playhead_cli.counting import counting
    from playhead_projector.rebuild import rebuild

    names = None if projection is None else [projection]
    with counting("rebuild", as_json=as_json) as told:
        report = asyncio.run(rebuild(settings, names, to, name, told, downgrade=downgrade))
    _show_report(report, as_json=as_json)


def _promote(settings: "Settings", name: str, *, as_json: bool) -> None:
    import asyncio

    from playhead_cli.counting import counting
    from playhead_projector.rebuild import promote

    with counting("promote", as_json=as_json) as told:
        report = asyncio.run(promote(settings, name, told))
    _show_report(report, as_json=as_json)


def _show_report(report: "RebuildReport", *, as_json: bool) -> None:
    from playhead_cli.screen import print_json
    from playhead_cli.sets import show_report

    if as_json:
        print_json(report)
    else:
        show_report(report)
    if report.failed:
        raise typer.Exit(1)


def _abort(settings: "Settings", name: str, *, as_json: bool) -> None:
    import asyncio

    from playhead_cli.screen import print_json, screen
    from playhead_projector.rebuild import abort

    asyncio.run(abort(settings, name))
    if as_json:
        print_json({"set": name, "dropped": True})
    else:
        screen().print(f"{name} is gone", markup=False)


def _list(settings: "Settings", *, as_json: bool) -> None:
    import asyncio

    from playhead_cli.screen import print_json, screen
    from playhead_cli.sets import sets_table
    from playhead_projector.comparing import list_sets

    found = asyncio.run(list_sets(settings))
    if as_json:
        print_json({"items": found})
    else:
        screen().print(sets_table(found))


def _compare(settings: "Settings", a: str, b: str, *, as_json: bool) -> None:
    import asyncio

    from playhead_cli.screen import print_json
    from playhead_cli.sets import show_comparison
    from playhead_projector.comparing import compare

    found = asyncio.run(compare(settings, a, b))
    if as_json:
        print_json(found)
    else:
        show_comparison(found)


def _moment(text: str | None) -> "int | datetime | None":
    """A position or a time. Raises BadInput."""
    from datetime import datetime

    from playhead_cli.inputs import BadInput

    if text is None or text.isdecimal():
        return text if text is None else int(text)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise BadInput(f"--to takes a position, or an RFC 3339 time with an offset, and not {text!r}")
    return at


def _settings(data: "Path | None") -> "Settings":
    from playhead_cli.servers import archive_url, database_url
    from playhead_projector.settings import Settings

    # A rebuild reads the log and nothing else; the bus is not asked.
    return Settings(database_url=database_url(data), nats_url="", archive_url=archive_url(None, data))
