# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The models of many architectures for which the engine's memory is measured."""

from __future__ import annotations

from tests.engine.generated.attention import Latent, deepseek2, gemma, glm4_moe, gpt_oss, llama, phi3, qwen2, qwen3
from tests.engine.generated.model import F16, MXFP4, Q4_0, Q4_K, Q8_0, Dense, Model
from tests.engine.generated.recurrent import (
    falcon_h1,
    granite_hybrid,
    jamba,
    lfm2,
    mamba,
    mamba2,
    nemotron_h,
    qwen3next,
)


def models() -> list[Model]:
    """The set that the planner is held to."""
    return [
        llama("llama", Dense(inner=1408)),
        llama("llama-tied-rope", Dense(8, 1024, 8, 2, 128, 2816, kinds=Q8_0, tied=True), rope_factors=True),
        llama("llama-experts", Dense(6, 512, 8, 2, 64, 768, kinds=Q4_K), experts=8),
        qwen2("qwen2", Dense(10, 768, 12, 2, 64, 2048, 152064, Q4_0)),
        qwen3("qwen3", Dense(12, 512, 8, 4, 128, 1536, kinds=Q4_K, tied=True)),
        qwen3("qwen3moe", Dense(8, 512, 8, 2, 128, 1536, kinds=Q4_K), experts=32),
        gemma("gemma2", Dense(8, 512, 4, 2, 256, 2048, kinds=Q8_0, tied=True), 2, 1024),
        gemma("gemma3", Dense(13, 640, 4, 1, 256, 2048, kinds=F16, tied=True), 3, 512),
        phi3("phi-window", Dense(8, 768, 8, 8, 96, 2048, kinds=Q8_0)),
        gpt_oss("gpt-oss", Dense(8, 512, 16, 2, 64, 512, kinds=MXFP4), 16, 128),
        deepseek2("deepseek2", Dense(7, 512, 8, 8, 64, 1536, kinds=Q8_0), 16, latent=True),
        deepseek2("deepseek2-full", Dense(7, 512, 8, 8, 64, 1536, kinds=F16), 16, latent=False),
        glm4_moe("glm4moe", Dense(8, 512, 8, 2, 64, 1536, kinds=Q8_0), 16),
        mamba("mamba", Dense(10, 512, kinds=F16, tied=True)),
        mamba2("mamba2", Dense(10, 512, kinds=Q8_0)),
        jamba("jamba", Dense(9, 512, 8, 2, 64, 768, kinds=Q8_0), 8),
        falcon_h1("falcon-h1", Dense(8, 512, 8, 2, 64, 1536, kinds=F16)),
        granite_hybrid("granitehybrid", Dense(11, 512, 8, 4, 64, 1536, kinds=Q4_K)),
        qwen3next("qwen3next", Dense(8, 512, 8, 2, 128, 256, kinds=F16), 16),
        lfm2("lfm2", Dense(10, 512, 8, 2, 64, 1536, kinds=Q8_0, tied=True)),
        nemotron_h("nemotron_h", Dense(12, 512, 8, 2, 64, 2048, kinds=F16)),
    ]


def published() -> list[Model]:
    """Layers of the size of published models, a few of each: what is small in the set above is large here."""
    few, many = 3, 4
    return [
        llama("llama-8b", Dense(few, 4096, 32, 8, 128, 14336, kinds=Q4_0)),
        llama("llama-70b", Dense(few, 8192, 64, 8, 128, 28672, kinds=Q4_0)),
        llama("mixtral-8x7b", Dense(few, 4096, 32, 8, 128, 14336, kinds=Q4_0), experts=2),
        qwen2("qwen2.5-72b", Dense(few, 8192, 64, 8, 128, 29568, kinds=Q4_0)),
        qwen2("qwen2.5-14b", Dense(few, 5120, 40, 8, 128, 13824, 152064, kinds=Q4_K)),
        qwen3("qwen3-32b", Dense(few, 5120, 64, 8, 128, 25600, kinds=Q4_0)),
        qwen3("qwen3-30b-a3b", Dense(few, 2048, 32, 4, 128, 6144, kinds=Q4_0), experts=16, expert_inner=768, used=8),
        gemma("gemma2-9b", Dense(many, 3584, 16, 8, 256, 14336, kinds=Q4_0, tied=True), 2, 4096),
        gemma("gemma3-27b", Dense(7, 5376, 32, 16, 128, 21504, kinds=Q4_0, tied=True), 3, 1024),
        gpt_oss("gpt-oss-20b", Dense(many, 2880, 64, 8, 64, 2880, kinds=MXFP4), 8),
        deepseek2(
            "deepseek-v3",
            Dense(5, 7168, 128, 128, 128, 18432, kinds=Q4_0),
            8,
            ranks=Latent(1536, 512, 64, 128, 128, 2048, dense=2, used=8),
        ),
        glm4_moe("glm-4.5-air", Dense(few, 4096, 96, 8, 128, 10944, kinds=Q4_0), 8, inner=1408, used=8),
        mamba("mamba-2.8b", Dense(many, 2560, kinds=F16, tied=True)),
        mamba2("mamba2-2.7b", Dense(many, 2560, kinds=Q8_0), state=128, groups=1),
        jamba("jamba-mini", Dense(many, 4096, 32, 8, 128, 14336, kinds=Q4_0), 2),
        falcon_h1("falcon-h1-7b", Dense(many, 3072, 12, 2, 128, 12288, kinds=Q4_0), inner=3072, state=256),
        granite_hybrid("granite-4-h", Dense(many, 2048, 32, 8, 64, 8192, kinds=Q4_0), state=128),
        qwen3next("qwen3-next-80b", Dense(8, 2048, 16, 2, 256, 512, kinds=Q4_0), 16, delta=(128, 16, 32), used=10),
        lfm2("lfm2-2.6b", Dense(6, 2048, 32, 8, 64, 10752, kinds=Q4_0, tied=True)),
        nemotron_h("nemotron-h-8b", Dense(8, 4096, 32, 8, 128, 21504, kinds=Q4_0), inner=8192, state=128, groups=8),
    ]
