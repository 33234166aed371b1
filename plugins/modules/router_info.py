#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: router_info
short_description: Report the models that a running router offers, and which are in memory
version_added: 0.1.0
description:
  - Requests the models of llama-server in router mode. The request loads no model and wakes none.
  - Without O(url), reads the state of O(unit), running or not, and sends the request to its endpoint.
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment:
  - herd.inference.attributes.info_module
  - herd.inference.engine_options.client
requirements:
  - requests
options:
  url:
    description:
      - Address of the API, without a path. The module fails if it does not answer.
      - Without it, address, key and certificate come from the command line of O(unit). Then the module does not wait,
        and reports a failure in RV(problem).
    type: str
  unit:
    description: The router's unit, used without O(url).
    type: str
    default: llama-router.service
  timeout:
    description: Seconds to wait until the router answers.
    type: int
    default: 60
  expected:
    description: Ids of exactly the models that the router must offer. Empty skips the check.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: List the models of the router
  herd.inference.router_info:
    url: http://10.0.0.42:8080
    api_key_file: /etc/herd/router/api-keys

- name: Read the state of the router on this host
  herd.inference.router_info:
    timeout: 2
"""

RETURN = r"""
models:
  description:
    - Each model with C(id), C(aliases), C(state) (V(unloaded), V(loading), V(loaded), V(sleeping)) and C(exit_code) of
      its last process if that failed.
  returned: success
  type: list
  elements: dict
  sample: [{id: strand-rust-coder-14b-q8_0, aliases: [], state: loaded, exit_code: null}]
in_memory:
  description: Ids of the models that are in memory or are being loaded.
  returned: success
  type: list
  elements: str
  sample: [strand-rust-coder-14b-q8_0]
ask:
  description: Id of the best model for a test request, which is one in memory if there is one.
  returned: success
  type: str
  sample: strand-rust-coder-14b-q8_0
problem:
  description: Reason why the models are unknown; empty if they are known.
  returned: without O(url)
  type: str
active_state:
  description: State of the unit (ActiveState).
  returned: without O(url)
  type: str
  sample: active
sub_state:
  description: Sub-state of the unit (SubState).
  returned: without O(url)
  type: str
  sample: running
since:
  description: When the unit became active, as systemd prints it.
  returned: without O(url)
  type: str
  sample: Sat 2026-11-21 02:26:35 UTC
restarts:
  description: Automatic restarts since the last manual start or boot.
  returned: without O(url)
  type: int
pid:
  description: Id of the main process; V(0) if there is none.
  returned: without O(url)
  type: int
endpoint:
  description: Address and port of the API.
  returned: without O(url)
  type: str
  sample: 10.0.0.31:8080
release:
  description: Id of the release that the process runs from.
  returned: without O(url)
  type: str
  sample: 0c1e57098-cpu-1a2b3c4d
advisories:
  description: Known vulnerabilities of that release.
  returned: without O(url)
  type: list
  elements: dict
  sample:
    - id: CVE-2026-34159
      means: code execution for anyone who reaches the RPC worker's port
      fixed: "2026-03, b8492"
"""

import time
from dataclasses import asdict
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.engine import api_keys, router_mode
from ansible_collections.herd.inference.plugins.module_utils.core.engine.command_line import value_of
from ansible_collections.herd.inference.plugins.module_utils.core.errors import (
    HerdError,
    MismatchError,
    RemoteFailureError,
)
from ansible_collections.herd.inference.plugins.module_utils.core.host import certificate
from ansible_collections.herd.inference.plugins.module_utils.core.release import units
from ansible_collections.herd.inference.plugins.module_utils.herd_module import CLIENT_OPTIONS, HerdModule, run_module
from ansible_collections.herd.inference.plugins.module_utils.ports import files, systemd
from ansible_collections.herd.inference.plugins.module_utils.ports.engine import openai_api
from ansible_collections.herd.inference.plugins.module_utils.ports.host import processes
from ansible_collections.herd.inference.plugins.module_utils.ports.release import manifest as release_manifest

_POLL_S = 0.5


def api_of(given: dict[str, Any], timeout_s: float) -> openai_api.Api:
    """Create the client of the router's API."""
    key = api_keys.first(files.required_text(given["api_key_file"], "fast_router"))
    chain = files.required_text(given["certificate_file"], "fast_router")
    return openai_api.Api(given["url"], key, timeout_s, certificate.first(chain) if chain else "")


def offered(found: list[router_mode.RouterModelState], expected: list[str]) -> dict[str, Any]:
    """Describe the models for the result."""
    return {
        "models": [{**asdict(model), "aliases": list(model.aliases)} for model in found],
        "in_memory": [model.id for model in found if model.is_in_memory],
        "ask": router_mode.model_to_probe(found, expected or [model.id for model in found]),
    }


def read_api(given: dict[str, Any]) -> dict[str, Any]:
    """Wait for the router, and request its models."""
    api = api_of(given, 10)
    end = time.monotonic() + given["timeout"]
    state = api.health()
    while state != "ready" and time.monotonic() < end:
        time.sleep(_POLL_S)
        state = api.health()
    if state != "ready":
        raise RemoteFailureError(
            f"a router at {given['url']} within {given['timeout']} seconds", state, "look at journalctl -u llama-router"
        )
    found = router_mode.states(api.router_models())
    ids, expected = {model.id for model in found}, set(given["expected"])
    if expected and ids != expected:
        listed = "; ".join(
            f"{text}: {', '.join(sorted(names))}"
            for text, names in (("missing", expected - ids), ("not planned", ids - expected))
            if names
        )
        raise MismatchError("the router to offer what was planned", listed, "look at journalctl -u llama-router")
    return offered(found, given["expected"])


def read_unit(given: dict[str, Any]) -> dict[str, Any]:
    """Read the unit's state, and request the models from the endpoint of its process."""
    state = systemd.show(given["unit"])
    arguments = processes.arguments_of(state.pid) if state.pid else []
    address, port, key_file, trusted = (
        value_of(arguments, flag) for flag in ("--host", "--port", "--api-key-file", "--ssl-cert-file")
    )
    asked = {
        "url": f"{'https' if trusted else 'http'}://{'127.0.0.1' if address in ('', '0.0.0.0') else address}:{port}",
        "api_key_file": given["api_key_file"] or key_file,
        "certificate_file": given["certificate_file"] or trusted,
    }
    found: list[router_mode.RouterModelState] = []
    problem = "" if port else "it does not run"
    try:
        found = router_mode.states(api_of(asked, given["timeout"]).router_models()) if port else []
    except HerdError as error:
        problem = str(error)
    return {
        **{name: getattr(state, name) for name in ("active_state", "sub_state", "since", "restarts", "pid")},
        **offered(found, []),
        "problem": problem,
        "endpoint": f"{address}:{port}" if port else "",
        "release": release_manifest.release_of(arguments),
        "advisories": release_manifest.manifest_of(arguments).get("advisories", []),
    }


def result(module: HerdModule) -> dict[str, Any]:
    """Read the models of the API or of the unit, and return the module's result."""
    if openai_api.REQUESTS_ERROR is not None:
        module.fail_without_requests(openai_api.REQUESTS_ERROR)
    return read_api(module.params) if module.params["url"] else read_unit(module.params)


def main() -> None:
    run_module(
        result,
        url={"type": "str"},
        unit={"type": "str", "default": units.ROUTER},
        **CLIENT_OPTIONS,
        timeout={"type": "int", "default": 60},
        expected={"type": "list", "elements": "str", "default": []},
    )


if __name__ == "__main__":
    main()
