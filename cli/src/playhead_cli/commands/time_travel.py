"""Executions in time: what changed between two moments, step by step, and which forks came of what."""

from collections import OrderedDict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from playhead_cli.options import DEFAULT_URL, AsJson, ExecutionId, Url

if TYPE_CHECKING:
    from rich.text import Text
    from rich.tree import Tree

    from playhead_cli.answers import Lineage, LineageNode
    from playhead_cli.gateway import Gateway

_KEPT_STATES = 200


def register(app: typer.Typer) -> None:
    for command in (diff, replay, lineage):
        app.command()(command)


def diff(
    execution_id: ExecutionId,
    since: Annotated[int, typer.Option("--from", min=1, help="A version.")],
    until: Annotated[int, typer.Option("--to", min=1, help="Another version, later or earlier.")],
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Show what changed in an execution from one version to another. With --json as a JSON Patch (RFC 6902)."""
    from playhead_cli.changes import changes_of, changes_table
    from playhead_cli.gateway import Gateway
    from playhead_cli.screen import print_json, screen

    with Gateway(url) as gateway:
        if as_json:
            print_json(gateway.get(f"/v1/executions/{execution_id}/diff", **{"from": since, "to": until}).body)
            return
        states = _States(gateway, execution_id)
        changes = changes_of(states.at(since), states.at(until))
    screen().print(changes_table(changes) if changes else "nothing that people would see")


def replay(
    execution_id: ExecutionId,
    at: Annotated[int, typer.Option("--at", min=1, help="The version to begin at.")] = 1,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Step through an execution, forward and back: its events, its state after each, and what each changed.

    When the input or the output is no terminal: each event with what it changed, in order. With --json one step a line.
    """
    import sys

    from playhead_cli.commands.executions import read_frames
    from playhead_cli.facts import read_fact
    from playhead_cli.gateway import Gateway
    from playhead_cli.screen import print_json, screen
    from playhead_cli.stepping import print_steps, step_through

    console = screen()
    with Gateway(url) as gateway:
        states = _States(gateway, execution_id)
        # The gateway says so if there is no such version.
        states.at(at)
        frames = read_frames(gateway, execution_id)
        if as_json:
            for version, frame in enumerate(frames[at - 1 :], at):
                print_json(_step(version, frame, states))
            return
        facts = [read_fact(frame) for frame in frames]
        if not (sys.stdin.isatty() and console.is_terminal):
            print_steps(console, facts, states.at, at)
            return
        from playhead_cli.keys import pressed_keys

        with pressed_keys() as keys:
            try:
                step_through(console, facts, states.at, keys, at)
            except KeyboardInterrupt:
                return


def lineage(execution_id: ExecutionId, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Show the tree of forks that an execution is in: what it was forked from, and what was forked from any of them."""
    from playhead_cli.answers import Lineage
    from playhead_cli.gateway import Gateway
    from playhead_cli.screen import print_json, screen

    with Gateway(url) as gateway:
        answer = gateway.get(f"/v1/executions/{execution_id}/lineage")
    if as_json:
        print_json(answer.body)
        return
    found, console = answer.as_(Lineage), screen()
    console.print(_tree(found))
    if found.truncated:
        console.print("[dim]there are more forks than are shown[/]")


class _States:
    """The states of one execution, each asked for once."""

    def __init__(self, gateway: "Gateway", execution_id: str):
        self._gateway = gateway
        self._path = f"/v1/executions/{execution_id}/state"
        self._known: OrderedDict[int, dict[str, Any]] = OrderedDict()

    def at(self, version: int) -> dict[str, Any]:
        """The state after an event; empty before the first."""
        if version == 0:
            return {}
        if version not in self._known:
            self._known[version] = self._gateway.get(self._path, version=version).as_(dict[str, Any])
            if len(self._known) > _KEPT_STATES:
                self._known.popitem(last=False)
        return self._known[version]


def _step(version: int, frame: bytes, states: _States) -> dict[str, object]:
    from msgspec import Raw

    from playhead_engine.json_patch import json_patch

    patch = json_patch(states.at(version - 1), states.at(version))
    return {"version": version, "event": Raw(frame), "patch": patch}


def _tree(lineage: "Lineage") -> "Tree":
    from rich.tree import Tree

    nodes = {node.execution_id: node for node in lineage.executions}
    made = Tree(_label(nodes[lineage.root], lineage.execution_id), guide_style="dim")
    branches = {lineage.root: made}
    for node in lineage.executions:
        for fork in node.forks:
            branches[fork] = branches[node.execution_id].add(_label(nodes[fork], lineage.execution_id))
    return made


def _label(node: "LineageNode", here: str) -> "Text":
    from rich.text import Text

    from playhead_cli.screen import status_text

    name = (node.execution_id, "bold reverse" if node.execution_id == here else "bold")
    label = Text.assemble(name, "  ", status_text(node.status), f"  {node.created_at:%Y-%m-%d %H:%M:%S}")
    if node.source is not None:
        label.append(f"  from {node.source.from_block} at version {node.source.version}")
    if node.children:
        label.append("  1 child" if len(node.children) == 1 else f"  {len(node.children)} children", "dim")
    return label
