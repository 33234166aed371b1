# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The GPUs' abilities, the installed software, and arguments that vLLM refuses.

The messages are those of vLLM 0.32.0, PyTorch and CUDA.
"""

from __future__ import annotations

import re

from .rule import CONSEQUENCE, Settings, rule

_NODE, _ARGUMENT = "node-unsuitable", "wrong-argument"
_BUILD = "choose the vLLM release for these GPUs: 0.19.1 or older for Volta (7.0); playbooks/vllm.yml installs it"


def _quantization_cure(found: re.Match[str], _settings: Settings) -> str:
    least = found["least"]
    return (
        f"use GPUs of compute capability {least[:-1]}.{least[-1]} or later, or another variant of the model; FP8 needs "
        "8.9 (8.0 with Marlin), AWQ 7.5, MXFP4 8.0"
    )


RULES = (
    rule(
        "driver-too-old",
        "driver",
        r"NVIDIA driver on your system is too old \(found version (?P<version>\d+)\)",
        "the node's NVIDIA driver is too old for this CUDA (it knows CUDA version {version})",
        "use a vLLM release built for an older CUDA, or ask the cluster's support for a newer driver",
        _NODE,
    ),
    rule(
        "driver-too-old",
        "CUDA",
        r"CUDA driver version is insufficient for CUDA runtime version|provided PTX was compiled with an unsupported "
        r"toolchain|forward compatibility was attempted on non supported HW",
        "the node's NVIDIA driver is too old for this CUDA",
        "use a vLLM release built for an older CUDA, or ask the cluster's support for a newer driver",
        _NODE,
    ),
    rule(
        "no-kernel-image",
        "no kernel image",
        r"no kernel image is available for execution on the device",
        "this vLLM release has no code for these GPUs",
        _BUILD,
        _NODE,
        is_permanent=True,
    ),
    rule(
        "dtype-unsupported",
        "GPU has compute capability",
        r"Your (?P<gpu>.*?) ?GPU has compute capability (?P<capability>[\d.]+)",
        "{gpu} of compute capability {capability} has no bfloat16",
        "set vllm.dtype to float16",
        _NODE,
        is_permanent=True,
    ),
    rule(
        "quantization-unsupported",
        "is not supported for the current GPU",
        r"quantization (?:method (?P<method>\S+)|scheme) is not supported for the current GPU\. "
        r"(?:Minimum|Min|Required) capability: (?P<least>\d{2,3})\.? .*?Current capability: (?P<has>\d+)",
        "the quantisation needs compute capability {least}, and the GPU has {has} (75 means 7.5)",
        _quantization_cure,
        _NODE,
        is_permanent=True,
    ),
    rule(
        "quantization-unsupported",
        "is not supported for quantization method",
        r"(?P<dtype>torch\.\w+) is not supported for quantization method (?P<method>\S+?)\.",
        "the quantisation {method} does not work with {dtype}",
        "set vllm.dtype to auto, or to a type that the message names",
        _NODE,
        is_permanent=True,
    ),
    rule(
        "quantization-unknown",
        "Unknown quantization method",
        r"Unknown quantization method: (?P<method>\S+?)\.",
        "vLLM does not know the quantisation {method}",
        "correct models.<key>.quantization",
        _ARGUMENT,
        is_permanent=True,
    ),
    rule(
        "quantization-mismatch",
        "does not match the quantization",
        r"Quantization method specified in the model config \((?P<has>[^)]*)\) does not match .*?\((?P<given>[^)]*)\)",
        "the model is quantised as {has}, and the configuration says {given}",
        "set models.<key>.quantization to {has}, or leave it out",
        _ARGUMENT,
        is_permanent=True,
    ),
    rule(
        "no-gpu",
        "CUDA",
        r"No CUDA GPUs are available|CUDA unknown error|no CUDA-capable device is detected",
        "the job sees no GPU",
        "run nvidia-smi in the job (srun --jobid=JOB --overlap nvidia-smi): the job must request "
        "GPUs, and the node must be well",
        _NODE,
    ),
    rule(
        "no-gpu",
        "Failed to infer device type",
        r"Failed to infer device type",
        "the job sees no GPU",
        "run nvidia-smi in the job (srun --jobid=JOB --overlap nvidia-smi)",
        _NODE,
    ),
    rule(
        "gpu-broken",
        "CUDA error",
        r"CUDA error: (?P<what>uncorrectable ECC error|an illegal memory access|unspecified launch failure|"
        r"device-side assert)",
        "a GPU failed: {what}",
        "launch again without this node (sinfo, sbatch --exclude), and tell the cluster's support",
        _NODE,
    ),
    rule(
        "tensor-parallel-size",
        "must be divisible by tensor parallel size",
        r"attention heads \((?P<heads>\d+)\) must be divisible by tensor parallel size \((?P<size>\d+)\)",
        "{size} GPUs do not divide the model's {heads} attention heads",
        "set gpus to a divisor of {heads}",
        _ARGUMENT,
        is_permanent=True,
    ),
    rule(
        "tensor-parallel-size",
        "must be divisible by",
        r"(?P<what>[^()]{1,120}(?:\([^)]{1,60}\) )?must be divisible by .{1,120})",
        "vLLM says: {what}",
        "set gpus to a number that divides it",
        _ARGUMENT,
        is_permanent=True,
    ),
    rule(
        "nodes-do-not-divide",
        "must evenly divide the total world size",
        r"--nnodes (?P<nodes>\d+)`? must evenly divide the total world size \((?P<size>\d+)\)",
        "{nodes} nodes do not divide {size} GPUs",
        "set gpus to a multiple of nodes",
        _ARGUMENT,
        is_permanent=True,
    ),
    rule(
        "node-rank",
        "--node-rank",
        r"--node-rank` must be between 0 and (?P<most>\d+); got `?(?:--node-rank )?(?P<rank>\d+)",
        "a rank has number {rank} of {most}",
        "run the script with one task for each node, as it was written",
        _ARGUMENT,
        is_permanent=True,
    ),
    rule(
        "ranks-differ",
        "KV cache specs for the same layer are different",
        r"KV cache specs for the same layer are different across workers",
        "the ranks were started with different arguments",
        "submit the job anew: herdctl vllm launch",
        _ARGUMENT,
        is_permanent=True,
    ),
    rule(
        "unknown-option",
        "unrecognized arguments",
        r"error: unrecognized arguments: (?P<arguments>.{1,200})",
        "this vLLM release does not know {arguments}",
        "remove it from vllm.extra_arguments, or choose another release",
        _ARGUMENT,
        is_permanent=True,
    ),
    rule(
        "argument-refused",
        "error: argument",
        r"error: argument (?P<argument>[^\s:]+): (?P<what>.{1,200})",
        "vLLM refuses the argument {argument}: {what}",
        "correct it in vllm.extra_arguments, or the key that it comes from",
        _ARGUMENT,
        is_permanent=True,
    ),
    rule(
        "model-needs-remote-code",
        "contains custom code",
        r"contains custom code which must be executed",
        "the model brings its own code, which vLLM does not run unasked",
        "read the code, then add --trust-remote-code to vllm.extra_arguments",
        _ARGUMENT,
        is_permanent=True,
    ),
    rule(
        "no-compiler",
        "compiler",
        r"InvalidCxxCompiler|Failed to find C compiler",
        "the node has no C++ compiler, which torch.compile and Triton need",
        "load a compiler's module in the environment, or set TORCH_COMPILE_DISABLE=1 on a CPU",
        _NODE,
    ),
    rule(
        "vllm-not-installed",
        "vllm",
        r"vllm: (?:command )?not found|No module named '?vllm'?|"
        r"/vllm: No such file or directory",
        "the environment has no vLLM, or the node does not see it",
        "run playbooks/vllm.yml, or correct paths.venv_dir: it must be on a file system that all nodes share",
        _NODE,
        is_permanent=True,
    ),
    rule(
        "library-missing",
        "cannot open shared object file",
        r"(?P<library>lib[\w.+-]+): cannot open shared object file",
        "the library {library} is missing on the node",
        "install the environment again on a node with GPUs",
        _NODE,
    ),
    rule(
        "configuration-refused",
        "Value error",
        r"Value error, (?P<what>.{1,400}?)(?: \[type=|$)",
        "vLLM says: {what}",
        "correct the value in the configuration",
        _ARGUMENT,
        CONSEQUENCE,
        is_permanent=True,
    ),
    rule(
        "configuration-refused",
        "[type=",
        r"(?P<what>\S.{1,400}?) \[type=\w+, input_value=",
        "vLLM says: {what}",
        "correct the value in the configuration",
        _ARGUMENT,
        CONSEQUENCE,
        is_permanent=True,
    ),
)
