"""The service survives 200 connections, half-open connections and garbage at a worker's RPC port.

No packet from a forbidden host or user reaches the port. Only the head's user on the head may connect: the tests do so
while the head uses the worker, and while the worker is free and reads every connection.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from testinfra.host import Host

from tests.scenarios.testing import ETHERNET, FABRIC, HEAD, WORKERS

On = Callable[[str], Host]
MANY = 200
VICTIM = WORKERS[0]
AS_HEAD = "setpriv --reuid=llama --clear-groups "

# Opens many connections at once, sends garbage over them if requested, and keeps them for some seconds.
STORM = """
import random, select, socket, sys, time
address, many, seconds, garbage = "%s", %d, %g, %r
noise = random.Random(1)
met, waiting, kept = dict(open=0, refused=0, other=0), {}, []
for _each in range(many):
    one = socket.socket()
    one.setblocking(False)
    one.connect_ex((address, 50052))
    waiting[one.fileno()] = one
end = time.monotonic() + seconds
while time.monotonic() < end and (waiting or kept):
    ready = select.select([], list(waiting.values()), [], 0.2)[1] if waiting else time.sleep(0.2) or []
    for one in ready:
        del waiting[one.fileno()]
        error = one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        met["open" if not error else "refused" if error == 111 else "other"] += 1
        if not error:
            kept.append(one)
            if garbage:
                try:
                    one.send(noise.randbytes(noise.randrange(1, 4096)))
                except OSError:
                    pass
met["waiting"] = len(waiting)
import json
print(json.dumps(met))
"""

# Opens one connection after the other, as a free worker accepts them: silent ones, a part of the hello command, a
# wrong length, random bytes.
ONE_BY_ONE = """
import json, random, socket, struct
noise = random.Random(2)
met = dict(open=0, refused=0)
for number in range(%d):
    one = socket.socket()
    one.settimeout(5)
    try:
        one.connect(("%s", 50052))
        met["open"] += 1
        kind = number %% 5
        if kind == 1:
            one.sendall(bytes([14]))
        elif kind == 2:
            one.sendall(bytes([14]) + struct.pack("<Q", 2**63 - 1))
        elif kind == 3:
            one.sendall(noise.randbytes(noise.randrange(1, 4096)))
        elif kind == 4:
            one.sendall(bytes([noise.randrange(32)]) + struct.pack("<Q", noise.randrange(64)) + noise.randbytes(64))
            one.settimeout(0.2)
            one.recv(64)
    except ConnectionRefusedError:
        met["refused"] += 1
    except OSError:
        pass
    finally:
        one.close()
print(json.dumps(met))
"""

# Sends SYN segments with the head's address and never completes the handshake.
HALF_OPEN = """
import socket, struct
source, target, many = "%s", "%s", %d
def checksum(data):
    total = sum(struct.unpack("!%%dH" %% (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
ends = socket.inet_aton(source) + socket.inet_aton(target)
for number in range(many):
    head = lambda check: struct.pack("!HHLLBBHHH", 20000 + number, 50052, 1000, 0, 5 << 4, 2, 8192, check, 0)
    segment = head(checksum(ends + struct.pack("!BBH", 0, 6, 20) + head(0)))
    packet = struct.pack("!BBHHHBBH4s4s", 69, 0, 40, number, 0, 64, 6, 0, ends[:4], ends[4:])
    raw.sendto(packet + segment, (target, 0))
"""


def python(host: Host, program: str, prefix: str = "") -> str:
    return host.check_output(f"{prefix}python3 - <<'PYTHON'\n{program}\nPYTHON")


def process(on: On, name: str) -> str:
    """Return the worker's process and its number of restarts."""
    return on(name).check_output("systemctl show -p MainPID -p NRestarts llama-rpc")


def answers(on: On) -> bool:
    return on(HEAD).run("herdctl query --timeout 60 --max-tokens 4 'Say hello.'").succeeded


@pytest.fixture(autouse=True)
def _unchanged_processes(on: On) -> Iterator[None]:
    """Check that each test leaves the same processes, and a service that answers."""
    assert answers(on)
    before = [process(on, name) for name in WORKERS]
    head = on(HEAD).check_output("systemctl show -p NRestarts llama-head")
    yield
    assert answers(on)
    assert [process(on, name) for name in WORKERS] == before
    assert on(HEAD).check_output("systemctl show -p NRestarts llama-head") == head


@pytest.mark.parametrize("garbage", [False, True])
@pytest.mark.parametrize(
    ("host", "address"), [(WORKERS[1], FABRIC[VICTIM]), ("mirror", ETHERNET[VICTIM]), (HEAD, FABRIC[VICTIM])]
)
def test_forbidden_hosts_and_users_open_no_connection(on: On, host: str, address: str, garbage: bool) -> None:
    met = json.loads(python(on(host), STORM % (address, MANY, 3, garbage)))
    assert met == {"open": 0, "refused": MANY, "other": 0, "waiting": 0}


def prove_after(on: On, command: str) -> None:
    """Run a command on the head, and wait until it generates a token again."""
    wait = "for i in $(seq 60); do herdctl probe --timeout 5 >/dev/null && exit 0; sleep 1; done; exit 1"
    on(HEAD).check_output(f"{command}; {wait}")


def queue_of(on: On) -> int:
    """Return the number of connections that wait in the victim's listen queue."""
    return int(on(VICTIM).check_output("ss -Hltn sport = :50052").split()[1])


def test_connections_and_garbage_do_not_disturb_a_worker_in_use(on: On) -> None:
    for garbage in (False, True):
        storm = STORM % (FABRIC[VICTIM], MANY, 10, garbage)
        on(HEAD).check_output(f"cat > /tmp/storm.py <<'PYTHON'\n{storm}\nPYTHON")
        on(HEAD).check_output(
            "systemd-run --quiet --unit=storm -p User=llama -p StandardOutput=file:/run/storm.json "
            "python3 /tmp/storm.py"
        )
        # The service answers while the connections are open.
        assert answers(on)
        on(HEAD).check_output("while systemctl is-active --quiet storm; do sleep 0.3; done")
        met = json.loads(on(HEAD).check_output("cat /run/storm.json"))
        # The worker's listen queue is short. Further clients wait, and none is rejected.
        assert met["open"] + met["waiting"] == MANY
        assert queue_of(on) > 0
    # When the head disconnects, the worker reads every queued connection and then serves the next head.
    prove_after(on, "systemctl restart llama-head")
    assert queue_of(on) == 0


def test_half_open_connections_do_not_disturb_a_worker_in_use(on: On) -> None:
    # The head's kernel resets connections that it did not open. Without the resets they stay half open.
    silence = "tcp dport 50052 tcp sport 20000-20999 tcp flags & rst == rst drop"
    chain = f"chain output {{ type filter hook output priority -20; policy accept; {silence}; }}"
    on(HEAD).check_output(f"nft 'table inet silence {{ {chain}; }}'")
    try:
        python(on(WORKERS[1]), HALF_OPEN % (FABRIC[HEAD], FABRIC[VICTIM], MANY))
        assert int(on(VICTIM).check_output("ss -Htn state syn-recv sport = :50052 | wc -l")) >= 1
        assert answers(on)
    finally:
        on(HEAD).check_output("nft delete table inet silence")


def test_free_worker_survives_garbage_and_serves_its_head_again(on: On) -> None:
    on(HEAD).check_output("herdctl hold --seconds 120 --reason 'a test'; systemctl stop llama-head")
    try:
        met = json.loads(python(on(HEAD), ONE_BY_ONE % (MANY, FABRIC[VICTIM]), AS_HEAD))
        assert met == {"open": MANY, "refused": 0}
    finally:
        prove_after(on, "systemctl start llama-head; herdctl resume")
