# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deploy two releases of the engine with the same roles: their programs, flags and protocols differ."""

from __future__ import annotations

from tests.slow.cluster import HEAD, Cluster, assert_changes_nothing, assert_converged
from tests.slow.conftest import Notes

OLD, NEW = "b7836", "0c1e57098"
ACKNOWLEDGED = '{"herd_acknowledged_advisories": ["CVE-2026-34159", "CVE-2026-21869"]}'


def choose(release: str) -> tuple[str, ...]:
    """Return the playbook's arguments for a release."""
    return ("-e", ACKNOWLEDGED, "-e", f"herd_release={release}")


def test_cluster_changes_to_the_new_release_and_back(cluster: Cluster, notes: Notes) -> None:
    first = cluster.deploy(*choose(OLD))
    notes.add(f"{OLD} on bare hosts: {first.seconds:.0f} s")
    assert_converged(cluster, first, OLD)
    old = cluster.look()[HEAD]["current"]

    switched = cluster.deploy(*choose(NEW))
    notes.add(f"{OLD} to {NEW}: {switched.seconds:.0f} s")
    # This also asserts that head and workers run from the new release.
    assert_converged(cluster, switched, NEW)
    for host, found in cluster.look().items():
        assert old in found["releases"], f"{host} has lost the release to go back to"

    again = cluster.deploy(*choose(NEW))
    notes.add(f"{NEW} once more: {again.seconds:.0f} s")
    assert_changes_nothing(again)

    back = cluster.deploy(*choose(OLD))
    notes.add(f"{NEW} back to {OLD}, which is built already: {back.seconds:.0f} s")
    assert_converged(cluster, back, OLD)
    assert {found["current"] for found in cluster.look().values()} == {old}
