# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: model_distribution
short_description: Plan which hosts fetch models and which copy them from other hosts
version_added: 0.1.0
author: herd.inference contributors (@herd-inference)
description:
  - One host fetches a model that no host has. The others copy it from hosts that have it, in rounds, as a tree.
  - A host that already has a model gets its checksums, so that it asks no server.
positional: _input, hosts, held
options:
  _input:
    description: The models, as in the inventory's C(herd_models).
    type: list
    elements: dict
    required: true
  hosts:
    description: All hosts that need the models. The first one fetches.
    type: list
    elements: str
    required: true
  held:
    description: By host, the SHA-256 of its verified files (RV(herd.inference.model_files_info#module:known)).
    type: dict
    required: true
  addresses:
    description: By host, the address at which it shares files.
    type: dict
    required: true
  port:
    description: The port at these addresses.
    type: int
    required: true
  fanout:
    description: How many hosts copy from one host at the same time.
    type: int
    default: 2
  hubs:
    description:
      - Base URLs of the hubs, asked in this order. The last one is the publisher's, and the only one that gets the
        token.
    type: list
    elements: str
    default: [https://huggingface.co]
seealso:
  - module: herd.inference.gguf_fetch
  - module: herd.inference.model_files_info
"""

EXAMPLES = r"""
- name: Show how the models are distributed
  ansible.builtin.debug:
    msg: >-
      {{ models | herd.inference.model_distribution(groups['model_store'], held, addresses=fabric, port=50062) }}
"""

RETURN = r"""
_value:
  description:
    - C(files) are the names of all files. C(own) has by host the models that it fetches or already has.
    - C(rounds) is a list. Each round has C(targets), by host the models that it copies, and C(sources), by host the
      C(files) that it shares and the C(clients) that may read them.
  type: dict
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.models.distribution import plan_distribution
from ansible_collections.herd.inference.plugins.module_utils.core.models.lock import HUB


def model_distribution(
    models: Sequence[Mapping[str, Any]],
    hosts: Sequence[str],
    held: Mapping[str, Mapping[str, str]],
    addresses: Mapping[str, str],
    port: int,
    fanout: int = 2,
    hubs: Sequence[str] = (HUB,),
) -> dict[str, Any]:
    return plan_distribution(models, hosts, held, addresses, int(port), int(fanout), hubs)


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"model_distribution": model_distribution}
