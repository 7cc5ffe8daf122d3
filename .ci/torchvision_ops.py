"""Lets a torchvision that was built for CUDA be imported beside a torch that was built for the CPU.

It registers fakes for `nms` and `qnms`, which its compiled part, built for another torch, does not
declare then. Here they are declared when torchvision is first imported; transforms work, the two raise.
"""

import importlib.abc
import sys


class Declare(importlib.abc.MetaPathFinder):
    """Finds nothing; declares the two when it is asked for torchvision."""

    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            import torch

            if torch.version.cuda is None:
                for op in ("nms", "qnms"):
                    arguments = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
                    torch.library.define(f"torchvision::{op}", arguments)
        return None


sys.meta_path.insert(0, Declare())
