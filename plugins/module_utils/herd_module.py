# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all modules of this collection have in common."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable, NoReturn

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from .core.errors import HerdError

#: Specifications of the options that the documentation fragments download_options and engine_options describe.
DOWNLOAD_OPTIONS: dict[str, Any] = {
    "token": {"type": "str", "no_log": True},
    "timeout": {"type": "float", "default": 60},
}
ENGINE_OPTIONS: dict[str, Any] = {
    "prefix": {"type": "path", "required": True},
    "environment": {"type": "dict", "default": {}},
    "accepted_rules": {"type": "list", "elements": "str", "default": []},
}
SERVER_OPTIONS: dict[str, Any] = {
    "listen_address": {"type": "str", "required": True},
    "listen_port": {"type": "int", "required": True},
    "api_key_file": {"type": "path", "required": True, "no_log": False},
    "tls": {
        "type": "dict",
        "default": {},
        "options": {"certificate": {"type": "path"}, "key": {"type": "path", "no_log": False}},
    },
}
CLIENT_OPTIONS: dict[str, Any] = {
    "api_key_file": {"type": "path", "no_log": False},
    "certificate_file": {"type": "path"},
}


class HerdModule(AnsibleModule):
    """A module that supports check mode and reports an error as one sentence."""

    def __init__(self, options: Mapping[str, Any], **constraints: Any) -> None:
        super().__init__(argument_spec=options, supports_check_mode=True, **constraints)

    def fail_without_requests(self, import_error: str | None) -> NoReturn:
        """Fail because the Python library requests cannot be imported."""
        self.fail_json(msg=missing_required_lib("requests"), exception=import_error)

    def run(self, result: Callable[[HerdModule], Mapping[str, Any]]) -> NoReturn:
        """Exit with the result of a function, or fail with the sentence of its error.

        :param result: returns the values of the task; without C(changed), the task has changed nothing.
        """
        try:
            found = result(self)
        except HerdError as error:
            self.fail_json(msg=str(error))
        except OSError as error:
            reason = error.strerror or error
            if error.filename:
                problem = f"{error.filename} cannot be read or written ({reason})"
                self.fail_json(msg=f"{problem}: free space, or correct its permissions.")
            # Errors of connections and processes are OSErrors too, and name no file.
            self.fail_json(msg=f"The system refused a step of this task ({reason}): correct that, and run it again.")
        self.exit_json(**{"changed": False, **found})


def run_module(result: Callable[[HerdModule], Mapping[str, Any]], /, **options: Any) -> NoReturn:
    """Run a module with these options, each with its argument specification."""
    HerdModule(options).run(result)


def file_diff(name: str | Path, before: str, after: str) -> dict[str, str]:
    """Return the difference of one file, or of another text with a name, for C(diff)."""
    return {"before_header": str(name), "after_header": str(name), "before": before, "after": after}
