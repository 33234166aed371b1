# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Roles look up the fabric addresses of other hosts in one way."""

from __future__ import annotations

import pytest

from ansible_collections.herd.inference.plugins.filter.fabric_addresses import fabric_addresses
from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError

HOSTVARS = {
    "vllm-node2": {"herd_fabric_address": "10.100.0.32"},
    "vllm-node3": {"herd_fabric_address": "10.100.0.33"},
    "mirror": {"ansible_host": "10.0.0.9"},
}


def test_addresses_are_in_the_order_of_the_hosts() -> None:
    found = fabric_addresses(["vllm-node3", "vllm-node2"], HOSTVARS)
    assert list(found.items()) == [("vllm-node3", "10.100.0.33"), ("vllm-node2", "10.100.0.32")]


def test_host_without_address_is_named() -> None:
    with pytest.raises(HerdError, match="expected herd_fabric_address of mirror, found none"):
        fabric_addresses(["vllm-node2", "mirror"], HOSTVARS)


def test_default_replaces_a_missing_address() -> None:
    assert fabric_addresses(["mirror"], HOSTVARS, default="") == {"mirror": ""}
