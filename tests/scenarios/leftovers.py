# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the roles may leave on a host after playbooks/remove.yml."""

from __future__ import annotations

#: Prints every remainder of the roles on a host, and nothing on a clean host.
LEFT = r"""
grep -ls herd.inference /etc/systemd/system/* /etc/systemd/system/*.d/* /etc/tmpfiles.d/* /etc/logrotate.d/* \
  /etc/nginx/*/* /etc/systemd/journald.conf.d/* /etc/sysctl.d/* 2>/dev/null
ls -d /etc/herd /opt/herd /opt/llama.cpp /run/herd /run/herd-gateway /run/herd-guard /var/lib/herd \
  /var/lib/herd-gateway /var/lib/herd-tiers /var/cache/herd /var/log/herd /var/log/nginx/herd.log* 2>/dev/null
find /usr/local/bin -xtype l
nft list tables | grep herd_
getent passwd llama herd-gateway
getent group llama herd-gateway
pgrep -af '[h]erdctl|[l]lama-server|[r]pc-server'
ss -Hltn '( sport = :8080 or sport = :8081 )'
tailscale serve status --json 2>/dev/null | grep Proxy
systemctl list-units --all --plain --no-legend 'herd-*' 'llama-*'
"""
