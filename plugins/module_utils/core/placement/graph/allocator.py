# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Model ggml's scheduler and graph allocator, which place the tensors of a graph in memory.

A graph is a list of operations in the order of their computation. The scheduler assigns each operation to a device and
copies tensors from other devices (ggml_backend_sched_split_graph). The allocator frees a tensor after its last use,
takes the smallest hole that fits, and lets an operation overwrite its input if possible
(ggml_gallocr_alloc_graph_impl). Both are followed step by step, because the size of a compute buffer depends on the
holes too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...models.gguf_types import padded

# Operations whose result is a view of another tensor.
_VIEWS = frozenset(("view", "none"))
# Operations that can overwrite an input of the same layout (ggml_op_can_inplace).
_IN_PLACE = frozenset(("add", "fill", "sub", "mul", "div", "scale", "unary", "rope", "rms_norm", "soft_max", "sqr"))
_ENDLESS = 1 << 62


class Tensor:
    """A tensor of the graph: its operation, its layout and its sources.

    :param layout: bytes of an element, lengths, and whether it is contiguous.
    :param root: the tensor of which it is a view.
    :param device: device that must compute it; None if the scheduler decides.
    :param is_external: whether it has a buffer of its own, as caches do.
    """

    __slots__ = (
        "address", "children", "device", "is_external", "is_input", "is_output", "is_placed", "layout", "op",
        "root", "size", "sources", "views",
    )  # fmt: skip

    def __init__(
        self,
        op: str,
        shape: tuple[int, ...],
        sources: tuple[Tensor, ...] = (),
        element: int = 4,
        root: Tensor | None = None,
        device: int | None = None,
        is_dense: bool = True,
    ) -> None:
        self.op = op
        self.layout = (element, shape + (1,) * (4 - len(shape)), is_dense)
        self.size = element * math.prod(shape)
        self.sources = list(sources)
        self.root: Tensor | None = (root.root or root) if root is not None else None
        self.device = device
        self.is_external = False
        self.is_input = False
        self.is_output = False
        self.children = self.views = self.address = 0
        self.is_placed = False


class Arena:
    """The memory of one device as a list of holes; the last hole is endless (ggml_dyn_tallocr)."""

    def __init__(self, device: int, alignment: int) -> None:
        self.device, self.alignment = device, alignment
        self.holes: list[list[int]] = [[0, _ENDLESS]]
        self.size = 0

    def take(self, size: int) -> int:
        """Allocate bytes, and return their address."""
        size = padded(size, self.alignment)
        best, chosen = _ENDLESS, len(self.holes) - 1
        for number in range(len(self.holes) - 1):
            if size <= self.holes[number][1] <= best:
                best, chosen = self.holes[number][1], number
        hole = self.holes[chosen]
        address = hole[0]
        hole[0] += size
        hole[1] -= size
        if not hole[1]:
            del self.holes[chosen]
        self.size = max(self.size, address + size)
        return address

    def give(self, address: int, size: int) -> None:
        """Free bytes, and join them with adjacent holes."""
        size = padded(size, self.alignment)
        for number, hole in enumerate(self.holes):
            if hole[0] + hole[1] == address:
                hole[1] += size
                if number + 1 < len(self.holes) and hole[0] + hole[1] == self.holes[number + 1][0]:
                    hole[1] += self.holes[number + 1][1]
                    del self.holes[number + 1]
                return
            if address + size == hole[0]:
                hole[0] = address
                hole[1] += size
                if number and self.holes[number - 1][0] + self.holes[number - 1][1] == address:
                    self.holes[number - 1][1] += hole[1]
                    del self.holes[number]
                return
        place = 0
        while place < len(self.holes) and self.holes[place][0] < address:
            place += 1
        self.holes.insert(place, [address, size])

    def place(self, node: Tensor) -> None:
        """Allocate a tensor of this device, or overwrite an input with it."""
        if node.is_placed or node.is_external or node.root is not None or node.device != self.device:
            return
        node.is_placed = True
        if node.op in _IN_PLACE:
            for parent in node.sources:
                if self._reuses(node, parent):
                    return
        node.address = self.take(node.size)

    def _reuses(self, node: Tensor, parent: Tensor) -> bool:
        # A view owns no memory there, so nothing is overwritten through one.
        if parent.root is not None or parent.is_output or not parent.is_placed:
            return False
        if node.layout != parent.layout or parent.children != 1 or parent.views:
            return False
        node.address = parent.address
        parent.is_placed = False
        return True

    def release(self, parent: Tensor) -> None:
        """Count a use of a tensor, and free it after the last one."""
        parent.children -= 1
        if parent.children or parent.views:
            return
        if parent.root is not None:
            owner = parent.root
            owner.views -= 1
            if owner.views or owner.children:
                return
            parent = owner
        if parent.is_placed and not parent.is_output:
            self.give(parent.address, parent.size)
            parent.is_placed = False


class Graph:
    """Operations in the order of their computation (ggml_build_forward_expand)."""

    def __init__(self) -> None:
        self.nodes: list[Tensor] = []
        self._seen: set[int] = set()
        self._kept: list[Tensor] = []

    def expand(self, tensor: Tensor) -> None:
        """Append a tensor, after those of its sources that are missing."""
        if id(tensor) in self._seen:
            return
        self._seen.add(id(tensor))
        # id() is unique only while the tensor exists.
        self._kept.append(tensor)
        for source in tensor.sources:
            self.expand(source)
        if tensor.op != "none":
            self.nodes.append(tensor)


def _expand_devices(nodes: Sequence[Tensor], head: int, with_head: bool) -> None:
    """Assign nodes without a device to that of a neighbour; to the head's own only if there is no other."""
    current: int | None = None
    for node in nodes:
        if node.op in _VIEWS:
            continue
        if node.device is not None:
            current = node.device if with_head or node.device != head else None
        elif current is not None:
            node.device = current


def _assign(nodes: Sequence[Tensor], head: int) -> None:
    for node in nodes:
        for source in node.sources:
            if source.is_input:
                source.device = head
        if node.device is None and node.root is not None and node.root.is_external:
            node.device = node.root.device
    for with_head in (False, True):
        _expand_devices(nodes, head, with_head)
        _expand_devices(nodes[::-1], head, with_head)
    for node in nodes:
        if node.device is None and node.root is not None:
            node.device = node.root.device
        for source in node.sources:
            if source.device is None:
                source.device = source.root.device if source.root is not None else node.device
        if node.device is None:
            node.device = head


def _split(nodes: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Insert copies of tensors from other devices before the part that needs them. Return nodes and copies."""
    copies: dict[tuple[int, int | None], Tensor] = {}
    done: list[Tensor] = []
    pending: list[Tensor] = []
    entering: list[Tensor] = []
    current: int | None = None
    for node in nodes:
        if node.op not in _VIEWS:
            if current is not None and node.device != current:
                done += entering + pending
                entering, pending = [], []
            current = node.device
            for number, source in enumerate(node.sources):
                if source.device == current:
                    continue
                key = (id(source), current)
                if key not in copies:
                    element, shape, is_dense = source.layout
                    copies[key] = Tensor("none", shape, element=element, device=current, is_dense=is_dense)
                    # A view of wider rows is copied with the gaps between them.
                    copies[key].size = source.size
                    # A copied tensor stays allocated until then.
                    entering += [Tensor("keep", (0,), (source,), device=source.device), copies[key]]
                node.sources[number] = copies[key]
        pending.append(node)
    return done + entering + pending, list(copies.values())


def arena_bytes(graph: Graph, device: int, head: int, copies: int, alignment: int) -> int:
    """Compute the bytes of a device's compute buffer.

    :param head: number of the head's CPU, which creates the inputs.
    :param copies: copies of the inputs in a pipeline over several devices.
    """
    _assign(graph.nodes, head)
    leaves = [source for node in graph.nodes for source in node.sources if source.op == "none"]
    nodes, entering = _split(graph.nodes)
    arena = Arena(device, alignment)
    first = 0
    if copies > 1:
        # They stay allocated, one for each batch in the pipeline.
        for tensor in entering:
            if tensor.device == device:
                first += copies * padded(tensor.size, alignment)
            tensor.is_external = True
    for leaf in leaves:
        arena.place(leaf)
    for node in nodes:
        if node.root is not None:
            node.root.views += 1
        for source in node.sources:
            source.children += 1
    for node in nodes:
        for source in node.sources:
            arena.place(source)
        if node.op != "keep":
            arena.place(node)
        for source in node.sources:
            arena.release(source)
    return first + arena.size
