# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules for SELinux, compiled by its own compiler: that they let nginx do what it has to do, and nothing else.

The policy around them is a double, which has no more than the names that they use: a distribution's own is as large as
the distribution. A rule of what must never be allowed stops the compiler where something allows it.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.gateway.harness import ROLE

BASE = """
(handleunknown allow)
(mls false)
(sid kernel) (sidorder (kernel)) (sidcontext kernel context)
(class process (transition)) (class sock_file (getattr write unlink)) (class tcp_socket (name_bind name_connect))
(class unix_stream_socket (connectto)) (class unix_dgram_socket (sendto))
(classorder (process sock_file tcp_socket unix_stream_socket unix_dgram_socket))
(sensitivity s0) (sensitivityorder (s0)) (category c0) (categoryorder (c0))
(user system_u) (role system_r) (userrole system_u system_r) (userlevel system_u (s0)) (userrange system_u ((s0) (s0)))
(context context (system_u system_r init_t ((s0) (s0))))
(type httpd_t) (type init_t) (type var_run_t) (type other_t) (type engine_port_t) (type transproxy_port_t)
(roletype system_r httpd_t) (roletype system_r init_t)
(typeattribute port_type) (typeattributeset port_type (engine_port_t transproxy_port_t))
(allow init_t init_t (process (transition)))
"""
SERVICES = "(type unconfined_service_t) (roletype system_r unconfined_service_t)"


def compiles(folder: Path, *texts: str) -> tuple[bool, str]:
    """Whether the compiler takes it, and what it says."""
    program = shutil.which("secilc", path="/usr/bin:/usr/sbin:/bin")
    assert program, "secilc is needed: apt-get install secilc"
    (folder / "policy.cil").write_text("\n".join(texts), encoding="utf-8")
    command = [program, "-o", str(folder / "policy"), "-f", str(folder / "contexts"), str(folder / "policy.cil")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode == 0, done.stdout + done.stderr


def rules() -> str:
    return (ROLE / "files" / "herd_gateway.cil").read_text(encoding="utf-8")


@pytest.mark.parametrize("services", ["", SERVICES], ids=["none", "services of the site's own"])
def test_the_policy_compiles(tmp_path: Path, services: str) -> None:
    good, said = compiles(tmp_path, BASE, services, rules())
    assert good, said


@pytest.mark.parametrize(
    ("right", "is_given"),
    [
        ("var_run_t (sock_file (write))", True),
        ("unconfined_service_t (unix_stream_socket (connectto))", True),
        ("init_t (unix_stream_socket (connectto))", True),
        # Only the gateway connects to engines, which runs in a domain of its own.
        ("engine_port_t (tcp_socket (name_connect))", False),
        ("init_t (unix_dgram_socket (sendto))", False),
        # Where it listens is said by the types of its ports, one by one.
        ("port_type (tcp_socket (name_bind))", False),
        ("var_run_t (sock_file (unlink))", False),
        ("other_t (unix_stream_socket (connectto))", False),
        ("other_t (sock_file (write))", False),
    ],
)
def test_nginx_gets_exactly_these_rights(tmp_path: Path, right: str, is_given: bool) -> None:
    never = f"(neverallow httpd_t {right})"
    good, said = compiles(tmp_path, BASE, SERVICES, never)
    assert good, said
    good, said = compiles(tmp_path, BASE, SERVICES, rules(), never)
    assert good != is_given, said
    assert good or "neverallow" in said


def test_other_domains_get_no_rights(tmp_path: Path) -> None:
    every = "var_run_t (sock_file (getattr write unlink))"
    good, said = compiles(tmp_path, BASE, SERVICES, rules(), f"(neverallow other_t {every})")
    assert good, said
