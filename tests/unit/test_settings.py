"""Settings from the environment."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import pytest

from playhead_runtime.settings import SECRET, BadSetting, BusSettings, DatabaseSettings, read_settings


@dataclass(frozen=True, kw_only=True)
class Example(BusSettings, DatabaseSettings):
    """A service's settings: the shared ones and its own."""

    workers: Annotated[int, msgspec.Meta(ge=1)] = 4
    lease_seconds: float = 5.0
    verbose: bool = False
    data: Path | None = None
    origins: tuple[str, ...] = ()
    mode: Literal["one", "many"] = "one"
    token: Annotated[int | None, SECRET] = None


NEEDED = {"PLAYHEAD_NATS_URL": "nats://127.0.0.1:4222", "PLAYHEAD_DATABASE_URL": "postgresql:///playhead"}


def test_fields_are_read_from_the_variables_of_their_names_and_converted() -> None:
    settings = read_settings(
        Example,
        NEEDED
        | {
            "PLAYHEAD_WORKERS": "8",
            "PLAYHEAD_LEASE_SECONDS": "2.5",
            "PLAYHEAD_VERBOSE": "true",
            "PLAYHEAD_DATA": "/srv/playhead",
            "PLAYHEAD_ORIGINS": "https://a.example, https://b.example",
            "PLAYHEAD_MODE": "many",
        },
    )
    assert settings.nats_url == "nats://127.0.0.1:4222"
    assert (settings.workers, settings.lease_seconds, settings.verbose) == (8, 2.5, True)
    assert settings.data == Path("/srv/playhead")
    assert settings.origins == ("https://a.example", "https://b.example")
    assert settings.mode == "many"


def test_what_is_not_set_or_empty_has_its_default() -> None:
    settings = read_settings(Example, NEEDED | {"PLAYHEAD_WORKERS": "", "PLAYHEAD_DATA": ""})
    assert (settings.workers, settings.data, settings.nats_user) == (4, None, None)


def test_a_missing_setting_is_named() -> None:
    with pytest.raises(BadSetting, match=r"^PLAYHEAD_DATABASE_URL is not set; set it to a text$"):
        read_settings(DatabaseSettings, {})


@pytest.mark.parametrize(
    ("name", "value", "right"),
    [
        ("PLAYHEAD_WORKERS", "many", "a whole number"),
        ("PLAYHEAD_WORKERS", "0", ">= 1"),
        ("PLAYHEAD_LEASE_SECONDS", "5s", "a number"),
        ("PLAYHEAD_VERBOSE", "perhaps", "true or false"),
        ("PLAYHEAD_MODE", "none", "one, many"),
    ],
)
def test_a_wrong_value_is_shown_with_its_variable_and_what_is_right(name: str, value: str, right: str) -> None:
    with pytest.raises(BadSetting) as caught:
        read_settings(Example, NEEDED | {name: value})
    assert str(caught.value).startswith(f"{name} is '{value}'; ")
    assert right in str(caught.value)


def test_a_wrong_secret_is_not_shown() -> None:
    with pytest.raises(BadSetting) as caught:
        read_settings(Example, NEEDED | {"PLAYHEAD_TOKEN": "hunter2"})
    assert "PLAYHEAD_TOKEN" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_secrets_are_not_in_the_text_of_the_settings() -> None:
    settings = read_settings(Example, NEEDED | {"PLAYHEAD_NATS_PASSWORD": "hunter2"})
    assert settings.nats_password == "hunter2"
    assert "hunter2" not in repr(settings)


def test_a_struct_will_do() -> None:
    class Small(msgspec.Struct, frozen=True):
        port: int
        host: str = "127.0.0.1"

    assert read_settings(Small, {"PLAYHEAD_PORT": "8080"}) == Small(8080, "127.0.0.1")
    with pytest.raises(BadSetting, match="PLAYHEAD_PORT is not set"):
        read_settings(Small, {})
