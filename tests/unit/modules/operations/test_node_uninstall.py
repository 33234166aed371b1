# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes below the prefix of the releases, and what stays there because it is somebody else's."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError, RemoteFailureError
from ansible_collections.herd.inference.plugins.module_utils.core.operations import uninstall as uninstall_rules
from ansible_collections.herd.inference.plugins.module_utils.ports import commands, systemd
from ansible_collections.herd.inference.plugins.module_utils.ports import files as port_files
from ansible_collections.herd.inference.plugins.module_utils.ports.gateway import nginx
from ansible_collections.herd.inference.plugins.module_utils.ports.operations import uninstall as rests
from ansible_collections.herd.inference.plugins.modules import node_uninstall

OLD, NEW = "b7836-cpu-11aa22bb", "0c1e57098-cpu-5f1c20ab"
OURS = {
    f"releases/{OLD}/manifest.json": json.dumps({"id": OLD}),
    f"releases/{NEW}/manifest.json": "damaged",
    f"releases/{NEW}/bin/llama-server": "x",
    f"releases/.incoming-{OLD}/bin/llama-server": "x",
    f"dist/{NEW}.tar.gz": "x",
    f"dist/{NEW}.json": json.dumps({"id": NEW}),
    "dist/0c1e57098.json": json.dumps({"id": NEW}),
    f"dist/.{NEW}.tar.gz.4711.tmp": "x",
    f"build/{NEW}/build.log": "x",
    f"build/{NEW}.lock": "",
    f"build/sources/{'a' * 64}.archive": "x",
    "etc/toolchain.json": "{}",
    "switch.json": "{}",
}
THEIRS = {
    "releases/backup-of-ops/manifest.json": "{}",
    "releases/b1-cpu-00000000/README": "no manifest",
    "releases/b2-cpu-00000000/manifest.json": json.dumps({"id": "something-else"}),
    "dist/site.json": "{}",
    "dist/app.js": "x",
    "build/Makefile": "x",
    "build/sources/notes": "x",
    "etc/app.conf": "x",
    "notes": "x",
}


def fill(prefix: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = prefix / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def remove(prefix: Path, check: bool = False) -> set[str]:
    """As the module does it, below the prefix only: the rest of it looks at this very host."""
    going: set[str] = set()
    folders = iter([*(prefix / name for name in uninstall_rules.PREFIX_ENTRIES if name), prefix])
    for part in (node_uninstall.below(prefix), rests.empty_folders(folders, going)):
        for rest in part:
            if not check:
                rest.remove()
            going.add(rest.name)
    return going


def files(prefix: Path) -> set[str]:
    return {str(path.relative_to(prefix)) for path in prefix.rglob("*") if path.is_symlink() or path.is_file()}


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    folder = tmp_path / "llama.cpp"
    fill(folder, OURS)
    (folder / "current").symlink_to(Path("releases") / NEW)
    (folder / "previous").symlink_to(folder / "releases" / OLD)
    (folder / ".current.77.tmp").symlink_to(Path("releases") / NEW)
    return folder


def test_all_files_of_the_collection_are_removed(prefix: Path) -> None:
    foreseen = remove(prefix, check=True)
    assert files(prefix) >= {*OURS}
    assert remove(prefix) == foreseen
    assert not prefix.exists()
    assert remove(prefix) == set()


def test_other_files_stay_and_are_listed(prefix: Path) -> None:
    fill(prefix, THEIRS)
    going = remove(prefix)
    assert files(prefix) == {*THEIRS}
    left = set(node_uninstall.kept(prefix, going))
    assert left == {
        str(prefix / name)
        for name in (
            "releases/backup-of-ops",
            "releases/b1-cpu-00000000",
            "releases/b2-cpu-00000000",
            "dist/site.json",
            "dist/app.js",
            "build/Makefile",
            "build/sources",
            "etc/app.conf",
            "notes",
        )
    }


def test_links_that_point_elsewhere_stay(tmp_path: Path) -> None:
    for name, target in (("current", "/srv/app"), ("previous", "releases/../../x")):
        (tmp_path / name).symlink_to(target)
    (tmp_path / "releases").mkdir()
    (tmp_path / "releases" / OLD).symlink_to("/srv/app")
    assert remove(tmp_path) == set()
    assert files(tmp_path) == {"current", "previous", f"releases/{OLD}"}


def test_a_killed_removal_of_a_release_is_repeated(prefix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(path: Path) -> None:
        if not path.is_symlink() and (path / "manifest.json").exists():
            (path / "manifest.json").unlink()
            raise KeyboardInterrupt
        remove_path(path)

    remove_path = port_files.remove
    monkeypatch.setattr(port_files, "remove", killed)
    with pytest.raises(KeyboardInterrupt):
        remove(prefix)
    monkeypatch.undo()
    remove(prefix)
    assert not prefix.exists()


def test_a_removal_waits_for_the_one_of_a_killed_playbook(tmp_path: Path) -> None:
    entered = threading.Event()

    def second() -> bool:
        with rests.alone(tmp_path, patience=30):
            entered.set()
            return (tmp_path / "removed").exists()

    with ThreadPoolExecutor(1) as others:
        with rests.alone(tmp_path):
            waiting = others.submit(second)
            assert not entered.wait(1)
            (tmp_path / "removed").touch()
        assert waiting.result(30)


def test_a_removal_does_not_wait_for_ever(tmp_path: Path) -> None:
    refused = pytest.raises(RemoteFailureError, match="another removal on this host to end within 0 seconds")
    with rests.alone(tmp_path), refused, rests.alone(tmp_path, patience=0):
        pass


def in_common(shared: Path) -> list[str]:
    going: set[str] = set()
    for rest in node_uninstall.in_common(shared, going):
        rest.remove()
        going.add(rest.name)
    return sorted(str(Path(name).relative_to(shared)) for name in going)


SCRIPT = "#!/bin/sh\n# Written by Ansible (herd.inference, role slurm_tiers). Changes made here are lost.\n"
IN_COMMON = {
    "scripts/llama-cpp/run-14b.slurm": SCRIPT,
    "scripts/llama-cpp/run-14b.slurm.json": "{}",
    "ai/endpoints/fast-12.json": "{}",
    "ai/logs/12/job.log": "x",
    "ai/logs/slurm-12.out": "",
}


def test_files_in_the_shared_directory_are_removed(tmp_path: Path) -> None:
    fill(tmp_path / "shared", IN_COMMON)
    assert "ai/logs/12" in in_common(tmp_path / "shared")
    assert list((tmp_path / "shared").iterdir()) == []
    assert in_common(tmp_path / "shared") == []


def test_other_files_in_the_shared_directory_stay(tmp_path: Path) -> None:
    theirs = {"scripts/llama-cpp/own.slurm": "#!/bin/sh\n", "ai/notes": "x", "data": "x"}
    fill(tmp_path / "shared", {**IN_COMMON, **theirs})
    in_common(tmp_path / "shared")
    assert files(tmp_path / "shared") == {*theirs}


@pytest.mark.parametrize("name", ["herd-gateway.socket", "herd-gateway@.service"])
def test_removal_does_not_wait_for_the_gateways_responses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    told: list[str] = []
    monkeypatch.setattr(commands, "run", lambda words: told.append(" ".join(words)))
    monkeypatch.setattr(systemd, "stop", lambda unit: told.append(f"stop {unit}"))
    monkeypatch.setattr(systemd, "reload", lambda: told.append("reload"))
    fill(tmp_path, {name: CONF})
    rests._remove_unit(tmp_path / name)
    loaded = name.replace("@.", "@*.")
    assert told == [
        "systemctl kill --signal=KILL herd-gateway@*.service",
        f"systemctl disable --quiet {name}",
        f"stop {loaded}",
        "reload",
        f"systemctl reset-failed {loaded}",
    ]


CONF = "# Written by Ansible (herd.inference, role gateway). Changes made here are lost.\n"


def test_unit_of_another_program_runs_without_the_removed_drop_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(systemd, "UNIT_DIRECTORY", tmp_path)
    monkeypatch.setattr(commands, "run", lambda words: told.append(" ".join(words)))
    monkeypatch.setattr(systemd, "reload", lambda: told.append("reload"))
    drop_in = tmp_path / "prometheus.service.d" / "herd.conf"
    fill(tmp_path, {"prometheus.service.d/herd.conf": "# herd.inference, role monitoring\n"})
    found = [rest for rest in rests.written_files(uninstall_rules.is_ours, drop_in) if rest.name == str(drop_in)]
    assert [rest.kind for rest in found] == ["file"]
    found[0].remove()
    assert not drop_in.exists()
    assert told == ["reload", "systemctl try-restart prometheus.service"]


@pytest.fixture
def nginx_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """nginx's folder, of an nginx that does not run."""
    monkeypatch.setattr(systemd, "show", lambda unit: systemd.UnitState())
    root = tmp_path / "nginx"
    fill(root, {"nginx.conf": "x", "conf.d/herd.conf": CONF, "conf.d/site.conf": "x"})
    return root


def off_nginx(root: Path) -> list[str]:
    found = list(rests.nginx_site(root, "nginx.service", uninstall_rules.is_ours))
    for rest in found:
        rest.remove()
    return [rest.kind for rest in found]


def test_other_sites_of_nginx_stay(nginx_root: Path) -> None:
    assert off_nginx(nginx_root) == ["site"]
    assert files(nginx_root) == {"nginx.conf", "conf.d/site.conf"}
    assert off_nginx(nginx_root) == []


def test_a_site_without_the_mark_stays(nginx_root: Path) -> None:
    (nginx_root / "conf.d/herd.conf").write_text("server {}\n", encoding="utf-8")
    assert off_nginx(nginx_root) == []
    assert files(nginx_root) == {"nginx.conf", "conf.d/site.conf", "conf.d/herd.conf"}


def test_removal_that_was_interrupted_before_the_reload_is_completed(
    nginx_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(_unit: str) -> None:
        raise KeyboardInterrupt

    reloaded: list[str] = []
    monkeypatch.setattr(systemd, "show", lambda unit: systemd.UnitState(active_state="active"))
    monkeypatch.setattr(nginx, "test", lambda *_given: None)
    monkeypatch.setattr(systemd, "reload_unit", killed)
    with pytest.raises(KeyboardInterrupt):
        off_nginx(nginx_root)
    # nginx does not read it any more.
    assert not (nginx_root / "conf.d/herd.conf").exists()
    monkeypatch.setattr(systemd, "reload_unit", reloaded.append)
    assert off_nginx(nginx_root) == ["site"]
    assert reloaded == ["nginx.service"]
    assert files(nginx_root) == {"nginx.conf", "conf.d/site.conf"}


def test_nginx_checks_its_configuration_before_a_removal(nginx_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(root: Path, files: dict[str, str], without: list[str]) -> None:
        asked.append(sorted(without))
        raise InvalidInputError("a configuration that nginx takes", "none", "correct it")

    asked: list[list[str]] = []
    monkeypatch.setattr(systemd, "show", lambda unit: systemd.UnitState(active_state="active"))
    monkeypatch.setattr(nginx, "test", refuses)
    before = files(nginx_root)
    with pytest.raises(InvalidInputError):
        off_nginx(nginx_root)
    assert asked == [["conf.d/herd.conf"]]
    assert files(nginx_root) == before
