"""The form of one pause: what is asked of whoever decides, and what is asked for one action alone."""

from collections.abc import Mapping

import msgspec
from msgspec import UNSET

from playhead_contracts.events import Json, PauseAction
from playhead_engine.pauses.answering import actions_of
from playhead_engine.schemas import with_defaults
from playhead_engine.state import PauseState
from playhead_gateway.page import typed as forms
from playhead_gateway.page.building import form_of
from playhead_gateway.page.fields import Field, GroupField
from playhead_gateway.page.schemas import as_object
from playhead_gateway.page.shown import Shown, filled_in, labelled
from playhead_gateway.page.submitted import Submitted, read
from playhead_gateway.page.typed import MAIN, Typed, of_action

_SAID_BY_BUTTON = "approved"
"""Of a pause without actions of its own: the buttons say it, so it is no field."""


class PauseForm(msgspec.Struct, frozen=True):
    """The fields by the name that their controls begin with."""

    fields: Mapping[str, Field]

    @property
    def main(self) -> Field | None:
        return self.fields.get(MAIN)

    def own(self, action: PauseAction) -> Field | None:
        """What is asked for this action alone."""
        return self.fields.get(of_action(action.name))

    def initial(self) -> dict[str, list[str]]:
        """What stands in it before anybody has typed."""
        return forms.typed(pair for name, field in self.fields.items() for pair in forms.initial(field, name))

    def with_row(self, form: Typed, wanted: str) -> dict[str, list[str]]:
        """With one row more in the list of this name, if there is such a list."""
        root = wanted.partition("/")[0]
        found = self.fields.get(root)
        return (
            {name: list(texts) for name, texts in form.items()}
            if found is None
            else forms.with_row(found, root, form, wanted)
        )


def form_of_pause(pause: PauseState) -> PauseForm:
    """The fields of a pause and of its actions."""
    fields: dict[str, Field] = {}
    actions = list(actions_of(pause).values())
    is_main_asked = any(action.form is None for action in actions)
    if pause.form is not None and is_main_asked:
        main = form_of(pause.form)
        if isinstance(main, GroupField) and not pause.actions:
            main = msgspec.structs.replace(main, fields=tuple(f for f in main.fields if f.key != _SAID_BY_BUTTON))
        if not isinstance(main, GroupField) or main.fields:
            fields[MAIN] = main
    fields |= {of_action(action.name): form_of(action.form) for action in actions if action.form is not None}
    return PauseForm(fields)


def read_answer(pause: PauseState, form: PauseForm, action: PauseAction, typed: Typed) -> Submitted:
    """What somebody says who takes this action. `value` is an object, unless there are faults."""
    schema, name = (action.form, of_action(action.name)) if action.form is not None else (pause.form, MAIN)
    field = form.fields.get(name)
    said = Submitted({}, (), {"#": name}) if field is None else read(field, name, typed)
    value = as_object(said.value) if said.value is not UNSET else None
    if schema is None or value is None:
        return said if said.faults or value is not None else said.at_fault("must be a JSON object, such as {}")
    checked = msgspec.structs.replace(said, value=with_defaults(schema, _completed(pause, schema, action, value)))
    checked = checked.checked(schema)
    if action.denies and action.form is None and checked.faults:
        # Who says no need not fill in the form; a reason that it asks for is kept.
        reason = value.get("reason")
        return Submitted({"reason": reason} if isinstance(reason, str) else {}, (), said.places)
    return msgspec.structs.replace(checked, value=value)


def answer_shown(pause: PauseState) -> tuple[tuple[str, Shown], ...]:
    """The answer as it is read, without what the action says already."""
    is_said = pause.action is not None and not pause.actions
    answer = {name: value for name, value in (pause.answer or {}).items() if not (is_said and name == _SAID_BY_BUTTON)}
    action = actions_of(pause).get(pause.action or "")
    schema = action.form if action is not None and action.form is not None else pause.form
    field = None if schema is None else form_of(schema)
    return filled_in(field, answer).pairs if isinstance(field, GroupField) else labelled(answer, {}, ())


def _completed(
    pause: PauseState, schema: Mapping[str, Json], action: PauseAction, value: dict[str, Json]
) -> dict[str, Json]:
    """With what the button says, where the form asks for it, as `hitl` will have it."""
    asked = as_object(schema.get("properties")) or {}
    return value if pause.actions or _SAID_BY_BUTTON not in asked else {**value, _SAID_BY_BUTTON: not action.denies}
