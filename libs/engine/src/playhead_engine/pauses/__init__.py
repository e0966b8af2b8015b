"""Pauses: what is asked, who may answer, which answer wins, and what follows when nobody does."""

from playhead_engine.pauses.answering import (
    Answer,
    AnswerDoesNotFit,
    PauseAlreadyAnswered,
    ProposalChanged,
    decide_answer,
    votes_missing,
)
from playhead_engine.pauses.managing import decide_delegation, decide_extension, decide_notified
from playhead_engine.pauses.refusals import PauseClosed, PauseExpiredAlready, PauseUnknown
from playhead_engine.pauses.rights import Answerer, NotAnAssignee, SelfApproval, asked_now, is_asked

__all__ = [
    "Answer",
    "AnswerDoesNotFit",
    "Answerer",
    "NotAnAssignee",
    "PauseAlreadyAnswered",
    "PauseClosed",
    "PauseExpiredAlready",
    "PauseUnknown",
    "ProposalChanged",
    "SelfApproval",
    "asked_now",
    "decide_answer",
    "decide_delegation",
    "decide_extension",
    "decide_notified",
    "is_asked",
    "votes_missing",
]
