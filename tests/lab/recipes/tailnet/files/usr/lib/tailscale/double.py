# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A double of tailscale and tailscaled: no tailnet is to be had where the tests run.

It refuses what the real command refuses, keeps its configuration between calls as tailscaled does (in the file that
C(TAILSCALE_DOUBLE) names, on a host of a lab the one below), and prints it in the same form: C(ServeConfig) with
C(TCP), C(Web) and C(AllowFunnel).
"""

from __future__ import annotations

import json
import os
import posixpath
import re
import sys
from pathlib import Path
from typing import Any

STATE = Path(os.environ.get("TAILSCALE_DOUBLE", "/var/lib/tailscale/double.json"))
FLAGS = {"bg", "yes", "https", "http", "tcp", "tls-terminated-tcp", "set-path"}


def fail(text: str) -> None:
    print(f"error: {text}\n\ntry `tailscale serve --help` for usage info", file=sys.stderr)
    sys.exit(1)


def load() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(STATE.read_text(encoding="utf-8"))
    return found


def save(state: dict[str, Any]) -> None:
    STATE.write_text(json.dumps(state), encoding="utf-8")


def status(state: dict[str, Any], words: list[str]) -> None:
    if any(word not in ("--json", "--peers=false") for word in words):
        fail(f"unexpected arguments {words}")
    own = {"DNSName": state["name"] + ".", "TailscaleIPs": ["100.101.102.103", "fd7a:115c:a1e0::1"]}
    print(json.dumps({"BackendState": state["backend"], "Self": own}))


def proxy_of(target: str) -> str:
    if target.isdigit():
        return f"http://127.0.0.1:{target}"
    if not re.fullmatch(r"(https?|https\+insecure)://(127\.0\.0\.1|localhost):\d+(/.*)?", target):
        fail(f"invalid proxy target {target}")
    return target


def serve(state: dict[str, Any], words: list[str]) -> None:
    config = state["config"]
    if words == ["status", "--json"]:
        print(json.dumps(config))
        return
    flags: dict[str, str] = {}
    while words and words[0].startswith("--"):
        name, _sign, value = words.pop(0)[2:].partition("=")
        if name not in FLAGS:
            fail(f"flag provided but not defined: -{name}")
        flags[name] = value
    is_off = words[-1:] == ["off"]
    if not words or len(words) > 2 or (len(words) == 2 and not is_off):
        fail("invalid argument format")
    if {"http", "tcp", "tls-terminated-tcp"} & set(flags):
        fail("the double serves HTTPS only")
    port = flags.get("https") or "443"
    mount = flags.get("set-path", "") or "/"
    if not mount.startswith("/"):
        mount = f"/{mount}"
    if mount not in (posixpath.normpath(mount), posixpath.normpath(mount) + "/"):
        fail(f"failed to clean the mount point: invalid mount point {mount}")
    where = f"{state['name']}:{port}"
    if any(port in session.get("TCP", {}) for session in config.get("Foreground", {}).values()):
        fail("foreground already exists under this port")
    if config.get("TCP", {}).get(port, {}).get("TCPForward"):
        fail(f'want to serve "https" but port is already serving "tcp" for {state["name"]}')
    if is_off:
        handlers = config.get("Web", {}).get(where, {}).get("Handlers", {})
        if mount not in handlers:
            fail("handler does not exist")
        del handlers[mount]
        if not handlers:
            del config["Web"][where]
            del config["TCP"][port]
            config.get("AllowFunnel", {}).pop(where, None)
    else:
        if "bg" not in flags:
            fail("the double serves in the background only")
        config.setdefault("TCP", {})[port] = {"HTTPS": True}
        web = config.setdefault("Web", {}).setdefault(where, {"Handlers": {}})
        web["Handlers"][mount] = {"Proxy": proxy_of(words[0])}
        config.get("AllowFunnel", {}).pop(where, None)
        print(f"Available within your tailnet:\n\nhttps://{state['name']}{mount}\n|-- proxy {words[0]}")
    state["changes"] = state.get("changes", 0) + 1
    state["config"] = {name: value for name, value in config.items() if value}
    save(state)


def main() -> None:
    state = load()
    if not state["daemon"]:
        print("failed to connect to local tailscaled; it doesn't appear to be running", file=sys.stderr)
        sys.exit(1)
    command, *words = sys.argv[1:]
    {"status": status, "serve": serve}[command](state, words)


if __name__ == "__main__":
    main()
