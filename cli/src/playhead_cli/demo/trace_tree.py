"""Spans as people read them: one tree for each trace, in the order of time, with what they point to."""

from collections import defaultdict
from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape
from rich.tree import Tree

from playhead_cli.demo.receiver import SeenSpan

_SHOWN_ID = 8


def print_traces(console: Console, spans: Iterable[SeenSpan]) -> None:
    """Every trace as a tree: name, service and time of each span, and the spans of other traces that it links to."""
    seen = sorted(spans, key=lambda span: span.started_ns)
    by_id = {span.span_id: span for span in seen}
    below: defaultdict[str, list[SeenSpan]] = defaultdict(list)
    for span in seen:
        # Whose parent was not exported (the caller's own, or one that was killed) stands at the top.
        below[span.parent_id if span.parent_id in by_id else ""].append(span)
    alone = [root for root in below[""] if root.span_id not in below]
    for root in below[""]:
        if root in alone:
            continue
        tree = Tree(f"[dim]trace {root.trace_id[:_SHOWN_ID]}[/]  {_line(root, by_id)}")
        _grow(tree, root, below, by_id)
        console.print(tree)
    if alone:
        names = ", ".join(dict.fromkeys(escape(span.name) for span in alone))
        console.print(f"[dim]and {len(alone)} traces of one span each: {names}[/]", soft_wrap=True)


def _grow(tree: Tree, span: SeenSpan, below: dict[str, list[SeenSpan]], by_id: dict[str, SeenSpan]) -> None:
    for child in below.get(span.span_id, []):
        _grow(tree.add(_line(child, by_id)), child, below, by_id)


def _line(span: SeenSpan, by_id: dict[str, SeenSpan]) -> str:
    name = f"[red]{escape(span.name)}[/]" if span.is_error else f"[bold]{escape(span.name)}[/]"
    text = f"{name}  [cyan]{escape(span.service.removeprefix('playhead-'))}[/]  [dim]{_time(span.seconds)}[/]"
    if "error.type" in span.attributes:
        text += f"  [red]{escape(str(span.attributes['error.type']))}[/]"
    for link in dict.fromkeys(span.links):
        target = by_id.get(link.span_id)
        within = "" if target is None or not target.parent_id else f": {escape(target.name)}"
        text += f"  [yellow]→ trace {link.trace_id[:_SHOWN_ID]}{within}[/]"
    return text


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"
