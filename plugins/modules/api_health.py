#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prove that the head answers."""

from __future__ import annotations

DOCUMENTATION = r"""
module: api_health
short_description: Wait for the head to load, and prove it with chat completions
version_added: 0.1.0
description:
  - Waits while the connection is refused or the model loads, then asks for a chat completion, in one piece
    and streamed. An open port or a green C(/health) prove nothing, since the engine reports health with a
    dead worker too.
  - Sends requests, but changes nothing.
author: herd.inference contributors (@herd-inference)
requirements:
  - requests
options:
  url:
    description: Address of the API, without a path.
    type: str
    required: true
  api_key_file:
    description: File on this host whose first line is the key. Empty sends none.
    type: path
  certificate_file:
    description: File on this host with the head's certificate, the only one that is trusted. Empty without TLS.
    type: path
    version_added: 0.2.0
  model:
    description: Id that the model must have.
    type: str
    required: true
  timeout:
    description: Seconds to wait for the model to be loaded.
    type: int
    default: 600
  request_timeout:
    description: Longest silence in an answer, in seconds.
    type: int
    default: 120
  prompt:
    description: What is asked.
    type: str
    default: Say hello.
  max_tokens:
    description: Length of the answer.
    type: int
    default: 8
  unit:
    description: Unit on this host that serves the API; when it fails, waiting ends. Empty does not look.
    type: str
    default: ''
attributes:
  check_mode:
    description: Asks the same.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: Ask the head something
  herd.inference.api_health:
    url: http://10.0.0.31:8000
    api_key_file: /etc/herd/head/api-keys
    model: or1-behemoth-q8_0
    timeout: 1800
"""

RETURN = r"""
waited_s:
  description: Seconds until it was ready.
  returned: success
  type: float
  sample: 41.2
states:
  description: States that were met, in order.
  returned: success
  type: list
  elements: str
  sample: [refused, loading, ready]
key_required:
  description: Whether a request without a key is refused.
  returned: success
  type: bool
  sample: true
completion:
  description: The answer in one piece; times in seconds.
  returned: success
  type: dict
  sample: {text: Hello, tokens: 8, seconds: 0.9, first_token_s: null, tokens_per_second: 9.1}
streamed:
  description: The streamed answer, with the time to the first token.
  returned: success
  type: dict
  sample: {text: Hello, tokens: 8, seconds: 0.9, first_token_s: 0.21, tokens_per_second: 9.1}
"""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.herd.inference.plugins.module_utils.core import certificate
from ansible_collections.herd.inference.plugins.module_utils.core.errors import (
    HerdError,
    MismatchError,
    NotFoundError,
    RemoteFailureError,
)
from ansible_collections.herd.inference.plugins.module_utils.ports import openai, systemd

_POLL_S = 0.5


def first_key(path: str | None) -> str:
    """Read the first key of the file."""
    if not path:
        return ""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise NotFoundError(f"the key file {path}", error.strerror or "none", "run the role head_server") from error
    return next((line.strip() for line in lines if line.strip() and not line.startswith("#")), "")


def trusted(path: str | None) -> str:
    """Read the head's certificate, the first of its file."""
    if not path:
        return ""
    try:
        return certificate.first(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise NotFoundError(f"the certificate {path}", error.strerror or "none", "run the role head_server") from error


def wait_until_ready(api: openai.Api, timeout_s: float, unit: str) -> list[str]:
    """Follow the states until it is ready; ends early when nothing can heal."""
    deadline = time.monotonic() + timeout_s
    states: list[str] = []
    while True:
        state = api.health()
        if not states or states[-1] != state:
            states.append(state)
        if state == "ready":
            return states
        is_over = time.monotonic() >= deadline
        has_failed = bool(unit) and systemd.show(unit).active_state in ("failed", "inactive")
        if is_over or has_failed or state.startswith(("status", "insecure")):
            raise RemoteFailureError(
                f"the head to be ready within {timeout_s:g} seconds",
                " → ".join(states) + (f", its unit said: {systemd.last_words(unit)}" if unit else ""),
                "raise the timeout if it was still loading, otherwise mend what its journal names",
            )
        time.sleep(_POLL_S)


def prove(api: openai.Api, given: dict[str, Any]) -> dict[str, Any]:
    """Check the model's id and the key, and ask for an answer in both ways."""
    ids = api.models()
    if given["model"] not in ids:
        raise MismatchError(
            f"the model {given['model']}", ", ".join(ids), "see that no other server holds the same port"
        )
    is_key_required = api.needs_key()
    if given["api_key_file"] and not is_key_required:
        raise MismatchError("a request without a key to be refused", "an answer", "restart llama-head")
    completion = api.chat(given["model"], given["prompt"], given["max_tokens"])
    streamed = api.chat_streamed(given["model"], given["prompt"], given["max_tokens"])
    if completion.tokens < 1 or streamed.first_token_s is None:
        raise RemoteFailureError("at least one token", "none", "look at journalctl -u llama-head")
    return {"key_required": is_key_required, "completion": asdict(completion), "streamed": asdict(streamed)}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "api_key_file": {"type": "path", "no_log": False},
            "certificate_file": {"type": "path"},
            "model": {"type": "str", "required": True},
            "timeout": {"type": "int", "default": 600},
            "request_timeout": {"type": "int", "default": 120},
            "prompt": {"type": "str", "default": "Say hello."},
            "max_tokens": {"type": "int", "default": 8, "no_log": False},
            "unit": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    if openai.REQUESTS_ERROR is not None:
        module.fail_json(msg=missing_required_lib("requests"))
    given = module.params
    begin = time.monotonic()
    try:
        api = openai.Api(
            given["url"], first_key(given["api_key_file"]), given["request_timeout"], trusted(given["certificate_file"])
        )
        states = wait_until_ready(api, given["timeout"], given["unit"])
        waited = round(time.monotonic() - begin, 2)
        proof = prove(api, given)
    except HerdError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, waited_s=waited, states=states, **proof)


if __name__ == "__main__":
    main()
