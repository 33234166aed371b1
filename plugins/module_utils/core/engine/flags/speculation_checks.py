# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks of the flag guard for speculative decoding, saved slots and RDMA."""

from __future__ import annotations

from collections.abc import Iterator

from .subject import Hit, Subject

# Types that need a second model.
_WITH_DRAFT = ("draft-simple", "draft-eagle3", "draft-dflash", "draft-dspark")
# Types that are reported to be slow with a given split.
_REPORTED = ("draft-mtp", "draft-dflash")
_UNQUANTISED = ("f32", "f16", "bf16")
_SYNTHETIC = ("--spec-synth-len", "--spec-synth-rates")
_RDMA = ("GGML_RDMA_DEV", "GGML_RDMA_GID")
INFINIBAND = "InfiniBand"


def _types(subject: Subject) -> list[str]:
    return [kind for kind in subject.line.parts("--spec-type") if kind != "none"]


def _has_draft(subject: Subject) -> bool:
    return subject.line.has("--spec-draft-model")


def draft_without_type(subject: Subject) -> Iterator[Hit]:
    # Older releases have no types: a draft is all that they need.
    has_types = "--spec-type" in subject.engine.accepted
    if has_types and _has_draft(subject) and not any(kind.startswith("draft-") for kind in _types(subject)):
        yield Hit("--spec-draft-model without a type of draft in --spec-type")


def type_without_draft(subject: Subject) -> Iterator[Hit]:
    for kind in _types(subject):
        if kind in _WITH_DRAFT and not _has_draft(subject):
            yield Hit(f"--spec-type {kind} without --spec-draft-model")


def vocabulary_differs(subject: Subject) -> Iterator[Hit]:
    if _has_draft(subject) and subject.vocabulary_difference:
        yield Hit(f"a draft of another vocabulary: {subject.vocabulary_difference}")


def synthetic_acceptance(subject: Subject) -> Iterator[Hit]:
    for name in _SYNTHETIC:
        if subject.line.has(name):
            yield Hit(name)


def no_next_tokens(subject: Subject) -> Iterator[Hit]:
    if "draft-mtp" in _types(subject) and not _has_draft(subject) and subject.next_tokens == 0:
        yield Hit("--spec-type draft-mtp with a model without blocks that predict further tokens")


def draft_over_rpc(subject: Subject) -> Iterator[Hit]:
    if not subject.has_rpc or not _has_draft(subject) or subject.line.value("--spec-draft-ngl") == "0":
        return
    devices = subject.line.parts("--spec-draft-device") or subject.line.parts("--device")
    remote = [device for device in devices if device.startswith("RPC")]
    if remote or not devices:
        where = ", ".join(remote) or "all workers"
        is_told = subject.line.has("--spec-draft-device")
        yield Hit(f"a draft on {where}{'' if is_told else ', as without --spec-draft-device it follows --device'}")


def draft_cache_unquantised(subject: Subject) -> Iterator[Hit]:
    if not _has_draft(subject) and "draft-mtp" not in _types(subject):
        return
    quantised = [
        f"--cache-type-{name}"
        for name in ("k", "v")
        if subject.line.value(f"--cache-type-{name}", "f16") not in _UNQUANTISED
        and not subject.line.has(f"--spec-draft-type-{name}")
    ]
    if quantised:
        yield Hit(f"{' and '.join(quantised)} quantised, without the flags of the draft's cache")


def slots_saved_with_draft(subject: Subject) -> Iterator[Hit]:
    if subject.line.has("--slot-save-path") and (_has_draft(subject) or "draft-mtp" in _types(subject)):
        yield Hit("--slot-save-path with a draft")


def slots_saved_with_window(subject: Subject) -> Iterator[Hit]:
    if subject.line.has("--slot-save-path") and subject.has_window and not subject.line.has("--swa-full"):
        yield Hit("--slot-save-path with a model of windowed layers")


def speculation_with_split(subject: Subject) -> Iterator[Hit]:
    for kind in _types(subject):
        if kind in _REPORTED and subject.line.has("--tensor-split"):
            yield Hit(f"--spec-type {kind} with --tensor-split")


def rdma_on_infiniband(subject: Subject) -> Iterator[Hit]:
    if subject.link_layer != INFINIBAND:
        return
    for name in _RDMA:
        if name in (subject.environment or {}):
            yield Hit(f"the variable {name} with a fabric of native InfiniBand")
