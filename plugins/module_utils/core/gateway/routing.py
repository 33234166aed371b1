# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide which tier, model and engine a request gets, or which error."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Union

from ..engine import api_paths
from . import api_errors, task_routing
from .api_errors import ApiError
from .rate_limit import RateLimits
from .tiers import Tier, TierStatus
from .user_keys import UserKey

TASK_ALIAS = "task:"
#: Values of C(X-Herd-Fallback) that forbid a fallback, and those that allow any.
_FORBID, _ALLOW = ("no", "none", "never"), ("allow", "any", "yes", "1", "true")

#: Maps a task type to a tier's name, a model's id and the reason; None for an unknown type.
Chooser = Callable[[str], Union["tuple[str, str, str]", None]]


@dataclass(frozen=True)
class GatewayConfig:
    """The rules of the inventory for requests.

    :ivar limits: rate limits by class of keys; C(default) is always there.
    :ivar retry_after: seconds after which a client may try again, where the gateway knows no better.
    """

    tiers: Mapping[str, Tier]
    limits: Mapping[str, RateLimits]
    retry_after: int
    choose: Chooser = lambda task: None
    tasks: Sequence[str] = ()


@dataclass(frozen=True)
class Place:
    """A client's path, split.

    :ivar task: task type from the path; empty without one.
    :ivar tier: the tier of the path's prefix, else of the port; empty for neither.
    :ivar path: the path without its prefix. It is only ever compared with known paths.
    """

    task: str
    tier: str
    path: str


@dataclass(frozen=True)
class Route:
    """The engine for a request.

    :ivar path: the engine's path.
    :ivar task: task type, for the log.
    :ivar model: the model's id.
    :ivar is_rewritten: whether that id must replace C(model) in the body.
    :ivar fallback_from: the tier that was requested, if a fallback takes the request; else empty.
    :ivar fallbacks: tiers that may take the request if the connection to this engine fails.
    """

    tier: str
    endpoint: str
    path: str
    task: str = ""
    model: str = ""
    is_rewritten: bool = False
    fallback_from: str = ""
    fallbacks: tuple[str, ...] = ()


class Router:
    """Decide where requests go.

    :ivar status: the present status of the tiers, which the caller updates.
    """

    def __init__(self, config: GatewayConfig) -> None:
        self.config = config
        self.status: Mapping[str, TierStatus] = {}

    def status_of(self, name: str) -> TierStatus:
        """Return a tier's present status."""
        return self.status.get(name, TierStatus())

    def has_model(self, tier: Tier, model: str) -> bool:
        """Return whether a tier has a model of this id, by the inventory or by its engine."""
        return model in tier.models or model in self.status_of(tier.name).models

    def open_tiers(self, key: UserKey) -> list[str]:
        """Return the names of the tiers that a key opens."""
        return [name for name in self.config.tiers if not key.tiers or name in key.tiers]

    def models_of(self, tier_names: Sequence[str]) -> dict[str, str]:
        """Return the models of these tiers, including unavailable ones, each with its first tier."""
        found: dict[str, str] = {}
        for name in tier_names:
            for model in (*self.config.tiers[name].models, *self.status_of(name).models):
                found.setdefault(model, name)
        return found

    def place(self, path: str, port_tier: str) -> Place:
        """Split a client's path.

        :param path: without its query.
        :param port_tier: the tier of the port; empty for none.
        """
        parts = path.split("/", 3)
        if len(parts) == 4 and parts[1] == "task":
            return Place(parts[2], port_tier, "/" + parts[3])
        first, _slash, rest = path[1:].partition("/")
        if first in self.config.tiers:
            return Place("", first, "/" + rest)
        return Place("", port_tier, path)

    def nothing_at(self, path: str, port_tier: str) -> ApiError:
        """Make the error for an unknown path. It names the right one, if the path has a common mistake."""
        right = api_paths.corrected(path)
        known = self.place(right, port_tier).path
        hint = f" Use {right}." if known in api_paths.ENGINE_PATHS or known in ("/v1/models", "/models") else ""
        return ApiError(404, f"There is nothing at {path[:200]}.{hint[:200]}", "not_found")

    def no_model(self, model: str, key: UserKey) -> ApiError:
        """Make the error for an unknown model. It lists the models that the key opens."""
        names = ", ".join(self.models_of(self.open_tiers(key)))
        message = f"There is no model {model[:200]!r}. There are: {names}."
        return ApiError(404, message, "model_not_found", param="model")

    def route(self, key: UserKey, place: Place, asked: Any, task: str, fallback: str, wall: float) -> Route:
        """Route a request to its tier, or to a fallback while that tier is unavailable.

        :param asked: C(model) of the body, of any type; None without one.
        :param task: task type from the headers; the path's comes first.
        :param fallback: value of C(X-Herd-Fallback).
        :param wall: UNIX time.
        :raises ApiError: if no engine may or can take it.
        """
        wanted = self._choose(key, place, asked, task)
        may = self.open_tiers(key)
        if wanted.tier not in may:
            raise ApiError(403, f"Your key does not allow the tier {wanted.tier}.", "tier_not_allowed")
        wanted = replace(
            wanted,
            path=api_paths.ENGINE_PATHS[place.path],
            endpoint=self.status_of(wanted.tier).endpoint,
            fallbacks=self._fallbacks(fallback, wanted.tier, may),
        )
        if self.status_of(wanted.tier).is_ready:
            return wanted
        other = self._fallback(wanted)
        if other is None:
            raise api_errors.unavailable(wanted.tier, self.status_of(wanted.tier), wall)
        return other

    def after_connect_failure(self, failed: Route) -> Route | None:
        """Route a request whose connection failed, which no engine has received.

        :returns: the tier's present engine, else a fallback; None if there is neither.
        """
        now = self.status_of(failed.tier)
        if now.is_ready and now.endpoint != failed.endpoint:
            return replace(failed, endpoint=now.endpoint)
        return self._fallback(failed)

    def _choose(self, key: UserKey, place: Place, asked: Any, task: str) -> Route:
        """Choose tier and model: by the task, else by the model's id, else by the port."""
        if asked is not None and not isinstance(asked, str):
            raise ApiError(400, "The model is not a string.", "invalid_model", param="model")
        task = place.task or task
        if not task and asked and asked.startswith(TASK_ALIAS):
            task = asked[len(TASK_ALIAS) :]
        if task:
            return self._choose_by_task(task, asked)
        tiers = self.config.tiers
        own = tiers.get(place.tier)
        if own is None and not asked:
            raise ApiError(404, f"There is no tier {place.tier[:64]!r}.", "not_found")
        if own is not None and not asked:
            return Route(own.name, "", "", model=(*own.models, "")[0], is_rewritten=own.rewrites)
        having = [tier for tier in (*([own] if own else []), *tiers.values()) if self.has_model(tier, asked)]
        if not having:
            raise self.no_model(asked, key)
        # Several tiers may have the model: the key may open only one of them.
        may = self.open_tiers(key)
        chosen = next((tier for tier in having if tier.name in may), having[0])
        return Route(chosen.name, "", "", model=asked)

    def _choose_by_task(self, task: str, asked: str | None) -> Route:
        chosen = self.config.choose(task)
        if chosen is None or chosen[0] not in self.config.tiers:
            known = ", ".join(self.config.tasks)
            raise ApiError(400, f"There is no task {task[:64]!r}. There are: {known}.", "unknown_task", param="task")
        tier = self.config.tiers[chosen[0]]
        # Only names from the inventory enter the log.
        known_task = task_routing.normal(task)
        known_task = known_task if known_task in self.config.tasks else task_routing.DEFAULT
        is_rewritten = tier.rewrites and asked != chosen[1]
        return Route(tier.name, "", "", task=known_task, model=chosen[1], is_rewritten=is_rewritten)

    def _fallbacks(self, asked: str, tier: str, may: Sequence[str]) -> tuple[str, ...]:
        """List the allowed fallbacks: the one that the request or else the inventory names, or all on request."""
        asked = asked.lower()
        if asked in _FORBID:
            return ()
        policy = self.config.tiers[tier].fallback
        names = [asked] if asked in self.config.tiers else [policy] if policy else []
        if asked in _ALLOW:
            names += list(self.config.tiers)
        return tuple(name for name in dict.fromkeys(names) if name != tier and name in may)

    def _fallback(self, wanted: Route) -> Route | None:
        """Route a request to its first fallback that is ready. Fallbacks before it are not tried again."""
        for index, name in enumerate(wanted.fallbacks):
            now = self.status_of(name)
            if now.is_ready:
                other = self.config.tiers[name]
                return replace(
                    wanted,
                    fallback_from=wanted.fallback_from or wanted.tier,
                    fallbacks=wanted.fallbacks[index + 1 :],
                    tier=name,
                    endpoint=now.endpoint,
                    model=self._model_at(other, wanted),
                    is_rewritten=other.rewrites,
                )
        return None

    def _model_at(self, other: Tier, wanted: Route) -> str:
        """Choose the model at a fallback: the requested one if it is there, else the default."""
        if self.has_model(other, wanted.model):
            return wanted.model
        own = self.config.tiers[wanted.tier]
        here, there = dict(zip(own.models, own.keys)), dict(zip(other.keys, other.models))
        return there.get(here.get(wanted.model, ""), "") or (*other.models, *self.status_of(other.name).models, "")[0]
