# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The model, its files and its caches.

The messages are those of vLLM 0.32.0, huggingface_hub and transformers.
"""

from __future__ import annotations

import re

from .rule import Settings, rule

_MODEL, _CACHE, _CONTEXT, _NODE = (
    "model-unavailable", "cache-not-writable", "context-too-long", "node-unsuitable",
)  # fmt: skip


def _whole(number: str) -> str:
    return number.partition(".")[0]


def _context_reason(found: re.Match[str], _settings: Settings) -> str:
    return f"max_model_len {found['len']} is more than the {_whole(found['most'])} tokens that the model knows"


def _context_cure(found: re.Match[str], _settings: Settings) -> str:
    return f"set max_model_len (or vllm.max_model_len_default) to {_whole(found['most'])} or less"


RULES = (
    rule(
        "max-model-len-too-large",
        "is greater than the derived max_model_len",
        r"User-specified max_model_len \((?P<len>\d+)\) is greater than the derived max_model_len "
        r"\((?:\w+=)?(?P<most>[\d.]+)",
        _context_reason,
        _context_cure,
        _CONTEXT,
        is_permanent=True,
    ),
    rule(
        "model-gated",
        "gated repo",
        r"(?:Cannot access gated repo(?: for url (?P<url>\S+))?|GatedRepoError|You are trying to access a gated repo)",
        "the model is gated, and your Hugging Face account has no access",
        "accept the licence on the model's page, then log in: huggingface-cli login (HF_TOKEN stays in your cache)",
        _MODEL,
        is_permanent=True,
    ),
    rule(
        "model-gated",
        "GatedRepoError",
        r"GatedRepoError",
        "the model is gated, and your account has no access",
        "accept the licence on the model's page, then log in: huggingface-cli login",
        _MODEL,
        is_permanent=True,
    ),
    rule(
        "model-gated",
        "huggingface.co",
        r"40[13] Client Error: (?P<what>Unauthorized|Forbidden) for url: \S*huggingface",
        "Hugging Face refuses the download ({what}): the model is gated, or the token is wrong",
        "accept the licence on the model's page, then log in: huggingface-cli login",
        _MODEL,
        is_permanent=True,
    ),
    rule(
        "model-not-found",
        "is not a valid model identifier",
        r"(?P<model>\S+) is not a local folder and is not a valid "
        r"model identifier",
        "Hugging Face has no model {model}, or it is private",
        "correct models.<key>.huggingface_id",
        _MODEL,
        is_permanent=True,
    ),
    rule(
        "model-not-found",
        "RepositoryNotFoundError",
        r"RepositoryNotFoundError",
        "Hugging Face has no such model, or it is private",
        "correct models.<key>.huggingface_id",
        _MODEL,
        is_permanent=True,
    ),
    rule(
        "model-path-missing",
        "Repo id must be in the form",
        r"Repo id must be in the form 'repo_name' or 'namespace/repo_name': '(?P<path>[^']*)'",
        "the folder {path} does not exist on a node of the job",
        "put the model into a directory that all nodes share, and correct models.<key>.path",
        _MODEL,
        is_permanent=True,
    ),
    rule(
        "model-not-cached",
        "Cannot find an appropriate cached snapshot",
        r"Cannot find an appropriate cached snapshot folder",
        "the model is not in the cache, and the nodes may not download",
        "download it on the login node; cache.huggingface_cache must be a directory that all nodes share",
        _MODEL,
        is_permanent=True,
    ),
    rule(
        "model-not-cached",
        "LocalEntryNotFoundError",
        r"LocalEntryNotFoundError",
        "a file of the model is not in the cache, and the nodes cannot download it",
        "download it on the login node; cache.huggingface_cache must be shared by all nodes",
        _MODEL,
        is_permanent=True,
    ),
    rule(
        "hub-unreachable",
        "huggingface.co",
        r"(?:MaxRetryError|ConnectionError|ConnectTimeout|Network is unreachable|Temporary failure in name resolution)"
        r".{0,300}huggingface\.co|huggingface\.co.{0,300}(?:Max retries exceeded|Network is unreachable)",
        "a node cannot reach Hugging Face: compute nodes often have no internet",
        "download the model on the login node; cache.huggingface_cache must be shared by all nodes",
        _MODEL,
    ),
    rule(
        "model-damaged",
        "safetensor",
        r"(?:SafetensorError|Error while deserializing header|MetadataIncompleteBuffer|"
        r"InvalidHeaderDeserialization)",
        "a file of the model is damaged or incomplete",
        "remove the model from the cache (herdctl vllm cleanup --model KEY) and download it again",
        _MODEL,
        is_permanent=True,
    ),
    rule(
        "model-damaged",
        "Error while deserializing header",
        r"Error while deserializing header",
        "a file of the model is damaged or incomplete",
        "remove the model from the cache (herdctl vllm cleanup --model KEY) and download it again",
        _MODEL,
        is_permanent=True,
    ),
    rule(
        "architecture-unsupported",
        "are not supported for now",
        r"Model architectures \[(?P<names>[^\]]*)\] are not supported for now",
        "this vLLM release does not know the architecture {names}",
        "choose a newer vLLM release",
        _MODEL,
        is_permanent=True,
    ),
    rule(
        "architecture-unsupported",
        "does not recognize this architecture",
        r"model type `(?P<name>[^`]*)` but "
        r"Transformers does not recognize this architecture",
        "the installed transformers does not know {name}",
        "install the versions that belong together (playbooks/vllm.yml)",
        _NODE,
        is_permanent=True,
    ),
    rule(
        "dev-null-not-writable",
        "'/dev/null'",
        r"Permission denied: '/dev/null'",
        "the node's /dev/null cannot be written",
        "tell the cluster's support: its mode must be 0666",
        _CACHE,
        is_permanent=True,
    ),
    rule(
        "cache-not-writable",
        "Permission denied",
        r"\[Errno 13\] Permission denied: '(?P<path>[^']+)'",
        "{path} cannot be written",
        "set cache.xdg_cache_home and cache.triton_cache_dir to directories of yours that the compute nodes may write",
        _CACHE,
        is_permanent=True,
    ),
    rule(
        "cache-not-writable",
        "Read-only file system",
        r"\[Errno 30\] Read-only file system: '(?P<path>[^']+)'",
        "{path} is on a file system that this node may only read",
        "set cache.xdg_cache_home and cache.triton_cache_dir to directories that the compute nodes may write",
        _CACHE,
        is_permanent=True,
    ),
)
