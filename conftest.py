"""Every test runs with its own HOME, without the caller's git and hyprstream environment."""

import os
import sys
from importlib.metadata import entry_points

import pytest
from hypothesis import HealthCheck, settings

OURS = {"hyprstream-api", "hyprstream-demo", "hyprstream-qwen"}

# A busy machine must not fail a property: time limits are pytest-timeout's.
settings.register_profile("steady", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path_factory):
    """Scrub the environment and make a new, empty HOME. Programs that a test starts load our plugins alone."""
    for name in list(os.environ):
        if name.startswith(("GIT_", "HYPRSTREAM_", "XDG_", "HF_", "OPENAI_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.delenv("NETRC", raising=False)
    ours = [p.name for p in entry_points(group="hyprstream.plugins") if p.dist and p.dist.name in OURS]
    monkeypatch.setenv("HYPRSTREAM_PLUGINS", ",".join(sorted(ours)))
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@pytest.fixture(autouse=True)
def default_logging():
    """What one test configures does not reach the next."""
    yield
    if structlog := sys.modules.get("structlog"):
        structlog.reset_defaults()
