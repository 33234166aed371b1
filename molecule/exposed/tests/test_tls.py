"""The head serves only with TLS, and with its own certificate."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from testinfra.host import Host

from tests.scenarios.testing import ETHERNET, HEAD, NODES

On = Callable[[str], Host]
URL = f"https://{ETHERNET[HEAD]}:8000"
CERTIFICATE, KEY = "/etc/herd/head.crt", "/etc/herd/head/tls.key"
ASK = (
    "curl -sS --max-time 60 --cacert {ca} -H @/dev/stdin -H 'Content-Type: application/json' "
    '-d \'{{"model": "lab-llama", "max_tokens": 4, "messages": [{{"role": "user", "content": "Hello"}}]}}\' '
    "{url}/v1/chat/completions"
)


@pytest.fixture(scope="module")
def certificate(on: On) -> str:
    """Copy the head's certificate to a client's host and return its path there."""
    text = on(HEAD).check_output(f"cat {CERTIFICATE}")
    on("mirror").check_output(f"cat > /tmp/head.crt <<'PEM'\n{text}\nPEM")
    return "/tmp/head.crt"


def ask(on: On, ca: str, url: str = URL, key: str = "") -> tuple[int, str, str]:
    """Send a request from a host outside the cluster, and return curl's status, output and error."""
    key = key or on(HEAD).check_output("head -n1 /etc/herd/head/api-keys")
    said = on("mirror").run(f"echo 'Authorization: Bearer {key}' | " + ASK.format(ca=ca, url=url))
    return said.rc, said.stdout, said.stderr


def test_client_with_the_certificate_gets_an_answer(on: On, certificate: str) -> None:
    status, out, err = ask(on, certificate)
    assert status == 0, err
    assert json.loads(out)["usage"]["completion_tokens"] > 0


def test_request_with_a_wrong_key_is_rejected(on: On, certificate: str) -> None:
    status, out, _err = ask(on, certificate, key="a-guess")
    assert status == 0
    assert json.loads(out)["error"]["code"] == 401


def test_client_without_the_certificate_refuses_the_head(on: On) -> None:
    status, _out, err = ask(on, "/etc/ssl/certs/ca-certificates.crt")
    # curl's "peer certificate cannot be authenticated".
    assert status == 60, err


def test_plain_http_gets_no_answer(on: On, certificate: str) -> None:
    status, out, _err = ask(on, certificate, url=URL.replace("https", "http"))
    assert status != 0
    assert out == ""


@pytest.mark.parametrize(("flag", "allowed"), [("-tls1_1", False), ("-tls1_2", True), ("-tls1_3", True)])
def test_only_tls_1_2_and_later_connect(on: On, flag: str, allowed: bool) -> None:
    said = on("mirror").run(f"openssl s_client -connect {ETHERNET[HEAD]}:8000 {flag} </dev/null")
    assert (said.rc == 0) is allowed


def test_certificate_names_the_head(on: On) -> None:
    said = on(HEAD).check_output(f"openssl x509 -noout -ext subjectAltName -in {CERTIFICATE}")
    assert f"DNS:{HEAD}" in said
    assert f"IP Address:{ETHERNET[HEAD]}" in said


def test_only_the_service_can_read_the_key(on: On) -> None:
    key = on(HEAD).file(KEY)
    assert (key.user, key.group, key.mode) == ("root", "llama", 0o640)
    folder = on(HEAD).file("/etc/herd/head")
    assert (folder.user, folder.group, folder.mode) == ("root", "llama", 0o750)
    assert not on(HEAD).run(f"setpriv --reuid=nobody --clear-groups cat {KEY}").succeeded
    public = on(HEAD).file(CERTIFICATE)
    assert (public.user, public.mode) == ("root", 0o644)


@pytest.mark.parametrize("name", NODES)
def test_key_is_in_no_other_file_argument_or_log(on: On, name: str) -> None:
    # A line from the middle of the key, which no other file, argument or journal may contain.
    line = on(HEAD).check_output(f"sed -n 2p {KEY}")
    host = on(name)
    assert line not in host.check_output("ps -eo args")
    assert line not in host.check_output("journalctl -q --no-pager")
    places = "/etc /run /tmp /var/tmp /var/log /opt/herd /home /root"
    # grep reads the line from standard input, so that it is not an argument.
    found = host.run(f"grep -rIlsF -f /dev/stdin {places} <<'LINE'\n{line}\nLINE").stdout.split()
    assert found == ([KEY] if name == HEAD else [])


def test_operators_commands_use_tls(on: On) -> None:
    head = on(HEAD)
    probe = json.loads(head.check_output("herdctl probe --json"))
    assert (probe["health"], probe["answered"]) == ("ok", True)
    assert json.loads(head.check_output("herdctl query --json --max-tokens 4 'Say hello.'"))["pieces"] > 0
    status = json.loads(head.check_output("herdctl status --json"))
    assert status["well"]
    beat = status["nodes"][HEAD]["heartbeat"]
    # The agent reads slots and health over TLS.
    assert "ok" in json.dumps(beat)


def test_killed_head_serves_with_tls_again(on: On, certificate: str) -> None:
    on(HEAD).check_output("systemctl kill -s KILL llama-head")
    on(HEAD).check_output(
        "for i in $(seq 90); do herdctl probe --timeout 5 >/dev/null 2>&1 && exit 0; sleep 1; done; exit 1"
    )
    assert ask(on, certificate)[0] == 0
