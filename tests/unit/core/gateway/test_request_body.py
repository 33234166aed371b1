# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is found in bodies, large and small, is what the standard library reads in them."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.gateway import request_body
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.request_body import (
    NotJsonError,
    RequestFields,
    TooComplexError,
)

LONG = "x" * request_body.SMALL
MIB = 1 << 20


def read(body: bytes) -> tuple[RequestFields, int]:
    """What is found, and in how many pieces."""
    steps, pieces = request_body.parse(body), 1
    while True:
        try:
            next(steps)
            pieces += 1
        except StopIteration as end:
            found: RequestFields = end.value
            return found, pieces


def check(body: bytes) -> None:
    """Hold it against what the standard library reads, and write another model into it."""
    found, _pieces = read(body)
    data = json.loads(body)
    assert found.stream is (data.get("stream") is True)
    if found.model is not False:
        assert found.model == data.get("model")
    else:
        assert not isinstance(data["model"], (str, type(None)))
    assert json.loads(request_body.with_model(body, 'an"other', found.at)) == {**data, "model": 'an"other'}


@pytest.mark.parametrize("is_large", [False, True])
@pytest.mark.parametrize(
    "text",
    [
        "{}",
        " { } ",
        '{"model": "m"}',
        '{"model":"m","stream":true}',
        '{"stream": true , "model" : "m" }',
        '{"stream": false, "model": null}',
        '{"stream": "true", "model": "\\u006d\\"\\\\"}',
        '{"mod\\u0065l": "m", "a": {"model": "other", "stream": true}}',
        '{"a": [{"model": "other"}], "model": "m", "b": "\\"model\\": \\"no\\""}',
        '{"a": "\\\\", "model": "m", "b": "]}", "c": [[], {}, "["]}',
        '{"model": "one", "model": "two"}',
        '{"model": 7}',
        '{"model": ["m"]}',
        '{"model": {"a": "}"}, "stream": true}',
        '{"": 1, "n": -1.5e-3, "t": true, "f": false, "z": null, "model": "m"}',
        '\r\n\t{"model"\n:\n"m"\n}\n',
        '{"model": "gr\u00fc\u00df \u2603"}',
    ],
)
def test_the_parser_agrees_with_the_standard_library(text: str, is_large: bool) -> None:
    for where in ("before", "after", "around"):
        body = text
        is_empty = not json.loads(text)
        if is_large and where != "around":
            pad = f'"pad": "{LONG}"'
            begin, _brace, rest = body.partition("{")
            body = f"{begin}{{{pad}{'' if is_empty else ','}{rest}"
            if where == "after":
                begin, _brace, rest = text.rpartition("}")
                body = f"{begin}{'' if is_empty else ','}{pad}}}{rest}"
        elif is_large:
            body = f"{' ' * 4000}{text}{' ' * 4000}".replace("}", " " * 4000 + "}").replace(":", ":" + " " * 4000)
            if len(body) <= request_body.SMALL:
                continue
        check(body.encode())


def test_the_parser_agrees_on_random_bodies() -> None:
    dice = random.Random(5)

    def value(depth: int) -> Any:
        kind = dice.randrange(7 if depth else 5)
        if kind == 5:
            return [value(depth - 1) for _each in range(dice.randrange(4))]
        if kind == 6:
            return {name(): value(depth - 1) for _each in range(dice.randrange(4))}
        return [None, True, dice.random() * 10**6, dice.randrange(10**9), name()][kind]

    def name() -> str:
        letters = ["model", "stream", '"', "\\", "[", "]", "{", "}", ",", ":", " ", "\n", "\u00e9", "a"]
        return "".join(dice.choice(letters) for _each in range(dice.randrange(6)))

    for _each in range(300):
        data = {name(): value(4) for _each in range(dice.randrange(1, 6))}
        if dice.random() < 0.7:
            data["model"] = name()
        data["pad"] = LONG
        if dice.random() < 0.5:
            data["stream"] = dice.random() < 0.5
        check(json.dumps(data, ensure_ascii=dice.random() < 0.5, indent=dice.choice([None, 2])).encode())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b'{"a"',
        b'{"a":',
        b'{"a":}',
        b'{"a":1',
        b'{"a":1,',
        b'{"a":1,}',
        b'{"a" 1}',
        b"{1:1}",
        b'{"a":1}}',
        b'{"a":1} x',
        b'{"a":[1}',
        b'{"a":"',
        b'{"a":"\\"}',
        b'{"model":"\xff"}',
        b'{"model":"\\x"}',
        b'{"\xff":1}',
        b'{"a":' + b"[" * 5000,
        b"\x1f\x8b\x08\x00",
    ],
)
def test_other_json_is_refused(body: bytes) -> None:
    for more in (b"", b" " * 1000):
        with pytest.raises(NotJsonError):
            read(body + more)
    large = body.replace(b"{", b'{"pad":"' + LONG.encode() + b'",', 1)
    if large != body:
        with pytest.raises(NotJsonError):
            read(large)


@pytest.mark.parametrize(
    ("part", "refused"),
    [
        (b'"a":[' + b"[]," * (MIB // 3) + b"0]", TooComplexError),
        (b'"a":"' + b'\\"' * (MIB // 2) + b'"', TooComplexError),
        (b'"a":1,' * (MIB // 6) + b'"b":0', TooComplexError),
        (b'"a":"' + b"\\\\" * MIB + b'"', NotJsonError),
        (b'"a":' + b" " * MIB + b"1", NotJsonError),
        (b'"a":' + b"1" * MIB, NotJsonError),
        (b'"a":' + b"[" * MIB, NotJsonError),
    ],
)
def test_bodies_that_cost_too_much_are_refused(part: bytes, refused: type[Exception]) -> None:
    with pytest.raises(refused):
        read(b"{" + part + b"}")


def test_a_large_prompt_takes_few_steps() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 4 * MIB}}
    code = 'say("hello")\n' * 40_000
    data = {"messages": [{"role": "user", "content": [picture, {"type": "text", "text": code}]}], "model": "m"}
    found, pieces = read(json.dumps(data).encode())
    assert found.model == "m"
    assert 10 < pieces < 100
    _found, pieces = read(json.dumps({"prompt": list(range(200_000))}).encode())
    assert pieces < 10
