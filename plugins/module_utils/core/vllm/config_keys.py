# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of the keys in C(config.yaml) of vLLM's jobs.

The parser, the JSON schema and the key table of C(docs/reference/vllm.md) are made from it. Defaults are those of the
document that describes C(config.yaml), except where the document leaves a value to the site.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .config_document.kinds import (
    Arguments,
    Choice,
    Directory,
    Flag,
    Fraction,
    Kind,
    Memory,
    Text,
    TimeLimit,
    Whole,
)

#: Marks a key without a default.
REQUIRED = "(required)"
#: Section of the keys of each model, C(models.KEY).
MODEL = "models.*"
#: Characters of a model's key, which names files and jobs.
MODEL_KEY = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
#: GPUs of the largest node, many times over.
MOST_GPUS_PER_NODE = 64
#: Ports above master_port_base that a job may take for its rendezvous.
MASTER_PORT_SPAN = 500


@dataclass(frozen=True)
class Key:
    """One key of the configuration.

    :param section: C(slurm), C(models.*) or another section; empty for the top level.
    :param default: value without the key, or REQUIRED.
    :param meaning: what it decides, as a noun phrase.
    :param goes_to: where its value goes in Slurm, vLLM or NCCL.
    :param is_own: whether the document does not have it.
    """

    section: str
    name: str
    kind: Kind
    default: Any
    meaning: str
    goes_to: str
    is_own: bool = False

    @property
    def path(self) -> str:
        """The key with its section: C(slurm.account)."""
        return f"{self.section}.{self.name}" if self.section else self.name


_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.@+-]*"
_ACCOUNT = Text(_NAME, "the name of a Slurm account", "list yours with: sacctmgr show associations user=$USER")
_PARTITION = Text(
    rf"{_NAME}(,{_NAME})*", "the name of a partition, or several with commas", "list them with: sinfo --summarize"
)
_QOS = Text(_NAME, "the name of a QoS", "list yours with: sacctmgr show associations user=$USER format=qos")
_CONSTRAINT = Text(
    r"[A-Za-z0-9_.*&|()\[\]:,=-]+",
    "features of nodes such as h100 or h100&ib",
    "list them with: sinfo --format='%N %f'",
)
_RESERVATION = Text(rf"{_NAME}(,{_NAME})*", "the name of a reservation", "list them with: scontrol show reservation")
_DIRECTORY = Directory()
#: Options that the job sets from facts that no user knows.
_OF_JOB = (
    *("--api-key", "--config", "--data-parallel-size", "--distributed-executor-backend", "--headless", "--host"),
    *("--master-addr", "--master-port", "--node-rank", "--nnodes", "--pipeline-parallel-size", "--shutdown-timeout"),
    *("--uds", "-dp", "-n", "-pp", "-r"),
)
#: Options of vLLM that no list of arguments may have, each with what the user does instead.
RESERVED_OPTIONS = {
    **dict.fromkeys(_OF_JOB, "remove it; the job sets it"),
    "--distributed-timeout-seconds": "write distributed.rdzv_timeout instead",
    "--dtype": "write vllm.dtype instead",
    "--gpu-memory-utilization": "write vllm.gpu_memory_utilization instead",
    "--max-model-len": "write max_model_len of the model instead",
    "--max-num-seqs": "write vllm.max_num_seqs instead",
    "--model": "write huggingface_id or path of the model instead",
    "--port": "write port of the model instead",
    "--quantization": "write quantization of the model instead",
    "--seed": "write vllm.seed instead",
    "--served-model-name": "write name of the model instead",
    "--tensor-parallel-size": "write gpus of the model instead",
    "-q": "write quantization of the model instead",
    "-tp": "write gpus of the model instead",
}
_ARGUMENTS = Arguments(RESERVED_OPTIONS)
#: Names in the document for weights that vLLM does not quantize.
UNQUANTIZED = ("bf16", "fp16", "none")
_QUANTIZATION = Choice(
    (
        *("fp8", "mxfp4", *UNQUANTIZED, "awq", "awq_marlin", "bitsandbytes", "compressed-tensors", "fbgemm_fp8"),
        *("gptq", "gptq_marlin", "modelopt", "modelopt_fp4", "moe_wna16", "ptpc_fp8", "quark", "torchao"),
    ),
    {
        "fp4": "write mxfp4",
        "int4": "write the method of the weights, such as awq or gptq",
        "int8": "write the method of the weights, such as compressed-tensors",
    },
    "a method that vLLM knows",
)
_DEBUG = Choice(("VERSION", "WARN", "INFO", "TRACE"), {"error": "write WARN, the level at which NCCL shows errors"})
_DTYPE = Choice(("auto", "bfloat16", "float16", "float32"), {"half": "write float16", "fp16": "write float16"})
_RENDEZVOUS = Choice(("c10d",), {})
_INTERFACE = Text(
    r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}",
    "the name of one network interface",
    "write one of `ip -brief link` on a compute node, such as ib0, or leave it empty",
)
_REPOSITORY = Text(
    r"[A-Za-z0-9][A-Za-z0-9_.-]{0,95}/[A-Za-z0-9][A-Za-z0-9_.-]{0,95}",
    "a repository of Hugging Face such as openai/gpt-oss-20b",
    "write ORGANISATION/NAME without an address; a local directory goes to path",
)
_SERVED_NAME = Text(
    r"[A-Za-z0-9][A-Za-z0-9_.:/+-]*", "a name of letters, digits and . _ : / + -", "remove the other characters"
)
_SCRIPT = Text(r"[A-Za-z0-9_ ./@+-]+", "the name of a file", "remove the key; the job comes from one template")
_PORT = Whole(1024, 65535)
_CONTEXT = Whole(16, 100_000_000)

KEYS = (
    Key("", "active_model", Text(MODEL_KEY, "a key of models", "write a key of models"), REQUIRED,
        "the model that is served", "`herdctl vllm launch` without a model; the playbook"),
    Key("slurm", "account", _ACCOUNT, REQUIRED, "the account that pays for the job", "`sbatch --account`"),
    Key("slurm", "partition", _PARTITION, "", "the partition; empty is the cluster's default", "`sbatch --partition`"),
    Key("slurm", "qos", _QOS, "", "the quality of service; empty is the account's default", "`sbatch --qos`", True),
    Key("slurm", "constraint", _CONSTRAINT, "", "the features that each node must have", "`sbatch --constraint`", True),
    Key("slurm", "reservation", _RESERVATION, "", "the reservation that the job may use", "`sbatch --reservation`",
        True),
    Key("slurm", "time_default", TimeLimit(), "12:00:00", "the time limit of models without one", "`sbatch --time`"),
    Key("slurm", "cpus_per_task", Whole(1, 512), 16, "CPUs for each GPU",
        "`sbatch --cpus-per-task`, times the GPUs of a node"),
    Key("slurm", "mem_per_gpu", Memory(), "64G", "host memory for each GPU",
        "`sbatch --mem`, times the GPUs of a node"),
    Key("cache", "xdg_cache_home", _DIRECTORY, "", "the cache directory; empty is `$HOME/.cache`", "`XDG_CACHE_HOME`"),
    Key("cache", "triton_cache_dir", _DIRECTORY, "", "Triton's cache; empty is `$XDG_CACHE_HOME/triton`",
        "`TRITON_CACHE_DIR`"),
    Key("cache", "huggingface_cache", _DIRECTORY, "", "Hugging Face's cache; empty is `$XDG_CACHE_HOME/huggingface`",
        "`HF_HOME`"),
    Key("paths", "venv_dir", _DIRECTORY, "",
        "the virtual environment with vLLM; empty is `venv/current` of the work directory, else that of the command",
        "the Python of the job script"),
    Key("paths", "work_dir", _DIRECTORY, "",
        "the shared directory of logs and status; empty is the directory of `config.yaml`",
        "`sbatch --output`, logs, status files", True),
    Key("vllm", "gpu_memory_utilization", Fraction(), 0.9, "the share of each GPU's memory that vLLM may take",
        "`vllm serve --gpu-memory-utilization`"),
    Key("vllm", "max_model_len_default", _CONTEXT, 32768, "the context of models without one, in tokens",
        "`vllm serve --max-model-len`"),
    Key("vllm", "max_num_seqs", Whole(1, 65536), 16, "requests that are generated at the same time",
        "`vllm serve --max-num-seqs`"),
    Key("vllm", "dtype", _DTYPE, "auto", "the data type of weights and activations", "`vllm serve --dtype`"),
    Key("vllm", "seed", Whole(0, 2**32 - 1), None, "the seed of random numbers; empty is vLLM's own",
        "`vllm serve --seed`"),
    Key("vllm", "extra_arguments", _ARGUMENTS, (), "further arguments for all models",
        "`vllm serve`", True),
    Key("distributed", "rdzv_backend", _RENDEZVOUS, "c10d", "the rendezvous of the ranks",
        "none; vLLM's ranks meet at the store that torch calls c10d"),
    Key("distributed", "rdzv_timeout", Whole(10, 86400), 1200, "the longest wait for all ranks, in seconds",
        "`vllm serve --distributed-timeout-seconds`"),
    Key("distributed", "master_port_base", Whole(1024, 65535 - MASTER_PORT_SPAN), 29500,
        f"the lowest of {MASTER_PORT_SPAN} ports from which each job takes its own", "`vllm serve --master-port`"),
    Key("nccl", "socket_ifname", _INTERFACE, "", "the interface of the fabric; empty derives it on the node",
        "`NCCL_SOCKET_IFNAME`, `GLOO_SOCKET_IFNAME`, `VLLM_HOST_IP`"),
    Key("nccl", "blocksize", Whole(1024, 1 << 30), 1048576, "the size of NCCL's buffers, in bytes", "`NCCL_BUFFSIZE`"),
    # The Local Ack Timeout of the InfiniBand specification has five bits (volume 1, section 12.7.34); 0 is endless.
    Key("nccl", "ib_timeout", Whole(1, 31), 22, "InfiniBand's timeout, 4.096 µs times two to this power",
        "`NCCL_IB_TIMEOUT`"),
    Key("nccl", "debug", _DEBUG, "WARN", "the level of NCCL's messages", "`NCCL_DEBUG`"),
    Key(MODEL, "name", _SERVED_NAME, "", "the model's name in the API; empty is its key",
        "`vllm serve --served-model-name`"),
    Key(MODEL, "huggingface_id", _REPOSITORY, "", "its repository; required without `path`", "`vllm serve MODEL`"),
    Key(MODEL, "path", _DIRECTORY, "", "its local directory, in place of a repository", "`vllm serve MODEL`", True),
    Key(MODEL, "job_script", _SCRIPT, "", "none; read and ignored",
        "none; one template writes every job's script"),
    Key(MODEL, "port", _PORT, REQUIRED, "the port of its API", "`vllm serve --port`"),
    Key(MODEL, "gpus", Whole(1, 4096), 1, "GPUs on all nodes together",
        "`vllm serve --tensor-parallel-size`, `sbatch --gpus-per-node`"),
    Key(MODEL, "nodes", Whole(1, 64), 1, "nodes", "`sbatch --nodes`, `vllm serve --nnodes`"),
    Key(MODEL, "quantization", _QUANTIZATION, "", "the method of its weights; empty is that of its configuration",
        "`vllm serve --quantization`; bf16, fp16 and none set no option"),
    Key(MODEL, "vision", Flag(), False, "whether it reads pictures and videos; false saves their memory",
        "`vllm serve --limit-mm-per-prompt`, with 0 of each if false"),
    Key(MODEL, "time", TimeLimit(), "", "its time limit; empty is `slurm.time_default`", "`sbatch --time`"),
    Key(MODEL, "partition", _PARTITION, "", "its partition; empty is `slurm.partition`", "`sbatch --partition`"),
    Key(MODEL, "max_model_len", _CONTEXT, None, "its context in tokens; empty is `vllm.max_model_len_default`",
        "`vllm serve --max-model-len`", True),
    Key(MODEL, "extra_arguments", _ARGUMENTS, (), "further arguments, after those of all models",
        "`vllm serve`", True),
)  # fmt: skip
SECTIONS = tuple(dict.fromkeys(key.section for key in KEYS if key.section not in ("", MODEL)))


def in_section(section: str) -> dict[str, Key]:
    """Return the keys of a section by name."""
    return {key.name: key for key in KEYS if key.section == section}
