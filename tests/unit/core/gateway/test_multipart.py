# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Forms, as clients send audio files."""

from __future__ import annotations

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.gateway import multipart
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.api_errors import ApiError

FORM = (
    b'--mark\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n'
    b'\x00\r\n--mar\r\nname="model"\r\n'
    b'\r\n--mark\r\nContent-Disposition: form-data; name="model"\r\n\r\nsmall'
    b"\r\n--mark\r\nContent-Disposition: form-data; name=stream\r\n\r\ntrue\r\n--mark--\r\n"
)


@pytest.mark.parametrize(
    ("content_type", "wanted"),
    [
        ("multipart/form-data; boundary=mark", b"mark"),
        ('Multipart/Form-Data; charset=utf-8; boundary="a b"', b"a b"),
        ("multipart/form-data", b""),
        ("application/json; boundary=mark", b""),
        ("", b""),
    ],
)
def test_boundary(content_type: str, wanted: bytes) -> None:
    assert multipart.boundary(content_type) == wanted


def test_fields_are_read() -> None:
    assert multipart.fields(FORM, b"mark", ("model", "stream")) == {"model": "small", "stream": "true"}


@pytest.mark.parametrize("form", [b"", b"--mark", b"--mark\r\n\r\n", FORM[:40], b"x" * 5000], ids=repr)
def test_a_form_without_an_end_has_no_fields(form: bytes) -> None:
    assert multipart.fields(form, b"mark", ("model",)) == {}


def test_a_form_with_too_many_parts_is_refused() -> None:
    part = b'--m\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n'
    assert multipart.fields(part * 64 + b"--m--\r\n", b"m", ("a",)) == {"a": "b"}
    with pytest.raises(ApiError, match="more than 64 parts"):
        multipart.fields(part * 65 + b"--m--\r\n", b"m", ("a",))


def test_a_field_is_replaced() -> None:
    made = multipart.with_field(FORM, b"mark", "model", "größe")
    assert multipart.fields(made, b"mark", ("model", "stream")) == {"model": "größe", "stream": "true"}
    assert made.count(b'form-data; name="model"') == 1
    assert b'\x00\r\n--mar\r\nname="model"\r\n' in made
    added = multipart.with_field(FORM.replace(b'"model"\r\n\r\n', b'"other"\r\n\r\n'), b"mark", "model", "a")
    assert multipart.fields(added, b"mark", ("model", "other")) == {"model": "a", "other": "small"}
