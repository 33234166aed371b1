# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answer requests for the list of models."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from urllib.parse import unquote

from ...core.gateway import model_list
from ...core.gateway.user_keys import UserKey
from .exchange import Exchange
from .state import GatewayState
from .upstream import EngineClient, UpstreamFailedError

#: Seconds for which an engine's description of its models is kept, and for which it is waited.
FRESH_S, PATIENCE_S = 5.0, 1.0
LARGEST = 1 << 20


class ModelList:
    """The models of all tiers, as the inventory and their engines describe them."""

    def __init__(self, state: GatewayState, engines: EngineClient) -> None:
        self._state, self._engines = state, engines
        self._described: dict[str, tuple[float, model_list.Descriptions]] = {}
        # Everybody may read the status page, and all of its readers together ask an engine once.
        self._asking = asyncio.Lock()

    async def respond(self, exchange: Exchange, path: str, key: UserKey) -> None:
        """Answer with all models that a key opens, or with one of them.

        :raises ApiError: if there is no such model.
        """
        router = self._state.router
        found = router.models_of(router.open_tiers(key))
        descriptions = await self._descriptions(set(found.values()))
        models = [
            model_list.Model(
                model, tier, router.status_of(tier).state, descriptions.get(tier, {}).get(model, model_list.UNKNOWN)
            )
            for model, tier in found.items()
        ]
        _before, is_one, name = path.partition("/models/")
        if not is_one or not name:
            body = model_list.listed(models, exchange.is_anthropic)
        else:
            name = unquote(name)
            wanted = next((model for model in models if model.id == name), None)
            if wanted is None:
                raise router.no_model(name, key)
            body = model_list.one(wanted, exchange.is_anthropic)
        await exchange.respond(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    async def loaded(self) -> dict[str, list[str]]:
        """Return the models that each ready router has loaded, by tier. An engine that is no router is not asked."""
        routers = {name for name, tier in self._state.settings.config.tiers.items() if tier.rewrites}
        described = await self._descriptions(routers)
        return {
            tier: [name for name, description in models.items() if description.is_loaded]
            for tier, models in described.items()
            if any(description.is_loaded is not None for description in models.values())
        }

    async def _descriptions(self, tiers: set[str]) -> dict[str, model_list.Descriptions]:
        """Return what the engines of these tiers say of their models, by tier."""
        status = {tier: self._state.router.status_of(tier) for tier in tiers}
        ready = {tier: found.endpoint for tier, found in status.items() if found.is_ready}
        async with self._asking:
            now = time.monotonic()
            self._described = {place: kept for place, kept in self._described.items() if now - kept[0] < FRESH_S}
            await asyncio.gather(*(self._describe(place) for place in ready.values() if place not in self._described))
            return {tier: self._described[place][1] for tier, place in ready.items()}

    async def _describe(self, endpoint: str) -> None:
        found: model_list.Descriptions = {}
        # Without it, the list is complete, too.
        with suppress(UpstreamFailedError):
            found = model_list.read(await self._engines.get(endpoint, "/v1/models", PATIENCE_S, LARGEST))
        self._described[endpoint] = (time.monotonic(), found)
