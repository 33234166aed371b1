"""Every page of docs/operations: create its fault, then follow the page word for word.

If a lab cannot create the fault, the page's commands run on a healthy cluster. NO_FAULT gives the reasons.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest
import yaml

from tests.scenarios.recovery import Service
from tests.scenarios.runbook import Page, read
from tests.scenarios.runbook_run import Operator, follow
from tests.scenarios.testing import FABRIC, HEAD, NODES, WORKERS

FOLDER = Path(__file__).parents[3] / "docs" / "operations"
WORKER = WORKERS[0]
MODEL = "/opt/models/lab-llama.gguf"
LAB = Path(__file__).parents[3] / "inventory" / "lab"
NVIDIA_SMI = Path(__file__).parents[3] / "tests" / "fixtures" / "nvidia_smi"

#: Creates a fault; its exit repairs a cause that only an action outside of the hosts can repair.
Fault = Callable[[Service], AbstractContextManager[object]]


def run(service: Service, host: str, script: str) -> str:
    return service.on(host, "bash", "-c", script)


def await_state(service: Service, host: str, unit: str, words: str) -> None:
    """Wait until the journal of a unit contains the words."""
    for _attempt in range(60):
        if words in service.on(host, "journalctl", "-q", "-u", unit, "-n", "80", "--no-pager"):
            return
        time.sleep(1)
    raise AssertionError(f"{unit} on {host} did not log {words!r} within 60 seconds")


@contextmanager
def stopped_head(service: Service) -> Iterator[None]:
    service.on(HEAD, "systemctl", "stop", "llama-head")
    yield


@contextmanager
def cut_fabric(service: Service) -> Iterator[None]:
    service.cable(WORKER, "ib", up=False)
    try:
        yield
    finally:
        service.cable(WORKER, "ib", up=True)


@contextmanager
def cut_ethernet(service: Service) -> Iterator[None]:
    service.cable(WORKER, "eth", up=False)
    # A kept ssh connection would wait for its answer.
    run_dir = service.manager.places.state(service.name) / "cm"
    for path in run_dir.glob("*"):
        path.unlink(missing_ok=True)
    try:
        yield
    finally:
        service.cable(WORKER, "eth", up=True)


@contextmanager
def killed_worker(service: Service) -> Iterator[None]:
    service.on(WORKER, "kill", "-KILL", str(service.pid(WORKER, "llama-rpc")))
    yield


@contextmanager
def killed_worker_under_load(service: Service) -> Iterator[None]:
    run(service, HEAD, "(herdctl query --max-tokens 500 'Tell a long story.' >/dev/null 2>&1 &) ; sleep 2")
    service.on(WORKER, "kill", "-KILL", str(service.pid(WORKER, "llama-rpc")))
    yield


@contextmanager
def lost_worker_and_no_agent(service: Service) -> Iterator[None]:
    service.on(HEAD, "systemctl", "stop", "herd-agent")
    service.on(WORKER, "systemctl", "restart", "llama-rpc")
    try:
        yield
    finally:
        service.on(HEAD, "systemctl", "start", "herd-agent")


@contextmanager
def changed_unit(service: Service) -> Iterator[None]:
    unit = "/etc/systemd/system/llama-head.service"
    run(service, HEAD, f"sed -i '/^ExecStart=/s/$/ --no-such-flag/' {unit} && systemctl daemon-reload")
    run(service, HEAD, "systemctl restart llama-head || true")
    await_state(service, HEAD, "llama-head", "Scheduled restart job")
    yield


@contextmanager
def missing_model(service: Service) -> Iterator[None]:
    run(service, HEAD, f"rm {MODEL}; systemctl restart llama-head || true")
    yield


@contextmanager
def short_model(service: Service) -> Iterator[None]:
    run(service, HEAD, f"truncate -s 200000000 {MODEL}; systemctl restart llama-head || true")
    yield


@contextmanager
def damaged_model(service: Service) -> Iterator[None]:
    """Change one byte of the model; its size and times stay the same."""
    script = f"touch -r {MODEL} /run/times && printf 'X' | dd of={MODEL} bs=1 seek=250000000 conv=notrunc status=none"
    run(service, HEAD, f"{script} && touch -r /run/times {MODEL}")
    yield


@contextmanager
def other_release(service: Service) -> Iterator[None]:
    """Start one worker with the other installed release."""
    script = """
        set -e
        unit=/etc/systemd/system/llama-rpc.service
        now=$(basename "$(readlink -f /opt/llama.cpp/current)")
        other=$(ls /opt/llama.cpp/releases | grep -v "^$now$" | grep b7836)
        sed -i "s#releases/$now/bin/ggml-rpc-server#releases/$other/bin/rpc-server#" $unit
        grep -q "$other" $unit
        systemctl daemon-reload
        systemctl restart llama-rpc
    """
    run(service, WORKER, script)
    yield


@contextmanager
def route_by_ethernet(service: Service) -> Iterator[None]:
    service.on(HEAD, "ip", "route", "add", f"{FABRIC[WORKER]}/32", "dev", "eth0")
    yield


@contextmanager
def taken_port(service: Service) -> Iterator[None]:
    address = FABRIC[WORKER]
    service.on(WORKER, "systemctl", "stop", "llama-rpc")
    run(service, WORKER, f"systemd-run --quiet --unit=stray python3 -m http.server --bind {address} 50052; sleep 2")
    run(service, WORKER, "systemctl start llama-rpc || true")
    await_state(service, WORKER, "llama-rpc", "Failed to create server socket")
    yield


@contextmanager
def head_out_of_memory(service: Service) -> Iterator[None]:
    service.run_head_out_of_memory("llama-head")
    yield


@contextmanager
def head_without_power(service: Service) -> Iterator[None]:
    service.power_off(HEAD)
    time.sleep(2)
    service.power_on(HEAD)
    yield


@contextmanager
def many_requests(service: Service) -> Iterator[None]:
    ask = "(herdctl query --max-tokens 1000 'Tell a long story.' >/dev/null 2>&1 &)"
    run(service, HEAD, f"for each in 1 2 3 4; do {ask}; done; sleep 1")
    yield


@contextmanager
def silent_agent(service: Service) -> Iterator[None]:
    service.on(WORKER, "systemctl", "stop", "herd-agent")
    yield


@contextmanager
def nvidia_smi_prints(service: Service, fixture: str, status: int) -> Iterator[None]:
    """Install a double of nvidia-smi on the worker. It prints output captured from a real one."""
    text = (NVIDIA_SMI / fixture).read_text(encoding="utf-8")
    path = "/usr/local/bin/nvidia-smi"
    script = f"#!/bin/sh\ncat <<'EOF'\n{text}EOF\nexit {status}\n"
    service.run_program(WORKER, f"import os; open({path!r}, 'w').write({script!r}); os.chmod({path!r}, 0o755)")
    service.on(WORKER, "systemctl", "restart", "herd-agent")
    try:
        yield
    finally:
        service.on(WORKER, "rm", path)
        service.on(WORKER, "systemctl", "restart", "herd-agent")


#: The fault of each page, by the page's name.
FAULTS: dict[str, Fault] = {
    "agent-silent": silent_agent,
    "connection-refused": stopped_head,
    "crash-loop": changed_unit,
    # The memory is below 30 GB, but the table has nvidia-smi's values for a V100S.
    "gpu-memory-high": lambda service: nvidia_smi_prints(service, "v100s-460.xml", 0),
    "gpu-broken": lambda service: nvidia_smi_prints(service, "mismatch.txt", 18),
    "head-lost-power": head_without_power,
    "health-green-no-answer": lost_worker_and_no_agent,
    "model-corrupt": damaged_model,
    "model-incomplete": short_model,
    "node-unreachable": cut_ethernet,
    "out-of-memory": head_out_of_memory,
    "port-taken": taken_port,
    "rpc-disconnected": killed_worker_under_load,
    "service-does-not-start": missing_model,
    "slow-generation": many_requests,
    "version-mismatch": other_release,
    "worker-crashed": killed_worker,
    "worker-unreachable": cut_fabric,
    "wrong-interface": route_by_ethernet,
}
#: Faults in the inventory, by the page's name: its variables until the operator corrects them.
VARIABLES: dict[str, dict[str, object]] = {
    "argument-refused": {"head_server_settings": {"flash_attention": "off", "cache_type_v": "q8_0"}},
    "cuda-out-of-memory": {"herd_memory_gib": 0.25},
}
#: Pages whose fault a lab cannot create, and why. Their commands run on a healthy cluster.
NO_FAULT = {
    "disk-full": "the scenarios cluster and chaos fill disks of their own",
    "download-slow": "the reader decides how slow a line may be",
    "low-throughput": "a lab's processors say nothing about a V100S",
    "unauthorised": "the page's own command sends the request without a key",
}
#: Pages without a symptom. The scenario worker_lost runs the commands in the tables of the agent's page.
INDEX, PLANNED, AGENT = "README", "planned-work", "agent"
PAGES = {path.stem: read(path) for path in FOLDER.glob("*.md") if path.stem != AGENT}


@pytest.fixture(scope="session")
def operator() -> Operator:
    return Operator(Service(os.environ["HERD_LAB"], []))


def symptoms() -> list[Page]:
    return [page for name, page in sorted(PAGES.items()) if name not in (INDEX, PLANNED)]


def test_first_commands_of_the_index_run_as_written(operator: Operator) -> None:
    for command in PAGES[INDEX].sections[""]:
        operator.see(command)


@pytest.mark.parametrize("page", symptoms(), ids=lambda page: page.name)
def test_page_repairs_its_fault(operator: Operator, page: Page) -> None:
    service = operator.service
    # After the faults of earlier pages, the agent would wait longer before it restarts the head.
    service.on(HEAD, "systemctl", "restart", "herd-agent")
    service.wait_until_well(120)
    fault = FAULTS.get(page.name)
    with ExitStack() as faults:
        if fault is not None:
            faults.enter_context(fault(service))
        follow(operator, page, VARIABLES.get(page.name, {}), [faults.close])
    # After the page, the cluster is healthy without further help.
    service.wait_until_well(120)


@pytest.fixture
def changed_inventory(tmp_path: Path) -> Callable[[str, list[str], list[str]], Path]:
    """Return a function that writes the lab's inventory with another head and other workers."""

    def change(head: str, workers: list[str], nodes: list[str]) -> Path:
        place = tmp_path / "inventory"
        shutil.copytree(LAB, place)
        hosts = yaml.safe_load((place / "hosts.yml").read_text(encoding="utf-8"))
        groups = hosts["all"]["children"]
        for name, members in (("head_server", [head]), ("rpc_worker", workers), ("node", nodes)):
            groups[name] = {"hosts": dict.fromkeys(members)}
        (place / "hosts.yml").write_text(yaml.safe_dump(hosts), encoding="utf-8")
        settings = {"head_server_profile": "lab", "head_server_tensor_split": {}}
        (place / "group_vars" / "head_server.yml").write_text(yaml.safe_dump(settings), encoding="utf-8")
        return place

    return change


#: Changes of the inventory by section: the command before which it changes, then head, workers and nodes.
CHANGES: dict[str, tuple[int, tuple[str, list[str], list[str]]]] = {
    "Remove a worker": (0, (HEAD, [WORKERS[0]], list(NODES))),
    "Move the head": (2, (WORKERS[0], [WORKERS[1]], list(NODES))),
}


def with_another_model() -> dict[str, object]:
    """Return variables that serve a second model: the same file under another name."""
    models = yaml.safe_load((LAB / "group_vars" / "all" / "models.yml").read_text(encoding="utf-8"))["herd_models"]
    second = {**models["lab-llama"], "name": "lab-second", "file": "lab-second.gguf"}
    return {"herd_models": {**models, "lab-second": second}, "herd_model": "lab-second"}


#: The inventory's variables during a section.
SETTINGS: dict[str, dict[str, object]] = {
    "Change the model": with_another_model(),
    "Turn TLS on": {"herd_api_tls": True, "head_server_tls_generate": True},
}
#: A part of the head's command line after a section. The next section reverts it.
SERVED = {"Change the model": "/lab-second.gguf", "Change the quantisation": "/lab-llama.gguf"}
#: Sections that change the cluster run last, in this order: the removed worker is added again.
LAST = ("Remove a worker", "Add a worker", "Turn TLS on", "Move the head", "Remove the service from its hosts")
WORK = [name for name in PAGES[PLANNED].sections if name and name not in LAST] + list(LAST)


@pytest.mark.parametrize("section", WORK)
def test_planned_work_runs_as_written(
    operator: Operator, section: str, changed_inventory: Callable[[str, list[str], list[str]], Path]
) -> None:
    at, change = CHANGES.get(section, (-1, (HEAD, list(WORKERS), list(NODES))))
    operator.inventory, operator.variables = LAB, SETTINGS.get(section, {})
    if section in SERVED:
        # The lab's disk holds one model. Two need more space.
        operator.service.on(HEAD, "mount", "-o", "remount,size=900m", "/opt/models")
    for index, command in enumerate(PAGES[PLANNED].sections[section]):
        if index == at:
            operator.inventory = changed_inventory(*change)
        operator.mended(command)
    assert SERVED.get(section, "") in operator.service.on(HEAD, "systemctl", "show", "-p", "ExecStart", "llama-head")
    operator.inventory, operator.variables = LAB, {}


def test_every_section_of_planned_work_is_run() -> None:
    assert set(WORK) == {name for name in PAGES[PLANNED].sections if name}
