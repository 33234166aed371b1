# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the gateway answers to a request, or which tier nginx shall take it to.

nginx hands every request over before any engine sees it. Either the gateway's answer is the final one, or it names a
place in nginx's configuration, and the facts that nginx needs there. Nothing of what the client sent goes on to an
engine but the body, its type, and a path that is written here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Union

from . import request_body, task_routing, user_keys
from .http import Answer, Request, as_json, error
from .rate_limit import Buckets, Limits

#: What is asked of an engine through the gateway. Its other paths change it, or tell of other users' requests.
ENGINE_PATHS = frozenset(
    {
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/messages",
        "/v1/messages/count_tokens",
        "/v1/rerank",
        "/v1/responses",
        "/chat/completions",
        "/completions",
        "/embeddings",
        "/apply-template",
        "/completion",
        "/detokenize",
        "/infill",
        "/tokenize",
    }
)
#: Of these the answer tells how many tokens it has.
TOLD_PATHS = frozenset(
    {
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/messages",
        "/v1/responses",
        "/chat/completions",
        "/completions",
        "/completion",
        "/infill",
    }
)
TASK_ALIAS = "task:"
READY = "ready"
#: Seconds after which a client may come again where nobody knows better.
SOON = 5


@dataclass(frozen=True)
class Tier:
    """A tier as the inventory has it.

    :ivar models: ids under which its models are asked for; the first is its default.
    :ivar keys: the inventory's names of these models: two tiers may serve one under different ids.
    :ivar rewrites: whether its engine looks at the C(model) of a request: a router does.
    :ivar fallback: the tier that answers when this one is away, without having been asked to; empty for none.
    """

    name: str
    models: tuple[str, ...] = ()
    rewrites: bool = False
    fallback: str = ""
    port: int = 0
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Now:
    """A tier as it is.

    :ivar endpoint: address and port of the engine that answers; empty where none does.
    :ivar models: what that engine says it has.
    """

    state: str = "unknown"
    reason: str = "nobody knows its state"
    retry_after: int = 30
    endpoint: str = ""
    models: tuple[str, ...] = ()
    percent: float | None = None
    expected: float | None = None

    @property
    def is_ready(self) -> bool:
        """Whether requests may go there."""
        return self.state == READY and bool(self.endpoint)


#: From a type of task to the name of a tier, the id of a model, and why; None for a type that there is not.
Chooser = Callable[[str], Union["tuple[str, str, str]", None]]


@dataclass(frozen=True)
class Site:
    """What the gateway was told when it was installed."""

    tiers: Mapping[str, Tier]
    limits: Mapping[str, Limits] = field(default_factory=dict)
    choose: Chooser = lambda task: None
    tasks: Sequence[str] = ()
    paths: Collection[str] = ENGINE_PATHS
    watch_streams: bool = True
    cors_origins: Collection[str] = ()


@dataclass(frozen=True)
class Forward:
    """Where nginx shall take a request.

    :ivar model: what the body's C(model) must be replaced by; empty where it may stay.
    :ivar shown_model: the id of the model, for the log.
    :ivar relay: whether the gateway itself takes it there, since nginx's process knows another endpoint, or none, since
        the body must be changed, or since its answer is watched.
    :ivar at: where in the body its model is, if the body is large.
    :ivar stand_ins: tiers that may answer instead if no connection to this one's engine comes about.
    """

    tier: str
    endpoint: str
    path: str
    key: str = ""
    limits: str = ""
    task: str = ""
    model: str = ""
    shown_model: str = ""
    stream: bool = False
    relay: bool = False
    fallback_from: str = ""
    stand_ins: tuple[str, ...] = ()
    at: str = ""

    def headers(self) -> dict[str, str]:
        """Say it to nginx."""
        given = {
            "X-Accel-Redirect": "@herd_relay" if self.relay else f"@tier_{self.tier}",
            "X-Herd-Tier": self.tier,
            "X-Herd-Path": self.path,
            "X-Herd-Key": self.key,
            "X-Herd-Limits": self.limits,
            "X-Herd-Task": self.task,
            "X-Herd-Model": self.shown_model,
            "X-Herd-Stream": "1" if self.stream else "0",
            "X-Herd-Relay": f"{self.endpoint} {self.model}".strip() if self.relay else "",
            "X-Herd-Fallback-From": self.fallback_from,
            "X-Herd-Stand-Ins": " ".join(self.stand_ins),
            "X-Herd-At": self.at,
        }
        return {name: value for name, value in given.items() if value}


Verdict = Union[Answer, Forward]


def upstreams_of(header: str) -> dict[str, str]:
    """Read which endpoints the process of nginx has that handed a request over: C(fast=10.0.0.42:8080 reasoning=-)."""
    pairs = (pair.partition("=") for pair in header.split())
    return {name: endpoint if endpoint != "-" else "" for name, _sign, endpoint in pairs}


def shown_keys(request: Request) -> list[str]:
    """Give every key that a request shows, as OpenAI's and as Anthropic's clients do."""
    found = []
    for value in request.headers.get("authorization", ()):
        kind, _blank, key = value.partition(" ")
        found.append(key.strip() if kind.lower() == "bearer" else "")
    return [*found, *request.headers.get("x-api-key", ())]


def away(tier: str, now: Now, more: Mapping[str, Any] | None = None) -> Answer:
    """Say that a tier does not answer, why, and when to come again."""
    detail: dict[str, Any] = {"tier": tier, "state": now.state, **(more or {})}
    if now.percent is not None:
        detail["percent"] = now.percent
    if now.expected is not None:
        detail["expected"] = now.expected
    seconds = max(1, int(now.retry_after))
    return error(
        503,
        f"The tier {tier} does not answer at present: {now.reason}. Try again in {seconds} seconds.",
        "tier_unavailable",
        {"Retry-After": str(seconds), "X-Herd-Tier": tier},
        {"herd": detail},
    )


def unsent() -> Answer:
    """Say to nginx that no connection to an engine came about, so that it asks what becomes of the request."""
    return Answer(502, headers={"X-Herd-Unsent": "1"})


def failing(tier: str, now: Now, status: str) -> Answer:
    """Say that an engine that should answer does not.

    :param status: how nginx, or the engine, put it.
    """
    why = {
        "401": "its engine does not accept the gateway's key",
        "503": "its engine loads a model",
        "504": "its engine gave no answer in time",
    }.get(status, "its engine ended before it answered")
    return away(tier, replace(now, state="failing", reason=why, retry_after=SOON) if now.is_ready else now)


class Router:
    """Decides. What changes (keys, tiers) is put in from outside; buckets are all that it remembers."""

    def __init__(self, site: Site) -> None:
        self.site = site
        #: Whose keys are good; None while that is not known.
        self.admitted: user_keys.Admitted | None = None
        self.now: Mapping[str, Now] = {}
        self._buckets = Buckets()

    def tier_now(self, name: str) -> Now:
        """Say how a tier is."""
        return self.now.get(name, Now())

    def is_known(self, tier: Tier, model: str) -> bool:
        """Whether a tier has a model of this id, by the inventory or by what its engine says."""
        return model in tier.models or model in self.tier_now(tier.name).models

    def models(self) -> Answer:
        """List the models of all tiers, also of those that are away: they are asked for in the same way."""
        return as_json(200, {"object": "list", "data": [self._model(*pair) for pair in self._all_models()]})

    def _all_models(self) -> list[tuple[str, str]]:
        pairs: dict[str, str] = {}
        for tier in self.site.tiers.values():
            for model in (*tier.models, *self.tier_now(tier.name).models):
                pairs.setdefault(model, tier.name)
        return list(pairs.items())

    def _model(self, model: str, tier: str) -> dict[str, Any]:
        state = self.tier_now(tier).state
        return {
            "id": model,
            "object": "model",
            "created": 0,
            "owned_by": "herd",
            "herd": {"tier": tier, "state": state},
        }

    # A request, step by step

    def authorize(self, request: Request, wall: float) -> user_keys.Key | Answer:
        """Find whose request it is."""
        shown = [key for key in shown_keys(request) if key]
        challenge = {"WWW-Authenticate": "Bearer"}
        if not shown:
            return error(
                401,
                "You did not provide an API key. Put it into the header: Authorization: Bearer KEY.",
                "invalid_api_key",
                challenge,
            )
        if len(set(shown)) > 1:
            return error(401, "You provided more than one API key.", "invalid_api_key", challenge)
        if self.admitted is None:
            return error(
                503,
                "The gateway cannot read which keys are good. Its operator finds why in the journal of herd-gateway.",
                "gateway_unavailable",
                {"Retry-After": str(SOON)},
            )
        key = user_keys.owner(self.admitted.keys, shown[0])
        refused = user_keys.refusal(key, self.admitted.revoked, wall)
        if key is None or refused:
            # Whether a key was ever good is nobody's business who does not hold it; who holds it may know.
            return error(401, f"The API key that you provided is {refused}.", "invalid_api_key", challenge)
        return key

    def decide(self, request: Request, wall: float, now: float) -> Verdict:
        """Answer, or say where it goes, without a pause."""
        steps = self.steps(request, wall, now)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                verdict: Verdict = end.value
                return verdict

    def steps(self, request: Request, wall: float, now: float) -> Generator[None, None, Verdict]:
        """Answer, or say where it goes, with pauses in which others have their turn.

        :param wall: UNIX time.
        :param now: seconds of a clock that does not jump.
        """
        asked = request.target.partition("?")[0]
        task, tier_name, path = self._place(asked, request.header("x-herd-port-tier"))
        is_list = path in ("/v1/models", "/models") or path.startswith("/v1/models/")
        if path not in self.site.paths and not is_list:
            return error(404, f"There is nothing at {asked[:200]}.", "not_found")
        methods = ("GET", "HEAD") if is_list else ("POST",)
        if request.method not in methods:
            allowed = {"Allow": ", ".join(methods)}
            return error(405, f"{path} is asked with {methods[0]}.", "method_not_allowed", allowed)
        key = self.authorize(request, wall)
        if isinstance(key, Answer):
            return key
        verdict = yield from self._for_key(request, key, (task, tier_name, path), now)
        if isinstance(verdict, Answer):
            verdict.headers["X-Herd-Key"] = key.id
        return verdict

    def preflight(self, request: Request) -> Answer | None:
        """Answer a browser that asks whether a page of another site may send a request; it shows no key for that.

        nginx says with every answer which site may read it.
        """
        origin = request.header("origin")
        if request.method != "OPTIONS" or not ({origin, "*"} & set(self.site.cors_origins)) or not origin:
            return None
        return Answer(
            200,
            content_type="text/plain",
            headers={
                "Access-Control-Allow-Methods": "GET, HEAD, POST",
                "Access-Control-Allow-Headers": request.header("access-control-request-headers")[:1000],
                "Access-Control-Max-Age": "600",
            },
        )

    def _place(self, asked: str, port_tier: str) -> tuple[str, str, str]:
        """Take task and tier from a path; the rest of it is compared literally, so that there are no tricks."""
        parts = asked.split("/", 3)
        if len(parts) == 4 and parts[1] == "task":
            return parts[2], port_tier, "/" + parts[3]
        first, _slash, rest = asked[1:].partition("/")
        if first in self.site.tiers:
            return "", first, "/" + rest
        return "", port_tier, asked

    def _for_key(
        self, request: Request, key: user_keys.Key, place: tuple[str, str, str], now: float
    ) -> Generator[None, None, Verdict]:
        task, tier_name, path = place
        limits = self.site.limits.get(key.limits, Limits())
        wait = self._buckets.take(key.id, limits, now)
        if wait:
            seconds = int(wait) + 1
            return error(
                429,
                f"More than {limits.requests_per_minute:g} requests a minute. Try again in {seconds} seconds.",
                "rate_limit_exceeded",
                {"Retry-After": str(seconds)},
            )
        if request.method != "POST":
            return self._list(path)
        try:
            body = yield from request_body.read(request.body)
        except request_body.NotJsonError:
            return error(400, "The body is no JSON object.", "invalid_json")
        except request_body.TooMuchError:
            return error(400, "The body has more strings, lists and objects than any prompt.", "body_too_complex")
        chosen = self._choose(request, body.model, task, tier_name)
        if isinstance(chosen, Answer):
            return chosen
        tier, model, task, is_rewritten = chosen
        wanted = Forward(
            tier=tier.name,
            endpoint="",
            path=path,
            key=key.id,
            limits=key.limits,
            task=task,
            model=model if is_rewritten else "",
            shown_model=model,
            stream=body.stream,
            at=body.at,
        )
        return self._enter(request, wanted, key)

    def _list(self, path: str) -> Answer:
        name = path[len("/v1/models/") :] if path.startswith("/v1/models/") else ""
        if not name:
            return self.models()
        tier = dict(self._all_models()).get(name)
        return as_json(200, self._model(name, tier)) if tier else self._no_model(name)

    def _no_model(self, model: str) -> Answer:
        names = ", ".join(name for name, _tier in self._all_models())
        return error(404, f"There is no model {model[:200]!r}. There are: {names}.", "model_not_found", param="model")

    def _choose(self, request: Request, asked: Any, task: str, tier_name: str) -> tuple[Tier, str, str, bool] | Answer:
        """Choose tier and model: by the task, else by the model's id, else by the port.

        :returns: the tier, the model's id, the task, and whether the body must be given that id.
        """
        if asked is not None and not isinstance(asked, str):
            return error(400, "The model is no text.", "invalid_model", param="model")
        task = task or request.header("x-herd-task") or request.header("task")
        if not task and asked and asked.startswith(TASK_ALIAS):
            task = asked[len(TASK_ALIAS) :]
        tiers = self.site.tiers
        if task:
            chosen = self.site.choose(task)
            if chosen is None or chosen[0] not in tiers:
                known = ", ".join(self.site.tasks)
                return error(400, f"There is no task {task[:64]!r}. There are: {known}.", "unknown_task", param="task")
            tier = tiers[chosen[0]]
            # Only words of the inventory go on, into nginx's headers and into the log.
            known_task = task_routing.normal(task)
            known_task = known_task if known_task in self.site.tasks else task_routing.DEFAULT
            return tier, chosen[1], known_task, tier.rewrites and asked != chosen[1]
        own = tiers.get(tier_name)
        if own is None:
            return error(404, f"There is no tier {tier_name[:64]!r}.", "not_found")
        if not asked:
            model = (*own.models, "")[0]
            return own, model, "", own.rewrites
        if self.is_known(own, asked):
            return own, asked, "", False
        for tier in tiers.values():
            if self.is_known(tier, asked):
                return tier, asked, "", False
        return self._no_model(asked)

    def _enter(self, request: Request, wanted: Forward, key: user_keys.Key) -> Verdict:
        """Go where a request wants to, or elsewhere if it may."""
        may = [name for name in self.site.tiers if not key.tiers or name in key.tiers]
        if wanted.tier not in may:
            return error(403, f"Your key does not open the tier {wanted.tier}.", "tier_not_allowed")
        wanted = replace(wanted, stand_ins=self._stand_ins(request, wanted.tier, may))
        if not self.tier_now(wanted.tier).is_ready:
            elsewhere = self._elsewhere(wanted)
            if elsewhere is None:
                return away(wanted.tier, self.tier_now(wanted.tier))
            wanted = elsewhere
        endpoint = self.tier_now(wanted.tier).endpoint
        has = upstreams_of(request.header("x-herd-upstreams")).get(wanted.tier, "")
        is_watched = self.site.watch_streams and (wanted.stream or wanted.path in TOLD_PATHS)
        return replace(wanted, endpoint=endpoint, relay=bool(wanted.model) or is_watched or has != endpoint)

    def _stand_ins(self, request: Request, tier: str, may: Sequence[str]) -> tuple[str, ...]:
        """Name the tiers that may stand in: one that the request names, or the inventory, or any if it says so."""
        asked = request.header("x-herd-fallback").lower()
        if asked in ("no", "none", "never"):
            return ()
        policy = self.site.tiers[tier].fallback
        names = [asked] if asked in self.site.tiers else [policy] if policy else []
        if asked in ("allow", "any", "yes", "1", "true"):
            names += list(self.site.tiers)
        return tuple(name for name in dict.fromkeys(names) if name != tier and name in may)

    def _elsewhere(self, wanted: Forward) -> Forward | None:
        """Take a request to the first tier that may stand in and answers; those before it are not tried again."""
        for index, name in enumerate(wanted.stand_ins):
            now = self.tier_now(name)
            if now.is_ready:
                other = self.site.tiers[name]
                model = self._model_there(other, wanted)
                return replace(
                    wanted,
                    fallback_from=wanted.fallback_from or wanted.tier,
                    stand_ins=wanted.stand_ins[index + 1 :],
                    tier=name,
                    endpoint=now.endpoint,
                    model=model if other.rewrites else "",
                    shown_model=model,
                )
        return None

    def _model_there(self, other: Tier, wanted: Forward) -> str:
        """Choose the model of a tier that stands in: the one that was asked for if it has it, else its default."""
        model = wanted.shown_model
        if self.is_known(other, model):
            return model
        own = self.site.tiers[wanted.tier]
        here, there = dict(zip(own.models, own.keys)), dict(zip(other.keys, other.models))
        return there.get(here.get(model, ""), "") or (*other.models, *self.tier_now(other.name).models, "")[0]

    def gone(self, request: Request) -> Verdict:
        """Say what becomes of a request whose engine gave no answer. Nothing of it has reached the client.

        nginx tells what it met: no request is sent a second time, but one that found nobody to be sent to has not
        been sent at all, and goes to the engine that there is now, or to a tier that may stand in.
        """
        name = request.header("x-herd-gone")
        now = self.tier_now(name)
        # The last try counts. nginx logs no time for a failed connection; the gateway itself says so in a header.
        is_unsent = request.header("x-herd-gone-connect").split(" ")[-1] == "-" or request.header("x-herd-gone-unsent")
        relayed = request.header("x-herd-gone-relay").partition(" ")[0]
        had = relayed or upstreams_of(request.header("x-herd-upstreams")).get(name, "")
        tier = self.site.tiers.get(name)
        if is_unsent and tier is not None:
            model = request.header("x-herd-model")
            given = Forward(
                tier=name,
                endpoint=now.endpoint,
                path=request.header("x-herd-path"),
                key=request.header("x-herd-key"),
                limits=request.header("x-herd-limits"),
                task=request.header("x-herd-task"),
                model=model if tier.rewrites else "",
                shown_model=model,
                stream=request.header("x-herd-stream") == "1",
                relay=True,
                fallback_from=request.header("x-herd-fallback-from"),
                at=request.header("x-herd-at"),
                stand_ins=tuple(n for n in request.header("x-herd-stand-ins").split() if n in self.site.tiers),
            )
            found = given if now.is_ready and now.endpoint != had else self._elsewhere(given)
            if found is not None:
                return found
        return failing(name, now, request.header("x-herd-gone-status").split(" ")[-1])
