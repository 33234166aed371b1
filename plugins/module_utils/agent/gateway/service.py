# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway's service: it starts, tells systemd, serves, and ends when the last response has ended."""

from __future__ import annotations

import asyncio
import gc
import importlib
import signal
import socket
from contextlib import suppress

from ...core.errors import NotFoundError
from ..common.log import log
from ..common.systemd_notify import notify
from .handlers import Gateway
from .settings import GatewaySettings, read_settings
from .stalled_upstreams import end_stalled

with suppress(ImportError):
    # Only the gateway's own environment has it.
    from aiohttp import web
    from aiohttp.http_exceptions import BadHttpMethod

WATCHDOG_EVERY_S = 5.0
REFRESH_EVERY_S = 0.05
SWEEP_EVERY_S = 1.0
#: Seconds that cut streams have to send their last event, and that a new connection has to send its request.
LAST_EVENT_S, FIRST_REQUEST_S = 5.0, 5.0
#: Seconds until asyncio serves each connection that it has accepted.
ACCEPTED_S = 0.1
#: Bytes of the longest line of a request's head, and most of its headers; nginx allows less.
_LONGEST_LINE = 64 * 1024
_MOST_HEADERS = 1000


def check_libraries() -> None:
    """Check that aiohttp has its C parser: several attacks work with its Python parser only.

    :raises NotFoundError: if it has not, or is not installed.
    """
    try:
        importlib.import_module("msgspec")
        importlib.import_module("prometheus_client")
        parser = importlib.import_module("aiohttp.http_parser")
    except ImportError as error:
        raise NotFoundError(
            "the libraries of the gateway's environment", str(error), "run the role gateway, which installs them"
        ) from error
    if parser.HttpRequestParser is parser.HttpRequestParserPy:
        raise NotFoundError(
            "aiohttp with its C extensions",
            "its Python parser",
            "install the wheel of the lock file, and unset AIOHTTP_NO_EXTENSIONS",
        )


def make_server(gateway: Gateway) -> web.Server:
    """Return the HTTP server of a gateway. A handler is cancelled when its client leaves."""

    class ClientConnection(web.RequestHandler):
        """A connection whose invalid requests get an error in the API's shape."""

        def handle_error(
            self,
            request: web.BaseRequest,
            status: int = 500,
            exc: BaseException | None = None,
            message: str | None = None,
        ) -> web.StreamResponse:
            if request.writer.output_size > 0:
                raise ConnectionResetError("a part of the response was sent already")
            return gateway.invalid_request(request, is_unknown_method=isinstance(exc, BadHttpMethod))

    class Server(web.Server):
        """A server of such connections."""

        def __call__(self) -> web.RequestHandler:
            return ClientConnection(
                self,
                loop=asyncio.get_running_loop(),
                auto_decompress=False,
                max_line_size=_LONGEST_LINE,
                max_field_size=_LONGEST_LINE,
                max_headers=_MOST_HEADERS,
            )

    return Server(gateway.handle, handler_cancellation=True)


async def _repeat(gateway: Gateway) -> None:
    """Read changed files between requests, and end exchanges with engines that make no progress."""
    swept = 0.0
    while True:
        await asyncio.sleep(REFRESH_EVERY_S if gateway.is_awake else SWEEP_EVERY_S)
        now = asyncio.get_running_loop().time()
        try:
            gateway.refresh()
            if now - swept >= SWEEP_EVERY_S:
                swept = now
                gateway.engines.sweep()
                gateway.collect()
                gateway.refresh_budgets()
        except Exception as error:
            # The next turn may succeed, and no other task does this.
            log(f"reading files or ending stalled responses failed: {type(error).__name__}: {error}")


async def _watch(stopping: asyncio.Event) -> None:
    """Tell systemd that the gateway is alive, until it is told to stop."""
    while not stopping.is_set():
        notify("WATCHDOG=1")
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(stopping.wait(), WATCHDOG_EVERY_S)


async def _drain(server: web.Server, gateway: Gateway, seconds: float) -> None:
    """Wait until the running responses have ended, then end the others in the API's own shape."""
    loop = asyncio.get_running_loop()
    began = loop.time()

    def must_wait(limit: float) -> bool:
        # A connection may have been accepted whose request has not been read yet.
        is_new = bool(server.connections) and loop.time() < began + FIRST_REQUEST_S
        return (is_new or gateway.running > 0) and loop.time() < began + limit

    while must_wait(seconds):
        notify("WATCHDOG=1")
        await asyncio.sleep(0.2)
    if not gateway.running:
        return
    log(f"ending {gateway.running} responses, which have not ended within {seconds:g} seconds")
    for exchange in list(gateway.engines.exchanges):
        exchange.give_up()
    while must_wait(seconds + LAST_EVENT_S):
        await asyncio.sleep(0.1)


async def _serve(settings: GatewaySettings, listening: socket.socket) -> None:
    """Serve until told to stop, then until the last response has ended."""
    gateway = Gateway(settings)
    gateway.state.refresh()
    gateway.usage.load()
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    server = make_server(gateway)
    # Not create_unix_server: from Python 3.13 on it removes the socket's file at the end, which belongs to systemd.
    accepting = await loop.create_server(server, sock=listening, backlog=1024)
    background = [
        asyncio.ensure_future(_repeat(gateway)),
        asyncio.ensure_future(end_stalled(gateway.engines, gateway.state)),
    ]
    notify("READY=1", is_repeated=False)
    log(f"gateway ready for the tiers {', '.join(settings.config.tiers)}")
    # Everything allocated so far stays. Without freeze, each collection would scan it and delay requests.
    gc.collect()
    gc.freeze()
    await _watch(stopping)
    notify("STOPPING=1")
    # The next process has the same socket: new connections wait there. A connection that was accepted just before must
    # not find the server closed: asyncio would neither serve nor close it.
    loop.remove_reader(listening)
    await asyncio.sleep(ACCEPTED_S)
    accepting.close()
    await _drain(server, gateway, settings.drain_timeout)
    for task in background:
        task.cancel()
    await server.shutdown(1.0)
    await gateway.engines.close()
    gateway.access_log.flush()
    await gateway.usage.close()


def run(config: str, listening: socket.socket) -> None:
    """Serve on a socket until told to stop.

    :param config: path of the configuration file.
    """
    asyncio.run(_serve(read_settings(config), listening))
