# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must not leave a host, and what must stay readable."""

from __future__ import annotations

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.operations import redaction, support_bundle

KNOWN = "correct-horse-battery"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"a line with {KNOWN} in it", KNOWN),
        (f"Authorization: Bearer {'x' * 30}", "x" * 30),
        ("> authorization: basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
        ("token hf_abcdefghijklmnop used", "hf_abcdefghijklmnop"),
        (f"--api-key herd-3-{'k' * 43}", "k" * 43),
        ("Environment=HF_TOKEN=abcd1234", "abcd1234"),
        ('Environment="LLAMA_API_KEY=abcd1234"', "abcd1234"),
        ('{"api_key": "abcd1234"}', "abcd1234"),
        ("password: hunter22", "hunter22"),
        ("http://user:hunter22@proxy.example.org:3128", "hunter22"),
        ("--api-key abcdef123456 --port 8000", "abcdef123456"),
        ("llama-server --hf-token  qwertz123", "qwertz123"),
        ("llama-server -hft qwertz123", "qwertz123"),
        ("--api-key=abcdef123456", "abcdef123456"),
        ("--ssl-key-password 'hunter 22' --port 1", "hunter 22"),
        ('--password "hunter 22"', "22"),
        ("--key abcdef123456", "abcdef123456"),
        ("--client_secret -abcdef123456", "abcdef123456"),
        ("['llama-server', '--api-key', 'abcdef123456']", "abcdef123456"),
        ('["--hf-token","qwertz123"]', "qwertz123"),
        ("- --api-key\n- abcdef123456\n", "abcdef123456"),
        ('{"cmd": "{\\"api_key\\": \\"abcd1234\\"}"}', "abcd1234"),
        ('password = "hunter 22"', "22"),
        ("api_key=/abcdef123456", "/abcdef123456"),
        ("--api-key /abcdef/123456", "/abcdef/123456"),
        ("LLAMA_API_KEY=/opt3/x+abcdef", "abcdef"),
        ("-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----\nafter", "MHcCAQEE"),
        ("-----BEGIN PRIVATE KEY-----\nMHcCAQEE", "MHcCAQEE"),
    ],
)
def test_secrets_are_replaced(text: str, secret: str) -> None:
    found = redaction.redact(text, [KNOWN])
    assert secret not in found
    assert redaction.LEFT_OUT in found


@pytest.mark.parametrize(
    "text",
    [
        "llama-server --api-key-file /etc/herd/head/api-keys --port 8000",
        "llama-server --ssl-key-file /etc/herd/head/tls.key --hf-token-file hf-token",
        "['--api-key-file', '/etc/herd/head/api-keys', '--port', '8000']",
        "curl --key /etc/ssl/private/a.pem --cert /etc/ssl/a.pem",
        "api_keys=/etc/herd/head/api-keys",
        "--api-key --port 8000",
        "--cache-type-k q8_0 --override-kv a=int:4 --keep 1024",
        "api_keys: 2 keys loaded",
        "slot print_timing: prompt eval time = 85.36 ms / 10 tokens ( 8.54 ms per token)",
        "max_tokens=4",
        "http://10.0.0.9/herd/lab-llama/resolve/v2/lab-llama.gguf",
        "https://huggingface.co:443/api",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "ExecStartPre=/opt/herd/bin/herdctl wait-for-workers --config /etc/herd/wait-for-workers.json",
    ],
)
def test_other_words_stay(text: str) -> None:
    assert redaction.redact(text, [KNOWN]) == text


def test_the_longest_secret_is_replaced_first() -> None:
    assert redaction.redact("abcdefgh abcdef", ["abcdef", "abcdefgh"]) == "[left out] [left out]"


def test_short_words_are_not_replaced() -> None:
    assert redaction.redact("the a of it", ["a", ""]) == "the a of it"


def test_secrets_of_a_protected_file() -> None:
    text = "# a comment\nherd-1-abcdef\nunused-xyz\nab\n-----BEGIN PRIVATE KEY-----\nMHcCAQEE\n"
    assert redaction.secrets_in(text) == ["herd-1-abcdef", "unused-xyz", "MHcCAQEE"]


def test_a_bundle_contains_no_key_file_and_no_environment() -> None:
    pieces = support_bundle.pieces(["llama-head.service"], "-1d", 100, "/opt/llama.cpp", "/opt/models")
    names = [piece.name for piece in pieces]
    assert len(names) == len(set(names))
    assert {"journal/llama-head.service.txt", "units/llama-head.service.txt", "network/routes.txt"} <= set(names)
    assert not [piece for piece in pieces if "api-keys" in piece.path or "/proc/" in " ".join(piece.argv)]
    assert not [piece for piece in pieces if "Environment" in " ".join(piece.argv)]


def test_bundle_has_all_instances_of_a_template_unit() -> None:
    pieces = support_bundle.pieces(["herd-gateway@.service"], "-1d", 100, "/opt/llama.cpp", "/opt/models")
    argv = {piece.name: piece.argv for piece in pieces}
    assert argv["journal/herd-gateway@.service.txt"][-1] == "--unit=herd-gateway@*.service"
    assert argv["units/herd-gateway@.service.state.txt"][-1] == "herd-gateway@*.service"
    assert argv["units/herd-gateway@.service.txt"][-1] == "herd-gateway@.service"
