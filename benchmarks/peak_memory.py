"""Peak memory of a stretch of a benchmark."""

import ctypes
import threading
from pathlib import Path

import torch


class PeakMemory:
    """Highest memory in use above the start, in bytes: device memory on a GPU, else resident memory."""

    def __enter__(self) -> "PeakMemory":
        self.cuda = torch.cuda.is_available()
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
        else:  # what an earlier run freed must not hide what this one takes
            ctypes.CDLL(None).malloc_trim(0)
        self.base = self.peak = self._now()
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        return self

    def _now(self) -> int:
        if self.cuda:
            return torch.cuda.max_memory_allocated()
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    def _watch(self) -> None:
        while not self.done.wait(0.02):
            self.peak = max(self.peak, self._now())

    def __exit__(self, *error: object) -> None:
        self.done.set()
        self.thread.join()
        self.peak = max(self.peak, self._now())

    @property
    def above_start(self) -> int:
        """Bytes."""
        return self.peak - self.base
