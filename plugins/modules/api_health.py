#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: api_health
short_description: Wait until the head serves, and verify it with chat completions
version_added: 0.1.0
description:
  - Waits while the connection is refused or the model loads, then requests a chat completion, in one piece and
    streamed. An open port or a healthy C(/health) prove nothing, because the engine reports health with a dead worker
    too.
  - Fails at once if waiting is useless, because the unit has failed, is stopped or crashes repeatedly, another program
    has the port, or the certificate differs.
  - An answer counts by the tokens of its C(usage). Text proves one too, for a server that counts none.
  - Sends requests, but changes nothing.
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment:
  - herd.inference.attributes.info_module
  - herd.inference.engine_options.client
requirements:
  - requests
options:
  url:
    description: Address of the API, without a path.
    type: str
    required: true
  model:
    description: Id of the model in the API.
    type: str
    required: true
  timeout:
    description: Seconds to wait for the model, beside the time for O(model_bytes).
    type: int
    default: 600
  model_bytes:
    description: Size of the model's files in bytes, which extends the wait. V(0) is unknown.
    type: int
    default: 0
  load_mib_per_s:
    description: Slowest acceptable rate of loading in MiB/s. Gigabit Ethernet carries 112.
    type: float
    default: 100
  slots:
    description: Request slots that the head must have. V(0) skips the check.
    type: int
    default: 0
  speculation:
    description: >-
      Whether every slot of the head must speculate. The engine serves without speculation if a draft does not fit, and
      reports that in its log only. C(/slots) is asked after the completions, so it wakes no sleeping head.
    type: bool
    default: false
  reasoning:
    description: Whether the answer must have C(reasoning_content). Unset skips the check.
    type: bool
  request_timeout:
    description: Longest silence in an answer, in seconds.
    type: int
    default: 120
  prompt:
    description: Prompt of the test request.
    type: str
    default: Say hello.
  max_tokens:
    description: Most tokens of the answer.
    type: int
    default: 8
  unit:
    description:
      - Unit on this host that serves the API. The wait ends when it fails, and no other process may listen at its port.
        Empty skips both checks.
    type: str
    default: ''
"""

EXAMPLES = r"""
- name: Verify the head
  herd.inference.api_health:
    url: http://10.0.0.31:8000
    api_key_file: /etc/herd/head/api-keys
    model: or1-behemoth-q8_0
    # 77 GB at 100 MiB/s take 737 seconds; the timeout is added.
    model_bytes: 77257181088
    timeout: 300
    slots: 1
    unit: llama-head.service
"""

RETURN = r"""
waited_s:
  description: Seconds until the head was ready.
  returned: success
  type: float
limit_s:
  description: Longest wait in seconds.
  returned: success
  type: float
states:
  description: States during the wait in order, of V(refused), V(silent), V(loading) and V(ready).
  returned: success
  type: list
  elements: str
  sample: [refused, loading, ready]
models:
  description: Ids of the models.
  returned: success
  type: list
  elements: str
  sample: [or1-behemoth-q8_0]
slots:
  description:
    - Number of request slots, of busy ones, the context of one in tokens, and whether all of them speculate. V(null) is
      unknown.
  returned: success
  type: dict
  sample: {total: 1, busy: 0, context: 4096, speculative: false}
key_required:
  description: Whether a request without a key is rejected.
  returned: success
  type: bool
wrong_key_refused:
  description: Whether a request with an unknown key is rejected.
  returned: success
  type: bool
reasons:
  description: Whether the model sends C(reasoning_content).
  returned: success
  type: bool
completion:
  description:
    - The answer in one piece; times in seconds. C(reasoning) is the part of C(text) that came as C(reasoning_content).
      C(tokens) is the engine's count, 0 if it has none. C(has_token) is true by this count, or by text.
  returned: success
  type: dict
  sample:
    text: Hello
    tokens: 8
    seconds: 0.9
    first_token_s: null
    tokens_per_second: 9.1
    reasoning: ""
    finish_reason: length
    prompt_tokens: 12
    arrived_per_second: null
    has_token: true
streamed:
  description:
    - The streamed answer, as RV(completion), with the time to its first token. C(tokens_per_second) is measured by the
      engine, C(arrived_per_second) by the client between the first and the last token.
  returned: success
  type: dict
"""

import time
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.herd.inference.plugins.module_utils.core.engine import api_keys, api_readiness
from ansible_collections.herd.inference.plugins.module_utils.core.errors import (
    MismatchError,
    RemoteFailureError,
)
from ansible_collections.herd.inference.plugins.module_utils.core.host import certificate, proc_net
from ansible_collections.herd.inference.plugins.module_utils.herd_module import CLIENT_OPTIONS, HerdModule, run_module
from ansible_collections.herd.inference.plugins.module_utils.ports import files, systemd
from ansible_collections.herd.inference.plugins.module_utils.ports.engine import openai_api
from ansible_collections.herd.inference.plugins.module_utils.ports.host import processes

_LAST_START_LINES = 40
_POLL_S = 0.5
# No head has this key, because generated keys are longer.
_UNKNOWN_KEY = "nobody-has-this-key"


def strangers(port: int, unit: str) -> tuple[str, ...]:
    """List the processes outside the unit that listen at the port."""
    found = proc_net.other_listeners(processes.tcp_tables(), port, unit, processes.owner_of, processes.control_group_of)
    return tuple(sorted({f"{name} ({pid})" for _listener, pid, name in found if pid}))


def probe(api: openai_api.Api, given: dict[str, Any], former: str) -> api_readiness.ApiProbe:
    """Probe the API and, with a unit, systemd and the kernel's listeners."""
    state, unit = api.health(), given["unit"]
    if not unit:
        return api_readiness.ApiProbe(state)
    shown = systemd.show(unit)
    # A foreign process on the port may not answer, so a failed bind is searched for too. The engine's message precedes
    # those of systemd about its end and the next start.
    refused = shown.restarts > 0 and state == "refused"
    taken = refused and api_readiness.PORT_TAKEN in systemd.last_words(unit, _LAST_START_LINES)
    # Once for each state, because the search scans all processes.
    answers = state not in (former, "refused", "silent")
    found = strangers(urlsplit(given["url"]).port or 80, unit) if answers or taken else ()
    return api_readiness.ApiProbe(state, shown.active_state, shown.restarts, found, taken)


def wait_until_ready(api: openai_api.Api, given: dict[str, Any]) -> api_readiness.ReadinessWait:
    """Probe the head until it is ready. Stop early if waiting is useless."""
    begin = time.monotonic()
    limit = api_readiness.limit(given["timeout"], given["model_bytes"], given["load_mib_per_s"])
    waiting = api_readiness.ReadinessWait(limit, given["unit"])
    while not waiting.is_over():
        former = waiting.states[-1] if waiting.states else ""
        error = waiting.see(probe(api, given, former), time.monotonic() - begin)
        if error is not None:
            said = f", its unit said: {systemd.last_words(given['unit'])}" if given["unit"] else ""
            raise type(error)(error.expected, error.found + said, error.remedy)
        if not waiting.is_over():
            time.sleep(_POLL_S)
    return waiting


def check_keys(api: openai_api.Api, given: dict[str, Any]) -> dict[str, bool]:
    """Check that the head rejects requests without a key or with an unknown one."""
    found = {"key_required": api.refuses(""), "wrong_key_refused": api.refuses(_UNKNOWN_KEY)}
    if given["api_key_file"] and not all(found.values()):
        who = "without a key" if not found["key_required"] else "with another key"
        raise MismatchError(f"a request {who} to be refused", "an answer", "restart llama-head")
    return found


def prove(api: openai_api.Api, given: dict[str, Any]) -> dict[str, Any]:
    """Check model id, slots and keys, and request an answer in both ways."""
    ids = api.models()
    if given["model"] not in ids:
        raise MismatchError(
            f"the model {given['model']}", ", ".join(ids), "see that no other server holds the same port"
        )
    keys = check_keys(api, given)
    completion = api.chat(given["model"], given["prompt"], given["max_tokens"])
    streamed = api.chat_streamed(given["model"], given["prompt"], given["max_tokens"])
    for way, answer in (("in one piece", completion), ("as a stream", streamed)):
        if not answer.has_token:
            raise RemoteFailureError(f"at least one token {way}", "none", "look at journalctl -u llama-head")
    slots = api.slots()
    api_readiness.check_slots(given["slots"], slots.total)
    api_readiness.check_speculation(given["speculation"], slots.speculative)
    api_readiness.check_reasoning(given["reasoning"], streamed.reasoning, streamed.text)
    return {
        **keys,
        "models": ids,
        "slots": asdict(slots),
        "reasons": bool(streamed.reasoning),
        "completion": asdict(completion),
        "streamed": asdict(streamed),
    }


def result(module: HerdModule) -> dict[str, Any]:
    """Wait for the head, prove that it answers, and return the module's result."""
    if openai_api.REQUESTS_ERROR is not None:
        module.fail_without_requests(openai_api.REQUESTS_ERROR)
    given = module.params
    begin = time.monotonic()
    key = api_keys.first(files.required_text(given["api_key_file"], "head_server"))
    chain = files.required_text(given["certificate_file"], "head_server")
    api = openai_api.Api(given["url"], key, given["request_timeout"], certificate.first(chain) if chain else "")
    waiting = wait_until_ready(api, given)
    waited = round(time.monotonic() - begin, 2)
    return {"waited_s": waited, "limit_s": waiting.limit_s, "states": waiting.states, **prove(api, given)}


def main() -> None:
    run_module(
        result,
        url={"type": "str", "required": True},
        **CLIENT_OPTIONS,
        model={"type": "str", "required": True},
        timeout={"type": "int", "default": 600},
        model_bytes={"type": "int", "default": 0},
        load_mib_per_s={"type": "float", "default": 100},
        slots={"type": "int", "default": 0},
        speculation={"type": "bool", "default": False},
        reasoning={"type": "bool"},
        request_timeout={"type": "int", "default": 120},
        prompt={"type": "str", "default": "Say hello."},
        max_tokens={"type": "int", "default": 8, "no_log": False},
        unit={"type": "str", "default": ""},
    )


if __name__ == "__main__":
    main()
