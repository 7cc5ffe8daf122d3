"""The application of `transformers serve`, around one model that does what each request asks for.

Routes, streams and answers are transformers' own. Ours is how a chat is read (`ChatProcessor`) and under
which reduction the model generates (`ReducedModel`). transformers generates one request after another, on
one thread.
"""

import inspect
from importlib import import_module
from typing import Any

import transformers

from foveate.ask.media import Sampling
from foveate.ask.vlm import VLM
from foveate.cost.hardware import Machine
from foveate.errors import FoveateError, MissingExtraError, UnsupportedError
from foveate.runtime.seams import TESTED
from foveate.serving.asgi import App, Refusal
from foveate.serving.chat import ChatProcessor
from foveate.serving.reduced import ReducedModel, asked_here, refuse_for

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
    "utils.BaseHandler._validate_request": ("body",),
    "utils.GenerationState.get_manager": ("model_id", "use_cb"),
    "utils.GenerateManager.generate_streaming": ("model", "gen_config"),
    "utils.GenerateManager.generate_non_streaming": ("model", "gen_config"),
}
# fields that may go unread, always or with one value, since the answer is the same
BOOKKEEPING = {"metadata", "prediction", "service_tier", "store", "stream_options", "user"}
AS_ANSWERED = {
    "background": False, "include": [], "logprobs": False, "modalities": ["text"], "n": 1,
    "parallel_tool_calls": True, "presence_penalty": 0, "response_format": {"type": "text"},
    "text": {"format": {"type": "text"}}, "tool_choice": "auto", "top_logprobs": 0,
    "truncation": "disabled",
}  # fmt: skip


def stock_app(vlm: VLM, name: str, sampling: Sampling, machine: Machine | str | None) -> Any:
    """The application, which generates by what `Settings` in front of it puts into the context.

    Args:
        vlm: the model.
        name: what clients call it.
        sampling: which frames of a clip are taken.
        machine: that the model runs on, for budgets in time.

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
    chat, response = (
        parts["chat_completion"].ChatCompletionHandler,
        parts["response"].ResponseHandler,
    )
    vocabulary = vlm.model.config.get_text_config().vocab_size
    handlers["chat_handler"] = _strict(chat, vocabulary)(manager, state)
    handlers["response_handler"] = _strict(response, vocabulary)(manager, state)
    app = build(model_manager=manager, generation_state=state, **handlers)

    async def refused(_: Any, error: Exception) -> App:
        return lambda scope, receive, send: refuse_for(send, error)

    app.add_exception_handler(FoveateError, refused)
    return app


def _strict(stock: Any, vocabulary: int) -> Any:
    """Its handler of a route, which refuses fields that it would leave unread, or fail at."""

    class _Strict(stock):
        def _validate_request(self, body: dict[str, Any]) -> None:
            super()._validate_request(body)
            unread = [name for name in sorted(self._unused_fields) if _is_missed(name, body)]
            if unread:
                raise Refusal(
                    400,
                    f"transformers {transformers.__version__} would leave {' and '.join(unread)} "
                    "unread: leave it out",
                )
            _check_sampling(body, vocabulary)
            _check_first(body.get("input"))

    return _Strict


def _check_sampling(body: dict[str, Any], vocabulary: int) -> None:
    """See that transformers can generate so; it takes biases as floats, and fails at what is empty."""
    for name in ("chat_template_kwargs", "logit_bias", "stop"):
        if not body.get(name):
            body.pop(name, None)
    if (body.get("frequency_penalty") or 0) <= -1:
        got = body["frequency_penalty"]
        raise Refusal(400, f"transformers takes a frequency_penalty above -1, got {got}")
    biases = body.get("logit_bias") or {}
    if beyond := [token for token in biases if int(token) >= vocabulary]:
        raise Refusal(400, f"logit_bias of token {beyond[0]}: there are {vocabulary:,} here")
    if biases:
        body["logit_bias"] = {token: float(bias) for token, bias in biases.items()}


def _check_first(given: Any) -> None:
    """See that transformers reads an input as messages, or all of it as the parts of one."""
    if isinstance(given, list) and "role" not in given[0] and any("role" in one for one in given):
        raise Refusal(
            400, "transformers takes an input that begins with a message, got a call first"
        )


def _is_missed(name: str, body: dict[str, Any]) -> bool:
    """Whether an answer that does not read this field is another than was asked for."""
    value = body.get(name)
    return value is not None and name not in BOOKKEEPING and value != AS_ANSWERED.get(name)


def _manager(stock: Any, vlm: VLM, name: str, processor: ChatProcessor) -> Any:
    """Its manager of models, which has this one and loads no other."""

    class _OneModel(stock.ModelManager):
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

    return _OneModel(force_model=name)


def _state(stock: Any, machine: Machine | str | None) -> Any:
    """Its state of generation, whose one manager generates as each request asks."""

    class _Reduced(stock.GenerateManager):
        def generate_streaming(self, model: Any, *args: Any, **kwargs: Any) -> Any:
            model = ReducedModel(model, asked_here(), machine)
            return super().generate_streaming(model, *args, **kwargs)

        async def generate_non_streaming(self, model: Any, *args: Any, **kwargs: Any) -> Any:
            model = ReducedModel(model, asked_here(), machine)
            return await super().generate_non_streaming(model, *args, **kwargs)

    class _State(stock.GenerationState):
        def __init__(self) -> None:
            super().__init__()
            self._one = _Reduced()

        def get_manager(self, model_id: str, use_cb: bool = False) -> Any:  # noqa: FBT001
            return self._one

    return _State()


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
