"""The part of ansible-core's module API that this collection uses (ansible-core ships no types)."""

from collections.abc import Mapping
from typing import Any, NoReturn

class AnsibleModule:
    params: dict[str, Any]
    check_mode: bool
    tmpdir: str
    def __init__(
        self,
        argument_spec: Mapping[str, Any],
        *,
        supports_check_mode: bool = ...,
        add_file_common_args: bool = ...,
        mutually_exclusive: list[list[str]] | None = ...,
        required_one_of: list[list[str]] | None = ...,
        required_together: list[list[str]] | None = ...,
        required_if: list[list[Any]] | None = ...,
        required_by: Mapping[str, Any] | None = ...,
    ) -> None: ...
    def exit_json(self, **kwargs: Any) -> NoReturn: ...
    def fail_json(self, msg: str, **kwargs: Any) -> NoReturn: ...
    def warn(self, warning: str) -> None: ...
    def set_fs_attributes_if_different(
        self, file_args: Mapping[str, Any], changed: bool, diff: dict[str, Any] | None = ..., expand: bool = ...
    ) -> bool: ...
    def load_file_common_arguments(self, params: Mapping[str, Any], path: str | None = ...) -> dict[str, Any]: ...
    def run_command(self, args: list[str], **kwargs: Any) -> tuple[int, str, str]: ...

def missing_required_lib(library: str, reason: str | None = ..., url: str | None = ...) -> str: ...
