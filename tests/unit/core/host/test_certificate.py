# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificate and key: what is taken, and what is done about what is missing."""

from __future__ import annotations

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError
from ansible_collections.herd.inference.plugins.module_utils.core.host import certificate

PEM = "-----BEGIN %s-----\nMIIB%s\n-----END %s-----\n"
LEAF, ISSUER = (PEM % ("CERTIFICATE", name, "CERTIFICATE") for name in ("leaf", "issuer"))


def key(kind: str = "PRIVATE KEY", content: str = "c2VjcmV0") -> str:
    return PEM % (kind, content, kind)


def test_the_first_certificate_of_a_file_is_the_servers_own() -> None:
    assert certificate.first(f"# a chain\n{LEAF}{ISSUER}") == LEAF


@pytest.mark.parametrize("kind", ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"])
def test_a_pair_is_accepted_with_or_without_a_chain(kind: str) -> None:
    certificate.check_given(LEAF, key(kind))
    certificate.check_given(LEAF + ISSUER, key(kind))
    certificate.check_given("", "")


@pytest.mark.parametrize(
    ("cert", "private", "said"),
    [
        (LEAF, "", "found only the certificate"),
        ("", key(), "found only the key"),
        ("nonsense", key(), "found 8 characters without one"),
        (LEAF, "nonsense", "without a passphrase, found no private key"),
        (LEAF, key("ENCRYPTED PRIVATE KEY"), "found a key with a passphrase"),
        (LEAF, key("RSA PRIVATE KEY", "\nProc-Type: 4,ENCRYPTED\n"), "found a key with a passphrase"),
    ],
)
def test_an_invalid_pair_is_an_error_without_the_key(cert: str, private: str, said: str) -> None:
    with pytest.raises(HerdError, match=said) as caught:
        certificate.check_given(cert, private)
    assert "c2VjcmV0" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "may_generate", "both", "ours", "good", "what"),
    [
        (True, True, True, True, True, "given"),
        (True, False, False, False, False, "given"),
        (False, False, True, False, False, "keep"),
        (False, True, True, False, False, "keep"),
        (False, True, True, True, True, "keep"),
        (False, True, True, True, False, "generate"),
        (False, True, False, False, False, "generate"),
    ],
)
def test_given_pairs_precede_existing_and_generated_ones(
    given: bool, may_generate: bool, both: bool, ours: bool, good: bool, what: str
) -> None:
    assert certificate.decide(given, may_generate, both, ours, good) == what


@pytest.mark.parametrize("ours", [False, True])
def test_a_missing_pair_is_an_error(ours: bool) -> None:
    with pytest.raises(HerdError, match="_tls_generate"):
        certificate.decide(False, False, ours, ours, False)


def test_names_and_addresses_have_different_types() -> None:
    names = ["vllm-node1", "10.0.0.31", "fd00::1", "*.example.org", "vllm-node1"]
    assert certificate.subject_names(names) == "DNS:vllm-node1,IP:10.0.0.31,IP:fd00::1,DNS:*.example.org"


@pytest.mark.parametrize("name", ["", "a,DNS:evil", "a b", "-a", "a/CN=b"])
def test_a_name_with_a_separator_is_rejected(name: str) -> None:
    with pytest.raises(HerdError, match="head_server_tls_names"):
        certificate.subject_names([name])


def test_a_certificate_has_a_name() -> None:
    with pytest.raises(HerdError, match="name the host"):
        certificate.subject_names([])


def test_the_fingerprint_changes_with_both() -> None:
    assert len({certificate.fingerprint(a, b) for a in "xy" for b in "xy"}) == 4
