"""Where the host waits for a GPU, counted on the pretended one of `pretend.py`.

    with pretend() as there, Syncs() as syncs:
        model(**inputs)
    syncs.total, syncs.where

The host waits where a number of a tensor is wanted (`item`, `tolist`, `bool`), where a result is as large
as the numbers say (`nonzero`, a mask as an index, `unique`, `bincount`, `repeat_interleave`), and where
tensors are copied from one device to the other, unless it is said that nobody waits for it.
"""

import sys
from collections import Counter
from pathlib import Path

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

import foveate
from pretend import GPU, There

HOUSE = Path(foveate.__file__).parent
READS = (Tensor.tolist, Tensor.item, Tensor.numpy)
WAITING = {
    f"aten::{name}"
    for name in (
        "_local_scalar_dense", "item", "is_nonzero", "equal", "nonzero", "masked_select", "bincount",
        "_unique2", "unique_dim", "unique_consecutive", "unique_dim_consecutive", "allclose",
    )
}  # fmt: skip
INDEXED = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}


class Syncs(TorchDispatchMode):
    """Counts them while it is open.

    Attributes:
        where: for each line of the package, or "stock" for what is none of its, how often.
    """

    def __init__(self):
        super().__init__()
        self.where = Counter()
        self._values = _Values(self)

    @property
    def total(self) -> int:
        """How often the host waited."""
        return self.where.total()

    def __enter__(self):
        self._values.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self._values.__exit__(*error)

    def add(self, what):
        """One more, by whoever called."""
        frame = sys._getframe(1)
        while frame is not None and not frame.f_code.co_filename.startswith(str(HOUSE)):
            frame = frame.f_back
        place = "stock"
        if frame is not None:
            file = Path(frame.f_code.co_filename).relative_to(HOUSE)
            place = f"{file}:{frame.f_lineno} {what}"
        self.where[place] += 1

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func._schema.name if hasattr(func, "_schema") else str(func)
        if waits(name, func, args, kwargs):
            self.add(name)
        return func(*args, **kwargs)


class _Values(TorchFunctionMode):
    """What reads a tensor, or fills one with the host's numbers, without an operation of its own."""

    def __init__(self, syncs):
        super().__init__()
        self.syncs = syncs

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in READS and isinstance(args[0], There):
            self.syncs.add(func.__name__)
        device = kwargs.get("device")
        if func is torch.tensor and device is not None and torch.device(device) == GPU:
            self.syncs.add("tensor")
        if func is Tensor.new_tensor and isinstance(args[0], There):
            self.syncs.add("new_tensor")
        if func is Tensor.__setitem__ and isinstance(args[0], There):
            parts = args[1] if isinstance(args[1], tuple) else (args[1],)
            if not isinstance(args[2], Tensor) and any(isinstance(i, Tensor) for i in parts):
                self.syncs.add("a number at an index")  # which is copied there
        return func(*args, **kwargs)


def waits(name, func, args, kwargs) -> bool:
    """Whether the host waits for an operation."""
    given = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, Tensor)]
    there = [isinstance(value, There) for value in given]
    if name == "aten::_to_copy":
        device = kwargs.get("device")
        goes = device is not None and (torch.device(device) == GPU) != there[0]
        return goes and not kwargs.get("non_blocking")
    if name == "aten::copy_":
        waited = not (len(args) > 2 and args[2])
        return there[0] != there[1] and given[1].dim() > 0 and waited
    if not any(there):
        return False
    if name in INDEXED:
        return any(isinstance(i, There) and i.dtype == torch.bool for i in args[1])
    if name == "aten::repeat_interleave":
        return func._overloadname == "Tensor" and kwargs.get("output_size") is None
    return name in WAITING
