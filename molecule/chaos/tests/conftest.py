"""Fixtures that this scenario shares with worker_lost."""

from __future__ import annotations

pytest_plugins = ["tests.scenarios.recovery_plugin"]
