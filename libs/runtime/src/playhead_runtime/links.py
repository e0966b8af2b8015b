"""Links that let a person answer one pause: who holds one needs no key, for the token is the authority.

A token is a JWT (RFC 7519), signed with HS256 over a secret that gateway and hitl share. It names one pause, who it is
for, and when it ends. It is not single use: the pause decides that only one answer counts, and afterwards the same link
shows what was decided.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import jwt
import msgspec

from playhead_contracts.errors import Gone, NotFound
from playhead_contracts.ids import ExecutionId, PauseId, TenantId
from playhead_runtime.settings import SECRET, BadSetting

AUDIENCE = "pause"
SHORTEST_SECRET = 32
_ALGORITHM = "HS256"
_LONGEST_TOKEN = 4096


class LinkInvalid(NotFound):
    problem, title = "link-invalid", "There is nothing behind this link"

    def __init__(self) -> None:
        super().__init__("this link was not made here, or a part of it is missing")


class LinkExpired(Gone):
    problem, title = "link-expired", "This link is over"

    def __init__(self, expired_at: datetime):
        super().__init__(f"this link ended at {expired_at.isoformat()}")


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """What a link allows: answering this pause as `subject`, or as whoever holds it when that is None."""

    tenant: TenantId
    execution_id: ExecutionId
    pause_id: PauseId
    subject: str | None
    groups: tuple[str, ...] = ()
    expires_at: datetime
    """UTC; a token keeps whole seconds."""
    link_id: str


class _Claims(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The payload of a token: the registered claims of RFC 7519, and ours."""

    jti: str
    exp: int
    tenant: str
    execution: str
    pause: str
    sub: str | None = None
    groups: tuple[str, ...] = ()
    aud: str = ""


class Links:
    """Makes and reads tokens."""

    def __init__(self, secret: str):
        """Raises ValueError for a secret of less than `SHORTEST_SECRET` bytes."""
        self._secret = secret.encode()
        if len(self._secret) < SHORTEST_SECRET:
            raise ValueError(f"a secret of links has at least {SHORTEST_SECRET} bytes")

    def issue(self, link: Link) -> str:
        """The token of a link, safe to stand in a URL."""
        claims = _Claims(
            jti=link.link_id,
            exp=int(link.expires_at.timestamp()),
            tenant=link.tenant,
            execution=link.execution_id,
            pause=link.pause_id,
            sub=link.subject,
            groups=link.groups,
            aud=AUDIENCE,
        )
        payload: dict[str, Any] = msgspec.to_builtins(claims)
        # PyJWT's types name a package that only its other algorithms need.
        return jwt.encode(payload, self._secret, algorithm=_ALGORITHM)  # pyright: ignore[reportUnknownMemberType]

    def read(self, token: str, now: datetime) -> Link:
        """The link of a token. Raises LinkInvalid for what was not issued here, and LinkExpired."""
        if len(token) > _LONGEST_TOKEN or not token.isascii():
            raise LinkInvalid
        try:
            payload = jwt.decode(  # pyright: ignore[reportUnknownMemberType]
                token,
                self._secret,
                algorithms=[_ALGORITHM],
                audience=AUDIENCE,
                # The moment is handed in, so it is compared below.
                options={"require": ["exp", "jti", "aud"], "verify_exp": False},
            )
            claims = msgspec.convert(payload, _Claims)
        except (jwt.InvalidTokenError, msgspec.ValidationError) as exc:
            raise LinkInvalid from exc
        expires_at = datetime.fromtimestamp(claims.exp, UTC)
        if now >= expires_at:
            raise LinkExpired(expires_at)
        return Link(
            tenant=TenantId(claims.tenant),
            execution_id=ExecutionId(claims.execution),
            pause_id=PauseId(claims.pause),
            subject=claims.sub,
            groups=claims.groups,
            expires_at=expires_at,
            link_id=claims.jti,
        )


@dataclass(frozen=True, kw_only=True)
class LinkSettings:
    """What gateway and hitl must agree on. Without a secret there are no links."""

    link_secret: Annotated[str | None, SECRET] = field(default=None, repr=False)
    public_url: str | None = None
    """How people reach the gateway, such as `https://playhead.example.com`; links begin with it."""
    link_hours: Annotated[float, msgspec.Meta(gt=0, le=24 * 366)] = 168.0
    """How long links work to pauses that do not expire."""

    def __post_init__(self) -> None:
        if self.link_secret is not None and len(self.link_secret.encode()) < SHORTEST_SECRET:
            shown = "not shown, for it is secret"
            raise BadSetting(
                "PLAYHEAD_LINK_SECRET", shown, f"set it to a random text of at least {SHORTEST_SECRET} bytes"
            )
        if self.public_url is not None and not self.public_url.startswith(("https://", "http://")):
            raise BadSetting("PLAYHEAD_PUBLIC_URL", repr(self.public_url), "set it to a URL that begins with https://")

    def links(self) -> Links | None:
        """Makes and reads tokens, if there is a secret."""
        return None if self.link_secret is None else Links(self.link_secret)

    def link_end(self, now: datetime, pause_expires_at: datetime | None) -> datetime:
        """When a link ends for which nothing else is said: with its pause, if that does."""
        return pause_expires_at or now + timedelta(hours=self.link_hours)


def page_url(base: str, token: str) -> str:
    """The address of the page behind a token, below `PLAYHEAD_PUBLIC_URL`."""
    return f"{base.rstrip('/')}/a/{token}"
