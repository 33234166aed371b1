# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the elements of nvidia-smi's XML by their tags.

The output is often not well-formed: names of processes are not escaped, some drivers nest lists of clocks wrongly, and
an error about a GPU may stand between two elements. A parser of XML would then read no GPU at all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ...text import plain

_BLOCK = re.compile(r'<gpu id="([^"\n]{0,40})">(.*?)(?=<gpu id="|</nvidia_smi_log>|\Z)', re.DOTALL)
# A name may hold tags and line ends, but its element ends before the next GPU begins on a line of its own.
_PROCESS_NAME = re.compile(
    r"(<process_name>)((?:(?!\n\s*<gpu id=).)*?)(</process_name>)(?=\s*<(?:used_memory|/process_info)>)",
    re.DOTALL,
)
_MIG_DEVICES = re.compile(r"<mig_devices>(.*?)</mig_devices>", re.DOTALL)
_NUMBER = re.compile(r"-?[0-9]{1,12}(?:\.[0-9]{1,12})?(?![0-9])")
_BUS = r"(?:[0-9A-Fa-f]{4,8}:)?[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-7]"
_NO_HANDLE = re.compile(
    rf"Unable to determine the device handle for GPU *(?P<index>[0-9]{{1,3}}(?=:[^0-9A-Fa-f]|\s|$))?:? *"
    rf"(?P<bus>{_BUS})?:? *(?P<reason>[^<\n]*)",
    re.IGNORECASE,
)
#: What stands in place of a value that the driver, the card or the user's permissions do not provide.
_ABSENT = frozenset(("N/A", "Not Supported", "Unknown Error", "Insufficient Permissions", "None"))


@dataclass(frozen=True)
class LostHandle:
    """A GPU of which nvidia-smi prints an error only. Its index or its PCI bus id may be missing."""

    index: int | None
    pci_bus_id: str
    reason: str


@dataclass(frozen=True)
class GpuBlock:
    """The description of one GPU, and of its MIG devices.

    :ivar is_complete: whether its end is there.
    """

    pci_bus_id: str
    text: str
    mig_devices: str
    is_complete: bool


def element(text: str, path: str) -> str | None:
    """Return the content of the first element of a path, such as C(pci/pci_bus_id); None without one."""
    for name in path.split("/"):
        found = re.search(rf"<{name}>(.*?)</{name}>", text, re.DOTALL)
        if found is None:
            return None
        text = found[1]
    return text.strip()


def elements(text: str, name: str) -> list[str]:
    """Return the contents of all elements of a name."""
    return re.findall(rf"<{name}>(.*?)</{name}>", text, re.DOTALL)


def word(text: str, path: str) -> str:
    """Return the text of an element as plain text; empty for a missing value."""
    found = element(text, path) or ""
    for escaped, character in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&apos;", "'"), ("&amp;", "&")):
        found = found.replace(escaped, character)
    return "" if found.strip("[]") in _ABSENT else plain(found)


def number(text: str, *paths: str) -> float | None:
    """Return the first number among these elements, whose names depend on the driver; None if all have words."""
    for path in paths:
        found = _NUMBER.match((element(text, path) or "").strip("[] "))
        if found is not None:
            return float(found.group())
    return None


def whole(text: str, *paths: str) -> int | None:
    """Return the first number among these elements as a whole number."""
    found = number(text, *paths)
    return None if found is None else int(found)


def _without_tags(name: re.Match[str]) -> str:
    return name[1] + name[2].replace("<", "&lt;").replace(">", "&gt;") + name[3]


def blocks(output: str) -> list[GpuBlock]:
    """Split the output into the descriptions of its GPUs."""
    found = []
    for bus, text in _BLOCK.findall(_PROCESS_NAME.sub(_without_tags, output)):
        body, end, _rest = text.partition("</gpu>")
        mig_devices = _MIG_DEVICES.search(body)
        found.append(
            GpuBlock(bus, _MIG_DEVICES.sub("", body), mig_devices[1] if mig_devices else "", is_complete=bool(end))
        )
    return found


def lost_handles(output: str) -> list[LostHandle]:
    """Return the GPUs for which nvidia-smi got no handle from the driver, each once."""
    found: dict[tuple[int | None, str], LostHandle] = {}
    for match in _NO_HANDLE.finditer(output):
        index = None if match["index"] is None else int(match["index"])
        bus = (match["bus"] or "").lower()
        reason = plain(" ".join(match["reason"].split()).rstrip(".")) or "no reason given"
        found.setdefault((index, bus), LostHandle(index, bus, reason))
    return list(found.values())


def pci_slot(text: str) -> tuple[int, int, int, int] | None:
    """Return domain, bus, device and function of a PCI bus id in any of its forms; None for another text."""
    found = re.fullmatch(r"(?:([0-9a-f]{1,8}):)?([0-9a-f]{1,2}):([0-9a-f]{1,2})\.([0-7])", text.strip().lower())
    if found is None:
        return None
    domain, bus, device, function = (int(part or "0", 16) for part in found.groups())
    return domain, bus, device, function
