"""A GPU that is pretended: tensors that say they are on it, and refuse what a real one would refuse.

    with pretend() as there:
        model, inputs = there(model), there(inputs)

Their numbers are a CPU's, so what comes out is the same. An operation that mixes them with tensors of the
CPU raises, as CUDA does, but for what CUDA allows: single numbers, places in an index, and copies. The
device calls itself "meta": for "cuda" torch would look for a driver. What depends on the kind of device,
such as autocast, is not seen.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from foveate.runtime import timing

GPU = torch.device("meta")
COPIES = ("aten::copy_", "aten::_to_copy")
INDEXED = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")


class There(Tensor):
    """A tensor on the pretended GPU; its numbers are in `here`."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, here):
        made = Tensor._make_wrapper_subclass(
            cls, here.shape, strides=here.stride(), storage_offset=here.storage_offset(),
            dtype=here.dtype, device=GPU, requires_grad=False,
        )  # fmt: skip
        made.here = here
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return carry_out(func, args, kwargs or {})


def carry_out(func, args, kwargs):
    """Run an operation on the CPU's numbers, after a look at where its tensors are."""
    name = func._schema.name if hasattr(func, "_schema") else str(func)
    given = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, Tensor)]
    there = any(isinstance(value, There) for value in given)
    refuse_mixed(name, args, given, there=there)
    if kwargs.get("device") is not None:
        there = torch.device(kwargs["device"]).type == GPU.type
        kwargs = {**kwargs, "device": torch.device("cpu")}
    elif name == "aten::copy_":
        there = isinstance(args[0], There)
    known = {id(value.here): value for value in given if isinstance(value, There)}
    if name == "aten::histc":  # a CPU counts no integers
        args = (args[0].float(), *args[1:])
    out = func(*tree_map(numbers, args), **tree_map(numbers, kwargs))

    def placed(value):
        if not isinstance(value, Tensor) or isinstance(value, There) or not there:
            return value
        return known[id(value)] if id(value) in known else There(value)

    return tree_map(placed, out)


def numbers(value):
    """The CPU's tensor behind one of the pretended GPU."""
    return value.here if isinstance(value, There) else value


def tensors(index):
    """An index with tensors for its lists."""
    if isinstance(index, tuple):
        return tuple(map(tensors, index))
    return torch.tensor(index) if isinstance(index, list) else index


def refuse_mixed(name, args, given, *, there):
    """Raise where a GPU would."""
    if not there or name in COPIES:
        return
    strays = [v for v in given if not isinstance(v, There) and v.dim()]
    if name in INDEXED and isinstance(args[0], There):
        strays = [
            v for v in args[2:3] if isinstance(v, Tensor) and v.dim() and not isinstance(v, There)
        ]
    elif not strays and all(isinstance(v, There) or not v.dim() for v in given):
        return
    if strays:
        shapes = [(tuple(v.shape), "gpu" if isinstance(v, There) else "cpu") for v in given]
        raise RuntimeError(f"{name}: all tensors must be on one device, got {shapes}")


class _Made(TorchDispatchMode):
    """Tensors that are made on the GPU are there, too."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return carry_out(func, args, kwargs or {})


class _Whole(TorchFunctionMode):
    """What is not an operation of its own, or differs from device to device."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention and isinstance(args[0], There):
            given = [v for v in (*args, *kwargs.values()) if isinstance(v, Tensor)]
            refuse_mixed("sdpa", args, given, there=True)
            with torch._C.DisableTorchFunctionSubclass():
                return There(func(*tree_map(numbers, args), **tree_map(numbers, kwargs)))
        if func is torch.tensor and kwargs.get("device") is not None:
            made = torch.tensor(*tree_map(numbers, args), **{**kwargs, "device": "cpu"})
            return There(made) if torch.device(kwargs["device"]) == GPU else made
        if func is Tensor.new_tensor and isinstance(args[0], There):
            return There(numbers(args[0]).new_tensor(*args[1:], **kwargs))
        if func is Tensor.__getitem__ and isinstance(args[0], There):
            args = (args[0], tensors(args[1]))  # a list would become a tensor of the device, unseen
        if func in (Tensor.tolist, Tensor.item, Tensor.__repr__):
            args = (numbers(args[0]), *args[1:])
        return func(*args, **kwargs)


def move(value):
    """A model or its inputs, on the pretended GPU."""
    if isinstance(value, nn.Module):
        for module in value.modules():
            for name, part in module._parameters.items():
                if part is not None:
                    module._parameters[name] = nn.Parameter(There(part.data), requires_grad=False)
            for name, part in module._buffers.items():
                if part is not None:
                    module._buffers[name] = There(part)
        return value
    return tree_map(lambda part: There(part) if isinstance(part, Tensor) else part, value)


class _Event:
    """A place in the pretended GPU's queue, which is always done."""

    def __init__(self, device):
        self.at = time.perf_counter()

    def query(self):
        return True

    def synchronize(self):
        pass

    def elapsed_time(self, later):
        return 1000 * (later.at - self.at)


@contextmanager
def pretend() -> Iterator:
    """While open, "meta" is the pretended GPU; yields what moves a model or inputs there."""
    plain = mock.patch("torch.autocast", return_value=nullcontext())
    events = mock.patch.dict(timing.EVENTS, {GPU.type: _Event})
    with torch.no_grad(), plain, events, _Whole(), _Made():
        yield move
