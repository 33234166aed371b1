"""The part of crossplane that the tests use."""

from typing import Any

def parse(filename: str, *, strict: bool = ...) -> dict[str, Any]: ...
