"""An answer piece by piece, while the model generates it on a thread of its own."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import StoppingCriteria, StoppingCriteriaList, TextIteratorStreamer

from foveate.errors import NoEffectError
from foveate.report import Report
from foveate.runtime.run import Run

THREAD = "foveate stream"


class Stream(Iterator[str]):
    """The pieces of one answer as they come; joined they are the answer of `vlm.ask`, white space aside.

    The generation and its reduction run on a thread of their own and do not affect the code that reads
    the pieces. Generation starts when the first piece is asked for, and ends with the answer, by
    `close()`, at the end of a `with`, or when the stream is garbage collected. An error of the model is
    raised to the reader.

    Attributes:
        text: the pieces so far.
    """

    def __init__(
        self,
        generate: Callable[..., Any],
        reduced: Callable[[], AbstractContextManager[Run]],
        tokenizer: Any,
        device: torch.device,
    ) -> None:
        self.text = ""
        self._job = _Job(generate, reduced, tokenizer, device)
        self._thread = threading.Thread(target=self._job.work, name=THREAD, daemon=True)
        self._ended = False

    @property
    def report(self) -> Report:
        """Report of the prefill, from the first piece on.

        Raises:
            NoEffectError: the prefill has not run yet.
        """
        if self._job.run is None:
            raise NoEffectError("the stream has not begun: its report comes with the first piece")
        return self._job.run.report

    def __next__(self) -> str:
        if self._ended:
            raise StopIteration
        if self._thread.ident is None:
            self._thread.start()
        piece = next((piece for piece in self._job.pieces if piece), None)
        if piece is not None:
            self.text += piece
            return piece
        self._ended = True
        self._thread.join()
        if self._job.error is not None:
            raise self._job.error
        raise StopIteration

    def close(self) -> None:
        """End the generation after the current token, and wait for that."""
        self._job.closed.set()
        self._ended = True
        if self._thread.ident is not None:
            self._thread.join()

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self._job.closed.set()


@dataclass
class _Job:
    """The thread's work; it holds no reference to the stream, so that this can be garbage collected."""

    generate: Callable[..., Any]
    reduced: Callable[[], AbstractContextManager[Run]]
    tokenizer: Any
    device: torch.device
    run: Run | None = None
    error: BaseException | None = None
    closed: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        # torch keeps autocast by thread: take the caller's along
        kind = self.device.type
        self.autocast = torch.autocast(
            kind, torch.get_autocast_dtype(kind), enabled=torch.is_autocast_enabled(kind)
        )
        self.pieces: Any = TextIteratorStreamer(
            self.tokenizer, skip_prompt=True, skip_special_tokens=True
        )

    def work(self) -> None:
        criteria = StoppingCriteriaList([Closed(self.closed)])
        try:
            with torch.no_grad(), self.autocast, self.reduced() as self.run:
                self.generate(streamer=self.pieces, stopping_criteria=criteria)
        except BaseException as error:  # any kind: it is raised again to the reader
            self.error = error
        finally:
            self.pieces.end()


class Closed(StoppingCriteria):
    """Stops a generation whose reader has gone."""

    def __init__(self, closed: threading.Event) -> None:
        self.closed = closed

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        return input_ids.new_full((len(input_ids),), self.closed.is_set(), dtype=torch.bool)
