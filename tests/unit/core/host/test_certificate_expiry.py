# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of a certificate's validity, read without a library for certificates."""

from __future__ import annotations

import base64
import datetime
import random

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError
from ansible_collections.herd.inference.plugins.module_utils.core.host import certificate


def made(end: datetime.datetime, names: int = 1) -> bytes:
    """Sign a certificate; with many names, lengths take two bytes."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "unit" * 9) for _each in range(names)])
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 2**100 + 7, start, end)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def pem(der: bytes) -> str:
    return f"-----BEGIN CERTIFICATE-----\n{base64.encodebytes(der).decode()}-----END CERTIFICATE-----\n"


@pytest.mark.parametrize("names", [1, 5, 40])
@pytest.mark.parametrize("year", [2027, 2049, 2050, 2199])
def test_expiry_is_that_of_the_first_certificate(year: int, names: int) -> None:
    """From 2050 on, the time has another form."""
    end = datetime.datetime(year, 6, 5, 4, 3, 2, tzinfo=datetime.timezone.utc)
    other = pem(made(datetime.datetime(2030, 1, 1, tzinfo=datetime.timezone.utc)))
    assert certificate.expiry(f"a comment\n{pem(made(end, names))}{other}") == end.timestamp()


def test_damaged_certificate_is_one_kind_of_error() -> None:
    der, chance = made(datetime.datetime(2030, 1, 1, tzinfo=datetime.timezone.utc)), random.Random(7)
    for _each in range(2000):
        damaged = bytearray(der)
        for _byte in range(chance.randint(1, 6)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        try:
            assert certificate.expiry(pem(bytes(damaged[: chance.randint(1, len(damaged))]))) < 2**40
        except InvalidInputError as error:
            assert len(str(error)) < 500


@pytest.mark.parametrize("text", ["", "none", "-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----"])
def test_what_is_no_certificate_is_an_error(text: str) -> None:
    with pytest.raises(InvalidInputError, match="a certificate in PEM"):
        certificate.expiry(text)
