"""What the demo does, step by step, and what must be true after each step.

It is a client like any other: everything goes over HTTP to the gateway. What it claims it has looked at, in the log,
in the state of that moment, and in the books of the payment service.
"""

from collections.abc import Callable
from importlib.resources import files

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from playhead_cli.answers import Comparison, Inbox, OpenPause, Plan, Planned, Published, Result, State
from playhead_cli.commands.executions import read_frames
from playhead_cli.demo.payments import PaymentServer
from playhead_cli.facts import Fact, compact, read_fact
from playhead_cli.gateway import Gateway
from playhead_cli.screen import (
    comparison_table,
    form_lines,
    line,
    plan_table,
    saved_line,
    status_text,
    table,
    timeline,
)
from playhead_contracts.errors import PlayheadError
from playhead_contracts.events import Json

WORKFLOW = "refund-review"
PAYMENT_BLOCK = "pay"
BEFORE_PAYMENT = ("score", "gate", "approve", "decided")

Decide = Callable[[], tuple[bool, str]]
"""Asks the person at the terminal: approved or not, and a comment."""


class DemoFailed(PlayheadError):
    """Something that the demo claims is not true."""

    def __init__(self, claim: str, found: object):
        super().__init__(f"the demo failed: {claim}; found: {found}")


class Story:
    """One run of the demo. Raises DemoFailed at the first claim that does not hold."""

    def __init__(self, gateway: Gateway, payments: PaymentServer, console: Console, decide: Decide):
        self.execution_id = ""
        self.fork_id = ""
        self.checks: list[str] = []
        self._gateway = gateway
        self._payments = payments
        self._console = console
        self._decide = decide

    def tell(self) -> None:
        """All of it, in order."""
        self._publish()
        pause = self._run_until_paused()
        approved, answered = self._answer(pause)
        facts = self._show_timeline()
        self._show_the_past(facts, pause.pause_id)
        if approved:
            self._check_payment(answered)
            plan = self._plan_rerun()
            self._rerun(plan)
        else:
            self._check(answered.output["paid"] is False, "refused: the output says so", answered.output)
            self._check(not self._payments.received, "nothing was paid", self._payments.received)
        self._console.print(f"\n[bold green]all {len(self.checks)} checks hold[/]")

    def _publish(self) -> None:
        document = (files("playhead_cli.demo") / "refund-review.yaml").read_bytes()
        published = self._gateway.post_bytes("/v1/workflows", document, "application/yaml").as_(Published)
        self._heading(f"A refund is requested: {WORKFLOW} version {published.version}")

    def _run_until_paused(self) -> OpenPause:
        request: dict[str, Json] = {
            "request_id": "refund-1042",
            "amount": 640.5,
            "currency": "EUR",
            "reason": "Arrived broken, photos attached",
            "payment_url": self._payments.url,
        }
        self._console.print(f"  {escape(compact(request, 200))}", soft_wrap=True)
        started = self._gateway.post(f"/v1/workflows/{WORKFLOW}/executions", {"input": request, "mode": "sync"})
        result = started.as_(Result)
        self.execution_id = result.execution_id
        self._check(result.status == "paused", "it is paused: the amount is above the limit", result.status)
        self._check(len(result.pauses) == 1, "exactly one pause is open", result.pauses)
        pause = result.pauses[0]
        inbox = self._gateway.get("/v1/pauses", status="open", workflow=WORKFLOW).as_(Inbox)
        waiting = [each.pause_id for each in inbox.items if each.execution_id == self.execution_id]
        self._check(waiting == [pause.pause_id], "the inbox shows that pause", waiting)
        self._check(not self._payments.received, "nothing was paid yet", self._payments.received)
        self._console.print(f"\n  [bold yellow]?[/] [bold]{escape(pause.message)}[/]")
        for name, value in (pause.show or {}).items():
            self._console.print(f"      {name}: {escape(compact(value))}")
        for field in form_lines(pause.form):
            self._console.print(f"      {escape(f'[{field}]')}", style="dim")
        return pause

    def _answer(self, pause: OpenPause) -> tuple[bool, Result]:
        approved, comment = self._decide()
        answer = {"approved": approved, "comment": comment} if comment else {"approved": approved}
        path = f"/v1/executions/{self.execution_id}/pauses/{pause.pause_id}/resume"
        result = self._gateway.post(path, {"input": answer}).as_(Result)
        self._console.print()
        self._check(result.status == "completed", "answered, and the execution completed", result.status)
        self._check(result.output is not None, f"it has an output: {compact(result.output)}", result.output)
        return approved, result

    def _check_payment(self, result: Result) -> None:
        self._heading("What the payment service got")
        paid = self._payments.paid
        self._check(len(self._payments.received) == 1 and len(paid) == 1, "exactly one request, one payment", paid)
        self._check(paid[0].order["amount"] == 640.5, f"it is about {paid[0].order['amount']} EUR", paid[0].order)
        self._check(
            result.output == {"paid": True, "payment_id": paid[0].payment_id, "approved_by_a_person": True},
            f"the output names its {paid[0].payment_id}",
            result.output,
        )

    def _show_timeline(self) -> list[Fact]:
        self._heading("What happened: the events of the execution")
        facts = self._facts(self.execution_id)
        self._console.print(timeline(facts))
        versions = [fact.version for fact in facts]
        self._check(versions == list(range(1, len(facts) + 1)), "no version is missing", versions)
        return facts

    def _show_the_past(self, facts: list[Fact], pause_id: str) -> None:
        resolved = next((fact.version for fact in facts if fact.type == "pause.resolved"), 0)
        self._check(resolved > 1, "the answer is an event", [fact.type for fact in facts])
        path = f"/v1/executions/{self.execution_id}/state"
        before = self._gateway.get(path, version=resolved - 1).as_(State)
        now = self._gateway.get(path).as_(State)
        self._heading(f"Before the answer (version {before.version}) and now (version {now.version})")
        self._console.print(_side_by_side(before, now, pause_id))
        then = before.pauses[pause_id].status
        self._check(then == "open" and before.status == "paused", "at that moment the pause was open", then)
        self._check(PAYMENT_BLOCK not in before.blocks, "and the payment had not begun", list(before.blocks))
        self._check(now.pauses[pause_id].status == "answered", "now it is answered", now.pauses[pause_id].status)

    def _plan_rerun(self) -> Plan:
        body = {"from_block": PAYMENT_BLOCK, "dry_run": True}
        plan = self._gateway.post(f"/v1/executions/{self.execution_id}/rerun", body).as_(Planned).plan
        self._heading(f"Run it again from {PAYMENT_BLOCK}: the plan first")
        self._console.print(plan_table(plan))
        self._check(
            set(BEFORE_PAYMENT) <= set(plan.reused), "the plan reuses all blocks before the payment", plan.reused
        )
        self._check(len(self._payments.received) == 1, "planning paid nothing", self._payments.received)
        return plan

    def _rerun(self, plan: Plan) -> None:
        body = {"from_block": PAYMENT_BLOCK, "mode": "sync"}
        fork = self._gateway.post(f"/v1/executions/{self.execution_id}/rerun", body).as_(Result)
        self.fork_id = fork.execution_id
        comparison = self._gateway.get("/v1/executions/compare", a=self.execution_id, b=self.fork_id).as_(Comparison)
        self._heading("Then the rerun, a new execution; compared with the first (a → b)")
        self._console.print(comparison_table(comparison))
        if comparison.saved is not None:
            self._console.print(saved_line(comparison.saved))
        self._check(fork.status == "completed", "the rerun completed", fork.status)
        self._check(self.fork_id != self.execution_id, "as an execution of its own", self.fork_id)
        verdicts = {block.path: block.verdict for block in comparison.blocks}
        taken_over = {path for path, verdict in verdicts.items() if verdict == "reused"}
        self._check(set(plan.reused) == taken_over, "it took over what the plan said", verdicts)
        facts = self._facts(self.fork_id)
        ran = {fact.block for fact in facts if fact.type in ("block.started", "block.completed", "pause.requested")}
        self._check(ran.isdisjoint(plan.reused), "none of that ran again, and nobody was asked again", ran)
        received = self._payments.received
        self._check(len(received) == 2, "the payment service got a second request", received)
        keys = [each.idempotency_key for each in received]
        self._check(keys[0] != keys[1], "with another idempotency key, for it was wanted again", keys)
        first = self._gateway.get(f"/v1/executions/{self.execution_id}").as_(Result)
        self._check(first.status == "completed", "the first execution is as it was", first.status)

    def _facts(self, execution_id: str) -> list[Fact]:
        return [read_fact(frame) for frame in read_frames(self._gateway, execution_id)]

    def _heading(self, text: str) -> None:
        self._console.print(f"\n[bold]{escape(text)}[/]")

    def _check(self, holds: bool, claim: str, found: object) -> None:
        if not holds:
            raise DemoFailed(claim, found)
        self.checks.append(claim)
        self._console.print(f"  [green]✓[/] {escape(claim)}", soft_wrap=True)


def _side_by_side(before: State, now: State, pause_id: str) -> Table:
    made = table("", "before", "now", "outputs now")
    made.add_row("execution", status_text(before.status), status_text(now.status), line(compact(now.output)))
    pause = now.pauses[pause_id]
    then = before.pauses.get(pause_id)
    made.add_row(
        "pause", status_text(then.status if then else None), status_text(pause.status), line(compact(pause.answer))
    )
    for path, block in now.blocks.items():
        was = before.blocks.get(path)
        outputs = line("" if block.outputs is None else compact(block.outputs))
        made.add_row(path, status_text(was.status if was else None), status_text(block.status), outputs)
    return made
