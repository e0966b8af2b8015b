"""Whose values those of an execution are, and what follows for it: decided when it begins."""

from functools import lru_cache

from playhead_contracts.errors import Fault, InvalidInput
from playhead_contracts.events import ExecutionCreated, Personal
from playhead_contracts.ids import BlockPath
from playhead_contracts.pointers import pointer
from playhead_engine.expressions import ExpressionFailed, compile_template
from playhead_engine.expressions.scope import Scope
from playhead_engine.graph import Graph
from playhead_engine.privacy.marks import names_of, outermost, pointer_of
from playhead_engine.privacy.seals import is_reached
from playhead_engine.privacy.taint import Reach, reach

LONGEST_SUBJECT = 500
"""Characters of the name of a subject."""


class SubjectUnknown(InvalidInput):
    problem, title = "subject-unknown", "It cannot be told whose personal values these are"


class PersonalChild(InvalidInput):
    problem, title = "personal-child", "The workflow holds personal values, and its parent does not say whose"

    def __init__(self, workflow_id: str):
        super().__init__(
            f"{workflow_id} marks values as personal, so a workflow that starts it must say whose they are: "
            'give the parent `personal: {subject: "{{ input... }}"}`'
        )


class AnotherSubject(InvalidInput):
    problem, title = "another-subject", "That would be about somebody else"

    def __init__(self) -> None:
        super().__init__("a rerun takes over values of the person it was about; for another, start a new execution")


class ValuesForgotten(InvalidInput):
    problem, title = "values-forgotten", "Its values were forgotten"

    def __init__(self) -> None:
        super().__init__("the person it was about was forgotten, so there is nothing left that could run again")


def subject_of(graph: Graph, created: ExecutionCreated) -> str | None:
    """Whose values an execution is about to hold; None if its document does not ask. Raises SubjectUnknown."""
    personal = graph.document.personal
    if personal is None:
        return None
    scope = Scope(input=created.input, variables=created.variables, execution={}, blocks={}, absent=frozenset[str]())
    try:
        subject = compile_template(personal.subject).evaluate(scope)
    except ExpressionFailed as failed:
        raise _unknown(graph, str(failed)) from failed
    if isinstance(subject, int) and not isinstance(subject, bool):
        subject = str(subject)
    if not isinstance(subject, str) or not _is_name(subject):
        raise _unknown(graph, f"`{personal.subject}` should give a text of 1 to {LONGEST_SUBJECT} characters")
    return subject


def personal_of(graph: Graph, key_id: str, source: Personal | None = None) -> Personal:
    """What is sealed of an execution of this graph: what its document marks, and what was sealed of its source."""
    if source is None:
        return _personal(key_id, _by_itself(graph))
    marked = map(names_of, source.input)
    return _personal(key_id, reach(graph, marked, source.variables, source.blocks))


def inherited(
    graph: Graph, parent: Personal | None, path: BlockPath, created: ExecutionCreated, source: Personal | None = None
) -> Personal | None:
    """What is sealed of a child that the block instance at `path` starts: all that it is given.

    `source` is what was sealed of the child that it is a fork of. Raises PersonalChild.
    """
    if parent is None or not is_reached(parent, path):
        if graph.document.personal is not None:
            raise PersonalChild(created.workflow_id)
        return None
    before = source or Personal(parent.key_id)
    return _personal(parent.key_id, reach(graph, ((),), (*created.variables, *before.variables), before.blocks))


@lru_cache(maxsize=256)
def _by_itself(graph: Graph) -> Reach:
    return reach(graph)


def _personal(key_id: str, found: Reach) -> Personal:
    return Personal(
        key_id=key_id,
        input=tuple(map(pointer_of, outermost(found.input))),
        variables=tuple(sorted(found.variables)),
        blocks=tuple(sorted(found.blocks)),
        output=found.output,
    )


def _is_name(subject: str) -> bool:
    # PostgreSQL has no place for NUL.
    return bool(subject.strip()) and len(subject) <= LONGEST_SUBJECT and "\0" not in subject


def _unknown(graph: Graph, reason: str) -> SubjectUnknown:
    return SubjectUnknown(
        f"{graph.document.id} holds personal values, and whose they are cannot be told: {reason}",
        errors=(Fault(pointer("input"), reason, "`personal.subject` of the workflow says what is read for it"),),
    )
