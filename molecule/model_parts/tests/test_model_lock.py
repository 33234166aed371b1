"""The model lock, written from a hub's headers, and the check of the nodes' disks."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from testinfra.host import Host

from tests.lab.naming import Places
from tests.scenarios.testing import NODES
from tests.unit.model_server import ModelServer, Served

On = Callable[[str], Host]
ROOT = Path(__file__).resolve().parents[3]
CACHE = Places.of(os.environ).cache
REPOSITORY, COMMIT = "herd/lab-llama", "c0ffee" + "0" * 34
PARTS = ("lab-llama.gguf.part1of2", "lab-llama.gguf.part2of2")
ENTRY = {
    "name": "lab-llama",
    "file": "lab-llama.gguf",
    "layers": 8,
    "repository": REPOSITORY,
    "files": [{"file": name} for name in PARTS],
}


@pytest.fixture(scope="module")
def hub() -> Iterator[ModelServer]:
    """A fake hub on loopback: the lab's real parts, with the hub's headers."""
    with ModelServer("127.0.0.1").running() as server:
        for name in PARTS:
            data = (CACHE / "mirror" / REPOSITORY / "resolve" / "v2" / name).read_bytes()
            digest = hashlib.sha256(data).hexdigest()
            server.files[f"/cdn/{digest}"] = Served(data)
            headers = {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(data)), "X-Repo-Commit": COMMIT}
            for revision in ("main", COMMIT):
                server.files[f"/{REPOSITORY}/resolve/{revision}/{name}"] = Served(
                    location=server.url(f"/cdn/{digest}"), headers=headers
                )
        yield server


class Site:
    """An inventory on top of the scenario's, whose model has a repository and files."""

    def __init__(self, folder: Path, hub: ModelServer) -> None:
        self.folder, self.lock = folder, folder / "group_vars" / "all" / "models_lock.json"
        self.lock.parent.mkdir(parents=True)
        (folder / "hosts.yml").write_text('{"all": {}}')
        facts = {
            "herd_model_entries": {"lab-llama": ENTRY},
            "herd_models": "{{ herd_model_entries | herd.inference.locked_models(herd_models_lock | default({})) }}",
            "herd_model_hub": hub.url("").rstrip("/"),
        }
        (self.lock.parent / "entries.json").write_text(json.dumps(facts))

    def play(self, playbook: str, *more: str) -> tuple[int, dict[str, int], str]:
        """Run a playbook; return its exit status, the changes of each host, and its output."""
        program = Path(sys.executable).with_name("ansible-playbook")
        places = (ROOT / "inventory" / "lab", ROOT / "molecule" / "model_parts" / "inventory", self.folder)
        words = [str(program), f"playbooks/{playbook}", *(f"--inventory={place}" for place in places), *more]
        env = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "NO_COLOR": "1"}
        env.pop("ANSIBLE_FORCE_COLOR", None)
        ended = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False)
        output = ended.stdout + ended.stderr
        changed = re.findall(r"^(\S+) +: ok=\d+ +changed=(\d+)", output, re.MULTILINE)
        return ended.returncode, {host: int(count) for host, count in changed}, output


@pytest.fixture(scope="module")
def site(hub: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("site"), hub)


def test_lock_is_written_once(site: Site, hub: ModelServer) -> None:
    lock = ("lock_models.yml", "-e", f"lock_file={site.lock}")
    predicted = site.play(*lock, "--check", "--diff")
    assert predicted[0] == 0 and sum(predicted[1].values()) == 1, predicted[2]
    assert COMMIT in predicted[2] and not site.lock.exists()

    written = site.play(*lock)
    assert written[0] == 0 and sum(written[1].values()) == 1, written[2]
    found = json.loads(site.lock.read_text())["herd_models_lock"]["lab-llama"]
    assert found["revision"] == COMMIT and found["size"] == 343123424
    assert [entry["sha256"] for entry in found["files"]] == [
        hashlib.sha256((CACHE / "mirror" / REPOSITORY / "resolve" / "v2" / name).read_bytes()).hexdigest()
        for name in PARTS
    ]
    # It equals the metadata of the inventory, which was read from the file.
    assert (found["metadata"]["architecture"], found["metadata"]["largest"]) == ("llama", 32768000)
    # The headers were fetched, not the model.
    assert hub.sent < 32 << 20

    asked = len(hub.requests)
    again = site.play(*lock)
    assert again[0] == 0 and sum(again[1].values()) == 0, again[2]
    assert len(hub.requests) == asked


def test_check_finds_a_changed_byte(site: Site, on: On) -> None:
    right = site.play("check_models.yml", "-e", "model_store_rehash=true")
    assert right[0] == 0 and right[1] == dict.fromkeys(NODES, 0), right[2]

    node, model = on(NODES[2]), "/opt/models/lab-llama.gguf"
    node.check_output(f"cp -a {model} /opt/models/.kept")
    try:
        # Size and time stay the same, so only reading every byte finds the change.
        node.check_output(f"printf x | dd of={model} bs=1 seek=200000000 conv=notrunc status=none")
        node.check_output(f"touch -r /opt/models/.kept {model}")
        wrong = site.play("check_models.yml", "-e", "model_store_rehash=true")
    finally:
        node.check_output(f"mv -f /opt/models/.kept {model}")
    assert wrong[0] != 0
    failed = re.findall(r"^(?:fatal|failed): \[(\S+)\]", wrong[2], re.MULTILINE)
    assert failed == [NODES[2]] and "lab-llama.gguf wrong" in wrong[2], wrong[2]
