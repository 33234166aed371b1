# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are no configuration are refused in one sentence, in bounded time and memory."""

from __future__ import annotations

import json
import os
import pwd
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.herd.inference.plugins.module_utils.agent import herdctl
from ansible_collections.herd.inference.plugins.module_utils.agent.vllm import config_file
from ansible_collections.herd.inference.plugins.module_utils.core.errors import (
    HerdError,
    InvalidInputError,
    NotFoundError,
)
from ansible_collections.herd.inference.plugins.module_utils.core.vllm import config
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.config_document import tree
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.config_document.findings import (
    InvalidConfigError,
)
from tests.unit.core.vllm import config_texts

BILLION_LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi")
)
#: Files of nearly the largest size that try what is slow in a parser, or many errors.
LARGEST = [
    *(mark * 250_000 for mark in ("[", "{", "'", "x")),
    *(words * 80_000 for words in ("- ", "? ", "a: ", "*a ", "&a ", "a:\n", "#\n")),
    "a: " + "x\n " * 80_000,
    "a: |\n" + " x\n" * 80_000,
    "a: 1\n" * 9_000,
    "".join(f"k{at}: 1\n" for at in range(9_000)),
    "models:\n" + " m: {port: 8000}\n" * 4_000,
    "models:\n" + "".join(f" m{at}: {{port: 8000}}\n" for at in range(4_000)),
]


def error(text: str) -> str:
    with pytest.raises(InvalidConfigError) as raised:
        config_file.parse(text, "f")
    return str(raised.value)


def test_every_value_has_its_line() -> None:
    root = config_file.parse("---\n# Comment\na: 1\n\nb:\n  c: 'x'\n  d: [1,\n    2]\n", "f")
    assert root == tree.Mapping(
        (
            tree.Entry(tree.Scalar("a", 3), tree.Scalar("1", 3)),
            tree.Entry(
                tree.Scalar("b", 5),
                tree.Mapping(
                    (
                        tree.Entry(tree.Scalar("c", 6), tree.Scalar("x", 6, quoted=True)),
                        tree.Entry(tree.Scalar("d", 7), tree.Sequence((tree.Scalar("1", 7), tree.Scalar("2", 8)), 7)),
                    ),
                    6,
                ),
            ),
        ),
        3,
        "f",
    )


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_lines_are_counted_with_any_line_ending(ending: str) -> None:
    root = config_file.parse(f"a: 1{ending}b: 2{ending}{ending}c: |{ending}  text{ending}d: 4{ending}", "f")
    assert [entry.key.line for entry in root.entries] == [1, 2, 4, 6]


def test_values_keep_their_text() -> None:
    """YAML 1.1 would make numbers, dates and truth values of them."""
    words = ["12:00:00", "08006", "0x10", "2026-01-01", "no", "1_000", "1e3", ".5", "=", "0o17"]
    root = config_file.parse("".join(f"k{at}: {word}\n" for at, word in enumerate(words)), "f")
    assert [entry.value for entry in root.entries] == [tree.Scalar(word, at) for at, word in enumerate(words, 1)]


@pytest.mark.parametrize("data", [b"\xef\xbb\xbfa: 1\n", b"a: 1", b"a: 1\r\n", b"%YAML 1.2\n---\na: 1\n...\n"])
def test_byte_order_mark_and_directives_are_allowed(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(data)
    assert [entry.key.text for entry in config_file.read(path).entries] == ["a"]


def test_aliases_and_merge_keys_share_settings() -> None:
    document = (
        "active_model: m\nslurm: {account: a}\nmodels:\n  m: &two\n    huggingface_id: o/n\n    port: 8000\n"
        "    gpus: 8\n    nodes: 2\n  n:\n    port: 8001\n    <<: *two\n    nodes: 4\n"
    )
    models = config_texts.parse(document).models
    assert (models["n"].port, models["n"].gpus, models["n"].nodes) == (8001, 8, 4)
    several = "a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\nc:\n  <<: [*a, *b]\n  z: 5\n"
    merged = config_file.parse(several, "f").entries[2].value
    assert isinstance(merged, tree.Mapping)
    assert {entry.key.text: getattr(entry.value, "text", "") for entry in merged.entries} == {
        "x": "1",
        "y": "2",
        "z": "5",
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "f:1: the file has no keys: write active_model, slurm and models."),
        ("# only a comment\n", "f:1: the file has no keys: write active_model, slurm and models."),
        ("---\n---\n", "f:2: a second document begins here: remove the line ---, or what follows it."),
        ("null\n", "f:1: the file has no keys: write active_model, slurm and models."),
        ("just text\n", "f:1: expected keys such as active_model, found just text."),
        ("- a\n- b\n", "f:1: expected keys such as active_model, found a list."),
        ("a: 1\n---\nb: 2\n", "f:2: a second document begins here: remove the line ---, or what follows it."),
        ("a:\n\tb: 1\n", "f:2: this is not YAML, because a tab stands where YAML allows only spaces: write "
         "spaces."),
        ("a: 1\n b: 2\n", "f:2: this is not YAML, because a colon stands where no key can be: correct the "
         "indentation, write a space after the colon of the line before, or quote the value."),
        ("a: b: c\n", "f:1: this is not YAML, because a colon stands where no key can be: correct the "
         "indentation, write a space after the colon of the line before, or quote the value."),
        ("a:\n  b: 1\n c: 2\n", "f:3: this is not YAML, because the indentation differs from that of the lines above: "
         "align the keys of a section."),
        ("a: 1\nb\nc: 2\n", "f:3: this is not YAML, because a key has no colon: write KEY: VALUE, with a space after "
         "the colon."),
        ('a: "b\nc: 1\n', "f:3: this is not YAML, because a quote is not closed: add the missing quotation mark."),
        ("a: [1, 2\nb: 3\n", "f:2: this is not YAML, because a bracket is not closed, or a comma is missing: correct "
         "the list."),
        ("a: @x\n", "f:1: this is not YAML, because a value begins with a character that YAML reserves: quote the "
         "value."),
        ('a: "\\q"\n', "f:1: this is not YAML, because a backslash begins no known escape: use single quotes."),
        ('b: 1\na: "\\UFFFFFFFF"\n', "f:2: a value here or below has an escape of no character: use single quotes."),
        ("a: *b\n", "f:1: the alias *b names no value above it: define &b first."),
        ("a: &a [*a]\n", "f:1: the alias *a names no value above it: define &a first."),
        ("a: !!python/object/apply:os.system [id]\n", "f:1: the tag '!!python/object/apply:os.system' is not allowed: "
         "write the value without a tag."),
        ("a: !vault |\n  x\n", "f:1: the tag '!vault' is not allowed: write the value without a tag."),
        ("a: !!str 1\n", "f:1: the tag '!!str' is not allowed: write the value without a tag."),
        ("? [a, b]\n: 1\n", "f:1: a list stands in the place of a key: write a name, and no {{ template }}."),
        ("? {a: b}\n: 1\n", "f:1: a mapping stands in the place of a key: write a name, and no {{ template }}."),
        ("a: 1\nb: \x07\n", "f:2: the character 0x0007 is not allowed in YAML: remove it."),
        ("a: " + "[" * 9 + "]" * 9, "f:1: values are nested more than 8 deep: remove the inner ones."),
        ("a:\n  b: {{ x }}\n", "f:2: a mapping stands in the place of a key: write a name, and no {{ template }}."),
        ("%FOO\n", "f:2: this is not YAML: expected '<document start>', but found '<stream end>'."),
        (BILLION_LAUGHS, "f:5: the file has more than 20000 values: remove some, or its aliases."),
        ("a: [" + "x, " * 21_000 + "]", "f:1: the file has more than 20000 values: remove some, or its aliases."),
    ],
)  # fmt: skip
def test_text_that_is_no_configuration_is_one_error(text: str, expected: str) -> None:
    assert error(text) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a: 1\nb: \xe4\n", ":2: byte 0xe4 is not UTF-8: save the file as UTF-8."),
        ("a: 1\n".encode("utf-16"), ":1: the file is in UTF-16: save it as UTF-8."),
        ("a: 1\n".encode("utf-16-be"), ":1: the character 0x0000 is not allowed in YAML: remove it."),
        (b"\x7fELF\x02\x01\x01\x00\x00", ":1: the character 0x007f is not allowed in YAML: remove it."),
        (b"\x1f\x8b\x08\x00", ":1: byte 0x8b is not UTF-8: save the file as UTF-8."),
    ],
)
def test_other_encodings_and_binary_files_are_refused(tmp_path: Path, data: bytes, expected: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(data)
    with pytest.raises(InvalidConfigError) as raised:
        config_file.read(path)
    assert str(raised.value) == f"{path}{expected}"


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=f"there is no configuration at {tmp_path}/x: create it, or name another"):
        config_file.read(tmp_path / "x")


def test_directory_fifo_and_device_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo", Path("/dev/zero")):
        with pytest.raises(InvalidInputError, match=f"{path} is not a regular file: name a configuration file"):
            config_file.read(path)


def test_directory_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInputError, match=r"file/config\.yaml cannot be read: Not a directory: name a config"):
        config_file.read(tmp_path / "file" / "config.yaml")


def test_huge_file_is_refused_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    with path.open("wb") as file:
        file.truncate(200 << 20)
    with pytest.raises(InvalidInputError, match=f"{path} has more than {config_file.MOST_BYTES} bytes"):
        config_file.read(path)


@pytest.mark.parametrize("text", LARGEST, ids=range(len(LARGEST)))
def test_largest_files_take_seconds_at_most(text: str) -> None:
    before = time.process_time()
    with pytest.raises(HerdError) as raised:
        config.parse(config_file.parse(text, "f"))
    assert len(str(raised.value)) < 50_000
    assert time.process_time() - before < 20


def test_missing_pyyaml_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_file, "HAS_YAML", False)
    with pytest.raises(
        NotFoundError, match=r"PyYAML is not installed for .*python.*: install it: .* -m pip install Py"
    ):
        config_file.parse("a: 1\n", "f")


def test_paths_take_variables_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKSPACE", "/data/ws")
    path = tmp_path / "config.yaml"
    path.write_text(config_texts.with_value("cache.huggingface_cache", "$WORKSPACE/hf"), encoding="utf-8")
    assert config_file.load(path).cache.huggingface_cache == "/data/ws/hf"
    assert config.parse(config_file.read(path)).cache.huggingface_cache == "$WORKSPACE/hf"


def test_user_is_that_of_the_account_without_a_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("USER", raising=False)
    path = tmp_path / "config.yaml"
    path.write_text(config_texts.with_value("cache.huggingface_cache", "/data/$USER"), encoding="utf-8")
    assert config_file.load(path).cache.huggingface_cache == f"/data/{pwd.getpwuid(os.getuid()).pw_name}"


_WORDS = st.sampled_from(
    ["active_model", "slurm", "models", "vllm", "account", "port", "a", "m", ": ", ":", "- ", "\n", "\n  ", "\n    ",
     "{", "}", "[", "]", ", ", "&a ", "*a", "<<", "!!str ", '"', "'", "|", ">", "#", "?", "~", "8000", "12:00:00",
     "0x1", "\t", "---\n", "%", "@", "\\", "\x85", "\u2028", "\ufeff", "ä"]
)  # fmt: skip


@given(st.lists(_WORDS, max_size=60).map("".join))
def test_any_text_is_a_configuration_or_an_error(text: str) -> None:
    try:
        config.parse(config_file.parse(text, "f"), {})
    except HerdError as found:
        assert str(found)


def test_errors_of_a_configuration_are_a_list_in_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(config_texts.text(active_model="n", nccl="{debug: ERROR}"), encoding="utf-8")
    assert herdctl.main(["vllm", "list", "--json", "--config", str(path)]) == 2
    data = json.loads(capsys.readouterr().out)
    assert [(found["file"], found["line"], found["key"]) for found in data["errors"]] == [
        (str(path), 1, "active_model"),
        (str(path), 4, "nccl.debug"),
    ]
    assert data["errors"][0]["text"].startswith("expected a key of models (m), found n")
