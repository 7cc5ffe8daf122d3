"""`foveate serve`: the server of `transformers serve`, for one model, with fewer visual tokens.

Routes, streams and answers are transformers' own. Ours is what stands in front (`Guard`, the key), what a
request asks for (`Settings`), how its chat is read (`ChatProcessor`), and under which reduction the model
generates (`ReducedModel`). transformers generates one request after another, on one thread.
"""

import hmac
import inspect
import logging
import socket
from importlib import import_module
from ipaddress import ip_address
from typing import Any

import transformers

from foveate.ask.media import Sampling
from foveate.ask.vlm import VLM
from foveate.cost.hardware import Machine
from foveate.errors import FoveateError, InputError, MissingExtraError, UnsupportedError
from foveate.runtime.seams import TESTED
from foveate.serving.asgi import App, Receive, Scope, Send, header, refuse
from foveate.serving.chat import ChatProcessor
from foveate.serving.guard import Guard
from foveate.serving.guard.limits import Limits
from foveate.serving.guard.request import PATHS
from foveate.serving.reduced import ReducedModel, Settings, asked_here, refuse_for
from foveate.serving.setting import Setting

LOG = logging.getLogger(__name__)
HOME = "transformers.cli.serving"
# of transformers' server: what is called or replaced, and the arguments that it must take
SEAMS = {
    "server.build_server": (
        "model_manager",
        "chat_handler",
        "response_handler",
        "generation_state",
    ),
    "chat_completion.ChatCompletionHandler": ("model_manager", "generation_state"),
    "response.ResponseHandler": ("model_manager", "generation_state"),
    "model_manager.ModelManager": ("force_model",),
    "model_manager.ModelManager.load_model_and_processor": ("model_id_and_revision",),
    "model_manager.ModelManager.get_model_modality": ("model",),
    "model_manager.ModelManager.process_model_name": ("model_id",),
    "utils.GenerationState.get_manager": ("model_id", "use_cb"),
    "utils.GenerateManager.generate_streaming": ("model", "gen_config"),
    "utils.GenerateManager.generate_non_streaming": ("model", "gen_config"),
}


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
        _stock(vlm, name, machine, sampling),
        PATHS,
        default,
        lambda setting: setting.check(vlm.model, machine),
    )
    app = Guard(app, limits)
    return app if key is None else Keyed(app, key)


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
        if scope["type"] == "http" and scope["path"] != "/health":
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


def run(app: App, line: socket.socket) -> None:
    """Serve until the process is told to end (SIGINT, SIGTERM).

    Args:
        app: of `served`.
        line: of `listen`.
    """
    uvicorn = import_module("uvicorn")
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[line])


def _stock(vlm: VLM, name: str, machine: Machine | str | None, sampling: Sampling) -> Any:
    """The application of transformers around the model.

    Raises:
        MissingExtraError: what it needs is not installed.
        UnsupportedError: it has another shape than those that were tested.
    """
    _check_seams()
    parts = {place: import_module(f"{HOME}.{place}") for place in _modules()}
    manager = _manager(parts["model_manager"], vlm, name, ChatProcessor(vlm, sampling))
    state = _state(parts["utils"], machine)
    build = parts["server"].build_server
    # those of other routes, which the guard does not let through
    handlers = {arg: None for arg in inspect.signature(build).parameters if "_handler" in arg}
    handlers["chat_handler"] = parts["chat_completion"].ChatCompletionHandler(manager, state)
    handlers["response_handler"] = parts["response"].ResponseHandler(manager, state)
    app = build(model_manager=manager, generation_state=state, **handlers)

    async def refused(_: Any, error: Exception) -> App:
        return lambda scope, receive, send: refuse_for(send, error)

    app.add_exception_handler(FoveateError, refused)
    return app


def _manager(stock: Any, vlm: VLM, name: str, processor: ChatProcessor) -> Any:
    """Its manager of models, which has this one and loads no other."""

    class OneModel(stock.ModelManager):
        def load_model_and_processor(self, *_: Any, **__: Any) -> tuple[Any, Any]:
            return vlm.model, processor

        @staticmethod
        def process_model_name(model_id: str) -> str:
            return model_id

        @staticmethod
        def get_model_modality(model: Any, processor: Any = None) -> Any:
            return stock.Modality.VLM

        def list_models(self) -> list[dict[str, Any]]:
            return [{"id": name, "object": "model", "created": 0, "owned_by": "foveate"}]

        get_gen_models = list_models  # its name before 5.24

    return OneModel(force_model=name)


def _state(stock: Any, machine: Machine | str | None) -> Any:
    """Its state of generation, whose one manager generates as each request asks."""

    class Reduced(stock.GenerateManager):
        def generate_streaming(self, model: Any, *args: Any, **kwargs: Any) -> Any:
            model = ReducedModel(model, asked_here(), machine)
            return super().generate_streaming(model, *args, **kwargs)

        async def generate_non_streaming(self, model: Any, *args: Any, **kwargs: Any) -> Any:
            model = ReducedModel(model, asked_here(), machine)
            return await super().generate_non_streaming(model, *args, **kwargs)

    class State(stock.GenerationState):
        def __init__(self) -> None:
            super().__init__()
            self._one = Reduced()

        def get_manager(self, model_id: str, use_cb: bool = False) -> Any:  # noqa: FBT001
            return self._one

    return State()


def _modules() -> list[str]:
    return sorted({place.partition(".")[0] for place in SEAMS})


def _check_seams() -> None:
    try:
        for needed in ("fastapi", "uvicorn", "openai"):
            import_module(needed)
    except ImportError:
        raise MissingExtraError("foveate serve", "serve") from None
    tested = " to ".join(TESTED["transformers"])
    for place, wanted in SEAMS.items():
        module, *names = place.split(".")
        try:
            found: Any = import_module(f"{HOME}.{module}")
            for name in names:
                found = getattr(found, name)
            missing = set(wanted) - set(inspect.signature(found).parameters)
        except (ImportError, AttributeError):
            missing = {"itself"}
        if missing:
            raise UnsupportedError(
                f"transformers {transformers.__version__} has another server: {HOME}.{place} lacks "
                f"{', '.join(sorted(missing))}; foveate serve was tested with {tested}"
            )
