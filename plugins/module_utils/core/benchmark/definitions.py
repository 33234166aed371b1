# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Name the metrics of a benchmark: unit, definition, and what other tools call them.

Sources: the README of llama-benchy ("Metrics"), docs/guides/metrics.md of guidellm, and C(vllm bench serve), whose
TTFT is the time to the first event of any kind.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One metric of requests.

    :ivar llama_benchy: its name there; empty if the tool does not have it. C(guidellm) and C(vllm_bench) likewise.
    """

    name: str
    unit: str
    meaning: str
    more_is_better: bool
    llama_benchy: str = ""
    guidellm: str = ""
    vllm_bench: str = ""


#: Metrics of one request. Each is summarised over the requests of a repetition.
REQUEST_METRICS = (
    Metric(
        "ttfr_ms",
        "ms",
        "from the request to the first event of the response, whatever it holds",
        False,
        llama_benchy="ttfr",
        vllm_bench="ttft",
    ),
    Metric(
        "ttft_ms",
        "ms",
        "from the request to the first generated token; a token of reasoning counts",
        False,
        guidellm="time_to_first_token_ms",
    ),
    Metric(
        "ttfot_ms",
        "ms",
        "from the request to the first token of the answer itself",
        False,
        llama_benchy="e2e_ttft",
        guidellm="time_to_first_output_token_ms",
    ),
    Metric(
        "itl_ms",
        "ms",
        "mean time between two generated tokens, without the wait for the first",
        False,
        guidellm="inter_token_latency_ms",
        vllm_bench="tpot",
    ),
    Metric(
        "tpot_ms",
        "ms",
        "mean time for each generated token, with the wait for the first",
        False,
        guidellm="time_per_output_token_ms",
    ),
    Metric(
        "request_latency_ms",
        "ms",
        "from the request to the end of its response",
        False,
        guidellm="request_latency",
        vllm_bench="e2el",
    ),
    Metric(
        "prompt_tokens_per_second",
        "tokens/s",
        "computed tokens of the prompt, divided by the time to first response less the latency of an empty request",
        True,
        llama_benchy="pp t/s",
    ),
    Metric(
        "output_tokens_per_second",
        "tokens/s",
        "generated tokens less one, divided by the time from the first to the last",
        True,
        llama_benchy="tg t/s",
    ),
)

#: Metrics of a whole repetition: all of its requests together.
RUN_METRICS = (
    Metric(
        "total_output_tokens_per_second",
        "tokens/s",
        "generated tokens of all requests, divided by the time from the first request to the last end",
        True,
        guidellm="output_tokens_per_second",
        vllm_bench="output_throughput",
    ),
    Metric(
        "total_tokens_per_second",
        "tokens/s",
        "tokens of all prompts and answers, divided by the same time",
        True,
        guidellm="tokens_per_second",
        vllm_bench="total_token_throughput",
    ),
    Metric(
        "requests_per_second",
        "requests/s",
        "requests that succeeded, divided by the same time",
        True,
        guidellm="requests_per_second",
        vllm_bench="request_throughput",
    ),
    Metric(
        "goodput",
        "requests/s",
        "requests that succeeded and met the stated objective, divided by the same time",
        True,
        vllm_bench="request_goodput",
    ),
)
