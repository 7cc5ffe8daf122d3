"""Peak memory of a stretch of a benchmark, told by the kernel: nothing runs beside what is timed."""

import ctypes
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
            Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        self.base = self._peak()
        return self

    def _peak(self) -> int:
        if self.cuda:
            return torch.cuda.max_memory_allocated()
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    def __exit__(self, *error: object) -> None:
        self.peak = self._peak()

    @property
    def above_start(self) -> int:
        """Bytes."""
        return self.peak - self.base
