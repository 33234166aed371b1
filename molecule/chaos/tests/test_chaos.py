"""Failures under load, one after the other. Only the cause of a failure is repaired by hand."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tests.scenarios.recovery import PATIENCE_S, Row, Service
from tests.scenarios.testing import HEAD, NODES, WORKERS

FIRST, SECOND = WORKERS
# The limits hold on an idle machine. HERD_SLACK=3 trebles them on a busy one.
SLACK = float(os.environ.get("HERD_SLACK", "1"))
PROCESS_S, HOST_S, RECOVERY_S, BOOT_S = 2.0 * SLACK, 10.0 * SLACK, 10.0 * SLACK, 15.0 * SLACK
UNITS = {HEAD: "llama-head", FIRST: "llama-rpc", SECOND: "llama-rpc"}
# Seconds of a disturbance that may have no effect.
WATCH_S = 15.0


def processes(service: Service) -> dict[str, int]:
    return {host: service.pid(host, unit) for host, unit in UNITS.items()}


def drop_in(service: Service, host: str, unit: str, text: str) -> None:
    """Add a drop-in to a unit until the next start of its host."""
    folder = f"/run/systemd/system/{unit}.service.d"
    write = f"mkdir -p {folder}; printf '%s' \"$1\" > {folder}/chaos.conf" if text else f"rm -rf {folder}"
    service.on(host, "sh", "-c", f"{write}; systemctl daemon-reload", "sh", text)


def errors_since(service: Service, began: float) -> list[str]:
    return [request.error for request in service.requests() if request.began >= began and request.error]


@contextmanager
def nothing_happens(service: Service, what: str, *, errors: bool = False) -> Iterator[Row]:
    """Check that the steps inside cost no request, unless errors are expected, and that no agent logs a problem."""
    service.wait_for_answer(time.time(), 60)
    before, began = processes(service), time.time()
    row = Row(what)
    yield row
    service.wait_for_answer(time.time(), 60)
    said = [text for _when, text in service.said(NODES, began) if "noticed" in text or "restarting" in text]
    assert said == []
    assert processes(service) == before
    row.failed = len(errors_since(service, began))
    assert errors or row.failed == 0, errors_since(service, began)
    service.rows.append(row)


def test_frozen_head_is_restarted(service: Service) -> None:
    began = service.kill(HEAD, "llama-head", "STOP")
    noticed = service.wait_for_words(HEAD, began - 1, "noticed: the head's process", 20)
    service.account(Row("the head is frozen", noticed - began), began).check(HOST_S, RECOVERY_S)


@pytest.fixture
def short_limits(service: Service) -> Iterator[None]:
    """Shorten the limits of the head's agent for a silent API."""
    path = "/etc/herd/agent.json"
    former = service.on(HEAD, "cat", path)
    settings = json.loads(former)
    settings["limits"] = {**settings.get("limits", {}), "mute_s": 8, "probe_s": 5}

    def write(text: str) -> None:
        service.run_program(HEAD, f"open({path!r}, 'w').write({text!r})")
        service.on(HEAD, "systemctl", "restart", "herd-agent")
        time.sleep(3)

    write(json.dumps(settings))
    yield
    write(former)


@pytest.mark.usefixtures("short_limits")
def test_head_with_a_silent_api_is_restarted(service: Service) -> None:
    """All packets to its port are dropped. The process runs without work, and clients wait forever."""
    service.wait_for_answer(time.time(), 60)
    rule = "table inet chaos { chain input { type filter hook input priority 0; tcp dport 8000 drop; }; }"
    service.on(HEAD, "nft", rule)
    began = time.time()
    try:
        noticed = service.wait_for_words(HEAD, began - 1, "noticed: the head is hung: its API has been silent", 60)
    finally:
        service.on(HEAD, "nft", "delete", "table", "inet", "chaos")
    returned = time.time()
    row = Row("the head's API does not answer (limits of 8 and 5 s)", noticed - began, hand="delete the firewall rule")
    service.account(row, began, returned)
    assert row.noticed <= 8 + 5 + HOST_S, row
    assert row.served_after_return <= RECOVERY_S + row.load + PATIENCE_S, row


def test_service_returns_after_a_worker_runs_out_of_memory(service: Service) -> None:
    """The worker allocates most of its memory while a model loads."""
    service.on(HEAD, "systemctl", "stop", "llama-head")
    service.on(HEAD, "systemd-run", "--quiet", "--on-active=2", "systemctl", "start", "--no-block", "llama-head")
    service.run_out_of_memory(FIRST, "llama-rpc")
    ended = time.time()
    row = service.account(Row("a worker runs out of memory while the model loads"), ended)
    assert row.served <= 2 * (RECOVERY_S + row.load), row


def test_service_returns_after_the_head_runs_out_of_memory(service: Service) -> None:
    began = service.run_head_out_of_memory("llama-head")
    noticed = service.wait_for_words(HEAD, began - 2, "noticed: the head's process has ended", 20)
    row = Row("the head runs out of memory", max(0.0, noticed - began))
    service.account(row, began).check(PROCESS_S, RECOVERY_S)


def test_service_returns_after_a_power_loss_of_the_head(service: Service) -> None:
    """No agent notices it, and the workers keep the connections that the head did not close."""
    service.power_off(HEAD)
    began = time.time()
    time.sleep(5)
    service.power_on(HEAD)
    returned = time.time()
    row = service.account(Row("the head's host loses power", hand="switch it on"), began, returned)
    assert row.served_after_return <= BOOT_S + RECOVERY_S + row.load + PATIENCE_S, row


def test_service_returns_after_a_power_loss_of_all_hosts(service: Service) -> None:
    for host in NODES:
        service.power_off(host)
    began = time.time()
    # All at once, because the head waits for its workers.
    with ThreadPoolExecutor() as pool:
        list(pool.map(service.power_on, NODES))
    returned = time.time()
    row = service.account(Row("all hosts lose power", hand="switch them on"), began, returned)
    assert row.served_after_return <= BOOT_S + RECOVERY_S + row.load + PATIENCE_S, row


def test_ethernet_outage_of_a_worker_affects_no_request(service: Service) -> None:
    with nothing_happens(service, f"a worker's Ethernet is cut for {WATCH_S:.0f} s"):
        service.cable(FIRST, "eth", up=False)
        time.sleep(WATCH_S)
        service.cable(FIRST, "eth", up=True)


def test_ethernet_outage_of_the_head_affects_only_clients(service: Service) -> None:
    """The engine keeps its connections over the fabric."""
    what = f"the head's Ethernet is cut for {WATCH_S:.0f} s"
    with nothing_happens(service, what, errors=True) as row:
        began = time.time()
        service.cable(HEAD, "eth", up=False)
        time.sleep(WATCH_S)
        service.cable(HEAD, "eth", up=True)
        returned = time.time()
        answered = service.wait_for_answer(returned, 60)
        row.served, row.served_after_return, row.hand = answered - began, answered - returned, "plug it in"
    assert row.served_after_return <= PATIENCE_S + RECOVERY_S, row


def test_slow_fabric_affects_no_request(service: Service) -> None:
    with nothing_happens(service, "the fabric has 5 Mb/s for a worker"), service.slow_fabric(FIRST, "5mbit"):
        time.sleep(2 * WATCH_S)


def releases(service: Service) -> tuple[str, str]:
    """Return the release that runs, and the other installed one."""
    found = service.on(FIRST, "ls", "/opt/llama.cpp/releases").split()
    current = service.on(FIRST, "readlink", "-f", "/opt/llama.cpp/current").strip().rpartition("/")[2]
    (other,) = [name for name in found if name != current]
    return current, other


def other_release(service: Service, host: str) -> str:
    """Return a drop-in that starts the other release, as after an upgrade that missed this host."""
    current, other = releases(service)
    (line,) = [
        line for line in service.on(host, "systemctl", "cat", "llama-rpc").splitlines() if line.startswith("ExecStart=")
    ]
    binary = service.on(host, "sh", "-c", f"ls /opt/llama.cpp/releases/{other}/bin/*rpc-server").strip()
    words = line.replace(f"/{current}/", f"/{other}/").split()
    words = [binary if word.endswith("rpc-server") else word for word in words]
    return f"[Service]\nExecStart=\n{' '.join(words)}\n"


def test_head_waits_until_a_worker_runs_the_right_release(service: Service) -> None:
    """Another protocol would abort the head, so the head does not start until that worker runs the right release."""
    drop_in(service, FIRST, "llama-rpc", other_release(service, FIRST))
    service.on(FIRST, "systemctl", "restart", "llama-rpc")
    began = time.time()
    noticed = service.wait_for_line(HEAD, "llama-head", began - 1, f"{FIRST} to speak RPC protocol 7.0.0", 30)
    # The head must neither run on the other worker alone nor abort again and again.
    time.sleep(10)
    assert service.on(HEAD, "systemctl", "show", "--property=SubState", "--value", "llama-head").strip() == "start-pre"
    drop_in(service, FIRST, "llama-rpc", "")
    service.on(FIRST, "systemctl", "restart", "llama-rpc")
    returned = time.time()
    row = Row("a worker comes back with another release", noticed - began, hand="site.yml")
    service.account(row, began, returned).check(HOST_S, RECOVERY_S)


@contextmanager
def full(service: Service, host: str, folder: str) -> Iterator[None]:
    """Fill the file system of a folder."""
    filler = f"{folder}/filler"
    service.on(host, "sh", "-c", f"dd if=/dev/zero of={filler} bs=64k 2>/dev/null; dd if=/dev/zero of={filler}2 bs=1 "
               f"count=4096 2>/dev/null; df --output=avail {folder} | tail -n 1 | grep -qx ' *0'")  # fmt: skip
    try:
        yield
    finally:
        service.on(host, "rm", "-f", filler, f"{filler}2")


def test_service_recovers_with_a_full_model_disk(service: Service) -> None:
    with full(service, HEAD, "/opt/models"):
        with nothing_happens(service, "the disk of the models is full"):
            time.sleep(5)
        began = service.kill(HEAD, "llama-head")
        noticed = service.wait_for_words(HEAD, began - 1, "noticed: ", 20)
        row = Row("the disk of the models is full, and the head is killed", noticed - began)
        service.account(row, began).check(PROCESS_S, RECOVERY_S)


def test_service_recovers_with_full_journal_disks(service: Service) -> None:
    """The journal cannot record it, so the test reads the head's state on another node."""
    with full(service, HEAD, "/var/log/journal"), full(service, FIRST, "/var/log/journal"):
        with nothing_happens(service, "the disk of the journals is full"):
            time.sleep(5)
        before = observed_head_process(service)
        began = service.kill(FIRST, "llama-rpc")
        noticed = wait(lambda: observed_head_process(service) != before, 20)
        answered = service.wait_for_answer(noticed, 60)
        row = Row("the disk of the journals is full, and a worker is killed", noticed - began, answered - began)
        row.failed = len([error for error in errors_since(service, began - PATIENCE_S) if "refused" not in error])
        service.rows.append(row)
        assert row.noticed <= HOST_S, row
        assert row.served - row.noticed <= 2 * RECOVERY_S, row
    service.wait_for_answer(time.time(), 30)


def observed_head_process(service: Service) -> int:
    """Return the head's process as another node observes it. It changes after a loss."""
    shown = json.loads(service.on(SECOND, "sh", "-c", "herdctl status --json || true"))
    return int(shown["nodes"][HEAD]["heartbeat"]["head"]["pid"])


def wait(until: Callable[[], bool], seconds: float) -> float:
    """Return when the condition first held."""
    deadline = time.time() + seconds
    while time.time() < deadline:
        if until():
            return time.time()
        time.sleep(0.2)
    raise AssertionError(f"nothing within {seconds:g} seconds")


def test_full_cache_disk_causes_no_wrong_response(service: Service) -> None:
    """A worker silently caches the part of a tensor that fits. It must never compute with that part."""
    right = service.answer()
    assert service.answer() == right
    cache = "/var/cache/herd/rpc"
    service.on(SECOND, "sh", "-c", f"rm -rf {cache}/*")
    # Room for a part of the output layer's tensor.
    with full(service, SECOND, "/var/cache/herd"):
        service.on(SECOND, "truncate", "--size=-5M", "/var/cache/herd/filler")
        began = service.kill(SECOND, "llama-rpc")
        noticed = service.wait_for_words(HEAD, began - 1, "noticed: ", 20)
        row = Row("the disk of a worker's cache is full, and it is killed", noticed - began)
        service.account(row, began).check(PROCESS_S, RECOVERY_S)
        assert service.answer() == right
    began = service.kill(SECOND, "llama-rpc")
    noticed = service.wait_for_words(HEAD, began - 1, "noticed: ", 20)
    service.account(Row("the same worker is killed when there is room again", noticed - began), began)
    assert service.answer() == right


# Shifts the time of day of the process that loads it, by the seconds in the first eight bytes of a file.
CLOCK = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile const int64_t *shift;

__attribute__((constructor)) static void begin(void) {
    int file = open("/run/chaos-clock", O_RDONLY | O_CLOEXEC);
    void *found = file < 0 ? MAP_FAILED : mmap(0, 8, PROT_READ, MAP_SHARED, file, 0);
    shift = found == MAP_FAILED ? 0 : found;
    if (file >= 0) close(file);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    long status = syscall(SYS_clock_gettime, clock, now);
    if (!status && shift && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += *shift;
    return (int)status;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &exact)) return -1;
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *place) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (place) *place = now.tv_sec;
    return now.tv_sec;
}
"""
LIBRARY = "/usr/local/lib/chaos-clock.so"


def set_clock(service: Service, hosts: Sequence[str], seconds: int) -> None:
    for host in hosts:
        service.run_program(
            host,
            f"""
import os
with open("/run/chaos-clock", "r+b" if os.path.exists("/run/chaos-clock") else "w+b") as file:
    file.write(({seconds}).to_bytes(8, "little", signed=True))
""",
        )


def restart_all(service: Service) -> None:
    """Restart the agents, the workers and the head. The agents are first, because they observe the others."""
    for host in NODES:
        service.on(host, "systemctl", "restart", "herd-agent")
    service.on(HEAD, "systemctl", "stop", "llama-head")
    for host in WORKERS:
        service.on(host, "systemctl", "restart", "llama-rpc")
    service.on(HEAD, "systemctl", "start", "llama-head")
    service.wait_for_answer(time.time(), 60)
    time.sleep(3)


@pytest.fixture
def clocks(service: Service) -> Iterator[Callable[[Sequence[str], int], None]]:
    """Give the processes clocks that the test can set, with the right time before and after."""
    source = f"open('/tmp/chaos-clock.c', 'w').write({CLOCK!r})"
    service.run_program(HEAD, source)
    service.on(HEAD, "gcc", "-shared", "-fPIC", "-O2", "-o", LIBRARY, "/tmp/chaos-clock.c")
    library = service.run_program(HEAD, f"print(open({LIBRARY!r}, 'rb').read().hex())").strip()
    for host in NODES:
        service.run_program(host, f"open({LIBRARY!r}, 'wb').write(bytes.fromhex({library!r}))")
        for unit in (UNITS[host], "herd-agent"):
            drop_in(service, host, unit, f"[Service]\nEnvironment=LD_PRELOAD={LIBRARY}\n")
    set_clock(service, NODES, 0)
    restart_all(service)
    for host in NODES:
        for unit in (UNITS[host], "herd-agent"):
            assert LIBRARY in service.on(host, "cat", f"/proc/{service.pid(host, unit)}/maps"), (host, unit)
    try:
        yield lambda hosts, seconds: set_clock(service, hosts, seconds)
    finally:
        for host in NODES:
            for unit in (UNITS[host], "herd-agent"):
                drop_in(service, host, unit, "")
            service.on(host, "rm", "-f", LIBRARY)
        restart_all(service)


def test_clock_jumps_affect_no_request(service: Service, clocks: Callable[[Sequence[str], int], None]) -> None:
    year = 365 * 86400
    clocks((HEAD,), 3600)
    shown = service.on(HEAD, "env", f"LD_PRELOAD={LIBRARY}", "date", "+%s")
    assert abs(int(shown) - time.time() - 3600) < 5
    for hosts, seconds, what in (
        ((HEAD,), 86400, "the head's clock jumps a day ahead"),
        ((HEAD,), -86400, "the head's clock jumps two days back"),
        ((FIRST,), -year, "a worker's clock jumps a year back"),
        (NODES, year, "all clocks jump a year ahead"),
    ):
        with nothing_happens(service, what):
            clocks(hosts, seconds)
            time.sleep(10)
    began = service.kill(FIRST, "llama-rpc")
    noticed = service.wait_for_words(HEAD, began - 1, "noticed: ", 20)
    service.account(Row("a worker is killed after that", noticed - began), began).check(PROCESS_S, RECOVERY_S)
