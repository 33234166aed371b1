# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The syntax of systemd's units: quoted words, and the directives that a version of systemd knows.

A systemd that does not know a directive ignores it, and writes a warning into the unit's journal at each reload. The
warnings then stand where the last words of the service are expected. So a unit is written without the directives that
its host's systemd does not know.
"""

from __future__ import annotations

import re

#: Directives by the version of systemd in which they came. Source: "Added in version" in systemd.unit(5),
#: systemd.service(5), systemd.exec(5), systemd.kill(5), systemd.resource-control(5) and systemd.socket(5), of systemd
#: 257. These pages give no version for the directives under 0, which are older than all others.
BY_VERSION = {
    0: (
        "Backlog CPUAffinity CapabilityBoundingSet DirectoryMode Environment ExecReload ExecStart ExecStartPost "
        "ExecStartPre ExecStop ExecStopPost Group IgnoreSIGPIPE LimitCORE LimitMEMLOCK LimitNOFILE ListenStream Nice "
        "NotifyAccess PrivateNetwork PrivateTmp RemainAfterExit Restart RestartSec Service SocketMode Sockets "
        "SupplementaryGroups Type UMask User WatchdogSec"
    ),
    187: "KillMode KillSignal NoNewPrivileges SystemCallFilter",
    188: "TimeoutStartSec TimeoutStopSec",
    189: "SuccessExitStatus",
    201: "After Before Conflicts DefaultDependencies Description Documentation PartOf WantedBy Wants",
    208: "DeviceAllow DevicePolicy",
    209: "PrivateDevices SystemCallArchitectures SystemCallErrorNumber",
    211: "CacheDirectory LogsDirectory RestrictAddressFamilies RuntimeDirectory StateDirectory",
    214: "ProtectHome ProtectSystem SocketGroup SocketUser",
    215: "DefaultInstance",
    229: "AmbientCapabilities RuntimeMaxSec StartLimitIntervalSec",
    231: "MemoryDenyWriteExecute MemoryMax ReadWritePaths RestrictRealtime",
    232: "DynamicUser PrivateUsers ProtectControlGroups ProtectKernelModules ProtectKernelTunables RemoveIPC",
    233: "RestrictNamespaces",
    234: "CacheDirectoryMode LogsDirectoryMode RuntimeDirectoryMode StateDirectoryMode",
    235: "IPAddressAllow IPAddressDeny KeyringMode LockPersonality RuntimeDirectoryPreserve",
    239: "PrivateMounts",
    242: "ProtectHostname RestrictSUIDSGID",
    243: "NUMAMask NUMAPolicy",
    244: "ProtectKernelLogs",
    245: "ProtectClock",
    247: "ProcSubset ProtectProc",
}
#: Version of systemd in which each directive came.
SINCE = {name: version for version, names in BY_VERSION.items() for name in names.split()}
#: Newer directives that a distribution has added to its systemd, by version. Source: systemd 239 of Rocky Linux 8.10,
#: which accepts them.
BACKPORTED = {239: frozenset({"NUMAMask", "NUMAPolicy", "RestrictSUIDSGID"})}

_SETTING = re.compile(r"([A-Z]\w*)=")
_UNKNOWN = re.compile(r"\S+:\d+: Unknown (?:lvalue|key name|key) '")
_PLAIN = re.compile(r"[A-Za-z0-9_@+=:,./-]+")


def quote_word(word: str) -> str:
    """Quote a word of a setting such as Environment=, with C-style escapes and %% for a percent sign.

    Source: systemd.syntax(7), systemd.unit(5) on specifiers.
    """
    if _PLAIN.fullmatch(word):
        return word
    text = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return '"' + re.sub(r"[\x01-\x1f\x7f]", lambda found: f"\\x{ord(found[0]):02x}", text) + '"'


def quote_argument(argument: str) -> str:
    """Quote an argument of a command line such as ExecStart=, with $$ for a dollar sign.

    Source: systemd.service(5), "Command lines".
    """
    return quote_word(argument.replace("$", "$$"))


def is_known(name: str, version: int) -> bool:
    """Return whether a version of systemd knows a directive. A directive without an entry counts as known."""
    return SINCE.get(name, 0) <= version or name in BACKPORTED.get(version, ())


def supported(text: str, version: int) -> str:
    """Leave out the directives of a unit that this version of systemd does not know."""
    kept: list[str] = []
    is_dropped = is_continued = False
    for line in text.splitlines(keepends=True):
        if not is_continued:
            setting = _SETTING.match(line)
            is_dropped = setting is not None and not is_known(setting[1], version)
        is_continued = line.rstrip("\r\n").endswith("\\")
        if not is_dropped:
            kept.append(line)
    return "".join(kept)


def is_unknown_directive(line: str) -> bool:
    """Return whether a line of the journal only says that systemd ignores a directive.

    The wording differs: "Unknown lvalue" up to 242, then "Unknown key name", and "Unknown key" since 252.
    """
    return _UNKNOWN.search(line) is not None
