# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hostile behaviours: status lines, headers, informational answers, redirects, and the engine's own errors."""

from __future__ import annotations

import json
import time

from tests.gateway.hostile_engine.double import ANY, CUT, ERROR, WHOLE, Exchange, behaviour


@behaviour()
def http_0_9(to: Exchange) -> None:
    to.send(to.payload)


@behaviour()
def http_2_preface(to: Exchange) -> None:
    to.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0" * 9)


@behaviour(*ANY)
def http_1_0(to: Exchange) -> None:
    to.answer(line=b"HTTP/1.0 200 OK")


@behaviour(*ANY)
def http_9_9(to: Exchange) -> None:
    to.answer(line=b"HTTP/9.9 200 OK")


@behaviour()
def not_http(to: Exchange) -> None:
    to.send(b"SSH-2.0-OpenSSH_9.9\r\n")


@behaviour()
def bytes_without_meaning(to: Exchange) -> None:
    to.send(bytes(range(256)) * 64)


@behaviour(ERROR)
def status_0(to: Exchange) -> None:
    to.answer(line=b"HTTP/1.1 000 OK")


@behaviour(ERROR)
def status_99(to: Exchange) -> None:
    to.answer(line=b"HTTP/1.1 099 OK")


@behaviour(ERROR)
def status_600(to: Exchange) -> None:
    to.answer(line=b"HTTP/1.1 600 OK")


@behaviour(ERROR)
def status_of_letters(to: Exchange) -> None:
    to.answer(line=b"HTTP/1.1 abc OK")


@behaviour(ERROR)
def status_negative(to: Exchange) -> None:
    to.answer(line=b"HTTP/1.1 -200 OK")


@behaviour(ERROR)
def status_of_four_digits(to: Exchange) -> None:
    to.answer(line=b"HTTP/1.1 2000 OK")


@behaviour(*ANY)
def status_204_with_a_body(to: Exchange) -> None:
    to.answer(line=b"HTTP/1.1 204 No Content")


@behaviour(*ANY)
def status_205_with_a_body(to: Exchange) -> None:
    to.answer(line=b"HTTP/1.1 205 Reset Content")


@behaviour(ERROR)
def status_304_with_a_body(to: Exchange) -> None:
    to.answer(line=b"HTTP/1.1 304 Not Modified")


@behaviour(ERROR, WHOLE)
def status_text_with_control_bytes(to: Exchange) -> None:
    to.answer(line=b"HTTP/1.1 200 smuggled\x1b[2J\x08\x00")


@behaviour()
def status_line_of_a_mebibyte(to: Exchange) -> None:
    to.answer(line=b"HTTP/1.1 200 " + b"x" * (1 << 20))


@behaviour(is_slow=True)
def status_line_without_end(to: Exchange) -> None:
    to.send(b"HTTP/1.1 200 ")
    to.endless(b"x", 0.2)


@behaviour(*ANY)
def informational_answers(to: Exchange) -> None:
    to.send(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: smuggled\r\nX-Evil: smuggled\r\n\r\n")
    to.answer()


@behaviour(*ANY)
def informational_flood(to: Exchange) -> None:
    to.send(b"HTTP/1.1 102 Processing\r\nX-Evil: smuggled\r\n\r\n" * 5000)
    to.answer()


@behaviour(is_slow=True)
def informational_answers_without_end(to: Exchange) -> None:
    to.endless(b"HTTP/1.1 100 Continue\r\n\r\n", 0.1)


@behaviour()
def informational_only(to: Exchange) -> None:
    to.send(b"HTTP/1.1 100 Continue\r\n\r\n")


@behaviour()
def upgrade(to: Exchange) -> None:
    to.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", to.payload)


@behaviour(*ANY)
def header_flood(to: Exchange) -> None:
    to.answer(*(b"X-Evil-%d: smuggled" % number for number in range(10000)))


@behaviour(is_slow=True)
def header_flood_without_end(to: Exchange) -> None:
    to.send(b"HTTP/1.1 200 OK\r\n")
    to.endless(b"X-Evil: smuggled\r\n", 0.2)


@behaviour(ERROR)
def header_of_a_mebibyte(to: Exchange) -> None:
    to.answer(b"X-Evil: " + b"smuggled" * (1 << 17))


@behaviour(*ANY)
def header_of_six_kilobytes(to: Exchange) -> None:
    to.answer(b"X-Evil: " + b"smuggled" * 800)


@behaviour(*ANY)
def header_with_a_null_byte(to: Exchange) -> None:
    to.answer(b"X-Evil: a\0smuggled")


@behaviour(*ANY)
def header_with_control_bytes(to: Exchange) -> None:
    to.answer(b"X-Evil: a\x1b\x07\x7fsmuggled")


@behaviour(*ANY)
def header_with_a_bare_return(to: Exchange) -> None:
    to.answer(b"X-Evil: a\rX-Herd-Tier: smuggled")


@behaviour(*ANY)
def header_with_a_bare_newline(to: Exchange) -> None:
    to.answer(b"X-Evil: a\nX-Herd-Tier: smuggled")


@behaviour(*ANY)
def header_folded(to: Exchange) -> None:
    to.answer(b"X-Evil: a\r\n X-Herd-Tier: smuggled")


@behaviour(*ANY)
def header_name_with_a_blank(to: Exchange) -> None:
    to.answer(b"X-Herd-Tier : smuggled", b"Transfer-Encoding : chunked")


@behaviour(*ANY)
def header_without_a_colon(to: Exchange) -> None:
    to.answer(b"smuggled")


@behaviour(*ANY)
def header_in_utf_8(to: Exchange) -> None:
    to.answer("X-Evil: smuggled é 漢".encode())


@behaviour(*ANY)
def content_type_of_six_kilobytes(to: Exchange) -> None:
    to.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json; x=", b"smuggled" * 800)
    to.send(b"\r\nContent-Length: %d\r\n\r\n" % len(to.payload), to.payload)


@behaviour(*ANY)
def content_type_of_a_page(to: Exchange) -> None:
    page = b"<script>alert(1)</script>"
    to.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(page), page)


@behaviour(*ANY)
def content_type_missing(to: Exchange) -> None:
    to.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(to.payload), to.payload)


@behaviour(*ANY)
def content_types_that_differ(to: Exchange) -> None:
    to.answer(b"Content-Type: text/html; smuggled")


@behaviour(WHOLE)
def headers_of_our_own(to: Exchange) -> None:
    names = ("Tier", "Model", "Key", "Fallback-From", "Proxy", "Path", "Entry", "Limits", "Task")
    to.answer(*(f"X-Herd-{name}: smuggled".encode() for name in names), b"X-Request-Id: smuggled")


@behaviour(WHOLE)
def headers_of_nginx(to: Exchange) -> None:
    given = {"Redirect": "/smuggled", "Limit-Rate": "1", "Expires": "0", "Charset": "smuggled", "Buffering": "yes"}
    to.answer(*(f"X-Accel-{name}: {value}".encode() for name, value in given.items()))


@behaviour(WHOLE)
def headers_of_a_site(to: Exchange) -> None:
    to.answer(
        b"Set-Cookie: smuggled=1",
        b"Location: http://smuggled/",
        b"Refresh: 0; url=http://smuggled/",
        b"Access-Control-Allow-Origin: http://smuggled",
        b"WWW-Authenticate: Basic realm=smuggled",
        b"Alt-Svc: h3=smuggled",
        b"Strict-Transport-Security: max-age=31536000; smuggled",
        b"Server: smuggled",
        b"Date: smuggled",
        b"Link: smuggled",
    )


@behaviour(WHOLE)
def headers_hop_by_hop(to: Exchange) -> None:
    to.answer(
        b"Connection: close, X-Herd-Tier, Content-Type",
        b"Keep-Alive: timeout=smuggled",
        b"Proxy-Authenticate: smuggled",
        b"Proxy-Connection: smuggled",
        b"TE: smuggled",
        b"Upgrade: smuggled",
    )


@behaviour(WHOLE)
def headers_of_limits(to: Exchange) -> None:
    to.answer(b"Retry-After: smuggled", b"X-RateLimit-Remaining-Requests: smuggled", b"X-Should-Retry: smuggled")


def _redirect(to: Exchange, status: bytes) -> None:
    to.answer(b"Location: /other/v1/chat/completions?smuggled", line=b"HTTP/1.1 " + status)


@behaviour(ERROR)
def redirect_301(to: Exchange) -> None:
    _redirect(to, b"301 Moved Permanently")


@behaviour(ERROR)
def redirect_302(to: Exchange) -> None:
    _redirect(to, b"302 Found")


@behaviour(ERROR)
def redirect_307(to: Exchange) -> None:
    _redirect(to, b"307 Temporary Redirect")


@behaviour(ERROR)
def redirect_308(to: Exchange) -> None:
    _redirect(to, b"308 Permanent Redirect")


def _refuse(to: Exchange, status: int, *fields: bytes) -> None:
    error = {"message": "the engine's own words", "type": "engine_error", "code": status}
    body = json.dumps({"error": error}).encode()
    head = b"HTTP/1.1 %d Refused\r\nContent-Type: application/json\r\nContent-Length: %d\r\n" % (status, len(body))
    to.send(head, *(field + b"\r\n" for field in fields), b"\r\n", body)


@behaviour(ERROR)
def error_400(to: Exchange) -> None:
    _refuse(to, 400)


@behaviour(ERROR)
def error_401(to: Exchange) -> None:
    _refuse(to, 401, b"WWW-Authenticate: smuggled")


@behaviour(ERROR)
def error_407(to: Exchange) -> None:
    _refuse(to, 407, b"Proxy-Authenticate: smuggled")


@behaviour(ERROR)
def error_408(to: Exchange) -> None:
    _refuse(to, 408)


@behaviour(ERROR)
def error_413(to: Exchange) -> None:
    _refuse(to, 413)


@behaviour(ERROR)
def error_429(to: Exchange) -> None:
    _refuse(to, 429, b"Retry-After: 99999999", b"X-RateLimit-Limit-Requests: smuggled")


@behaviour(ERROR)
def error_500(to: Exchange) -> None:
    _refuse(to, 500)


@behaviour(ERROR)
def error_503(to: Exchange) -> None:
    _refuse(to, 503)


@behaviour(ERROR)
def error_599(to: Exchange) -> None:
    _refuse(to, 599)


@behaviour(ERROR)
def error_without_a_body(to: Exchange) -> None:
    to.send(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n")


@behaviour(ERROR)
def error_as_a_page(to: Exchange) -> None:
    page = b"<html><script>smuggled</script></html>"
    to.send(b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(page), page)


@behaviour(ERROR, CUT, leaves=True)
def error_without_end(to: Exchange) -> None:
    to.send(b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
    to.endless(b"400\r\n" + b"x" * 1024 + b"\r\n", 0.001)


@behaviour(ERROR)
def error_cut(to: Exchange) -> None:
    to.send(b'HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{"error":')


@behaviour(WHOLE)
def head_of_one_byte_at_a_time(to: Exchange) -> None:
    head = b"HTTP/1.1 200 OK\r\n" + to.content_type + b"\r\nContent-Length: %d\r\n\r\n" % len(to.payload)
    for byte in head:
        to.send(bytes([byte]))
        time.sleep(0.002)
    to.send(to.payload)
