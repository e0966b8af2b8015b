"""What cannot be done is told to whoever asked, and kept as a dead letter: nothing is lost in silence."""

import logging
from collections.abc import Mapping
from http import HTTPStatus

import msgspec

from playhead_contracts.errors import Unavailable
from playhead_contracts.requests import IDEMPOTENCY_HEADER
from playhead_gateway.bus.callers import Sent
from playhead_gateway.bus.replies import Answers, NoSuchReply, answers_of
from playhead_gateway.bus.subscriber import AGAIN_SECONDS, Again, Done, Verdict
from playhead_gateway.problems import Told, tell
from playhead_gateway.services import Services
from playhead_runtime.bus import BusRejected, MessageTooLarge
from playhead_runtime.dead_letters import CALLER_HEADER, Letter, keep

log = logging.getLogger("playhead.gateway.bus")

MOST_TRIES = 3
"""How often something unexpected may happen before a message is given up; it can be sent again by hand."""

_KEPT_HEADERS = ("content-type", "traceparent")


def answers_or_refusal(services: Services, sent: Sent, otherwise: str) -> Answers | NoSuchReply:
    """Where answers go, or why they cannot."""
    try:
        return answers_of(services.bus, sent.headers, sent.data, otherwise)
    except NoSuchReply as nowhere:
        return nowhere


async def verdict_on(
    services: Services, sent: Sent, error: Exception, answers: Answers | None, key: str | None = None
) -> Verdict:
    """What becomes of a message whose handling ended in an error; the sender is told, if the error is the answer.

    `key` is its idempotency key, which a redriven command must have again.
    """
    told = tell(error, sent.delivery.subject)
    if isinstance(error, Unavailable) or told.status == HTTPStatus.SERVICE_UNAVAILABLE:
        if services.follows.is_stopping:
            return Again(0.0)
        log.warning("message put off", extra={"subject": sent.delivery.subject, "reason": str(error)})
        return Again(error.retry_after_seconds if isinstance(error, Unavailable) else AGAIN_SECONDS)
    if told.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("message failed", extra={"subject": sent.delivery.subject}, exc_info=error)
        if sent.delivery.num_delivered < MOST_TRIES:
            return Again(AGAIN_SECONDS * sent.delivery.num_delivered)
    try:
        await _give_up(services, sent, error, told, key)
    except (Unavailable, BusRejected) as unavailable:
        log.warning("dead letter put off", extra={"reason": str(unavailable)})
        return Again()
    if answers is not None:
        await answers.refused(told)
    return Done()


async def _give_up(services: Services, sent: Sent, error: Exception, told: Told, key: str | None) -> None:
    headers = _kept(sent.headers)
    if key is not None:
        headers[IDEMPOTENCY_HEADER] = key
    if "authorization" in sent.headers or "x-api-key" in sent.headers:
        headers[CALLER_HEADER] = "somebody with a key"
    letter = Letter(
        tenant=sent.tenant,
        kind=sent.kind if sent.delivery.subject.startswith("playhead.cmd.") else "event",
        data=sent.data,
        error=_in_words(error),
        msg_id=f"dlq:{sent.name}",
        subject=sent.delivery.subject,
        problem=told.body,
        headers=headers,
    )
    try:
        await keep(services.bus, letter)
    except MessageTooLarge:
        # With the reason for it, it is more than a message can be: then the reason counts.
        await keep(services.bus, msgspec.structs.replace(letter, data=b"", error=f"{letter.error}; too large to keep"))


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    """What of the headers belongs to the message. A key is never kept."""
    return {name: value for name, value in headers.items() if name.startswith("ce-") or name in _KEPT_HEADERS}


def _in_words(error: Exception) -> str:
    return str(error) or type(error).__name__
