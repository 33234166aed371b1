# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run openssl. Keys are passed by file or standard input, never as arguments."""

from __future__ import annotations

import shutil
from pathlib import Path

from ...core.errors import MismatchError, RemoteFailureError
from .. import commands


def _ask(*words: str, text: str | None = None) -> commands.CommandResult:
    return commands.run(["openssl", *words], text=text)


def is_installed() -> bool:
    return shutil.which("openssl") is not None


def public_key_of_key(key: str) -> str:
    answer = _ask("pkey", "-pubout", text=key)
    if answer.rc != 0:
        # The output of openssl might contain a part of the key.
        raise MismatchError.plain("openssl cannot read the private key", "export it again in PEM")
    return answer.out


def public_key_of_certificate(certificate: str) -> str:
    answer = _ask("x509", "-noout", "-pubkey", text=certificate)
    if answer.rc != 0:
        said = answer.err.strip().splitlines()[-1] if answer.err.strip() else f"exit status {answer.rc}"
        raise MismatchError.plain(f"openssl cannot read the certificate ({said})", "export it again in PEM")
    return answer.out


def is_valid_for(certificate: str, seconds: int) -> bool:
    """Return whether a certificate is valid for at least C(seconds)."""
    return _ask("x509", "-noout", "-checkend", str(seconds), text=certificate).rc == 0


def subject_of(certificate: str) -> str:
    """Return subject and alternative names of a certificate as openssl prints them."""
    return _ask("x509", "-noout", "-subject", "-ext", "subjectAltName", text=certificate).out


def self_signed(folder: Path, organisation: str, name: str, names: str, days: int) -> tuple[str, str]:
    """Generate a self-signed pair in a protected folder, and return certificate and key."""
    key, certificate = folder / "key", folder / "certificate"
    answer = _ask(
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-sha256",
        "-days", str(days), "-subj", f"/O={organisation}/CN={name[:64]}", "-addext", f"subjectAltName={names}",
        "-keyout", str(key), "-out", str(certificate),
    )  # fmt: skip
    if answer.rc != 0:
        raise RemoteFailureError(
            "openssl to make a certificate", answer.err.strip()[-300:], "install the package openssl, 1.1.1 or newer"
        )
    return certificate.read_text(encoding="utf-8"), key.read_text(encoding="utf-8")
