"""Links: what a token keeps, and what is no token of ours."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead_contracts.ids import ExecutionId, PauseId, TenantId
from playhead_runtime.links import Link, LinkExpired, LinkInvalid, Links, LinkSettings, page_url
from playhead_runtime.settings import BadSetting, read_settings

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LINKS = Links("x" * 32)
TEXT = st.text(st.characters(codec="utf-8"), max_size=50)


def link(**changes: Any) -> Link:
    known: dict[str, Any] = {
        "tenant": TenantId("acme"),
        "execution_id": ExecutionId("e"),
        "pause_id": PauseId("p"),
        "subject": "ann",
        "expires_at": NOW + timedelta(hours=1),
        "link_id": "l",
    }
    return Link(**(known | changes))


@given(st.builds(link, subject=st.none() | TEXT, groups=st.lists(TEXT, max_size=3).map(tuple), link_id=TEXT))
def test_a_link_comes_back_as_it_was(made: Link) -> None:
    assert LINKS.read(LINKS.issue(made), NOW) == made


def test_a_link_ends_at_its_moment() -> None:
    token = LINKS.issue(link())
    assert LINKS.read(token, NOW + timedelta(seconds=3599)).subject == "ann"
    for later in (3600, 3601, 10**9):
        with pytest.raises(LinkExpired):
            LINKS.read(token, NOW + timedelta(seconds=later))


@given(st.integers(0, 10_000), st.characters(codec="utf-8"))
def test_a_token_that_was_changed_is_none_of_ours(at: int, other: str) -> None:
    token = LINKS.issue(link())
    # The last character has bits that nobody reads.
    place = at % (len(token) - 1)
    changed = token[:place] + other + token[place + 1 :]
    if changed != token:
        with pytest.raises(LinkInvalid):
            LINKS.read(changed, NOW)


@given(st.text())
def test_nonsense_is_no_link(text: str) -> None:
    with pytest.raises(LinkInvalid):
        LINKS.read(text, NOW)


def test_another_secret_is_another_house() -> None:
    with pytest.raises(LinkInvalid):
        Links("y" * 32).read(LINKS.issue(link()), NOW)
    with pytest.raises(ValueError, match="32 bytes"):
        Links("short")


def test_without_a_secret_there_are_no_links_and_a_weak_one_is_refused() -> None:
    assert LinkSettings().links() is None
    with pytest.raises(BadSetting, match="at least 32 bytes") as refused:
        read_settings(LinkSettings, {"PLAYHEAD_LINK_SECRET": "hush"})
    assert "hush" not in str(refused.value)
    made = read_settings(LinkSettings, {"PLAYHEAD_LINK_SECRET": "z" * 32})
    assert "z" not in repr(made)
    with pytest.raises(BadSetting, match="PLAYHEAD_PUBLIC_URL"):
        read_settings(LinkSettings, {"PLAYHEAD_PUBLIC_URL": "ask.example.com"})


def test_a_link_lasts_as_long_as_its_pause_or_a_week() -> None:
    settings = LinkSettings()
    assert settings.link_end(NOW, NOW + timedelta(days=30)) == NOW + timedelta(days=30)
    assert settings.link_end(NOW, None) == NOW + timedelta(hours=168)
    assert page_url("https://ask.example.com/", "t") == page_url("https://ask.example.com", "t")
