# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Describe the published models that this collection prepares: ids, licences, sizes and shapes.

The sizes are sums over every tensor of the published checkpoints. Their sources are in tests/fixtures/vllm/models, one
file a model: the Hugging Face Hub was out of reach when they were written. Three sizes are computed from published
shapes, since no list of the FP8 checkpoints' tensors was at hand: GLM-4.6V in FP8, GLM-4.7 and Llama-4-Maverick.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from .planning.model_config import CHUNKED, FULL, LATENT, SLIDING, AttentionLayers, ModelShape, VisionShape
from .planning.weights import WeightBytes

_LLAMA_GATE = (
    "accept Meta's licence on the model's page of the Hub. Its use policy (https://www.llama.com/llama4/use-policy/) "
    "grants persons domiciled and companies based in the European Union no rights to multimodal Llama 4 models"
)


@dataclass(frozen=True)
class PublishedModel:
    """A model with the number of GPUs that the inventory gives it.

    :ivar gpus: of all nodes together.
    :ivar quantization: of the checkpoint; empty for 16 bits.
    :ivar documented_context: context that the original document promises.
    :ivar gate: what a user has to do before the Hub serves the weights; empty if nothing.
    :ivar computed: whether the weights are computed from published shapes.
    :ivar smaller: id of a published checkpoint with smaller weights, and its bytes.
    """

    key: str
    name: str
    huggingface_id: str
    nodes: int
    gpus: int
    quantization: str
    documented_context: int
    licence: str
    parameters: int
    weights: WeightBytes
    shape: ModelShape
    gate: str = ""
    computed: bool = False
    smaller: tuple[str, WeightBytes] | None = None

    @property
    def vision(self) -> bool:
        """Return whether the model reads images."""
        return self.shape.vision is not None


_GPT_OSS_20B = ModelShape(
    architecture="GptOssForCausalLM",
    attention=(AttentionLayers(FULL, 12), AttentionLayers(SLIDING, 12, 128)),
    width=2880,
    heads=64,
    kv_heads=8,
    head_dim=64,
    latent=0,
    vocabulary=201088,
    inner=2880,
    experts=32,
    experts_per_token=4,
    expert_inner=2880,
    context=131072,
    dtype="bfloat16",
    quantization="mxfp4",
    draft_layers=0,
    vision=None,
)
_GLM_FLASH = ModelShape(
    architecture="Glm4MoeLiteForCausalLM",
    attention=(AttentionLayers(LATENT, 47),),
    width=2048,
    heads=20,
    kv_heads=20,
    head_dim=102,
    latent=576,
    vocabulary=154880,
    inner=10240,
    experts=64,
    experts_per_token=4,
    expert_inner=1536,
    context=202752,
    dtype="bfloat16",
    quantization="",
    draft_layers=1,
    vision=None,
)
_GLM_VISION = ModelShape(
    architecture="Glm4vMoeForConditionalGeneration",
    attention=(AttentionLayers(FULL, 46),),
    width=4096,
    heads=96,
    kv_heads=8,
    head_dim=128,
    latent=0,
    vocabulary=151552,
    inner=10944,
    experts=128,
    experts_per_token=8,
    expert_inner=1408,
    context=131072,
    dtype="bfloat16",
    quantization="",
    draft_layers=0,
    vision=VisionShape(width=1536, inner=10944, heads=12, merge=4),
)
_GLM = ModelShape(
    architecture="Glm4MoeForCausalLM",
    attention=(AttentionLayers(FULL, 92),),
    width=5120,
    heads=96,
    kv_heads=8,
    head_dim=128,
    latent=0,
    vocabulary=151552,
    inner=12288,
    experts=160,
    experts_per_token=8,
    expert_inner=1536,
    context=202752,
    dtype="bfloat16",
    quantization="fp8",
    draft_layers=1,
    vision=None,
)
_SCOUT = ModelShape(
    architecture="Llama4ForConditionalGeneration",
    attention=(AttentionLayers(FULL, 12), AttentionLayers(CHUNKED, 36, 8192)),
    width=5120,
    heads=40,
    kv_heads=8,
    head_dim=128,
    latent=0,
    vocabulary=202048,
    inner=16384,
    experts=16,
    experts_per_token=1,
    expert_inner=8192,
    context=10485760,
    dtype="bfloat16",
    quantization="",
    draft_layers=0,
    vision=VisionShape(width=1408, inner=5632, heads=16, merge=4),
)
_QWEN = ModelShape(
    architecture="Qwen3VLMoeForConditionalGeneration",
    attention=(AttentionLayers(FULL, 94),),
    width=4096,
    heads=64,
    kv_heads=4,
    head_dim=128,
    latent=0,
    vocabulary=151936,
    inner=12288,
    experts=128,
    experts_per_token=8,
    expert_inner=1536,
    context=262144,
    dtype="bfloat16",
    quantization="",
    draft_layers=0,
    vision=VisionShape(width=1152, inner=4304, heads=16, merge=4),
)
_SCOUT_WEIGHTS = WeightBytes(
    linear=17112760320,
    keys_values=1006632960,
    experts=193273528320,
    vision=1743864832,
    vocabulary=4137943040,
    replicated=8857600,
)
_GLM_VISION_WEIGHTS = WeightBytes(
    linear=11087118336,
    keys_values=771751936,
    experts=199313326080,
    vision=1717363712,
    vocabulary=2483027968,
    replicated=49289728,
)

_MODELS = (
    PublishedModel(
        key="gpt-oss-20b",
        name="GPT-OSS-20B",
        huggingface_id="openai/gpt-oss-20b",
        nodes=1,
        gpus=1,
        quantization="mxfp4",
        documented_context=131072,
        licence="Apache 2.0",
        parameters=20914757184,
        weights=WeightBytes(
            linear=1132462080,
            keys_values=141557760,
            experts=10165616640,
            vocabulary=2316533760,
            replicated=5094528,
        ),
        shape=_GPT_OSS_20B,
    ),
    PublishedModel(
        key="gpt-oss-120b",
        name="GPT-OSS-120B",
        huggingface_id="openai/gpt-oss-120b",
        nodes=1,
        gpus=1,
        quantization="mxfp4",
        documented_context=131072,
        licence="Apache 2.0",
        parameters=116829156672,
        weights=WeightBytes(
            linear=1698693120,
            keys_values=212336640,
            experts=60993699840,
            vocabulary=2316533760,
            replicated=27552384,
        ),
        shape=replace(
            _GPT_OSS_20B, attention=(AttentionLayers(FULL, 18), AttentionLayers(SLIDING, 18, 128)), experts=128
        ),
    ),
    PublishedModel(
        key="glm-4.7-flash",
        name="GLM-4.7-Flash",
        huggingface_id="zai-org/GLM-4.7-Flash",
        nodes=1,
        gpus=2,
        quantization="",
        documented_context=131072,
        licence="MIT",
        parameters=31221488576,
        weights=WeightBytes(
            linear=2780561408,
            experts=55566139392,
            vocabulary=1268776960,
            replicated=271315968,
            draft=2556189440,
        ),
        shape=_GLM_FLASH,
    ),
    PublishedModel(
        key="glm-4.6v-fp8",
        name="GLM-4.6V (FP8)",
        huggingface_id="zai-org/GLM-4.6V-FP8",
        nodes=1,
        gpus=2,
        quantization="fp8",
        documented_context=131072,
        licence="MIT",
        parameters=107710933120,
        weights=WeightBytes(
            linear=5547921920,
            keys_values=386252800,
            experts=99815915520,
            vision=1717363712,
            vocabulary=2483027968,
            replicated=49289728,
        ),
        shape=replace(_GLM_VISION, quantization="fp8"),
        computed=True,
    ),
    PublishedModel(
        key="glm-4.6v",
        name="GLM-4.6V (FP16)",
        huggingface_id="zai-org/GLM-4.6V",
        nodes=1,
        gpus=4,
        quantization="",
        documented_context=131072,
        licence="MIT",
        parameters=107710933120,
        weights=_GLM_VISION_WEIGHTS,
        shape=_GLM_VISION,
    ),
    PublishedModel(
        key="llama-4-scout",
        name="Llama-4-Scout-17B-16E-Instruct",
        huggingface_id="meta-llama/Llama-4-Scout-17B-16E-Instruct",
        nodes=1,
        gpus=2,
        quantization="",
        documented_context=10485760,
        licence="Llama 4 Community License",
        parameters=108641793536,
        weights=_SCOUT_WEIGHTS,
        shape=_SCOUT,
        gate=_LLAMA_GATE,
        smaller=("RedHatAI/Llama-4-Scout-17B-16E-Instruct-FP8-dynamic", _SCOUT_WEIGHTS.halved()),
    ),
    PublishedModel(
        key="glm-4.7",
        name="GLM-4.7",
        huggingface_id="zai-org/GLM-4.7-FP8",
        nodes=2,
        gpus=8,
        quantization="fp8",
        documented_context=131072,
        licence="MIT",
        parameters=358337791296,
        weights=WeightBytes(
            linear=14251962368,
            keys_values=965443584,
            experts=336430366720,
            vocabulary=3103784960,
            replicated=150453888,
            draft=7150496896,
        ),
        shape=_GLM,
        computed=True,
    ),
    PublishedModel(
        key="qwen3-vl-235b",
        name="Qwen3-VL-235B-A22B-Instruct",
        huggingface_id="Qwen/Qwen3-VL-235B-A22B-Instruct",
        nodes=2,
        gpus=8,
        quantization="",
        documented_context=262144,
        licence="Apache 2.0",
        parameters=235670022896,
        weights=WeightBytes(
            linear=12616466432,
            keys_values=788529152,
            experts=454192791552,
            vision=1152776672,
            vocabulary=2489319424,
            replicated=100162560,
        ),
        shape=_QWEN,
    ),
    PublishedModel(
        key="llama-4-maverick",
        name="Llama-4-Maverick-17B-128E-Instruct",
        huggingface_id="meta-llama/Llama-4-Maverick-17B-128E-Instruct-FP8",
        nodes=2,
        gpus=8,
        quantization="fp8",
        documented_context=1048576,
        licence="Llama 4 Community License",
        parameters=401583781376,
        weights=WeightBytes(
            linear=23152558080,
            keys_values=1006632960,
            experts=386679177216,
            vision=1743864832,
            vocabulary=4137943040,
            replicated=32450560,
        ),
        shape=replace(_SCOUT, experts=128, context=1048576, quantization="fp8"),
        gate=_LLAMA_GATE,
        computed=True,
    ),
)
#: The models by the key that a configuration uses.
MODELS: Mapping[str, PublishedModel] = {model.key: model for model in _MODELS}
#: Checkpoints of 16 bits of models that MODELS has in FP8: too large for their GPUs, unless vLLM quantises them.
VARIANTS = (
    replace(
        MODELS["glm-4.7"],
        name="GLM-4.7 (16 bits)",
        huggingface_id="zai-org/GLM-4.7",
        quantization="",
        weights=WeightBytes(
            linear=28484567040,
            keys_values=1929379840,
            experts=671927500800,
            vocabulary=3103784960,
            replicated=150453888,
            draft=11079924864,
        ),
        shape=replace(_GLM, quantization=""),
        computed=False,
        smaller=("zai-org/GLM-4.7-FP8", MODELS["glm-4.7"].weights),
    ),
    replace(
        MODELS["llama-4-maverick"],
        name="Llama-4-Maverick-17B-128E-Instruct (16 bits)",
        huggingface_id="meta-llama/Llama-4-Maverick-17B-128E-Instruct",
        quantization="",
        weights=replace(MODELS["llama-4-maverick"].weights, experts=773094113280),
        shape=replace(MODELS["llama-4-maverick"].shape, quantization=""),
        computed=False,
        smaller=(MODELS["llama-4-maverick"].huggingface_id, MODELS["llama-4-maverick"].weights),
    ),
)


def by_id(huggingface_id: str) -> PublishedModel | None:
    """Find a model by its id on the Hub, in any case; None for an unknown one."""
    wanted = huggingface_id.lower()
    return next((model for model in (*_MODELS, *VARIANTS) if model.huggingface_id.lower() == wanted), None)
