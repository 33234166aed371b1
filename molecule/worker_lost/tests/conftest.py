"""What these tests share with those of the scenario chaos."""

from __future__ import annotations

pytest_plugins = ["tests.scenarios.recovery_plugin"]
