"""The Compose file fits the services' settings and the configuration of the bus."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from playhead_executor.settings import Settings as ExecutorSettings
from playhead_gateway.settings import Settings as GatewaySettings
from playhead_hitl.settings import Settings as HitlSettings
from playhead_projector.settings import Settings as ProjectorSettings
from playhead_runtime.settings import read_settings

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
SETTINGS: dict[str, type[Any]] = {
    "gateway": GatewaySettings,
    "executor": ExecutorSettings,
    "hitl": HitlSettings,
    "projector": ProjectorSettings,
}


@pytest.fixture
def compose() -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]


@pytest.mark.parametrize("service", list(SETTINGS))
def test_a_service_is_given_its_own_user_and_settings_that_it_takes(compose: dict[str, Any], service: str) -> None:
    given: dict[str, str] = compose[service]["environment"]
    environ = {name: re.sub(r"\$\{(\w+):(-([^}]*)|\?)\}", _filled, value) for name, value in given.items()}
    settings = read_settings(SETTINGS[service], environ)
    assert settings.nats_user == service
    assert settings.nats_inbox_prefix == f"_INBOX_{service}"
    assert settings.nats_password == f"the-value-of-NATS_{service.upper()}_PASSWORD-which-is-long-enough"
    if service in ("gateway", "hitl"):
        assert settings.links() is not None
    conf = (DEPLOY / "nats.conf").read_text()
    assert f"user: {service}, password: $NATS_{service.upper()}_PASSWORD" in conf
    assert f'"_INBOX_{service}.>"' in conf


def test_the_bus_is_given_every_password_that_its_configuration_names(compose: dict[str, Any]) -> None:
    named = set(re.findall(r"\$(NATS_\w+)", (DEPLOY / "nats.conf").read_text()))
    assert named == set(compose["nats"]["environment"])
    readme = (DEPLOY / "README.md").read_text()
    assert all(name in readme for name in named)


def _filled(found: re.Match[str]) -> str:
    return found[3] if found[3] is not None else f"the-value-of-{found[1]}-which-is-long-enough"
