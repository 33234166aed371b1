# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Name the causes of requests that failed without a response."""

from __future__ import annotations

import http.client
import re
from contextlib import suppress
from typing import Any

from ...core.download import identity, refusals
from ...core.download.identity import public_url
from ...core.errors import RemoteFailureError, TransientFailureError
from .framing import NoTunnelError

with suppress(ImportError):
    import requests.exceptions

INSTALL_AUTHORITY = "install the authority's certificate on the node, or set REQUESTS_CA_BUNDLE"
CORRECT_PROXY = "correct model_store_proxy, or http_proxy and https_proxy of the node's environment"
CORRECT_PORT = "correct the port, or use http:// for a server without TLS"
#: Schemes of a proxy's URL.
PROXIES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")
#: What to do about a certificate that is not trusted, by words of OpenSSL.
_CERTIFICATES = {
    "expired": "renew the server's certificate, or set the node's clock",
    "not yet valid": "set the node's clock, or wait until the server's certificate is valid",
    "match": "use a name for which the server's certificate was issued",
    "not valid for": "use a name for which the server's certificate was issued",
}
#: Codes of OpenSSL for an answer that is no TLS, by version.
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")
_VERIFIED = re.compile(r"(certificate verify failed.*?)(?: ?\(_ssl\.c:[0-9]+\))?['\"]?,?\)*$", re.DOTALL)
_TLS_CODE = re.compile(r"\[(?:SSL|X509)[^\]]*: ([A-Z0-9_]{1,60})\]")
_TUNNEL = re.compile(r"Tunnel connection failed: ([0-9]{3})")
_CAUSE = re.compile(
    r"\[Errno -?\d+\] [^)'\"]*|certificate verify failed[^)'\"]*|Name or service not known"
    r"|Tunnel connection failed: [0-9]{3}"
)


def network_login(url: str, status: int) -> RemoteFailureError:
    """Build the error of a proxy or a network that asks for a user and a password."""
    who = "the proxy" if status == 407 else "the network"
    return RemoteFailureError(
        f"the content of {public_url(url)}",
        f"status {status}: {who} asks for a login",
        f"log in to {who}; for a proxy, set model_store_proxy to its URL with user and password",
    )


def passing_failure(url: str, why: str, pause: float | None = None, overloaded: bool = False) -> TransientFailureError:
    """Build the error of a request that may succeed later."""
    return TransientFailureError.of_content(public_url(url), why, pause, overloaded)


def reason(error: Any) -> str:
    """Return the cause of a failed request in a few words, without the URL, which may be signed."""
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return "no connection in time"
    if isinstance(error, (requests.exceptions.Timeout, TimeoutError)):
        return "no byte in time"
    if isinstance(error, OSError) and error.strerror and not isinstance(error, requests.exceptions.RequestException):
        return f"the connection broke ({error.strerror})"
    cause = _deepest(error)
    match = _CAUSE.search(str(cause))
    if match:
        return match[0].strip()
    if isinstance(cause, http.client.RemoteDisconnected):
        return "the server closed the connection without a response"
    if isinstance(cause, http.client.HTTPException) and not isinstance(cause, http.client.IncompleteRead):
        return "a response that is no HTTP"
    return f"the connection broke ({cause.strerror})" if getattr(cause, "strerror", None) else "the connection broke"


def _deepest(error: Any) -> Any:
    """Return the error that requests and urllib3 have wrapped."""
    for _depth in range(5):
        inner = getattr(error, "reason", None) or (getattr(error, "args", None) or (None,))[-1]
        if not isinstance(inner, BaseException):
            break
        error = inner
    return error


def checked_proxy(proxy: str) -> str:
    """Return the complete URL of a proxy; refuse a text that is none, without repeating its password."""
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    if not identity.is_address(proxy, PROXIES):
        raise _wrong_proxy()
    return proxy


def _wrong_proxy() -> RemoteFailureError:
    return RemoteFailureError("a valid URL of the proxy", "another text", CORRECT_PROXY)


def failure(url: str, here: str, error: Exception, proxy: str | None = None) -> RemoteFailureError:
    """Build the error of a request without a response; tell failures that may pass from those that will not.

    :param here: the address that was asked.
    :param proxy: URL of the proxy that was asked for it.
    """
    if isinstance(error, requests.exceptions.InvalidProxyURL):
        return _wrong_proxy()
    if isinstance(error, requests.exceptions.InvalidSchema) and proxy is not None:
        # requests needs PySocks for SOCKS.
        scheme = proxy.partition(":")[0]
        return RemoteFailureError("a proxy that this host's Python can use", f"one for {scheme}", CORRECT_PROXY)
    details = reason(error)
    if isinstance(error, requests.exceptions.SSLError):
        return _unsecured(url, here, error, proxy)
    if proxy is not None and isinstance(_deepest(error), NoTunnelError):
        return _no_tls(here, proxy)
    if isinstance(error, requests.exceptions.ProxyError) and proxy is not None:
        return _refused_by_proxy(url, details, proxy)
    if "CA certificate" in str(error):
        return _no_authorities("no such file")
    # All other ValueErrors but this one, which is about a response, are about a URL.
    if isinstance(error, ValueError) and not isinstance(error, requests.exceptions.InvalidHeader):
        return RemoteFailureError(
            f"a valid URL behind {public_url(url)}",
            identity.shown(public_url(here)),
            "correct the URL in the inventory",
        )
    return passing_failure(url, details + _through(proxy))


def _through(proxy: str | None) -> str:
    """Name the proxy of a request, without its credentials."""
    return "" if proxy is None else f" (through the proxy {public_url(proxy)})"


def _refused_by_proxy(url: str, details: str, proxy: str) -> RemoteFailureError:
    """Build the error of a proxy that cannot be reached, or does not open a connection."""
    tunnel = _TUNNEL.search(details)
    status = int(tunnel[1]) if tunnel else None
    if status == 407:
        return network_login(url, status)
    if status is not None and not refusals.may_pass(status):
        return RemoteFailureError(
            f"the proxy {public_url(proxy)} to open a connection for {public_url(url)}",
            f"status {status}",
            f"allow the server at the proxy, list it in no_proxy, or {CORRECT_PROXY}",
        )
    found = f"the answer {status} to CONNECT" if status is not None else details
    return passing_failure(url, found + _through(proxy))


def _unsecured(url: str, here: str, error: Exception, proxy: str | None) -> RemoteFailureError:
    """Build the error of a connection that TLS could not secure."""
    cause = str(_deepest(error))
    if "EOF" in cause:
        return passing_failure(url, f"the connection broke while it was secured{_through(proxy)}")
    if "NO_CERTIFICATE" in cause or "PEM" in cause:
        return _no_authorities("a file without certificates")
    verified = _VERIFIED.search(cause)
    if verified or "match" in cause:
        # Older versions of urllib3 compare the name themselves, and say: hostname 'x' doesn't match 'y'.
        found = identity.cleaned(verified[1] if verified else cause).strip().rstrip(".")
        remedy = next((remedy for words, remedy in _CERTIFICATES.items() if words in found.lower()), INSTALL_AUTHORITY)
        return RemoteFailureError(f"a trusted certificate from {public_url(here)}", found + _through(proxy), remedy)
    if any(code in cause for code in _NO_TLS):
        return _no_tls(here, proxy)
    code = _TLS_CODE.search(cause)
    return RemoteFailureError(
        f"a secured connection to {public_url(here)}",
        f"the TLS error {code[1]}{_through(proxy)}" if code else f"another error of TLS{_through(proxy)}",
        "compare the TLS versions and ciphers of the server and of the node, and whether it wants a client certificate",
    )


def _no_tls(here: str, proxy: str | None) -> RemoteFailureError:
    where = f"check that {public_url(proxy)} is a proxy that knows CONNECT, and the port" if proxy else CORRECT_PORT
    return RemoteFailureError(f"TLS from {public_url(here)}", f"bytes that are no TLS{_through(proxy)}", where)


def _no_authorities(found: str) -> RemoteFailureError:
    return RemoteFailureError(
        "a file of trusted certificates",
        found,
        "correct REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE of the node's environment, or unset them",
    )
