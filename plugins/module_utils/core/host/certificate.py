# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificate and key of the head's API: what was given, what is there, and what a host does about it.

Those who ask the head on its own host trust the one certificate that its process was started with, and nobody who
signs certificates: they need no name and no authority, and no other server can take its place.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Sequence

from ..errors import InvalidInputError, NotFoundError

# OpenSSL's numbers (x509_vfy.h), which Python 3.9 does not name: a certificate in the store is trusted although it did
# not sign itself, and a certificate whose time is over still says who it is.
PARTIAL_CHAIN = 0x80000
NO_CHECK_TIME = 0x200000

GIVEN, KEEP, GENERATE = "given", "keep", "generate"
# A generated certificate is renewed when it is valid for less than that.
RENEW_S = 30 * 86400
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\s.+?-----END CERTIFICATE-----", re.S)
_KEY = re.compile(r"-----BEGIN ((?:RSA |EC )?PRIVATE KEY|ENCRYPTED PRIVATE KEY)-----\s(.+?)-----END \1-----", re.S)


def first(text: str) -> str:
    """The first certificate of a file, which is the server's own."""
    found = _CERTIFICATE.search(text)
    if found is None:
        raise InvalidInputError(
            "a certificate in PEM (-----BEGIN CERTIFICATE-----)",
            f"{len(text)} characters without one",
            "give the server's certificate first, and behind it those that lead to its authority",
        )
    return found.group(0) + "\n"


def check_given(certificate: str, key: str) -> None:
    """See that both are there and can be what they should be. Nothing of the key is ever part of an error."""
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
    """What is to be done: write what was given, keep what is there, or make a new pair.

    :param is_generated: what is there was made here, and not put there by somebody.
    :param is_good: it is valid for a while and for all names.
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
    """Write names and addresses as C(subjectAltName) wants them."""
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
    """Changes with certificate and key, and tells nothing of the key that is not public."""
    return hashlib.sha256(f"{certificate}\0{public_key}".encode()).hexdigest()[:16]
