"""`foveate serve`: the server of `transformers serve`, for one model, and what stands in front of it.

A request passes the key, then `Guard`, then `Settings`, which takes what it asks for out of its body.
"""

import hmac
import socket
from importlib import import_module
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from foveate.ask.media import Sampling
from foveate.ask.vlm import VLM
from foveate.cost.hardware import Machine
from foveate.errors import InputError
from foveate.serving.asgi import App, Receive, Scope, Send, header, path_of, refuse
from foveate.serving.guard import Guard
from foveate.serving.guard.limits import Limits
from foveate.serving.guard.request import PATHS
from foveate.serving.reduced import Settings
from foveate.serving.setting import Setting
from foveate.serving.stock import stock_app


def served(
    vlm: VLM,
    name: str,
    default: Setting,
    sampling: Sampling,
    machine: Machine | str | None = None,
    limits: Limits | None = None,
    key: str | None = None,
) -> App:
    """The ASGI application that serves one model.

    Args:
        vlm: the model.
        name: what clients call it.
        default: what is done for a request that asks for nothing.
        sampling: which frames of a clip are taken.
        machine: that the model runs on, for budgets in time.
        limits: of a request; by default those of the environment.
        key: that clients must send as a bearer token; None: none.

    Raises:
        MissingExtraError: what transformers' server needs is not installed.
        UnsupportedError: transformers' server has another shape, or the model refuses the default.
        InputError: a default budget that is none, or an environment variable that is no limit.
    """
    default.check(vlm.model, machine)
    app: Any = Settings(
        stock_app(vlm, name, sampling, machine),
        PATHS,
        default,
        lambda setting: setting.check(vlm.model, machine),
    )
    app = Guard(app, limits or Limits.from_environment())
    return Local(app) if key is None else Keyed(app, key)


class Local:
    """ASGI middleware for a server without a key: no page of another site asks it through a browser.

    A site may give its own name the address 127.0.0.1; a browser then still sends that name.

    Args:
        app: the server.
    """

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        name = header(scope, b"host") if scope["type"] == "http" else "localhost"
        if not _is_local(name or ""):
            sentence = f"without a key this server is asked at 127.0.0.1 or localhost, got {name!r}"
            return await refuse(send, 403, sentence[:200])
        return await self.app(scope, receive, send)


class Keyed:
    """ASGI middleware that answers only those who send the key, and whoever asks for /health.

    Args:
        app: the server.
        key: that clients send as `Authorization: Bearer KEY`.
    """

    def __init__(self, app: App, key: str) -> None:
        self.app, self._wanted = app, f"Bearer {key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] == "http" and path_of(scope) != "/health":
            given = (header(scope, b"authorization") or "").encode("latin-1")
            if not hmac.compare_digest(given, self._wanted):  # takes as long whatever is wrong
                sentence = "the key is missing or wrong: send Authorization: Bearer KEY"
                return await refuse(send, 401, sentence, [(b"www-authenticate", b"Bearer")])
        return await self.app(scope, receive, send)


def listen(host: str, port: int, key: str | None) -> socket.socket:
    """A socket that listens where clients will ask.

    Args:
        host: name or address; only with a key other than that of this machine alone.
        port: 0 for any that is free.
        key: that clients must send.

    Raises:
        InputError: a host of other machines without a key, or a port that cannot be had.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        if key is None and not ip_address(str(address[0]).partition("%")[0]).is_loopback:
            raise InputError(
                f"--host {host} can be reached from other machines: give --api-key KEY, or serve on "
                "127.0.0.1"
            )
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise InputError(f"cannot listen on {host}:{port}: {error}") from None


def _is_local(host: str) -> bool:
    """Whether a host header names this machine."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


def run(app: App, line: socket.socket) -> None:
    """Serve until the process is told to end (SIGINT, SIGTERM).

    Args:
        app: of `served`.
        line: of `listen`.
    """
    uvicorn = import_module("uvicorn")
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[line])
