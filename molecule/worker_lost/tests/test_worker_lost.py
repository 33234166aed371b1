"""One loss after the other, under load, and no hand on anything but what is broken.

The limits: 2 s to notice a process that is gone, 10 s for a host; then 10 s and the time to load the model.
"""

from __future__ import annotations

import time

import pytest

from tests.scenarios.recovery import Row, Service
from tests.scenarios.testing import HEAD, WORKERS

FIRST, SECOND = WORKERS
PROCESS_S, HOST_S, RECOVERY_S = 2.0, 10.0, 10.0


@pytest.mark.parametrize("workers", [(FIRST,), (FIRST, SECOND)], ids=["one", "both"])
def test_a_worker_is_killed(service: Service, workers: tuple[str, ...]) -> None:
    began = time.time()
    for worker in workers:
        killed = service.kill(worker, "llama-rpc")
        began = killed if worker == workers[0] else began
    noticed = service.wait_for_words(HEAD, began - 1, "noticed: ", 20)
    row = Row("a worker is killed" if len(workers) == 1 else "both workers are killed", noticed - began)
    service.account(row, began).check(PROCESS_S, RECOVERY_S)


def test_the_head_is_killed(service: Service) -> None:
    began = service.kill(HEAD, "llama-head")
    noticed = service.wait_for_words(HEAD, began - 1, "noticed: the head's process has ended", 20)
    service.account(Row("the head is killed", noticed - began), began).check(PROCESS_S, RECOVERY_S)


def test_an_agent_is_killed(service: Service) -> None:
    head = service.pid(HEAD, "llama-head")
    began = time.time()
    for host in (HEAD, FIRST):
        service.kill(host, "herd-agent")
    service.wait_for_words(HEAD, began, "watching ", 20)
    # Long enough for a silence to be noticed, if it were one.
    time.sleep(10)
    row = Row("the agents of head and worker are killed")
    service.account(row, began)
    assert (row.failed, row.refused) == (0, 0)
    assert service.pid(HEAD, "llama-head") == head


def test_a_worker_is_frozen(service: Service) -> None:
    began = service.kill(FIRST, "llama-rpc", "STOP")
    noticed = service.wait_for_words(FIRST, began - 1, "noticed: the worker's process", 20)
    service.account(Row("a worker is frozen", noticed - began), began).check(HOST_S, RECOVERY_S)


def test_a_host_loses_power(service: Service) -> None:
    service.power_off(SECOND)
    began = time.time()
    noticed = service.wait_for_words(HEAD, began - 2, "noticed: ", 20)
    service.power_on(SECOND)
    returned = time.time()
    service.account(Row("a worker's host loses power", noticed - began, hand="switch it on"), began, returned).check(
        HOST_S, RECOVERY_S
    )


def test_the_fabric_is_cut_for_a_moment(service: Service) -> None:
    head = service.pid(HEAD, "llama-head")
    began = time.time()
    service.cable(FIRST, "ib", up=False)
    time.sleep(3)
    service.cable(FIRST, "ib", up=True)
    row = Row("the fabric is cut for 3 s")
    service.wait_for_answer(time.time(), 30)
    row.served = time.time() - began
    service.rows.append(row)
    assert service.pid(HEAD, "llama-head") == head
    assert not [text for _when, text in service.said([HEAD], began) if "noticed" in text]


def test_the_fabric_is_cut(service: Service) -> None:
    service.cable(FIRST, "ib", up=False)
    began = time.time()
    noticed = service.wait_for_words(HEAD, began - 2, "noticed: ", 20)
    service.cable(FIRST, "ib", up=True)
    returned = time.time()
    service.account(Row("the fabric is cut and healed", noticed - began, hand="plug it in"), began, returned).check(
        HOST_S, RECOVERY_S
    )


def test_unit_stopped_by_an_operator_stays_stopped(service: Service) -> None:
    # Under load the engine would wait for its clients; that it does not is no failure.
    service.on(HEAD, "systemctl", "stop", "llama-head")
    began = time.time()
    shown = service.on(HEAD, "systemctl", "show", "--property=ActiveState,Result", "llama-head")
    assert set(shown.split()) == {"ActiveState=inactive", "Result=success"}
    service.on(FIRST, "systemctl", "restart", "llama-rpc")
    time.sleep(10)
    assert service.pid(HEAD, "llama-head") == 0
    assert "it was stopped, and stays so" in str(service.said([HEAD], began - 2))
    service.on(HEAD, "systemctl", "start", "llama-head")
    service.wait_for_answer(time.time(), 60)


def test_a_held_node_is_left_alone(service: Service) -> None:
    head = service.pid(HEAD, "llama-head")
    service.on(HEAD, "herdctl", "hold", "--seconds", "8", "--reason", "a test")
    time.sleep(1)
    service.kill(FIRST, "llama-rpc", "STOP")
    service.on(FIRST, "herdctl", "hold", "--seconds", "8", "--reason", "a test")
    time.sleep(4)
    assert service.pid(HEAD, "llama-head") == head
    assert service.pid(FIRST, "llama-rpc") > 0
    # Both holds end by themselves, and then it is mended.
    began = time.time()
    service.wait_for_words(FIRST, began, "noticed: the worker's process", 20)
    service.account(Row("a worker is frozen on a held node"), began)


def test_the_commands_of_an_operator(service: Service) -> None:
    service.wait_for_answer(time.time(), 60)
    time.sleep(3)
    assert "10.0.0.31:8000" in service.on(FIRST, "llama-service-status")
    assert service.on(SECOND, "llama-cluster-monitor").startswith("NODE")
    assert "made a token" in service.on(HEAD, "herdctl", "probe")
    assert "pieces" in service.on(HEAD, "herdctl", "query", "--max-tokens", "4", "Say hello.")
    assert "the head serves" in service.on(HEAD, "herdctl", "logs", "agent")
    # One client that pauses between its questions: a moment without a request comes soon.
    assert "no request runs" in service.on(HEAD, "herdctl", "drain", "--timeout", "60")
    time.sleep(1.5)
    assert "draining" in service.on(SECOND, "herdctl", "status")
    service.on(HEAD, "herdctl", "resume")
