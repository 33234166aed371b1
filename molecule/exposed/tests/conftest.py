"""Fixtures of all scenarios."""

from tests.scenarios.testing import on

__all__ = ["on"]
