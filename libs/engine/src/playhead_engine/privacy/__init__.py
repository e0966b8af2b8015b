"""Values about people: what of a workflow they reach, and what of a fact is therefore sealed.

An author marks where such values come in: `x-personal: true` in the schema of the input or of a form. Everything else
follows. What reads something marked is personal, too, and so is what reads that (`taint`). It is decided once, when an
execution begins, and stands in its first event; from then on every service knows from the state of an execution what
of a new fact to seal (`seals`). The rule in doubt is to seal: too much sealed is a nuisance, too little is a leak.
"""

from playhead_engine.privacy.marks import marked_in
from playhead_engine.privacy.seals import is_reached, seal_of
from playhead_engine.privacy.subjects import (
    LONGEST_SUBJECT,
    AnotherSubject,
    PersonalChild,
    SubjectUnknown,
    ValuesForgotten,
    inherited,
    personal_of,
    subject_of,
)
from playhead_engine.privacy.taint import Reach, reach

__all__ = [
    "LONGEST_SUBJECT",
    "AnotherSubject",
    "PersonalChild",
    "Reach",
    "SubjectUnknown",
    "ValuesForgotten",
    "inherited",
    "is_reached",
    "marked_in",
    "personal_of",
    "reach",
    "seal_of",
    "subject_of",
]
