# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check and select the certificate and private key of an API.

Clients on the engine's own host trust exactly the certificate of the running process, instead of an authority. So they
need no host name, and no other server can impersonate the engine.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone

from ..errors import InvalidInputError, NotFoundError

# Flags of OpenSSL (x509_vfy.h) without a name in Python 3.9: trust a certificate in the store even if it is not
# self-signed, and even if it has expired.
PARTIAL_CHAIN = 0x80000
NO_CHECK_TIME = 0x200000

GIVEN, KEEP, GENERATE = "given", "keep", "generate"
# Remaining validity, in seconds, below which a generated certificate is renewed.
RENEW_S = 30 * 86400
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\s.+?-----END CERTIFICATE-----", re.S)
_KEY = re.compile(r"-----BEGIN ((?:RSA |EC )?PRIVATE KEY|ENCRYPTED PRIVATE KEY)-----\s(.+?)-----END \1-----", re.S)


def first(text: str) -> str:
    """Return the first certificate of a file, which is that of the server."""
    found = _CERTIFICATE.search(text)
    if found is None:
        raise InvalidInputError(
            "a certificate in PEM (-----BEGIN CERTIFICATE-----)",
            f"{len(text)} characters without one",
            "give the server's certificate, followed by its chain",
        )
    return found.group(0) + "\n"


# Tags of DER (X.690) on the way to the validity of a certificate (RFC 5280).
_SEQUENCE, _VERSION = 0x30, 0xA0
_TIMES = {0x17: "%y%m%d%H%M%SZ", 0x18: "%Y%m%d%H%M%SZ"}


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield tag and content of the elements of DER, one after the other."""
    at = 0
    while at < len(data):
        tag, length, at = data[at], data[at + 1], at + 2
        if length & 0x80:
            count = length & 0x7F
            if not 1 <= count <= 4:
                raise ValueError("a length of DER")
            length, at = int.from_bytes(data[at : at + count], "big"), at + count
        if at + length > len(data):
            raise ValueError("its end is missing")
        yield tag, data[at : at + length]
        at += length


def _inside(data: bytes) -> list[tuple[int, bytes]]:
    """Return the elements of a sequence."""
    tag, content = next(_elements(data))
    if tag != _SEQUENCE:
        raise ValueError(f"tag {tag} in place of a sequence")
    return list(_elements(content))


def expiry(text: str) -> float:
    """Return when the first certificate of a file expires, in seconds since 1970.

    Python's standard library reads a certificate's dates only from a connection.

    :raises InvalidInputError: if it is no certificate.
    """
    try:
        der = base64.b64decode("".join(first(text).splitlines()[1:-1]), validate=True)
        body = [each for each in _elements(_inside(der)[0][1]) if each[0] != _VERSION]
        # Serial number, algorithm, issuer, validity.
        (_began, _start), (tag, end) = _elements(body[3][1])
        return datetime.strptime(end.decode("ascii"), _TIMES[tag]).replace(tzinfo=timezone.utc).timestamp()
    except (ValueError, IndexError, KeyError, StopIteration) as error:
        raise InvalidInputError(
            "a certificate in PEM (-----BEGIN CERTIFICATE-----)",
            f"{type(error).__name__}: {error}"[:200],
            "give the server's certificate, followed by its chain",
        ) from error


def check_given(certificate: str, key: str) -> None:
    """Check a given certificate and key. Errors never contain any part of the key."""
    if bool(certificate.strip()) != bool(key.strip()):
        raise InvalidInputError(
            "certificate and key, or neither",
            "only the " + ("certificate" if certificate.strip() else "key"),
            "give both: with one of them, the engine would serve without TLS",
        )
    if not certificate.strip():
        return
    first(certificate)
    found = _KEY.search(key)
    if found is None or found.group(1).startswith("ENCRYPTED") or "Proc-Type: 4,ENCRYPTED" in found.group(2):
        raise InvalidInputError(
            "a private key in PEM without a passphrase",
            "no private key" if found is None else "a key with a passphrase",
            "decrypt it, and keep it in a vault: the head starts without an operator who types a passphrase",
        )


def decide(is_given: bool, may_generate: bool, has_both: bool, is_generated: bool, is_good: bool) -> str:
    """Decide between writing the given pair, keeping the existing one, and generating a new one.

    :param is_generated: whether the existing pair is self-signed by this module.
    :param is_good: whether the existing pair is valid for a while and for all names.
    """
    if is_given:
        return GIVEN
    if has_both and (is_good or not is_generated):
        return KEEP
    if may_generate:
        return GENERATE
    raise NotFoundError.plain(
        "The API has no certificate and key",
        "give the role's variables …_tls_certificate and …_tls_key (head_server_tls_certificate, of a router "
        "fast_router_tls_certificate), put both files on the host, or let it sign its own with …_tls_generate",
    )


def subject_names(names: Sequence[str]) -> str:
    """Format names and addresses for C(subjectAltName)."""
    words = []
    for name in dict.fromkeys(names):
        try:
            words.append(f"IP:{ipaddress.ip_address(name)}")
        except ValueError:
            if not re.fullmatch(r"[A-Za-z0-9*]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", name):
                raise InvalidInputError(
                    "host names or addresses in head_server_tls_names, or the same of another role",
                    repr(name),
                    "correct it in the inventory",
                ) from None
            words.append(f"DNS:{name}")
    if not words:
        raise InvalidInputError.plain(
            "The certificate has no host name",
            "name the host as its clients do, in head_server_tls_names, or the same of another role",
        )
    return ",".join(words)


def fingerprint(certificate: str, public_key: str) -> str:
    return hashlib.sha256(f"{certificate}\0{public_key}".encode()).hexdigest()[:16]
