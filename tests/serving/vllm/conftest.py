"""One engine a module: `FAMILY` names its checkpoint, `ENGINE` holds arguments of the engine."""

import pytest

from serving.vllm import checkpoints, engine


@pytest.fixture(scope="module")
def folder(request, tmp_path_factory):
    """The checkpoint of the module's family."""
    family = request.module.FAMILY
    return checkpoints.save(family, tmp_path_factory.mktemp(family))


@pytest.fixture(scope="module")
def llm(request, folder):
    """The module's engine; switched on, without a budget for all."""
    arguments = {"hf_overrides": {"foveate": {}}, **getattr(request.module, "ENGINE", {})}
    return engine.start(folder, **arguments)


@pytest.fixture(scope="module")
def reference(folder):
    """The same checkpoint in transformers."""
    return engine.Reference(folder)


@pytest.fixture
def encoded(llm):
    """Numbers of pictures, tiles or patches that the tower has been shown, call by call."""
    model = engine.model_of(llm)
    tower = model.visual if hasattr(model, "visual") else model.vision_tower
    calls = []
    hook = tower.register_forward_pre_hook(
        lambda module, args, kwargs: calls.append(len(args[0] if args else kwargs["pixel_values"])),
        with_kwargs=True,
    )
    yield calls
    hook.remove()
