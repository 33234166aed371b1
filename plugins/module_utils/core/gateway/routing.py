# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide for each request which engine takes it, or which response it gets.

nginx passes every request here before any engine sees it. The result is either the final response, or a route: a
location of nginx and the values that nginx needs there. An engine receives only the request's body and content type,
and a path from C(api_paths).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Union

from ..engine.api_paths import ALLOWED_PATHS, GENERATION_PATHS
from . import api_errors, request_body, task_routing, user_keys
from .api_errors import as_json, error
from .http_message import Request, Response
from .nginx_upstreams import upstreams_of
from .rate_limit import RateLimiter, RateLimits
from .tiers import Tier, TierStatus

TASK_ALIAS = "task:"

#: Maps a task type to a tier's name, a model's id and the reason; None for an unknown type.
Chooser = Callable[[str], Union["tuple[str, str, str]", None]]


@dataclass(frozen=True)
class GatewayConfig:
    """The gateway's configuration, as the role gateway writes it.

    :ivar limits: rate limits by class of keys; C(default) is always there.
    :ivar retry_after: seconds after which a client may try again, where the gateway knows no better.
    :ivar watch_streams: whether the gateway itself proxies all requests that generate text.
    """

    tiers: Mapping[str, Tier]
    limits: Mapping[str, RateLimits]
    retry_after: int
    choose: Chooser = lambda task: None
    tasks: Sequence[str] = ()
    watch_streams: bool = True
    cors_origins: Collection[str] = ()


@dataclass(frozen=True)
class RouteDecision:
    """The route of a request.

    :ivar model: id that replaces C(model) in the body; empty to keep the body.
    :ivar shown_model: id of the model, for the log.
    :ivar is_proxied: whether the gateway itself proxies the request. It does so if this nginx process knows another
        endpoint or none, if the body must change, or if the response is watched.
    :ivar fallback_from: the tier that was requested, if a fallback takes the request; else empty.
    :ivar fallbacks: tiers that may take the request if the connection to this engine fails.
    :ivar at: position of the model in a large body.
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
    is_proxied: bool = False
    fallback_from: str = ""
    fallbacks: tuple[str, ...] = ()
    at: str = ""

    def headers(self) -> dict[str, str]:
        """Write the route as response headers for nginx."""
        given = {
            "X-Accel-Redirect": "@herd_proxy" if self.is_proxied else f"@tier_{self.tier}",
            "X-Herd-Tier": self.tier,
            "X-Herd-Path": self.path,
            "X-Herd-Key": self.key,
            "X-Herd-Limits": self.limits,
            "X-Herd-Task": self.task,
            "X-Herd-Model": self.shown_model,
            "X-Herd-Stream": "1" if self.stream else "0",
            "X-Herd-Proxy": f"{self.endpoint} {self.model}".strip() if self.is_proxied else "",
            "X-Herd-Fallback-From": self.fallback_from,
            "X-Herd-Fallbacks": " ".join(self.fallbacks),
            "X-Herd-At": self.at,
        }
        return {name: value for name, value in given.items() if value}


Verdict = Union[Response, RouteDecision]
#: The steps until a request's verdict is known. Other requests run between two steps.
RequestPipeline = Generator[None, None, Verdict]


def shown_keys(request: Request) -> list[str]:
    """Return all keys in a request's headers, as OpenAI's and Anthropic's clients send them."""
    found = []
    for value in request.headers.get("authorization", ()):
        kind, _blank, key = value.partition(" ")
        found.append(key.strip() if kind.lower() == "bearer" else "")
    return [*found, *request.headers.get("x-api-key", ())]


class Router:
    """Decide where requests go.

    The caller updates C(keys) and C(status). The router itself only remembers the state of the rate limits.

    :ivar keys: the user keys; None until they are known.
    :ivar status: the present status of the tiers.
    """

    def __init__(self, config: GatewayConfig) -> None:
        self.config = config
        self.keys: user_keys.UserKeys | None = None
        self.status: Mapping[str, TierStatus] = {}
        self._rate_limiter = RateLimiter()

    def status_of(self, name: str) -> TierStatus:
        """Return a tier's present status."""
        return self.status.get(name, TierStatus())

    def has_model(self, tier: Tier, model: str) -> bool:
        """Return whether a tier has a model of this id, by the inventory or by its engine."""
        return model in tier.models or model in self.status_of(tier.name).models

    def models(self) -> Response:
        """List the models of all tiers, including unavailable ones."""
        return as_json(200, {"object": "list", "data": [self._model(*pair) for pair in self._all_models()]})

    def _all_models(self) -> list[tuple[str, str]]:
        pairs: dict[str, str] = {}
        for tier in self.config.tiers.values():
            for model in (*tier.models, *self.status_of(tier.name).models):
                pairs.setdefault(model, tier.name)
        return list(pairs.items())

    def _model(self, model: str, tier: str) -> dict[str, Any]:
        state = self.status_of(tier).state
        return {
            "id": model,
            "object": "model",
            "created": 0,
            "owned_by": "herd",
            "herd": {"tier": tier, "state": state},
        }

    def authorize(self, request: Request, wall: float) -> user_keys.UserKey | Response:
        """Find the key of a request.

        :param wall: UNIX time.
        :returns: the key, or the error for a request without a valid one.
        """
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
        if self.keys is None:
            return error(
                503,
                "The gateway cannot read its key files. Its operator finds the reason in the journal of herd-gateway.",
                "gateway_unavailable",
                retry_after=self.config.retry_after,
            )
        key = user_keys.owner(self.keys.keys, shown[0])
        refused = user_keys.refusal(key, self.keys.revoked, wall)
        if key is None or refused:
            # Only the holder of a key learns whether it is revoked or expired.
            return error(401, f"The API key that you provided is {refused}.", "invalid_api_key", challenge)
        return key

    def pipeline(self, request: Request, wall: float, now: float) -> RequestPipeline:
        """Check and route a request, in steps.

        :param wall: UNIX time.
        :param now: seconds of a monotonic clock.
        """
        asked = request.target.partition("?")[0]
        task, tier_name, path = self._place(asked, request.header("x-herd-port-tier"))
        is_list = path in ("/v1/models", "/models") or path.startswith("/v1/models/")
        if path not in ALLOWED_PATHS and not is_list:
            return error(404, f"There is nothing at {asked[:200]}.", "not_found")
        methods = ("GET", "HEAD") if is_list else ("POST",)
        if request.method not in methods:
            return api_errors.wrong_method(path, methods)
        key = self.authorize(request, wall)
        if isinstance(key, Response):
            return key
        verdict = yield from self._for_key(request, key, (task, tier_name, path), now)
        if isinstance(verdict, Response):
            verdict.headers["X-Herd-Key"] = key.id
        return verdict

    def preflight(self, request: Request) -> Response | None:
        """Answer a CORS preflight request, which carries no key; None for any other request.

        nginx adds the allowed origin to every response.
        """
        origin = request.header("origin")
        if request.method != "OPTIONS" or not ({origin, "*"} & set(self.config.cors_origins)) or not origin:
            return None
        return Response(
            200,
            content_type="text/plain",
            headers={
                "Access-Control-Allow-Methods": "GET, HEAD, POST",
                "Access-Control-Allow-Headers": request.header("access-control-request-headers")[:1000],
                "Access-Control-Max-Age": "600",
            },
        )

    def _place(self, asked: str, port_tier: str) -> tuple[str, str, str]:
        """Split a path into task, tier and engine path. The engine path is only ever compared with C(api_paths)."""
        parts = asked.split("/", 3)
        if len(parts) == 4 and parts[1] == "task":
            return parts[2], port_tier, "/" + parts[3]
        first, _slash, rest = asked[1:].partition("/")
        if first in self.config.tiers:
            return "", first, "/" + rest
        return "", port_tier, asked

    def _for_key(
        self, request: Request, key: user_keys.UserKey, place: tuple[str, str, str], now: float
    ) -> RequestPipeline:
        task, tier_name, path = place
        limits = self.config.limits[key.limits]
        wait = self._rate_limiter.take(key.id, limits, now)
        if wait:
            seconds = int(wait) + 1
            return error(
                429,
                f"Too many requests for this key (limit {limits.requests_per_minute:g} per minute)."
                f" Try again in {seconds} seconds.",
                "rate_limit_exceeded",
                retry_after=seconds,
            )
        if request.method != "POST":
            return self._list(path)
        try:
            body = yield from request_body.parse(request.body)
        except request_body.NotJsonError:
            return error(400, "The request body is not a JSON object.", "invalid_json")
        except request_body.TooComplexError:
            message = f"Request body is too complex (limit {request_body.MOST_VALUES:,} JSON values)."
            return error(400, message, "body_too_complex")
        chosen = self._choose(request, body.model, task, tier_name)
        if isinstance(chosen, Response):
            return chosen
        tier, model, task, is_rewritten = chosen
        wanted = RouteDecision(
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

    def _list(self, path: str) -> Response:
        name = path[len("/v1/models/") :] if path.startswith("/v1/models/") else ""
        if not name:
            return self.models()
        tier = dict(self._all_models()).get(name)
        return as_json(200, self._model(name, tier)) if tier else self._no_model(name)

    def _no_model(self, model: str) -> Response:
        names = ", ".join(name for name, _tier in self._all_models())
        return error(404, f"There is no model {model[:200]!r}. There are: {names}.", "model_not_found", param="model")

    def _choose(
        self, request: Request, asked: Any, task: str, tier_name: str
    ) -> tuple[Tier, str, str, bool] | Response:
        """Choose tier and model: by the task, else by the model's id, else by the port.

        :returns: the tier, the model's id, the task, and whether the body must be given that id.
        """
        if asked is not None and not isinstance(asked, str):
            return error(400, "The model is not a string.", "invalid_model", param="model")
        task = task or request.header("x-herd-task") or request.header("task")
        if not task and asked and asked.startswith(TASK_ALIAS):
            task = asked[len(TASK_ALIAS) :]
        tiers = self.config.tiers
        if task:
            chosen = self.config.choose(task)
            if chosen is None or chosen[0] not in tiers:
                known = ", ".join(self.config.tasks)
                return error(400, f"There is no task {task[:64]!r}. There are: {known}.", "unknown_task", param="task")
            tier = tiers[chosen[0]]
            # Only names from the inventory enter nginx's headers and the log.
            known_task = task_routing.normal(task)
            known_task = known_task if known_task in self.config.tasks else task_routing.DEFAULT
            return tier, chosen[1], known_task, tier.rewrites and asked != chosen[1]
        own = tiers.get(tier_name)
        if own is None:
            return error(404, f"There is no tier {tier_name[:64]!r}.", "not_found")
        if not asked:
            model = (*own.models, "")[0]
            return own, model, "", own.rewrites
        if self.has_model(own, asked):
            return own, asked, "", False
        for tier in tiers.values():
            if self.has_model(tier, asked):
                return tier, asked, "", False
        return self._no_model(asked)

    def _enter(self, request: Request, wanted: RouteDecision, key: user_keys.UserKey) -> Verdict:
        """Route a request to its tier, or to a fallback while that tier is unavailable."""
        may = [name for name in self.config.tiers if not key.tiers or name in key.tiers]
        if wanted.tier not in may:
            return error(403, f"Your key does not allow the tier {wanted.tier}.", "tier_not_allowed")
        wanted = replace(wanted, fallbacks=self._fallbacks(request, wanted.tier, may))
        if not self.status_of(wanted.tier).is_ready:
            other = self._fallback(wanted)
            if other is None:
                return api_errors.unavailable(wanted.tier, self.status_of(wanted.tier))
            wanted = other
        endpoint = self.status_of(wanted.tier).endpoint
        has = upstreams_of(request.header("x-herd-upstreams")).get(wanted.tier, "")
        is_watched = self.config.watch_streams and (wanted.stream or wanted.path in GENERATION_PATHS)
        return replace(wanted, endpoint=endpoint, is_proxied=bool(wanted.model) or is_watched or has != endpoint)

    def _fallbacks(self, request: Request, tier: str, may: Sequence[str]) -> tuple[str, ...]:
        """List the allowed fallbacks: the one that the request or else the inventory names, or all on request."""
        asked = request.header("x-herd-fallback").lower()
        if asked in ("no", "none", "never"):
            return ()
        policy = self.config.tiers[tier].fallback
        names = [asked] if asked in self.config.tiers else [policy] if policy else []
        if asked in ("allow", "any", "yes", "1", "true"):
            names += list(self.config.tiers)
        return tuple(name for name in dict.fromkeys(names) if name != tier and name in may)

    def _fallback(self, wanted: RouteDecision) -> RouteDecision | None:
        """Route a request to its first fallback that is ready. Fallbacks before it are not tried again."""
        for index, name in enumerate(wanted.fallbacks):
            now = self.status_of(name)
            if now.is_ready:
                other = self.config.tiers[name]
                model = self._model_at(other, wanted)
                return replace(
                    wanted,
                    fallback_from=wanted.fallback_from or wanted.tier,
                    fallbacks=wanted.fallbacks[index + 1 :],
                    tier=name,
                    endpoint=now.endpoint,
                    model=model if other.rewrites else "",
                    shown_model=model,
                )
        return None

    def _model_at(self, other: Tier, wanted: RouteDecision) -> str:
        """Choose the model at a fallback: the requested one if it is there, else the default."""
        model = wanted.shown_model
        if self.has_model(other, model):
            return model
        own = self.config.tiers[wanted.tier]
        here, there = dict(zip(own.models, own.keys)), dict(zip(other.keys, other.models))
        return there.get(here.get(model, ""), "") or (*other.models, *self.status_of(other.name).models, "")[0]

    def upstream_failed(self, request: Request) -> Verdict:
        """Decide about a request whose upstream failed before the client received anything.

        nginx reports the failure in headers. A request whose connection failed was never sent: it goes to the tier's
        present engine, or to a fallback. No other request is sent a second time.
        """
        name = request.header("x-herd-failed-tier")
        now = self.status_of(name)
        # The last try counts. nginx logs no time for a failed connection; the gateway itself says so in a header.
        connect_time = request.header("x-herd-failed-connect-time").split(" ")[-1]
        connect_failed = connect_time == "-" or request.header("x-herd-connect-failed")
        proxied_to = request.header("x-herd-failed-proxy").partition(" ")[0]
        had = proxied_to or upstreams_of(request.header("x-herd-upstreams")).get(name, "")
        tier = self.config.tiers.get(name)
        if connect_failed and tier is not None:
            model = request.header("x-herd-model")
            given = RouteDecision(
                tier=name,
                endpoint=now.endpoint,
                path=request.header("x-herd-path"),
                key=request.header("x-herd-key"),
                limits=request.header("x-herd-limits"),
                task=request.header("x-herd-task"),
                model=model if tier.rewrites else "",
                shown_model=model,
                stream=request.header("x-herd-stream") == "1",
                is_proxied=True,
                fallback_from=request.header("x-herd-fallback-from"),
                at=request.header("x-herd-at"),
                fallbacks=tuple(n for n in request.header("x-herd-fallbacks").split() if n in self.config.tiers),
            )
            found = given if now.is_ready and now.endpoint != had else self._fallback(given)
            if found is not None:
                return found
        status = request.header("x-herd-failed-status").split(" ")[-1]
        return api_errors.upstream_failed(name, now, status, self.config.retry_after)
