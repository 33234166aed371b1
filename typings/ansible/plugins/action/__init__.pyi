from typing import Any

class ActionBase:
    _task: Any
    _connection: Any
    _play_context: Any
    _templar: Any
    _loader: Any
    _shared_loader_obj: Any
    _supports_async: bool
    _supports_check_mode: bool
    def run(self, tmp: str | None = ..., task_vars: dict[str, Any] | None = ...) -> dict[str, Any]: ...
    def _execute_module(
        self,
        module_name: str | None = ...,
        module_args: dict[str, Any] | None = ...,
        task_vars: dict[str, Any] | None = ...,
        wrap_async: bool = ...,
        **kwargs: Any,
    ) -> dict[str, Any]: ...
    def _low_level_execute_command(self, cmd: str, **kwargs: Any) -> dict[str, Any]: ...
    def get_shell_option(self, option: str, default: Any = ...) -> Any: ...
