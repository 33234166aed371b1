"""Open ports match docs/reference/ports.md, and only the head reaches a worker."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pytest
from testinfra.host import Host

from tests.scenarios.tables import rows
from tests.scenarios.testing import ETHERNET, FABRIC, HEAD, NODES, WORKERS, wait_for

On = Callable[[str], Host]
# Groups with hosts in this scenario.
GROUPS: dict[str, tuple[str, ...]] = {
    "node": NODES,
    "node_agent": NODES,
    "rpc_worker": WORKERS,
    "head_server": (HEAD,),
    "llama_build": (HEAD,),
    "model_store": (HEAD,),
}
ANY = ("0.0.0.0", "[::]", "*")
LISTED = rows("ports.md")


@dataclass(frozen=True)
class Listener:
    """A listening socket and the unit of its process."""

    transport: str
    address: str
    port: str
    unit: str


# Prints a line for each socket: the output of ss, and the control group of its process.
LOOK = r"""
ss -Hlntup | while read -r line; do
  pid=$(printf %s "$line" | sed -n 's/.*pid=\([0-9]*\).*/\1/p')
  echo "$line # $(cat /proc/$pid/cgroup 2>/dev/null | tr '\n' ' ')"
done
"""


def listeners(host: Host) -> set[Listener]:
    found = set()
    for line in host.check_output(LOOK).splitlines():
        socket, _mark, group = line.partition(" # ")
        transport, _state, _received, _sent, local, *_rest = socket.split()
        address, _colon, port = local.rpartition(":")
        units = re.findall(r"/([^/\s]+\.(?:service|socket))", group)
        found.add(Listener(transport, address, port, units[-1] if units else "nobody's"))
    return found


def addresses(kind: str, name: str) -> tuple[str, ...]:
    return {"any": ANY, "host": (ETHERNET[name],), "fabric": (FABRIC[name],)}[kind]


@pytest.mark.parametrize("name", NODES)
def test_only_listed_ports_are_open(on: On, name: str) -> None:
    allowed = {
        Listener(row["transport"], address, row["port"], unit)
        for row in LISTED
        if name in GROUPS.get(row["on"], ())
        for address in addresses(row["address"], name)
        for unit in re.split(r",\s*", row["unit"])
    }
    assert listeners(on(name)) - allowed == set()


@pytest.mark.parametrize("name", NODES)
def test_listed_ports_are_open(on: On, name: str) -> None:
    found = {(listener.transport, listener.port) for listener in listeners(on(name))}
    wanted = {
        (row["transport"], row["port"])
        for row in LISTED
        if row["open"] == "always" and name in GROUPS.get(row["on"], ())
    }
    assert wanted <= found


TRY = "setpriv --reuid=%s --clear-groups timeout 3 bash -c 'exec 3<>/dev/tcp/%s/50052' 2>&1"


def answers(host: Host, users: Iterable[str], targets: Iterable[str]) -> dict[tuple[str, str], str]:
    """Return the result of a connection by user and address: connected, refused or silence."""
    tries = [(user, address) for user in users for address in targets]
    said = host.check_output("; ".join(f'{TRY % pair}; echo " = $?"' for pair in tries)).split(" = ")
    kinds = []
    for message, status in zip(said, (text.split("\n")[0] for text in said[1:]), strict=False):
        kinds.append(
            "connected" if status == "0" else "refused" if "Connection refused" in message else f"silence ({status})"
        )
    assert len(kinds) == len(tries), said
    return dict(zip(tries, kinds, strict=True))


def test_the_ethernet_side_refuses_rpc(on: On) -> None:
    for name in (*NODES, "mirror"):
        met = answers(on(name), ["root"], [ETHERNET[worker] for worker in WORKERS])
        assert set(met.values()) == {"refused"}, (name, met)


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_rejects_other_nodes_than_the_head(on: On, name: str) -> None:
    # The worker's own host is rejected too, for each user.
    met = answers(on(name), ["root", "nobody", "llama"], [FABRIC[worker] for worker in WORKERS])
    assert set(met.values()) == {"refused"}, met


SOURCE_PORT = 45678
# A client with a forged address gets no answer, so the test counts the worker's packets.
COUNT = f"""nft -f - <<'RULES'
table inet seen {{
  chain out {{
    type filter hook output priority 100;
    tcp sport 50052 tcp dport {SOURCE_PORT} tcp flags & (syn | ack) == (syn | ack) counter
  }}
}}
RULES"""
OPEN = """
import socket
channel = socket.socket()
channel.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
channel.settimeout(3)
channel.bind(("%s", %d))
try:
    channel.connect(("%s", 50052))
except OSError as error:
    print(error)
"""


def accepted(host: Host) -> int:
    """Return the number of packets with which the worker has accepted such a connection."""
    found = re.search(r"counter packets (\d+)", host.check_output("nft list table inet seen"))
    assert found
    return int(found[1])


def test_a_worker_rejects_the_heads_address_on_the_ethernet(on: On) -> None:
    worker, forger = on(WORKERS[0]), on("mirror")
    head, target = FABRIC[HEAD], FABRIC[WORKERS[0]]
    python = "setpriv --reuid=llama --clear-groups python3 -c '%s'" % (OPEN % (head, SOURCE_PORT, target))
    loose = "net.ipv4.conf.all.rp_filter net.ipv4.conf.eth0.rp_filter"
    before = worker.check_output(f"sysctl -n {loose}").split()
    worker.check_output(COUNT)
    worker.check_output("sysctl -qw " + " ".join(f"{key}=0" for key in loose.split()))
    forger.check_output(f"ip addr add {head}/32 dev lo && ip route add {target}/32 via {ETHERNET[WORKERS[0]]} dev eth0")
    try:
        forger.run("python3 -c '%s'" % (OPEN % (head, SOURCE_PORT, target)))
        assert accepted(worker) == 0
        # The same counter detects a connection of the head through the fabric.
        on(HEAD).run(python)
        assert accepted(worker) > 0
    finally:
        forger.run(f"ip route del {target}/32; ip addr del {head}/32 dev lo")
        pairs = zip(loose.split(), before, strict=True)
        worker.run("nft delete table inet seen; sysctl -qw " + " ".join(f"{key}={value}" for key, value in pairs))


def test_a_worker_rejects_other_users_of_the_head(on: On) -> None:
    workers = [FABRIC[worker] for worker in WORKERS]
    met = answers(on(HEAD), ["root", "nobody", "llama"], workers)
    # A reset rejects them at once. The head's user can connect, so the rule is the reason.
    assert {user: {met[user, worker] for worker in workers} for user in ("root", "nobody", "llama")} == {
        "root": {"refused"},
        "nobody": {"refused"},
        "llama": {"connected"},
    }


def test_a_worker_loads_rules_that_failed_at_boot(on: On) -> None:
    """systemd never repeats a failed dependency, so the worker itself loads the rules."""
    host, drop_in = on(WORKERS[1]), "/run/systemd/system/herd-rpc-firewall.service.d"
    pid = host.check_output("systemctl show -p MainPID --value llama-rpc")
    head = on(HEAD).check_output("systemctl show -p MainPID --value llama-head")
    host.check_output(
        f"systemctl stop llama-rpc herd-rpc-firewall && nft delete table inet herd_rpc && mkdir -p {drop_in} && "
        f"printf '[Service]\\nExecStart=\\nExecStart=/bin/false\\n' > {drop_in}/fails.conf && systemctl daemon-reload"
    )
    try:
        host.run("systemctl start llama-rpc")
        assert host.run("systemctl is-failed herd-rpc-firewall").stdout.strip() == "failed"
        assert host.service("llama-rpc").is_running
        assert host.check_output("systemctl show -p MainPID --value llama-rpc") != pid
        assert host.run("nft list table inet herd_rpc").succeeded
    finally:
        # A restart of the rules' unit would restart the worker again.
        host.run(f"rm -r {drop_in}; systemctl daemon-reload; systemctl start herd-rpc-firewall llama-rpc")
    wait_for(
        "another head serves",
        lambda: (
            on(HEAD).check_output("systemctl show -p MainPID --value llama-head") not in ("0", head)
            and on(HEAD).run("herdctl status").rc == 0
        ),
    )


def test_the_unit_restores_flushed_rules(on: On) -> None:
    table = "nft list table inet herd_rpc_client"
    assert on(HEAD).run(table).succeeded
    on(HEAD).check_output("nft delete table inet herd_rpc_client")
    on(HEAD).check_output("systemctl restart herd-rpc-client.service")
    assert "skuid" in on(HEAD).check_output(table)
    assert on(HEAD).service("llama-head").is_running
