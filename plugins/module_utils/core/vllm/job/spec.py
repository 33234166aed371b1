# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The specification of a vLLM job, from which its script and the command lines of its ranks follow.

It lies beside the script as JSON. A job learns its nodes, addresses and ports when it runs (C(run.py)). There are
two ways to run one: the user's, without any right of an administrator, and the operator's, as a tier behind the
gateway. They differ in data only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ...errors import InvalidInputError
from ...slurm import revision
from ...text import bytes_of
from ...values import invalid
from .. import config_keys
from ..config_document import kinds

SCHEMA = 1
USER, OPERATOR = "user", "operator"
CUDA, CPU = "cuda", "cpu"
#: Bytes of the largest specification that is read.
LARGEST = 256 * 1024
_REMEDY = "launch the model again, which writes the job anew"
#: Text that stands in the script or in a command of Slurm. Neither blanks nor characters of the shell are in it.
_WORD = re.compile(r"[A-Za-z0-9_.,:@+=\[\]-]{0,256}")
#: Features of nodes with Slurm's operators. Only a directive of sbatch holds them, which no shell reads.
_FEATURES = re.compile(r"[A-Za-z0-9_.,:=*&|()\[\]-]{0,256}")
#: Slurm replaces C(%) in the name of a log; the shell would split at a blank.
_PATH = re.compile(r"/[A-Za-z0-9_./@+=:,~-]{0,400}")
_MODEL = re.compile(config_keys.MODEL_KEY)
_TIER = re.compile(r"[a-z][a-z0-9-]{0,31}")
_TIME = re.compile(kinds.TIME)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_UNPRIVILEGED = 1024
#: Begins the comment of a user's job.
_COMMENT = "herd-vllm:"
_KEY_VARIABLES = ("VLLM_API_KEY", "OPENAI_API_KEY")


def job_name(model: str) -> str:
    """Return the name of a user's jobs of a model in Slurm."""
    return f"vllm-{model}"


def log_name(model: str, job_id: str) -> str:
    """Return the name of a job's log."""
    return f"{model.replace('-', '_')}_{job_id}.out"


def spec_name(model: str, fingerprint: str) -> str:
    """Return the file name of a specification."""
    return f"{model}-{fingerprint}.json"


def fingerprint_in(comment: str) -> str:
    """Return the fingerprint in the comment of a user's job; empty if there is none."""
    return comment.rpartition(":")[2] if comment.startswith(_COMMENT) else ""


@dataclass(frozen=True)
class HostFacts:
    """A node that the inventory describes; empty values are found out on the node.

    :param address: where clients reach it; fabric and interface are for the traffic between ranks.
    """

    address: str = ""
    fabric: str = ""
    interface: str = ""


@dataclass(frozen=True)
class CacheFolders:
    """Folders of caches. Each node has a folder of its own below the first two; the files of models are shared."""

    xdg: str = ""
    triton: str = ""
    huggingface: str = ""

    def completed(self, home: str) -> CacheFolders:
        """Return all folders: those that are not configured have the programs' own places.

        :param home: the user's home directory.
        """
        xdg = self.xdg or f"{home}/.cache"
        return CacheFolders(xdg, self.triton or f"{xdg}/triton", self.huggingface or f"{xdg}/huggingface")


@dataclass(frozen=True)
class JobTiming:
    """Times of a job, in seconds.

    :param drain: for running requests, after which the job ends. Slurm's grace time must be 10 s longer.
    :param settle: from leaving the ready endpoints until the gateway sends no more requests.
    :param renew_before: from Slurm's signal until the time limit.
    :param join: until all ranks have come.
    :param rendezvous: limit of vLLM for the meeting of its ranks.
    :param load: from the start of vLLM until it answers.
    :param step: limit of a computation of all ranks.
    """

    drain: int = 25
    settle: int = 0
    renew_before: int = 120
    join: int = 300
    rendezvous: int = 1200
    load: int = 7200
    step: int = 60


@dataclass(frozen=True)
class JobSpec:
    """The specification of a job.

    :param model: key of the model in the configuration.
    :param names: names of the model in the API.
    :param source: its id at Hugging Face, or the absolute path of its folder.
    :param script: path of the job script.
    :param vllm: path of the program C(vllm), and python that of the interpreter beside it.
    :param vllm_release: version of vLLM; empty if unknown.
    :param key_file: file with the API key in its first line.
    :param arguments: arguments of C(vllm serve) that all ranks share.
    :param missing: options that this vLLM does not have.
    :param environment: variables of all ranks, over those that are set anyway.
    :param interface: the interface of the fabric; empty for the best one of each node.
    :param ports: number of ports from C(port) on, of which the first free one is taken.
    :param requeues: failures in a row after which the job is not requeued; 0 requeues never.
    :param is_renewed: whether the job requeues itself before its time limit.
    :param registry: folder of the endpoint registry; empty without a gateway.
    :param guard: socket of the port guard, which closes the ports between the ranks to all others; empty without one.
    """

    way: str
    user: str
    model: str
    names: tuple[str, ...]
    source: str
    work_dir: str
    script: str
    herdctl: str
    python: str
    vllm: str
    key_file: str
    nodes: int
    gpus_per_node: int
    cpus_per_node: int
    memory: str
    time_limit: str
    port: int
    account: str = ""
    partition: str = ""
    qos: str = ""
    gres: str = ""
    constraint: str = ""
    reservation: str = ""
    nodelist: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    ports: int = 1
    master_port_base: int = 29500
    interface: str = ""
    hosts: Mapping[str, HostFacts] = field(default_factory=dict)
    device: str = CUDA
    vllm_release: str = ""
    arguments: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    cache: CacheFolders = field(default_factory=CacheFolders)
    context: int = 0
    slots: int = 0
    timing: JobTiming = field(default_factory=JobTiming)
    requeues: int = 3
    is_renewed: bool = False
    tier: str = ""
    registry: str = ""
    guard: str = ""

    @property
    def gpus(self) -> int:
        """The GPUs of all nodes: the size of the tensor parallel group."""
        return max(1, self.gpus_per_node) * self.nodes

    @property
    def fingerprint(self) -> str:
        """The fingerprint of everything that the job runs with."""
        return revision.fingerprint(asdict(self), {})

    @property
    def job_name(self) -> str:
        """The job's name in Slurm."""
        return self.tier or job_name(self.model)

    @property
    def comment(self) -> str:
        """The job's comment in Slurm, by which it is found again and compared."""
        if self.way == OPERATOR:
            return f"by hand {revision.KEY}{self.fingerprint}"
        return f"{_COMMENT}{self.model}:{self.fingerprint}"

    @property
    def spec_path(self) -> str:
        """Path of this specification. A waiting or requeued job keeps its own, whatever is launched later."""
        return f"{self.work_dir}/jobs/{spec_name(self.model, self.fingerprint)}"

    def log_path(self, job_id: str) -> str:
        """Path of the log of all ranks; C(%j) is Slurm's placeholder of the job's number."""
        return f"{self.work_dir}/logs/{log_name(self.model, job_id)}"

    def status_path(self, job_id: str) -> str:
        """Path of the status file."""
        return f"{self.work_dir}/status/{job_id}.json"

    def job_folder(self, job_id: str) -> str:
        """Folder of a job's own files: its run with the secret, its orders and the reports of its ranks."""
        return f"{self.work_dir}/jobs/{job_id}"


def write(spec: JobSpec) -> str:
    """Write a specification as JSON."""
    return json.dumps({"schema": SCHEMA, **asdict(spec)}, indent=1, sort_keys=True) + "\n"


# How each kind of a field is read, by its type.
_PARTS: dict[str, Any] = {"CacheFolders": CacheFolders, "JobTiming": JobTiming}
_NUMBERS = {
    "port": 65535,
    "master_port_base": 65535 - config_keys.MASTER_PORT_SPAN,
    "nodes": 64,
    "gpus_per_node": 64,
    "ports": 64,
}
_MOST_WORDS, _LONGEST = 256, 4096


def _is_line(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST and value.isprintable()


def _is_plain(name: str, kind: str, value: Any) -> bool:
    """Say whether a value is one of a type without parts, within its range."""
    if kind == "str":
        return _is_line(value)
    if kind == "bool":
        return isinstance(value, bool)
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return kind == "int" and is_number and 0 <= value <= _NUMBERS.get(name, 1 << 31)


def _is_short(value: Any, kind: type[Any]) -> bool:
    return isinstance(value, kind) and len(value) <= _MOST_WORDS


def _value(name: str, kind: str, value: Any) -> Any:
    if _is_plain(name, kind, value):
        return value
    if kind == "tuple[str, ...]" and _is_short(value, list) and all(map(_is_line, value)):
        return tuple(value)
    if kind == "Mapping[str, str]" and _is_short(value, dict) and all(map(_is_line, (*value, *value.values()))):
        return value
    if kind == "Mapping[str, HostFacts]" and _is_short(value, dict):
        return {str(host): _part(HostFacts, facts, f"{name}.{host}") for host, facts in value.items()}
    if kind in _PARTS:
        return _part(_PARTS[kind], value, name)
    raise invalid(f"a value of the type {kind} as {name}", value, _REMEDY)


def _part(kind: Any, data: Any, where: str) -> Any:
    if not isinstance(data, dict):
        raise invalid(f"an object as {where}", data, _REMEDY)
    known = {one.name: str(one.type) for one in fields(kind)}
    if unknown := sorted(set(data) - set(known)):
        raise InvalidInputError(f"no unknown values in {where}", unknown[0], _REMEDY)
    try:
        return kind(**{name: _value(name, known[name], value) for name, value in data.items()})
    except TypeError as error:
        raise InvalidInputError(f"all values of {where}", str(error)[:120], _REMEDY) from error


def read(text: str) -> JobSpec:
    """Read a specification strictly: every value by its type and range."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError("a vLLM job as JSON", str(error)[:80], _REMEDY) from error
    if not isinstance(data, dict) or data.pop("schema", None) != SCHEMA:
        raise InvalidInputError(f"a vLLM job of schema {SCHEMA}", "another document", _REMEDY)
    spec: JobSpec = _part(JobSpec, data, "the job")
    check(spec)
    return spec


def _require(pattern: re.Pattern[str], what: str, value: str) -> None:
    if not pattern.fullmatch(value):
        raise invalid(what, value, "correct it in the configuration and launch again")


def check(spec: JobSpec) -> None:
    """Check what stands in the script or on a command line: a wrong value could be read as something else there.

    :raises InvalidInputError: for the first wrong value.
    """
    _require(_MODEL, "a model key of letters, digits and ._-", spec.model)
    optional = (spec.registry, spec.guard, *asdict(spec.cache).values())
    for path in (
        spec.work_dir,
        spec.script,
        spec.herdctl,
        spec.python,
        spec.vllm,
        spec.key_file,
        *filter(None, optional),
    ):
        _require(_PATH, "an absolute path without blanks, % and characters of the shell", path)
    slurm = (spec.account, spec.partition, spec.qos, spec.gres, spec.reservation, spec.interface)
    for word in (spec.user, *slurm, *spec.nodelist, *spec.exclude):
        _require(_WORD, "a name for Slurm without blanks and characters of the shell", word)
    _require(_FEATURES, "features of nodes with the operators of Slurm", spec.constraint)
    _require(_TIME, "a time limit such as 12:00:00 or 1-00:00:00", spec.time_limit)
    if not bytes_of(spec.memory):
        raise invalid("a size of memory such as 64G", spec.memory, "correct slurm.mem_per_gpu")
    if spec.tier or spec.registry:
        _require(_TIER, "a tier's name of small letters, digits and -", spec.tier)
    if spec.way not in (USER, OPERATOR) or spec.device not in (CUDA, CPU):
        raise invalid("a way and a device that exist", (spec.way, spec.device), _REMEDY)
    if spec.nodes == 0 or not spec.names or spec.port < _UNPRIVILEGED or spec.master_port_base < _UNPRIVILEGED:
        raise invalid("nodes, names and unprivileged ports", (spec.nodes, spec.names, spec.port), _REMEDY)
    if len(spec.nodelist) > spec.nodes:
        raise InvalidInputError(
            f"at most {spec.nodes} hosts in the nodelist of a job on {spec.nodes} nodes",
            ",".join(spec.nodelist),
            "name as many hosts as the model has nodes, or exclude the other hosts",
        )
    _check_secrets(spec)


def _check_secrets(spec: JobSpec) -> None:
    """Refuse a key where other users can read it."""
    for name in spec.environment:
        _require(_VARIABLE, "the name of an environment variable", name)
        if name in _KEY_VARIABLES:
            raise InvalidInputError("no key in the environment", name, f"put the key into {spec.key_file}")
    if any(word.split("=")[0] == "--api-key" for word in spec.arguments):
        raise InvalidInputError("no key among the arguments", "--api-key", f"put the key into {spec.key_file}")
