# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/remove.yml removes the gateway with its engines. This file runs last in its scenario."""

from __future__ import annotations

from tests.scenarios.leftovers import LEFT
from tests.scenarios.playbooks import Operator
from tests.scenarios.services import GATEWAY_HOST, Services
from tests.scenarios.testing import NODES

PLAY = ("playbooks/remove.yml", "-e", "remove_confirmed=true")


def test_site_with_a_gateway_is_removed(site: Services, operator: Operator) -> None:
    nginx = site.sure(GATEWAY_HOST, "systemctl show -p MainPID --value nginx")
    shown = operator.play("playbooks/remove.yml", "--check", "--diff")
    assert shown.rc == 0, shown.output[-3000:]
    for line in ("unit herd-gateway.socket", "user herd-gateway", "/etc/nginx/conf.d/herd.conf"):
        assert line in shown.output, line
    assert site.chat_with("lab-small").status == 200
    run = operator.play(*PLAY)
    assert run.rc == 0, run.output[-3000:]
    for host in NODES:
        assert site.on(host, LEFT).out == "", host
    # nginx keeps its process and a valid configuration, and nothing answers at the ports of the tiers.
    assert site.sure(GATEWAY_HOST, "systemctl show -p MainPID --value nginx") == nginx
    site.sure(GATEWAY_HOST, "nginx -q -t")
    assert operator.play(*PLAY).calm
