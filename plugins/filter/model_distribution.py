# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter C(model_jobs): who fetches a model, and who copies it from whom."""

from __future__ import annotations

DOCUMENTATION = r"""
name: model_jobs
short_description: Plans who fetches models and who copies them from another node
version_added: 0.2.0
author: herd.inference contributors (@herd-inference)
description:
  - One host fetches what no host has. The others copy from hosts that have it, in rounds, as a tree.
  - A host that has a model is told its checksums, so that it asks nobody.
positional: _input, hosts, held
options:
  _input:
    description:
      - The models, as in the inventory's C(herd_models).
    type: list
    elements: dict
    required: true
  hosts:
    description: All hosts that need the models, the preferred one for a fetch first.
    type: list
    elements: str
    required: true
  held:
    description: By host, the SHA-256 of the files that it has (RV(herd.inference.model_files_info#module:known)).
    type: dict
    required: true
  addresses:
    description: By host, the address from which it gives files.
    type: dict
    required: true
  port:
    description: The port there.
    type: int
    required: true
  fanout:
    description: To how many hosts one host gives a model at the same time.
    type: int
    default: 2
  hubs:
    description:
      - Base URLs of the hubs that repositories are on, asked in this order. The last one is the publisher's, and the
        only one that sees the token.
    type: list
    elements: str
    default: [https://huggingface.co]
"""

EXAMPLES = r"""
- name: Show who copies from whom
  ansible.builtin.debug:
    msg: >-
      {{ models | herd.inference.model_jobs(groups['model_store'], held, addresses=fabric, port=50062) }}
"""

RETURN = r"""
_value:
  description:
    - C(files) are the names of all files. C(own) is by host what it fetches from the publisher or already has.
    - C(rounds) is a list. Each has C(targets), by host what it copies, and C(sources), by host the C(files) that it
      gives and the C(clients) that may have them.
  type: dict
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.models.distribution import jobs
from ansible_collections.herd.inference.plugins.module_utils.core.models.lock import HUB


def model_jobs(
    models: Sequence[Mapping[str, Any]],
    hosts: Sequence[str],
    held: Mapping[str, Mapping[str, str]],
    addresses: Mapping[str, str],
    port: int,
    fanout: int = 2,
    hubs: Sequence[str] = (HUB,),
) -> dict[str, Any]:
    return jobs(models, hosts, held, addresses, int(port), int(fanout), hubs)


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"model_jobs": model_jobs}
