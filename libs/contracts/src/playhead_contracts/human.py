"""The `human` block of a workflow document: what is asked, of whom, until when, and what follows then."""

from datetime import timedelta
from typing import Annotated, Literal, cast

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from playhead_contracts.base_blocks import BaseBlock
from playhead_contracts.canonical import ordered_entries
from playhead_contracts.events import Json
from playhead_contracts.fields import (
    NEXT,
    TARGETS_SCHEMA,
    CaseName,
    Duration,
    Ordered,
    Text,
    Written,
    as_targets,
    is_time_or_template,
)

_HUMAN_NEXT_SCHEMA = WithJsonSchema(
    {"anyOf": [*TARGETS_SCHEMA["anyOf"], {"type": "object", "additionalProperties": TARGETS_SCHEMA}]}
)


def _as_human_next(value: object) -> object:
    if isinstance(value, dict):
        branches = cast("dict[object, object]", value)
        return {name: as_targets(targets) for name, targets in branches.items()}
    targets = as_targets(value)
    return {NEXT: targets} if targets else {}


class HumanAction(Written, frozen=True):
    """One thing that people can decide. `form` is asked for this action alone, in place of the form of the block."""

    label: Text | None = None
    denies: bool | None = None
    """Whether it says no: such an action needs no form, and vetoes a quorum. `deny` and `reject` do, if not said."""
    form: dict[str, Json] | None = None


class HumanQuorum(Written, frozen=True):
    """How many different people must take the same action before it counts."""

    needed: Annotated[int, Field(ge=1, le=100)]
    deny_vetoes: bool = False
    """One action that denies is enough."""


class ExpiryAnswer(Written, frozen=True):
    """When the time is over, this is the answer."""

    answer: dict[str, Json]
    action: str | None = None


class ExpiryAction(Written, frozen=True):
    """When the time is over, this action is taken."""

    action: str


class ExpiryEscalation(Written, frozen=True):
    """When the time is over, these people may answer, too; for `expires_in`, or without end if that is not set."""

    escalate: Annotated[list[Text], Field(min_length=1, max_length=100)]
    expires_in: Annotated[Duration, Field(gt=timedelta(0))] | None = None
    on_expiry: "OnExpiry" = "fail"


OnExpiry = Literal["fail"] | ExpiryAnswer | ExpiryAction | ExpiryEscalation


def _as_actions(value: object) -> object:
    entries = ordered_entries(value)
    if entries is None:
        return value
    written: dict[str, object] = {}
    for name, action in entries.items():
        written[name] = {} if action is None else {"label": action} if isinstance(action, str) else action
    return written


class HumanBlock(BaseBlock, frozen=True):
    """Asks people and waits. Its outputs are `{answer, action, decided_by, decided_at, comment}`, with votes if any.

    `form` is the JSON Schema (2020-12) of the answer. `actions` are what can be decided, each a branch of `next`;
    without them it is approve and deny. `assignees` are templates that give names of people (`ann`, `user:ann`),
    `group:finance` or `scope:refunds:approve`; without any, everybody may answer who may answer pauses.
    """

    type: Literal["human"]
    message: Text
    show: Annotated[dict[str, Json], Ordered] = {}
    labels: dict[str, str] = {}
    """What people read in place of a name in `show`."""
    form: dict[str, Json] | None = None
    actions: Annotated[dict[CaseName, HumanAction], BeforeValidator(_as_actions)] = {}
    next: Annotated[dict[str, tuple[str, ...]], BeforeValidator(_as_human_next), _HUMAN_NEXT_SCHEMA] = {}
    assignees: list[Text] = []
    quorum: HumanQuorum | None = None
    no_self_approval: bool = False
    """Whoever started the execution may not answer."""
    expires_in: Annotated[Duration, Field(gt=timedelta(0))] | None = None
    expires_at: Annotated[str, AfterValidator(is_time_or_template)] | None = None
    remind_before: Annotated[Duration, Field(gt=timedelta(0))] | None = None
    """How long before the time is over people are reminded."""
    on_expiry: OnExpiry = "fail"
    notify: list[Text] = []
    """The names of the webhooks that are told; all that want to know, if there are none."""
    continue_on_error: bool = False
    """A failure is recorded and shown, and the plain edges are active all the same."""

    @model_validator(mode="after")
    def _one_end(self) -> "HumanBlock":
        if self.expires_in is not None and self.expires_at is not None:
            raise ValueError("has one of `expires_in` and `expires_at`, not both")
        return self

    @property
    def decisions(self) -> dict[str, HumanAction]:
        """The actions by name: those written, or else the branches of `next`. None at all is approve and deny."""
        return self.actions or {name: HumanAction() for name in self.next if name != NEXT}

    @property
    def continues_on_error(self) -> bool:
        return self.continue_on_error

    @property
    def handles(self) -> dict[str, tuple[str, ...]]:
        return {name: targets for name, targets in self.next.items() if targets} | super().handles


ExpiryEscalation.model_rebuild()
HumanBlock.model_rebuild()
