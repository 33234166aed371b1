# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers that misbehave: right bytes or one clear error, nothing under the final name, and afterwards it goes on."""

from __future__ import annotations

import datetime
import hashlib
import json
import random
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ansible_collections.herd.inference.plugins.module_utils.core.download.retry import Backoff, Pace
from ansible_collections.herd.inference.plugins.modules import gguf_fetch
from tests.unit.model_server import ModelServer, Served

WHOLE = b"GGUF" + random.Random(11).randbytes(500_000)
SUM = hashlib.sha256(WHOLE).hexdigest()
PAGE = b"<!DOCTYPE html><title>Sign in</title>" + bytes(2000)
TIMEOUT = 0.4

Act = Callable[[Any], bool]


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    small = partial(Pace, smallest=20_000, largest=60_000, checkpoint=60_000, unsafe=120_000, ahead=400_000)
    monkeypatch.setattr(gguf_fetch, "Pace", partial(small, block=10_000, progress=5_000))
    monkeypatch.setattr(gguf_fetch, "Backoff", partial(Backoff, first=0.01))


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer("127.0.0.1").running() as running:
        running.files["/m.gguf"] = Served(WHOLE)
        yield running


Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(**arguments: Any) -> dict[str, Any]:
        arguments = {"dest": str(tmp_path / "m.gguf"), "timeout": TIMEOUT, "retries": 3, "connections": 4, **arguments}
        capsys.readouterr()
        with patch_module_args(arguments), pytest.raises(SystemExit):
            gguf_fetch.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return call


# --- ways to misbehave: each is asked about every request, and answers those it spoils


def asked_range(handler: Any) -> tuple[int, int]:
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", handler.headers.get("Range", ""))
    return (int(match[1]), int(match[2]) + 1 if match[2] else len(WHOLE)) if match else (0, len(WHOLE))


def answer(handler: Any, status: int, headers: dict[str, Any], body: bytes = b"", close: bool = True) -> bool:
    """Exactly these bytes."""
    handler.send_response(status)
    for name, value in {"ETag": '"one"', **headers}.items():
        if value is not None:
            handler.send_header(name, str(value))
    handler.end_headers()
    try:
        handler.wfile.write(body)
    except OSError:
        close = True
    handler.close_connection = close
    return True


def ranged(handler: Any, body: Callable[[bytes], bytes] = bytes, **headers: Any) -> bool:
    """A range as it should be, but for what the test changes."""
    start, end = asked_range(handler)
    whole = {"Content-Range": f"bytes {start}-{end - 1}/{len(WHOLE)}", "Content-Length": end - start}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return answer(handler, 206, {**whole, **named}, body(WHOLE[start:end]))


def of_get(act: Act) -> Act:
    return lambda handler: handler.command == "GET" and act(handler)


def of_later(act: Act) -> Act:
    """Only ranges that do not begin at the beginning."""
    return of_get(lambda handler: asked_range(handler)[0] > 0 and act(handler))


def times(count: int, act: Act) -> Act:
    left = iter(range(count))
    lock = threading.Lock()

    def limited(handler: Any) -> bool:
        with lock:
            use = next(left, None) is not None
        return use and act(handler)

    return of_get(limited)


def hang_up(handler: Any) -> bool:
    handler.close_connection = True
    return True


def after_headers(handler: Any) -> bool:
    return ranged(handler, lambda data: b"")


def stall(handler: Any) -> bool:
    start, end = asked_range(handler)
    answer(handler, 206, {"Content-Range": f"bytes {start}-{end - 1}/{len(WHOLE)}", "Content-Length": end - start})
    handler.wfile.write(WHOLE[start : start + 3000])
    time.sleep(3 * TIMEOUT)
    return True


def drip(handler: Any) -> bool:
    start, end = asked_range(handler)
    answer(handler, 206, {"Content-Range": f"bytes {start}-{end - 1}/{len(WHOLE)}", "Content-Length": end - start})
    for at in range(start, start + 200):
        try:
            handler.wfile.write(WHOLE[at : at + 1])
        except OSError:
            break
        time.sleep(0.02)
    return True


def say(handler: Any, words: bytes) -> bool:
    handler.wfile.write(words)
    handler.close_connection = True
    return True


def without_range(handler: Any) -> bool:
    return answer(handler, 200, {"Content-Length": len(WHOLE)}, WHOLE)


def at_most(count: int) -> Act:
    """A server that serves so many at a time and turns the others away."""
    lock = threading.Lock()
    inside = 0

    def limited(handler: Any) -> bool:
        nonlocal inside
        with lock:
            if inside >= count:
                return answer(handler, 503, {"Content-Length": 0})
            inside += 1
        try:
            time.sleep(0.02)
            return ranged(handler)
        finally:
            with lock:
                inside -= 1

    return of_get(limited)


def alternating(good: int, act: Act) -> Act:
    """Every so many requests one that is spoilt."""
    lock = threading.Lock()
    seen = 0

    def sometimes(handler: Any) -> bool:
        nonlocal seen
        with lock:
            seen += 1
            return seen % (good + 1) == 0 and act(handler)

    return of_get(sometimes)


def plain(status: int, **headers: Any) -> Act:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler: answer(handler, status, {"Content-Length": 0, **named}, close=False)


def bad_chunk(handler: Any) -> bool:
    start, end = asked_range(handler)
    headers = {"Content-Range": f"bytes {start}-{end - 1}/{len(WHOLE)}", "Transfer-Encoding": "chunked"}
    return answer(handler, 206, headers, b"zz\r\nnonsense\r\n")


def in_chunks(handler: Any) -> bool:
    start, end = asked_range(handler)
    data = WHOLE[start:end]
    pieces = [data[at : at + 7001] for at in range(0, len(data), 7001)]
    body = b"".join(f"{len(piece):x}\r\n".encode() + piece + b"\r\n" for piece in pieces) + b"0\r\n\r\n"
    headers = {"Content-Range": f"bytes {start}-{end - 1}/{len(WHOLE)}", "Transfer-Encoding": "chunked"}
    return answer(handler, 206, headers, body, close=False)


def half_of_the_range(handler: Any) -> bool:
    start, end = asked_range(handler)
    end = start + max(1, (end - start) // 2)
    headers = {"Content-Range": f"bytes {start}-{end - 1}/{len(WHOLE)}", "Content-Length": end - start}
    return answer(handler, 206, headers, WHOLE[start:end], close=False)


def to_the_end(handler: Any) -> bool:
    start, _end = asked_range(handler)
    headers = {"Content-Range": f"bytes {start}-{len(WHOLE) - 1}/{len(WHOLE)}", "Content-Length": len(WHOLE) - start}
    return answer(handler, 206, headers, WHOLE[start:])


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@dataclass(frozen=True)
class Case:
    """A way to misbehave.

    :ivar words: of the error; None if the bytes must be right all the same.
    """

    name: str
    act: Act
    words: str | None = None


CASES = [
    Case("hangs up without a word, three times", times(3, hang_up)),
    Case("hangs up without a word, always", of_get(hang_up), "4 times in a row"),
    Case("hangs up on every request, also HEAD", hang_up, "4 times in a row"),
    Case("closes after the headers, three times", times(3, after_headers)),
    Case("closes after the headers, always", of_get(after_headers), "4 times in a row"),
    Case("closes in the middle of every answer", of_get(lambda h: ranged(h, lambda data: data[: len(data) // 2 + 1]))),
    Case("sends one byte and closes, always", of_get(lambda h: ranged(h, lambda data: data[:1])), "4 times in a row"),
    Case("stalls once", times(1, stall)),
    Case("stalls always", of_get(stall), "no byte in time"),
    Case("drips", of_get(drip), "less than 410 bytes in 0 s"),
    Case("promises a longer body than it sends", of_get(lambda h: ranged(h, Content_Length=70_000)), None),
    Case("promises a shorter body than the range", of_get(lambda h: ranged(h, Content_Length=10_000)), None),
    Case("serves half of each range", of_get(half_of_the_range)),
    Case("serves each range to the end of the file", of_get(to_the_end)),
    Case("serves another range", of_later(lambda h: ranged(h, Content_Range="bytes 7-99999/500004")), "bytes 7-99999"),
    Case("speaks of another size", of_later(lambda h: ranged(h, Content_Range="bytes 1-2/9")), "bytes 1-2/9"),
    Case("lies about the size of the whole", of_get(lambda h: ranged(h, Content_Range="bytes 0-9/777")), "777"),
    Case("answers 206 without a range", of_get(lambda h: ranged(h, Content_Range=None)), "Content-Range None"),
    Case("answers with several ranges", of_get(lambda h: ranged(h, Content_Range="multipart")), "'multipart'"),
    Case("ignores ranges", of_get(without_range)),
    Case("ignores ranges from the second request on", of_later(without_range)),
    Case("ignores a range now and then", alternating(2, without_range)),
    Case(
        "ignores ranges and stops in the middle, always",
        of_get(lambda h: answer(h, 200, {"Content-Length": len(WHOLE)}, WHOLE[:90_000])),
        "4 times in a row",
    ),
    Case("says 416", of_later(plain(416, Content_Range="bytes */20000")), "416"),
    Case("says 429 and please wait, twice", times(2, plain(429, Retry_After="0"))),
    Case("says 429 and come back next month", plain(429, Retry_After="2600000"), "asks to come back in 2600000 s"),
    Case("says 429 in the middle, and come back next month", of_later(plain(429, Retry_After="2600000")), "2600000 s"),
    Case("says 503 now and then", alternating(2, plain(503))),
    Case("says 503 always", of_get(plain(503)), "the server answered 503, 4 times in a row"),
    Case("serves two at a time and says 503 to others", at_most(2)),
    Case("says 500 now and then", alternating(2, plain(500))),
    Case("says 404 after the first range", of_later(plain(404)), "status 404"),
    Case("says 403 after the first range", of_later(plain(403)), "status 403"),
    Case("says 204", of_get(plain(204)), "status 204"),
    Case("says 304", of_get(plain(304)), "status 304"),
    Case("redirects to itself", of_get(plain(302, Location="/m.gguf")), "at most 10 redirects"),
    Case(
        "redirects to a file of the host", of_get(plain(302, Location="file:///etc/passwd")), "to lead to a web server"
    ),
    Case("redirects to a closed port", of_get(plain(302, Location="http://127.0.0.1:9/m.gguf")), "times in a row"),
    Case("redirects nowhere", of_get(plain(302, Location="http://")), "at most 10 redirects"),
    Case("has another file in the middle", of_later(lambda h: ranged(h, ETag='"two"')), '"two"'),
    Case("has a shorter file in the middle", of_later(lambda h: ranged(h, Content_Range="bytes 0-1/2")), "bytes 0-1/2"),
    Case("serves one wrong byte", of_get(lambda h: ranged(h, flipped)), "sha256"),
    Case("serves zeros", of_later(lambda h: ranged(h, lambda data: bytes(len(data)))), "sha256"),
    Case(
        "serves a page",
        of_get(lambda h: answer(h, 200, {"Content-Type": "text/html", "Content-Length": len(PAGE)}, PAGE)),
        "web page",
    ),
    Case(
        "serves a page as a range", of_get(lambda h: ranged(h, lambda data: PAGE, Content_Type="text/html")), "web page"
    ),
    Case(
        "serves a page as bytes",
        of_get(lambda h: ranged(h, lambda data: (PAGE * 40)[: len(data)])),
        "begins with the letters GGUF",
    ),
    Case("compresses", of_get(lambda h: ranged(h, Content_Encoding="gzip")), "Content-Encoding gzip"),
    Case("speaks another protocol", of_get(lambda h: say(h, b"SSH-2.0-OpenSSH_9.9\r\n")), "4 times in a row"),
    Case(
        "sends endless headers",
        of_get(lambda h: say(h, b"HTTP/1.1 206 OK\r\nX: " + b"x" * 100_000)),
        "4 times in a row",
    ),
    Case("sends broken chunks", of_get(bad_chunk), "4 times in a row"),
    Case("sends chunks", of_get(in_chunks)),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_server_that_misbehaves(server: ModelServer, run: Run, tmp_path: Path, case: Case) -> None:
    dest = tmp_path / "m.gguf"
    server.files["/m.gguf"].act = case.act
    asked = {"url": server.url("/m.gguf"), "sha256": SUM}
    result = run(**asked)
    if case.words is None:
        assert "msg" not in result, result["msg"]
        assert dest.read_bytes() == WHOLE
        assert {path.name for path in tmp_path.iterdir()} == OURS | {"m.gguf", ".m.gguf.verified"}
        return
    assert result.get("failed"), result
    assert case.words in result["msg"]
    assert result["msg"].startswith("expected ") and result["msg"].count("expected ") == 1
    assert {path.name for path in tmp_path.iterdir()} <= OURS | UNFINISHED
    server.files["/m.gguf"].act = None
    again = run(**asked)
    assert "msg" not in again, again["msg"]
    assert dest.read_bytes() == WHOLE
    assert {path.name for path in tmp_path.iterdir()} == OURS | {"m.gguf", ".m.gguf.verified"}


OURS = {".m.gguf.lock", ".m.gguf.progress"}
UNFINISHED = {".m.gguf.incoming", ".m.gguf.journal", ".m.gguf.landed"}


def test_there_are_more_than_twenty_ways() -> None:
    assert len({case.name for case in CASES}) == len(CASES) > 40


# Every third of them: how a server failed makes no difference here.
@pytest.mark.parametrize("case", [case for case in CASES if case.words][::3], ids=lambda case: case.name)
def test_the_next_mirror_goes_on(server: ModelServer, run: Run, tmp_path: Path, case: Case) -> None:
    """Whatever is wrong with the first address: the bytes are right, and nobody has to run it again."""
    server.files["/mirror/m.gguf"] = Served(WHOLE, act=case.act, etag='"of-the-mirror"')
    server.files["/m.gguf"].etag = '"of-the-publisher"'
    result = run(url=server.url("/m.gguf"), mirrors=[server.url("/mirror/")], sha256=SUM)
    assert "msg" not in result, result["msg"]
    assert (tmp_path / "m.gguf").read_bytes() == WHOLE


# --- what is wrong before the first word of HTTP


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[ModelServer]:
    """A server whose certificate nobody vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 7, now, now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "tls.pem"
    private = serialization.PrivateFormat.PKCS8
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with ModelServer("127.0.0.1", context).running() as running:
        running.files["/m.gguf"] = Served(WHOLE)
        yield running


def test_a_certificate_that_nobody_vouches_for(
    secured: ModelServer, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"url": f"https://localhost:{secured.port}/m.gguf", "sha256": SUM}
    failed = run(**asked)
    assert "expected a trusted certificate" in failed["msg"] and "certificate verify failed" in failed["msg"]
    assert not (tmp_path / "m.gguf").exists() and not secured.requests
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "tls.pem"))
    assert run(**asked)["changed"]
    assert (tmp_path / "m.gguf").read_bytes() == WHOLE


def test_tls_where_none_is_spoken(server: ModelServer, run: Run, tmp_path: Path) -> None:
    failed = run(url=f"https://127.0.0.1:{server.port}/m.gguf", sha256=SUM)
    assert "expected a trusted certificate" in failed["msg"]
    assert not (tmp_path / "m.gguf").exists()


def test_nobody_listens(run: Run, tmp_path: Path) -> None:
    failed = run(url="http://127.0.0.1:9/m.gguf", sha256=SUM)
    assert "Connection refused, 4 times in a row" in failed["msg"]
    assert not (tmp_path / "m.gguf").exists()


# --- mirrors


def test_mirrors_are_asked_in_order_and_the_publisher_last(server: ModelServer, run: Run, tmp_path: Path) -> None:
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    (shelf / "m.gguf").write_bytes(WHOLE)
    nowhere = tmp_path / "not mounted"
    result = run(url=server.url("/m.gguf"), sha256=SUM, mirrors=[f"{nowhere}/", f"{shelf}/", server.url("/second/")])
    assert result["changed"] and not server.requests
    assert (tmp_path / "m.gguf").read_bytes() == WHOLE


def test_bytes_of_two_mirrors_come_together_where_the_checksum_says_so(
    server: ModelServer, run: Run, tmp_path: Path
) -> None:
    server.files["/mirror/m.gguf"] = Served(WHOLE, etag='"mirror"', dies_after=200_000)
    result = run(url=server.url("/m.gguf"), sha256=SUM, mirrors=[server.url("/mirror/")])
    assert result["changed"] and (tmp_path / "m.gguf").read_bytes() == WHOLE
    assert server.files["/m.gguf"].sent == len(WHOLE) - 200_000


def test_bytes_of_two_mirrors_do_not_come_together_where_nothing_says_that_they_are_the_same(
    server: ModelServer, run: Run, tmp_path: Path
) -> None:
    other = b"GGUF" + bytes(len(WHOLE) - 4)
    server.files["/mirror/m.gguf"] = Served(other, etag='"mirror"', dies_after=200_000)
    result = run(url=server.url("/m.gguf"), verify="size", mirrors=[server.url("/mirror/")])
    assert result["changed"] and (tmp_path / "m.gguf").read_bytes() == WHOLE
    assert server.files["/m.gguf"].sent == len(WHOLE)


def test_a_mixture_that_is_wrong_is_fetched_again_from_one_place(server: ModelServer, run: Run, tmp_path: Path) -> None:
    wrong = WHOLE[:50_000] + b"?" + WHOLE[50_001:]
    server.files["/mirror/m.gguf"] = Served(wrong, etag='"mirror"', dies_after=200_000)
    result = run(url=server.url("/m.gguf"), sha256=SUM, mirrors=[server.url("/mirror/")])
    assert result["changed"] and (tmp_path / "m.gguf").read_bytes() == WHOLE


def test_a_mirror_is_held_against_the_publishers_checksum(server: ModelServer, run: Run, tmp_path: Path) -> None:
    server.files["/mirror/m.gguf"] = Served(WHOLE[:-1] + b"?", etag='"mirror"')
    server.files["/hub/m.gguf"] = Served(
        location=server.url("/m.gguf"), headers={"X-Linked-Etag": f'"{SUM}"', "X-Linked-Size": str(len(WHOLE))}
    )
    assert run(url=server.url("/hub/m.gguf"), mirrors=[server.url("/mirror/")])["files"][0]["sha256"] == SUM
    assert (tmp_path / "m.gguf").read_bytes() == WHOLE
    assert server.files["/mirror/m.gguf"].sent == len(WHOLE)


def test_an_error_of_all_mirrors_names_them(server: ModelServer, run: Run) -> None:
    server.files["/m.gguf"].act = plain(404)
    failed = run(url=server.url("/m.gguf"), sha256=SUM, mirrors=[server.url("/one/"), "/nowhere/of/herd/"])
    assert failed["msg"].startswith(f"expected a file at {server.url('/m.gguf')}, found status 404 (and before that, ")
    assert f"{server.url('/one/m.gguf')}: status 404; file:///nowhere/of/herd/m.gguf: No such file" in failed["msg"]


def test_no_mirror_sees_the_token(server: ModelServer, run: Run) -> None:
    server.files["/mirror/m.gguf"] = Served(WHOLE, etag='"mirror"', dies_after=200_000)
    elsewhere = server.url("/mirror/", host="localhost")
    assert run(url=server.url("/m.gguf"), sha256=SUM, mirrors=[elsewhere], token="hf_tokenOfATest")["changed"]
    assert {asked.authorization for asked in server.asked("GET", "/mirror/m.gguf")} == {None}
    assert {asked.authorization for asked in server.asked("GET", "/m.gguf")} == {"Bearer hf_tokenOfATest"}


# --- signed addresses, proxies, caps


def test_an_address_that_was_signed_for_a_while_is_signed_again(server: ModelServer, run: Run, tmp_path: Path) -> None:
    signed = iter(range(100))
    hub = server.files["/hub/m.gguf"] = Served(headers={"X-Linked-Etag": f'"{SUM}"', "X-Linked-Size": str(len(WHOLE))})
    served = [0]

    def sign(handler: Any) -> bool:
        number = next(signed)
        server.files[f"/cdn/m.gguf?sig={number}"] = Served(WHOLE, etag='"cdn"', act=expires)
        hub.location = f"/cdn/m.gguf?sig={number}"
        return False

    def expires(handler: Any) -> bool:
        served[0] += 1
        return served[0] % 4 == 0 and answer(handler, 403, {"Content-Length": 0})

    hub.act = sign
    assert run(url=server.url("/hub/m.gguf"), connections=1)["changed"]
    assert (tmp_path / "m.gguf").read_bytes() == WHOLE
    assert 1 < len(server.asked("GET", "/hub/m.gguf")) < len(server.asked("GET")) / 2, "not for every range"


def test_a_proxy_is_asked_in_place_of_the_server(server: ModelServer, run: Run, tmp_path: Path) -> None:
    server.files["http://models.invalid/m.gguf"] = Served(WHOLE)
    assert run(url="http://models.invalid/m.gguf", sha256=SUM, proxy=server.url(""))["changed"]
    assert (tmp_path / "m.gguf").read_bytes() == WHOLE


def test_a_cap_on_the_bandwidth_is_kept(server: ModelServer, run: Run, tmp_path: Path) -> None:
    began = time.monotonic()
    assert run(url=server.url("/m.gguf"), sha256=SUM, bandwidth=str(len(WHOLE)))["changed"]
    # A busy machine makes it longer and never shorter.
    assert time.monotonic() - began > 0.6
    assert (tmp_path / "m.gguf").read_bytes() == WHOLE
