# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check and select the certificate and private key of an API.

Clients on the engine's own host trust exactly the certificate of the running process, instead of an authority. So they
need no host name, and no other server can impersonate the engine.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Sequence

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
