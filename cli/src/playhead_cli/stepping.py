"""Stepping through an execution in the terminal, forward and back: the events, and the state after each of them."""

from collections.abc import Callable, Iterable, Sequence

import msgspec
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from playhead_cli.changes import change_line, changes_of, changes_table
from playhead_cli.facts import Fact, compact
from playhead_cli.screen import fact_line, line, status_text, table
from playhead_contracts.events import Json

State = dict[str, Json]
StateAt = Callable[[int], State]
"""The state after the event with this version; empty for 0."""

_MOVES = {"right": 1, "n": 1, "space": 1, "left": -1, "p": -1}
_HELP = "→ n space: on   ← p: back   home, end   number, enter: go there   q: leave"
_CHANGES_SHOWN = 8


class Cursor(msgspec.Struct, frozen=True):
    """Where somebody is: after the event `version` of `last`. `typed` is a number not yet sent off."""

    version: int
    last: int
    typed: str = ""
    has_left: bool = False

    def after(self, key: str) -> "Cursor":
        """Where a key leads; what is no key of ours leads nowhere."""
        if key in ("q", "Q"):
            return Cursor(self.version, self.last, has_left=True)
        if key.isascii() and key.isdigit():
            return Cursor(self.version, self.last, (self.typed + key)[:9])
        if key == "backspace":
            return Cursor(self.version, self.last, self.typed[:-1])
        if key == "enter" and self.typed:
            return self._at(int(self.typed))
        if key in ("home", "end"):
            return self._at(1 if key == "home" else self.last)
        return self._at(self.version + _MOVES.get(key, 0))

    def _at(self, version: int) -> "Cursor":
        return Cursor(max(1, min(version, self.last)), self.last)


def step_through(console: Console, facts: Sequence[Fact], state_at: StateAt, keys: Iterable[str], begin: int) -> None:
    """Show the execution after event `begin`, and go where the keys lead, until somebody leaves."""
    cursor = Cursor(begin, len(facts))
    with Live(console=console, screen=True, auto_refresh=False) as live:
        live.update(drawn(facts, cursor, state_at, console.height), refresh=True)
        for key in keys:
            cursor = cursor.after(key)
            if cursor.has_left:
                return
            live.update(drawn(facts, cursor, state_at, console.height), refresh=True)


def print_steps(console: Console, facts: Sequence[Fact], state_at: StateAt, begin: int) -> None:
    """Each event with what it changed, in order."""
    before = state_at(begin - 1)
    for fact in facts[begin - 1 :]:
        after = state_at(fact.version)
        console.print(fact_line(fact), soft_wrap=True)
        for change in changes_of(before, after):
            console.print(change_line(change), soft_wrap=True)
        before = after


def drawn(facts: Sequence[Fact], cursor: Cursor, state_at: StateAt, height: int) -> Group:
    """One screen: where we are, the events around, the blocks then, and what this event changed."""
    state, before = state_at(cursor.version), state_at(cursor.version - 1)
    changes = changes_of(before, state)
    rows = max(5, height - min(len(changes), _CHANGES_SHOWN) - 7)
    sides = Table.grid(padding=(0, 3), expand=True)
    sides.add_column(ratio=1)
    sides.add_column(ratio=1)
    sides.add_row(_events(facts, cursor.version, rows), _blocks(state, rows))
    shown = changes_table(changes[:_CHANGES_SHOWN])
    if len(changes) > _CHANGES_SHOWN:
        shown.caption = f"and {len(changes) - _CHANGES_SHOWN} more"
    prompt = Text(f"go to: {cursor.typed}_", "bold") if cursor.typed else Text(_HELP, "dim")
    return Group(_heading(state, cursor), Text(), sides, Text(), shown, Text(), prompt)


def _heading(state: State, cursor: Cursor) -> Text:
    at = f"version {cursor.version} of {cursor.last}  {state['updated_at']}"
    return Text.assemble((str(state["execution_id"]), "bold"), f"  {at}  ", status_text(str(state["status"])))


def _events(facts: Sequence[Fact], version: int, rows: int) -> Table:
    made = table("", "version", "event", "block")
    begin = max(0, min(version - 1 - rows // 2, len(facts) - rows))
    for fact in facts[begin : begin + rows]:
        is_here = fact.version == version
        cells = ("▶" if is_here else "", str(fact.version), fact.type, line(fact.block))
        made.add_row(*cells, style="bold reverse" if is_here else "dim" if fact.version > version else "")
    return made


def _blocks(state: State, rows: int) -> Table:
    made = table("block", "status", "outputs")
    blocks: dict[str, dict[str, Json]] = state.get("blocks", {})
    for path in list(blocks)[-rows:]:
        block = blocks[path]
        outputs = line("" if block.get("outputs") is None else compact(block["outputs"]))
        made.add_row(path, status_text(str(block["status"])), outputs)
    return made
