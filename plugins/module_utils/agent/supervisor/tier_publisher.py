# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Publish the status of the tiers for the gateway on this host, as the tier manager of a Slurm cluster does.

The tiers' engines are services. Their status comes from the heartbeats of their hosts' agents.
"""

from __future__ import annotations

import threading
import time

from ...core.gateway import service_status
from ...core.slurm import tier_status
from ...core.supervision.observations import PeerObservation
from ..common.atomic_files import write_whole
from ..common.log import log
from .heartbeat_client import Followers
from .settings import Settings

#: The file that the gateway reads, in the folder of the agent.
FILE = "tiers.json"
#: Seconds between two looks at the heartbeats.
LOOK_S = 0.25
#: Seconds for which a host's last heartbeat counts: its agent may start anew, and a busy host may answer late.
PATIENCE_S = 5.0


class TierPublisher:
    """Write the status file on each change, and again and again as a sign of life."""

    def __init__(self, settings: Settings, followers: Followers) -> None:
        self._tiers, self._path = settings.tiers, settings.run_dir / FILE
        hosts = {host for tier in settings.tiers for host in (tier.host, *tier.workers)}
        self._followers = followers
        self._hosts = {name: address for name, address in settings.peers.items() if name in hosts}
        self._kept: dict[str, tuple[float, PeerObservation]] = {}
        self._began = time.monotonic()
        self._written, self._states = 0.0, dict[str, tuple[str, str]]()
        self._trouble = ""

    def start(self) -> None:
        """Follow the heartbeats and publish, in threads."""
        self._followers.follow("tiers", self._hosts)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            time.sleep(LOOK_S)
            try:
                self.publish(time.monotonic(), time.time())
                self._trouble = ""
            except Exception as error:
                # The next turn may succeed, and no other thread publishes.
                trouble = f"the status of the tiers cannot be published: {type(error).__name__}: {error}"
                if trouble != self._trouble:
                    self._trouble = trouble
                    log(trouble)

    def publish(self, now: float, wall: float) -> None:
        """Write the status if it has changed, or if it was written some time ago.

        The status that a former agent wrote stays until each host has been asked.

        :param now: by the clock that is never set.
        :param wall: UNIX time.
        """
        if not self._followers.have_asked(self._hosts) and now - self._began < PATIENCE_S:
            return
        found = service_status.reports(self._tiers, self._observations(now), wall)
        states = {name: (tier.state, tier.reason) for name, tier in found.items()}
        if states == self._states and 0 <= now - self._written < tier_status.EVERY_S:
            return
        for name, (state, reason) in states.items():
            if self._states.get(name, ("", ""))[0] != state:
                log(f"tier {name}: {state}{'' if state == reason else f', {reason}'}")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self._path, tier_status.write(tier_status.StatusReport(wall, found)))
        self._written, self._states = now, states

    def _observations(self, now: float) -> dict[str, PeerObservation]:
        """Return what was heard of each host; for a while its last heartbeat, if it is silent."""
        found = self._followers.observations(list(self._hosts), now)
        for name, seen in found.items():
            if seen.heartbeat is not None:
                self._kept[name] = (now, seen)
            elif name in self._kept and now - self._kept[name][0] < PATIENCE_S:
                found[name] = self._kept[name][1]
        return found
