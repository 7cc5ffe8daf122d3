"""Frames of a clip by seeking: only frames from a keyframe to the wanted one are decoded.

The packets of a stream are listed first, which decodes nothing. If each packet is one frame, their times
give the number of every frame, and the keyframes where decoding can begin. Every decoded frame is checked
against that list; if one differs, the caller decodes the whole stream instead.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

# codecs whose packets are whole frames, with all that a decoder must know at the head of the file
CONTAINERS = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"}
DECODERS = {"h264", "hevc", "vp9", "libdav1d"}
MOST_REORDERED = 16  # most frames that these codecs store ahead of one that is shown earlier
WORTH = 8  # frames that a seek must save to be worth it: a restarted decoder holds some back


class LostError(Exception):
    """A stream gave another frame than its packets promised."""


@dataclass(frozen=True)
class Index:
    """The frames of a stream, in the order in which they are shown.

    Attributes:
        times: of each frame, in the stream's time base.
        starts: numbers of the frames that decoding can begin at, rising from 0.
    """

    times: list[int]
    starts: list[int]

    def start_of(self, number: int) -> int:
        """The last frame, up to this one, at which decoding can begin."""
        return self.starts[bisect_right(self.starts, number) - 1]


def index_of(container: Any, stream: Any) -> Index | None:
    """List the frames of a stream by its packets; None if these do not give them.

    Args:
        container: the file at its beginning; it is at its end afterwards.
        stream: the video stream.
    """
    name = stream.codec_context.name
    if container.format.name not in CONTAINERS or name not in DECODERS:
        return None
    times, keys, last = [], [], None
    for packet in container.demux(stream):
        if not packet.size:  # an empty packet ends a stream
            continue
        if packet.pts is None or packet.is_corrupt or packet.is_discard:
            return None
        # a frame stored before a keyframe must be shown before it, too
        if packet.is_keyframe and (last is None or packet.pts > last):
            keys.append(packet.pts)
        times.append(packet.pts)
        last = packet.pts if last is None else max(last, packet.pts)
    return _checked(times, keys)


def _checked(times: list[int], keys: list[int]) -> Index | None:
    """An index from times in file order; None if times repeat, jump, or lie before their keyframe's."""
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

    If the next one is near, or no keyframe lies between, decoding continues without a seek.

    Args:
        container: the file, at any place.
        stream: the video stream.
        index: the stream's frames.
        wanted: numbers of frames, rising.

    Raises:
        LostError: the stream gave another frame than it should.
    """
    flow: Iterator[Any] = iter(())
    there: int | None = None  # number of the next decoded frame
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
