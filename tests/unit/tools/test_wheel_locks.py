# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock of the gateway's packages, and how it is written."""

from __future__ import annotations

import re

import pytest

from tests.lab.wheels import LOCK
from tools import wheel_locks

ROOT = wheel_locks.ROOT
PIN = re.compile(r"(?m)^([A-Za-z0-9_-]+)==([^\s;\\]+)")
#: Packages with compiled code, whose wheels differ by Python and machine.
COMPILED = {"aiohttp", "frozenlist", "msgspec", "multidict", "propcache", "yarl"}


def pins(text: str) -> dict[str, str]:
    return {name.lower().replace("-", "_"): version for name, version in PIN.findall(text)}


def test_lock_pins_all_requirements() -> None:
    wanted = pins(wheel_locks.GATEWAY.requirements.read_text(encoding="utf-8"))
    locked = pins(LOCK.read_text(encoding="utf-8"))
    assert wanted.items() <= locked.items()
    # pip refuses a package without the hash of its wheel.
    blocks = re.split(r"(?m)^(?=[a-z])", LOCK.read_text(encoding="utf-8"))[1:]
    counts = {block.partition("==")[0]: block.count("--hash=sha256:") for block in blocks}
    kinds = len(wheel_locks.GATEWAY.pythons) * len(wheel_locks.GATEWAY.machines)
    assert counts == {name: kinds if name in COMPILED else 1 for name in counts}
    assert set(counts) >= COMPILED


def test_checks_of_types_use_the_locked_versions() -> None:
    constraints = pins((ROOT / "tools" / "constraints.txt").read_text(encoding="utf-8"))
    locked = pins(LOCK.read_text(encoding="utf-8"))
    assert {name: constraints[name] for name in locked} == locked


def test_lock_is_sorted_and_names_each_hash() -> None:
    text = wheel_locks.text("", {("yarl", "2.0"): {"bb", "aa"}, ("Attrs", "1.0"): {"cc"}})
    assert text == (
        "Attrs==1.0 \\\n    --hash=sha256:cc\nyarl==2.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n"
    )


def test_package_with_several_versions_is_refused() -> None:
    with pytest.raises(ValueError, match="requirements must pin yarl: hosts need several versions"):
        wheel_locks.text("", {("yarl", "2.0"): {"aa"}, ("yarl", "1.9"): {"bb"}})


def test_report_of_pip_gives_packages_and_hashes() -> None:
    wheel = {
        "metadata": {"name": "yarl", "version": "2.0"},
        "download_info": {"url": "https://x/yarl.whl", "archive_info": {"hashes": {"sha256": "aa"}}},
    }
    assert wheel_locks.pinned({"install": [wheel]}) == {("yarl", "2.0"): "aa"}
