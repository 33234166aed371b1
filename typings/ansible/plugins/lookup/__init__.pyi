from typing import Any

class LookupBase:
    def run(self, terms: list[Any], variables: dict[str, Any] | None = ..., **kwargs: Any) -> list[Any]: ...
