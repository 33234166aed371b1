# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line: python3 -m tests.lab [--name LAB] COMMAND."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from . import config, hosts, network, requirements
from .images import IMAGES
from .lab import Manager, as_json, as_table
from .naming import Places, check_lab_name
from .process import LabError, say
from .supervisor import Supervisor

CLONE = Path(__file__).resolve().parents[2]
LABS = Path(__file__).with_name("labs")


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python3 -m tests.lab", description=__doc__)
    name = os.environ.get("HERD_LAB") or "demo"
    top.add_argument("--name", default=name, help="the lab (default: $HERD_LAB or demo)")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    up = commands.add_parser("up", help="make the lab, or what is missing of it")
    up.add_argument("--config", default="cluster", help="a TOML file, or the name of one in tests/lab/labs")
    up.add_argument("--bind", action="append", default=[], metavar="HOST:/source:/target[:ro]")
    commands.add_parser("down", help="remove the lab with all that belongs to it")
    reserve = commands.add_parser("reserve", help="run a command while no other run can reserve the lab")
    reserve.add_argument("argv", nargs=argparse.REMAINDER, metavar="COMMAND")

    start = commands.add_parser("start", help="start a host that is off or has crashed")
    start.add_argument("host", nargs="+")
    crash = commands.add_parser("crash", help="end hosts at once, as a power failure would")
    crash.add_argument("host", nargs="+")
    crash.add_argument("--restart", action="store_true", help="start them again")

    for name, text in (("cut", "unplug one network of a host"), ("heal", "plug it in again, at full speed")):
        command = commands.add_parser(name, help=text)
        command.add_argument("host")
        command.add_argument("network", choices=[net.label for net in config.NETWORKS])
        if name == "cut":
            command.add_argument("--heal", action="store_true", help="the same as the command heal")
    slow = commands.add_parser("slow", help="slow down one network of a host, in both directions")
    slow.add_argument("host")
    slow.add_argument("network", choices=[net.label for net in config.NETWORKS])
    slow.add_argument("--rate", metavar="10mbit", help="as tc writes it")
    slow.add_argument("--latency", metavar="50ms", help="delay of every packet; needs netem in the kernel")
    slow.add_argument("--off", action="store_true", help="full speed again")

    listing = commands.add_parser("list", help="all labs of this machine and their hosts")
    listing.add_argument("--json", action="store_true")
    shell = commands.add_parser("shell", help="a shell on a host, or one command there")
    shell.add_argument("--nsenter", action="store_true", help="enter without ssh, for a host whose network is cut")
    shell.add_argument("host")
    shell.add_argument("argv", nargs=argparse.REMAINDER, metavar="COMMAND")

    check = commands.add_parser("check", help="what this machine lacks to run a lab")
    check.add_argument("--install", action="store_true", help="install the packages that are missing")
    clean = commands.add_parser("clean", help="remove what killed runs left behind")
    clean.add_argument("lab", nargs="*", help="only these (default: all leftovers)")
    clean.add_argument("--all", action="store_true", help="remove every lab, also those that are well")
    clean.add_argument("--cache", action="store_true", help="also remove cached file systems that nothing uses")
    images = commands.add_parser("images", help="make the file systems that a lab stands on, without starting it")
    images.add_argument("config", nargs="*", default=["cluster"], help="definitions, as for up --config")

    supervise = commands.add_parser("supervise", help="(started by up: one host's power supply)")
    supervise.add_argument("lab")
    supervise.add_argument("host")
    return top


def variables(manager: Manager, lab: str) -> dict[str, str]:
    """Return the values of ${...} in a definition, besides the environment."""
    return {
        **os.environ,
        "HERD_CACHE": str(manager.places.cache),
        "LAB_NAME": lab,
        "LAB_SHARED": str(manager.places.shared(lab)),
        "CLONE": str(CLONE),
    }


def definition(manager: Manager, name: str, where: str, binds: Sequence[str]) -> config.Lab:
    path = LABS / f"{where}.toml" if "/" not in where and not where.endswith(".toml") else Path(where)
    known = variables(manager, name)
    repositories = {system: str(manager.store.repository(image)) for system, image in IMAGES.items()}
    lab = config.read(path, name, known, repositories)
    return config.with_binds(lab, [config.parse_host_bind(text, known) for text in binds])


def _require(manager: Manager) -> None:
    missing = requirements.check(manager.places)
    if missing:
        raise LabError("This machine cannot run a lab:\n" + "\n".join(f"  - {item}" for item in missing))


def _words(options: argparse.Namespace) -> list[str]:
    """Return the words of a command, without the C(--) before it."""
    return [word for index, word in enumerate(options.argv) if index or word != "--"]


def _reserve(manager: Manager, name: str, options: argparse.Namespace) -> int:
    argv = _words(options)
    if not argv:
        raise LabError("reserve needs a COMMAND, which runs while the lab is reserved.")
    with manager.reserved(name), subprocess.Popen(argv) as process:
        while True:
            # The command gets Ctrl-C too, and ends as it wants.
            with suppress(KeyboardInterrupt):
                return process.wait()


def _shell(manager: Manager, lab: config.Lab, options: argparse.Namespace) -> int:
    host = lab.host(options.host)
    command = _words(options)
    if options.nsenter:
        argv = hosts.enter_argv(manager.leader(lab.name, host), command or ["bash", "--login"])
    else:
        argv = ["ssh", "-F", str(manager.places.state(lab.name) / "ssh_config"), host.name]
        # ssh hands one line to the remote shell; quoting keeps the words apart.
        argv += ["--", shlex.join(command)] if command else []
    return subprocess.run(argv, check=False).returncode


def dispatch(options: argparse.Namespace) -> int:
    manager = Manager(Places.of(os.environ))
    name = check_lab_name(options.name)
    command = options.command
    if command == "check":
        if options.install:
            requirements.install()
        missing = requirements.check(manager.places)
        for item in missing:
            print(item)
        return 1 if missing else 0
    if command == "up":
        _require(manager)
        manager.up(definition(manager, name, options.config, options.bind))
        return 0
    if command == "images":
        _require(manager)
        for where in options.config:
            manager.store.ensure(definition(manager, name, where, []))
        return 0
    if command == "down":
        manager.down(name)
        return 0
    if command == "reserve":
        return _reserve(manager, name, options)
    if command == "list":
        reports = [manager.report(lab) for lab in manager.names()]
        print(json.dumps(as_json(reports), indent=1) if options.json else as_table(reports))
        return 0
    if command == "clean":
        for lab in manager.names() if options.all else manager.leftovers():
            if not options.lab or lab in options.lab:
                say(f"removing lab {lab}")
                manager.down(lab)
        manager.remove_probes()
        for path in manager.prune() if options.cache else ():
            say(f"removed {path}")
        return 0
    if command == "supervise":
        return Supervisor(manager.places, options.lab, manager.lab(options.lab).host(options.host)).serve()
    return _on_host(manager, manager.lab(name), options)


def _on_host(manager: Manager, lab: config.Lab, options: argparse.Namespace) -> int:
    command = options.command
    if command in {"start", "crash"}:
        chosen = [lab.host(name) for name in options.host]
        for host in chosen if command == "crash" else ():
            manager.crash(lab, host)
        for host in chosen if command == "start" or options.restart else ():
            manager.start(lab, host)
        return 0
    if command == "shell":
        return _shell(manager, lab, options)
    host = lab.host(options.host)
    net = network.network_of(host, options.network)
    if command == "slow" and not options.off:
        network.slow(lab.name, host, net, options.rate, options.latency)
    elif command == "cut" and not options.heal:
        network.set_cable(lab.name, host, net, up=False)
    else:
        network.full_speed(lab.name, host, net)
        network.set_cable(lab.name, host, net, up=True)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    try:
        return dispatch(parser().parse_args(argv))
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
