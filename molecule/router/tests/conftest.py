"""Fixtures of all scenarios."""

from tests.lab.testing import on

__all__ = ["on"]
