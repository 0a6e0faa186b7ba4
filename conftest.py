"""Settings of every test run; fixtures are in tests/conftest.py."""

import os
from pathlib import Path

import pytest

# Lets no skipped test go unnoticed.
pytest_plugins = ("tests.plugin_requires",)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Chooses where ape's fixtures work, and keeps the checkout's busbar.toml from the tests and all they start."""
    os.environ["BUSBAR_CONFIG"] = str(Path(__file__).parent / "tests" / "busbar.toml")
    # ape would test on the network it deploys to by default, which is somebody's running chain.
    if config.pluginmanager.hasplugin("ape_test") and "--network" not in config.invocation_params.args:
        config.option.network = "ethereum:local:foundry"
