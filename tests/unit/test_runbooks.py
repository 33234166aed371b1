# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pages of docs/operations have the same sections, and indexes by symptom and by message; their links work."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.scenarios.runbook import CHECK, FIX, SECTIONS, VERIFY, Command, Page, missing, read

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "operations"
INDEX, PLANNED, AGENT = "README", "planned-work", "agent"
#: Pages with their own index, by folder.
ASIDE = [
    (folder, read(path))
    for folder in ("gateway", "monitoring", "router", "slurm", "vllm")
    for path in sorted((FOLDER / folder).glob("*.md"))
    if path.stem != INDEX
]
SLURM = [page for _folder, page in ASIDE]
SYMPTOMS = [read(path) for path in sorted(FOLDER.glob("*.md")) if path.stem not in (INDEX, PLANNED, AGENT)]
ALL = [*SYMPTOMS, read(FOLDER / f"{INDEX}.md"), read(FOLDER / f"{PLANNED}.md")]
LONGEST_PAGE = 60


@pytest.mark.parametrize("page", [*SYMPTOMS, *SLURM], ids=lambda page: page.name)
def test_symptom_page_has_the_common_sections(page: Page) -> None:
    assert tuple(page.sections) == SECTIONS
    for name in (CHECK, FIX, VERIFY):
        assert page.sections[name], f"{name}: no command"
    assert len(page.text.splitlines()) <= LONGEST_PAGE


@pytest.mark.parametrize("page", [*SYMPTOMS, *SLURM], ids=lambda page: page.name)
def test_a_sentence_introduces_the_messages(page: Page) -> None:
    introduction, _list, _rest = page.text.partition("\n\n- `")
    assert not page.messages or introduction.endswith(":")


@pytest.mark.parametrize("page", SYMPTOMS, ids=lambda page: page.name)
def test_symptom_is_found_by_its_messages(page: Page) -> None:
    index = (FOLDER / f"{INDEX}.md").read_text(encoding="utf-8")
    by_symptom, by_message = index.split("## By message")
    assert f"({page.name}.md)" in by_symptom
    for message in page.messages:
        assert f"| `{message}` | [{page.name}]({page.name}.md) |" in by_message


def test_every_message_of_the_index_is_on_its_page() -> None:
    pages = {page.name: page for page in SYMPTOMS}
    index = (FOLDER / f"{INDEX}.md").read_text(encoding="utf-8").partition("## By message")[2]
    rows = re.findall(r"^\| `([^`]+)` \| \[[^\]]+\]\(([\w-]+)\.md\) \|$", index, re.MULTILINE)
    assert len(rows) == sum(len(page.messages) for page in SYMPTOMS)
    assert [row for row in rows if row[0] not in pages[row[1]].messages] == []


@pytest.mark.parametrize(("folder", "page"), ASIDE, ids=[page.name for _folder, page in ASIDE])
def test_symptom_of_a_job_or_router_is_in_its_index(folder: str, page: Page) -> None:
    assert f"({page.name}.md)" in (FOLDER / folder / f"{INDEX}.md").read_text(encoding="utf-8")
    assert page.messages


@pytest.mark.parametrize("page", [*ALL, *SLURM], ids=lambda page: page.name)
def test_every_playbook_on_a_page_exists(page: Page) -> None:
    for name in re.findall(r"\b(?:site\.yml|playbooks/\w+\.yml)", page.text):
        assert (ROOT / name).is_file(), name


def anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", [*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")], ids=lambda path: path.stem)
def test_every_link_has_a_target(path: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)", path.read_text(encoding="utf-8")):
        there = (path.parent / target).resolve() if target else path
        assert there.exists(), target
        assert not anchor or anchor in anchors(there.read_text(encoding="utf-8")), f"{target}#{anchor}"


@pytest.mark.parametrize(
    ("shows", "output", "lacks"),
    [
        (("a … c",), "x\na b c\n", []),
        (("a … c",), "a c\n", []),
        (("a … c",), "a b\nc\n", ["a … c"]),
        (("first", "second"), "first\nsecond\n", []),
        (("first", "second"), "second\nfirst\n", ["second"]),
        (("a  b",), "a      b", []),
        (("10.0.0.1",), "10x0x0x1", ["10.0.0.1"]),
        ((), "", []),
    ],
)
def test_output_on_a_page_is_compared_with_the_printed_output(
    shows: tuple[str, ...], output: str, lacks: list[str]
) -> None:
    assert missing(Command("head", "true", shows), output) == lacks


def test_prompt_names_the_host_of_a_command(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("# T\n\n- `words`\n\n## Check\n\n```console\n$ one\nprinted\nhead# two\n```\n", encoding="utf-8")
    page = read(path)
    assert page.messages == ("words",)
    assert page.sections == {CHECK: (Command("controller", "one", ("printed",)), Command("head", "two"))}


def test_command_without_a_prompt_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("# T\n\n## Check\n\n```console\none\n```\n", encoding="utf-8")
    with pytest.raises(ValueError, match="before any command"):
        read(path)
