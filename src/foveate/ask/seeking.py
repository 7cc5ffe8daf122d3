"""Frames of a clip by seeking: decoded is only what lies between a keyframe and the frames behind it.

The packets of a stream are listed first, which decodes nothing: where each is one frame, their times say
which frame has which number, and which keyframes decoding can begin at. Every frame that is decoded must
then be the one that the list says; where one is not, the caller decodes the whole stream instead.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

# packets of these are whole frames, and a file says once, at its head, what a decoder must know
CONTAINERS = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"}
DECODERS = {"h264", "hevc", "vp9", "libdav1d"}
MOST_REORDERED = 16  # frames that are coded before one that is shown earlier, by any of these
WORTH = 8  # frames that a seek must spare; a decoder that starts anew holds some back


class LostError(Exception):
    """A stream gave another frame than its packets promised."""


@dataclass(frozen=True)
class Index:
    """The frames of a stream, in the order of showing.

    Attributes:
        times: of each frame, in units of the stream.
        starts: numbers of the frames that decoding can begin at, rising from 0.
    """

    times: list[int]
    starts: list[int]

    def start_of(self, number: int) -> int:
        """The last frame up to this one that decoding can begin at."""
        return self.starts[bisect_right(self.starts, number) - 1]


def index_of(container: Any, stream: Any) -> Index | None:
    """The frames of a stream by its packets; None where these do not tell them.

    Args:
        container: at its beginning; afterwards it stands at its end.
        stream: of video.
    """
    name = stream.codec_context.name
    if container.format.name not in CONTAINERS or name not in DECODERS:
        return None
    times, keys, last = [], [], None
    for packet in container.demux(stream):
        if not packet.size:  # what ends a stream is an empty packet
            continue
        if packet.pts is None or packet.is_corrupt or packet.is_discard:
            return None
        # what comes before in the file must come before on the screen
        if packet.is_keyframe and (last is None or packet.pts > last):
            keys.append(packet.pts)
        times.append(packet.pts)
        last = packet.pts if last is None else max(last, packet.pts)
    return _checked(times, keys)


def _checked(times: list[int], keys: list[int]) -> Index | None:
    """By times in the order of the file; None where some are alike, jump, or lie before a keyframe."""
    order = sorted(range(len(times)), key=times.__getitem__)
    moved = max((abs(place - coded) for place, coded in enumerate(order)), default=0)
    if not keys or order[0] != 0 or keys[0] != times[0] or moved > MOST_REORDERED:
        return None
    if len(set(times)) < len(times):
        return None
    number = {times[coded]: place for place, coded in enumerate(order)}
    return Index([times[coded] for coded in order], [number[key] for key in keys])


def sought(container: Any, stream: Any, index: Index, wanted: Sequence[int]) -> Iterator[Any]:
    """The wanted frames, in their order.

    Where the next one is not far, or no keyframe lies between, decoding just goes on.

    Args:
        container: of the stream, wherever it stands.
        stream: of video.
        index: of it.
        wanted: numbers of frames, rising.

    Raises:
        LostError: the stream gave another frame than it should.
    """
    flow: Iterator[Any] = iter(())
    there: int | None = None  # number of the frame that comes next
    for number in wanted:
        start = index.start_of(number)
        if there is None or start - there >= WORTH:
            flow, there = _decoding(container, stream, index.times[start]), start
        frame = None
        for place in range(there, number + 1):
            frame = next(flow, None)
            if frame is None or frame.pts != index.times[place]:
                raise LostError(f"frame {place} is not where its packet said")
        there = number + 1
        yield frame


def _decoding(container: Any, stream: Any, time: int) -> Iterator[Any]:
    """Frames from the keyframe of this time on."""
    container.seek(time, stream=stream)
    begun = False
    for frame in container.decode(stream):
        if begun:
            yield frame
        # a seek may land earlier, and frames shown before the keyframe may be coded behind it
        elif frame.pts is None or frame.pts >= time:
            if frame.pts != time or not frame.key_frame:
                raise LostError(f"no keyframe at {time}")
            begun = True
            yield frame
