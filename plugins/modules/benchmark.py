#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: benchmark
short_description: Measure an OpenAI-compatible endpoint
version_added: 0.1.0
description:
  - Sends streamed chat completions to an endpoint and measures their times and rates. The repetitions of all cases are
    interleaved, after a warm-up of each case.
  - A case is a kind of prompt with its length, the tokens of context before it, and the number of clients at once.
  - Runs on the controller, with Ansible's own Python. Shows its progress.
  - Changes nothing on the endpoint. Check mode checks the options and sends no request.
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes]
requirements:
  - The Python library aiohttp on the host that runs the module
options:
  url:
    description: Address of the endpoint, without a path.
    type: str
    required: true
  kind:
    description: What the endpoint is, for the result.
    type: str
    default: endpoint
  api_key:
    description:
      - API key, or the text of a key file, whose first key counts. It is in no argument of a process and in no log.
    type: str
  api_key_file:
    description: File with the API key in its first line, in place of O(api_key).
    type: path
  certificate:
    description: The endpoint's own certificate as PEM, the only one that is trusted. If empty, the system decides.
    type: str
    default: ""
  certificate_file:
    description: File of that certificate, in place of O(certificate).
    type: path
  model:
    description: Name of the model. If empty, the first one that the endpoint lists.
    type: str
    default: ""
  prompts:
    description: Kinds of prompts - V(short), V(long), V(code), or V(sized) with the lengths of O(prompt_tokens).
    type: list
    elements: str
    default: [short, long, code]
  prompt_tokens:
    description: Lengths of the prompts of kind V(sized), in tokens.
    type: list
    elements: int
    default: [512]
  depths:
    description: Tokens of context before the prompt.
    type: list
    elements: int
    default: [0]
  clients:
    description: Numbers of clients that send requests at once.
    type: list
    elements: int
    default: [1]
  output_tokens:
    description: Most tokens of an answer.
    type: int
    default: 128
  requests:
    description: Requests of each client in one repetition.
    type: int
    default: 1
  repetitions:
    description: Repetitions of each case after its warm-up. At least two are needed for an interval and a comparison.
    type: int
    default: 3
  objective:
    description: What a request must meet to count as goodput. A limit that is left out demands nothing.
    type: dict
    default: {}
    suboptions:
      ttft_ms:
        description: Longest time to the first token, in milliseconds.
        type: float
      itl_ms:
        description: Longest mean time between two tokens, in milliseconds.
        type: float
      request_latency_ms:
        description: Longest time of the whole request, in milliseconds.
        type: float
  targets:
    description: Limits of the site by name of the target, each with C(target), C(acceptable) and C(critical).
    type: dict
    default: {}
  timeout:
    description: Longest silence of the endpoint in seconds. The request then counts as failed.
    type: float
    default: 300
  time_limit:
    description: Seconds after which no further repetition begins.
    type: int
    default: 7200
  progress_file:
    description: File of the progress, which the action plugin reads. If empty, there is none.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Measure an endpoint with one and with eight clients
  herd.inference.benchmark:
    url: http://10.0.0.31:8000
    api_key: "{{ key_of_the_endpoint }}"
    clients: [1, 8]
  delegate_to: localhost
  register: measured
"""

RETURN = r"""
measured:
  description:
    - C(started), C(endpoint), C(complete), C(latency_ms) and C(cases), as in
      C(docs/reference/benchmark.schema.json).
  returned: when not in check mode
  type: dict
limits:
  description: The targets with their limits, by name.
  returned: success
  type: dict
progress_file:
  description: File of the progress.
  returned: success
  type: str
"""

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.benchmark import document, settings
from ansible_collections.herd.inference.plugins.module_utils.core.benchmark.requests import measurement
from ansible_collections.herd.inference.plugins.module_utils.core.engine import api_keys
from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError, NotFoundError
from ansible_collections.herd.inference.plugins.module_utils.core.host import certificate
from ansible_collections.herd.inference.plugins.module_utils.core.values import finite
from ansible_collections.herd.inference.plugins.module_utils.herd_module import HerdModule, run_module
from ansible_collections.herd.inference.plugins.module_utils.ports.benchmark import load_client
from ansible_collections.herd.inference.plugins.module_utils.ports.progress import ProgressFile

_LONGEST_S = 86400
_REMEDY = "correct the variables that begin with benchmark_"


def text_of(path: str | None, remedy: str) -> str:
    """Return the text of a file that the user names; empty without a path."""
    try:
        return Path(path).read_text(encoding="utf-8") if path else ""
    except (OSError, UnicodeDecodeError) as error:
        raise NotFoundError(f"a readable file {path}", getattr(error, "strerror", None) or "no text", remedy) from error


def endpoint_of(given: dict[str, Any]) -> load_client.Endpoint:
    """Return the endpoint with its key and its certificate."""
    text = given["api_key"] or text_of(given["api_key_file"], "correct benchmark_api_key_file")
    key = api_keys.in_use(text, given["api_key_file"] or "benchmark_api_key", "name another key")
    chain = given["certificate"] or text_of(given["certificate_file"], "correct benchmark_certificate_file")
    return load_client.Endpoint(settings.endpoint_url(given["url"]), key, certificate.first(chain) if chain else "")


def limit_of(given: dict[str, Any], name: str) -> float:
    """Return a time limit in seconds."""
    found = finite(given[name], 1, _LONGEST_S)
    if found is None:
        raise InvalidInputError(f"seconds from 1 to {_LONGEST_S} as benchmark_{name}", str(given[name]), _REMEDY)
    return found


def model_of(client: load_client.LoadClient, wanted: str) -> str:
    """Return the model to ask."""
    offered = client.models()
    if wanted and wanted not in offered:
        raise InvalidInputError(f"a model of the endpoint ({', '.join(offered)})", wanted, "correct benchmark_model")
    return wanted or offered[0]


def measure(
    client: load_client.LoadClient, plan: settings.Plan, model: str, seed: str, progress: ProgressFile, limit: float
) -> measurement.Measurement:
    """Measure the plan, with its progress."""
    begin = time.monotonic()
    done, phase = 0, ""

    def answered() -> None:
        nonlocal done
        done += 1
        progress.update(phase, done, measuring.request_count)

    def started(name: str) -> None:
        nonlocal phase
        phase = name
        progress.update(phase, done, measuring.request_count)

    measuring = measurement.Measuring(plan, lambda clients: client.run(clients, answered), model, seed)
    return measuring.measure(started, lambda: time.monotonic() - begin > limit)


def result(module: HerdModule) -> dict[str, Any]:
    """Measure the endpoint and return the module's result."""
    if load_client.AIOHTTP_ERROR is not None:
        raise NotFoundError(
            f"the Python library aiohttp for {sys.executable}",
            load_client.AIOHTTP_ERROR,
            f"install it with {sys.executable} -m pip install aiohttp, or name another interpreter in benchmark_python",
        )
    given = module.params
    plan, endpoint = settings.plan(given), endpoint_of(given)
    timeout, limit = limit_of(given, "timeout"), limit_of(given, "time_limit")
    answer = {
        "limits": {name: asdict(target) for name, target in plan.limits.items()},
        "progress_file": given["progress_file"],
    }
    if module.check_mode:
        return answer
    client = load_client.LoadClient(endpoint, timeout)
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    model = model_of(client, given["model"])
    progress = ProgressFile(Path(given["progress_file"]) if given["progress_file"] else None, "requests")
    # The seed is the time to a nanosecond: the engine's cache has no prompt of another benchmark.
    found = measure(client, plan, model, str(time.time_ns()), progress, limit)
    progress.finish()
    described = {"url": endpoint.url, "model": model, "kind": given["kind"]}
    return {**answer, "measured": document.measured(started, described, found)}


def main() -> None:
    run_module(
        result,
        url={"type": "str", "required": True},
        kind={"type": "str", "default": "endpoint"},
        api_key={"type": "str", "no_log": True},
        api_key_file={"type": "path", "no_log": False},
        certificate={"type": "str", "default": ""},
        certificate_file={"type": "path"},
        model={"type": "str", "default": ""},
        prompts={"type": "list", "elements": "str", "default": ["short", "long", "code"]},
        prompt_tokens={"type": "list", "elements": "int", "default": [512], "no_log": False},
        depths={"type": "list", "elements": "int", "default": [0]},
        clients={"type": "list", "elements": "int", "default": [1]},
        output_tokens={"type": "int", "default": 128, "no_log": False},
        requests={"type": "int", "default": 1},
        repetitions={"type": "int", "default": 3},
        objective={
            "type": "dict",
            "default": {},
            "options": {
                "ttft_ms": {"type": "float"},
                "itl_ms": {"type": "float"},
                "request_latency_ms": {"type": "float"},
            },
        },
        targets={"type": "dict", "default": {}},
        timeout={"type": "float", "default": 300},
        time_limit={"type": "int", "default": 7200},
        progress_file={"type": "str", "default": ""},
    )


if __name__ == "__main__":
    main()
