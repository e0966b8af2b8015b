"""Signatures of Standard Webhooks 1.0.0: by them a receiver knows that a message is ours, and fresh."""

import hmac
from base64 import b64decode, b64encode
from collections.abc import Sequence

SECRET_PREFIX = "whsec_"


def signature(secret: str, delivery_id: str, timestamp: int, body: bytes) -> str:
    """The signature of one attempt. `secret` is `whsec_` and base64, `timestamp` in Unix seconds."""
    key = b64decode(secret.removeprefix(SECRET_PREFIX))
    signed = b"%s.%d.%s" % (delivery_id.encode(), timestamp, body)
    return "v1," + b64encode(hmac.digest(key, signed, "sha256")).decode()


def signed_headers(secrets: Sequence[str], delivery_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of one attempt, with a signature for each secret: while secrets change, receivers know either."""
    return {
        "webhook-id": delivery_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signature(secret, delivery_id, timestamp, body) for secret in secrets),
    }
