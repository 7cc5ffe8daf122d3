"""The correction: what the cost model predicts, brought to what this server is measured to take.

The time to a first token is predicted from three parts: the work of the requests in front, the request's
own work, and a part that depends on neither. Each has a factor. A measured time that is off moves the
factors, each by how much of the prediction its part made up, so that a server that waits for its host
learns its fixed part, and one behind a shared queue learns how much of it is not seen here.
"""

import math
from dataclasses import dataclass

FIRST_SHARE = 0.1  # of the first prediction that is taken to be fixed
STEP = 0.1  # of a mistake that is corrected at once, when many have been seen
MOST = math.log(3)  # largest mistake that one measured time may teach, after the first


@dataclass
class Correction:
    """Factors on the parts of a predicted time, learned from measured ones.

    Attributes:
        ahead: on the work of the requests in front.
        own: on the request's own work.
        fixed_ms: that every request takes.
        seen: how many times were measured.
    """

    ahead: float = 1.0
    own: float = 1.0
    fixed_ms: float = 0.0
    seen: int = 0

    def predict(self, ahead_ms: float, own_ms: float) -> float:
        """Milliseconds to the first token.

        Args:
            ahead_ms: work in front by the cost model.
            own_ms: the request's own work by the cost model.
        """
        return self.ahead * ahead_ms + self.own * own_ms + self.fixed_ms

    def learn(self, ahead_ms: float, own_ms: float, measured_ms: float) -> None:
        """Take in a measured time; the first one sets the scale, later ones move it a little.

        Args:
            ahead_ms: as for `predict`.
            own_ms: as for `predict`.
            measured_ms: the time that it took.
        """
        if measured_ms <= 0 or own_ms <= 0:
            return
        if not self.seen:
            self._set_scale(measured_ms / (ahead_ms + own_ms), own_ms)
        else:
            self._move(ahead_ms, own_ms, measured_ms)
        self.seen += 1

    def _set_scale(self, ratio: float, own_ms: float) -> None:
        self.ahead = ratio
        self.own = ratio * (1 - FIRST_SHARE)
        self.fixed_ms = ratio * FIRST_SHARE * own_ms

    def _move(self, ahead_ms: float, own_ms: float, measured_ms: float) -> None:
        predicted = self.predict(ahead_ms, own_ms)
        parts = (self.ahead * ahead_ms, self.own * own_ms, self.fixed_ms)
        shares = [part / predicted for part in parts]
        mistake = max(-MOST, min(MOST, math.log(measured_ms / predicted)))
        step = max(STEP, 1 / (1 + self.seen)) * mistake / sum(share**2 for share in shares)
        ahead, own, fixed = (math.exp(step * share) for share in shares)
        self.ahead, self.own, self.fixed_ms = (
            self.ahead * ahead, self.own * own, self.fixed_ms * fixed,
        )  # fmt: skip
