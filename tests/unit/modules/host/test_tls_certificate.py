# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module finds out about certificates and keys, with the real openssl."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import MismatchError
from ansible_collections.herd.inference.plugins.module_utils.core.host import certificate as rules
from ansible_collections.herd.inference.plugins.module_utils.ports.host import openssl
from ansible_collections.herd.inference.plugins.modules import tls_certificate

NAMES = ["vllm-node1", "10.0.0.31"]


def pair(folder: Path, days: int = 825) -> tuple[str, str]:
    folder.mkdir(exist_ok=True)
    return openssl.self_signed(folder, "herd.inference", "vllm-node1", rules.subject_names(NAMES), days)


def test_a_generated_pair_matches_and_has_its_names(tmp_path: Path) -> None:
    certificate, key = pair(tmp_path)
    assert "BEGIN PUBLIC KEY" in tls_certificate.require_pair(certificate, key)
    assert tls_certificate.is_good(certificate, NAMES)
    assert tls_certificate.is_good(certificate, [])
    assert not tls_certificate.is_good(certificate, [*NAMES, "llm.example.org"])
    # Not the beginning of another name either.
    assert not tls_certificate.is_good(certificate, ["vllm-node"])
    assert "herd.inference" in openssl.subject_of(certificate)


def test_a_generated_pair_is_renewed_before_it_expires(tmp_path: Path) -> None:
    assert not tls_certificate.is_good(pair(tmp_path, days=20)[0], NAMES)


def test_a_foreign_key_is_an_error_without_the_key(tmp_path: Path) -> None:
    certificate, _key = pair(tmp_path / "a")
    _certificate, key = pair(tmp_path / "b")
    with pytest.raises(MismatchError, match="The private key does not belong to the certificate") as caught:
        tls_certificate.require_pair(certificate, key)
    assert key.splitlines()[1] not in str(caught.value)


def test_a_killed_renewal_is_repeated(tmp_path: Path) -> None:
    old, new = pair(tmp_path / "a"), pair(tmp_path / "b")
    given = {"certificate": "", "generate": True, "names": NAMES}
    assert tls_certificate.source_of(given, new, True) == rules.KEEP
    assert tls_certificate.source_of(given, (new[0], old[1]), True) == rules.GENERATE
    assert tls_certificate.source_of(given, (new[0], old[1][:200]), True) == rules.GENERATE
    # Nothing may be generated: what is there is looked at, and refused by its own words.
    assert tls_certificate.source_of({**given, "generate": False}, (new[0], old[1]), True) == rules.KEEP


def test_another_pair_is_never_renewed(tmp_path: Path) -> None:
    names = rules.subject_names(NAMES)
    pairs = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        pairs.append(openssl.self_signed(tmp_path / name, "Example", "vllm-node1", names, 825))
    mixed = (pairs[0][0], pairs[1][1])
    given = {"certificate": "", "generate": True, "names": NAMES}
    assert tls_certificate.source_of(given, mixed, True) == rules.KEEP
    with pytest.raises(MismatchError, match="does not belong to the certificate"):
        tls_certificate.require_pair(*mixed)


def test_an_unreadable_pair_is_an_error_without_the_key(tmp_path: Path) -> None:
    certificate, _key = pair(tmp_path)
    broken = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"
    with pytest.raises(MismatchError, match="openssl cannot read the private key") as caught:
        tls_certificate.require_pair(certificate, broken)
    assert "c2VjcmV0" not in str(caught.value)
    with pytest.raises(MismatchError, match="openssl cannot read the certificate"):
        tls_certificate.require_pair(broken.replace("PRIVATE KEY", "CERTIFICATE"), broken)


def test_a_generation_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    certificate, key = tls_certificate.generated({"names": NAMES, "days": 825})
    assert tls_certificate.require_pair(certificate, key)
    assert list(tmp_path.iterdir()) == []
