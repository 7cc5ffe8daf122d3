"""Frames by seeking, against the slow, obvious twin: all frames decoded, then picked."""

import struct
from fractions import Fraction
from io import BytesIO
from types import SimpleNamespace

import av
import numpy as np
import pytest
from av.error import FFmpegError

from foveate.ask import video
from foveate.ask.media import Sampling, read
from foveate.ask.seeking import LostError, index_of, sought
from foveate.errors import InputError

COUNT, SIDE, RATE = 200, 64, 30
SAMPLINGS = [
    Sampling(1), Sampling(5), Sampling(16), Sampling(60), Sampling(1000),
    Sampling(fps=0.5), Sampling(fps=7), Sampling(fps=1000), Sampling(frames=3, fps=2),
]  # fmt: skip
UNEVEN = np.cumsum(np.random.default_rng(1).integers(5, 90, COUNT)).tolist()  # milliseconds


def x264(**more) -> dict:
    told = {"keyint": 48, "scenecut": 0, "bframes": 3, **more}
    return {"x264-params": ":".join(f"{name}={value}" for name, value in told.items())}


def x265(**more) -> dict:
    return {"x265-params": x264(**more)["x264-params"] + ":log-level=none"}


SOUGHT = {
    "b-frames.mp4": {"options": x264()},
    "b-frames.mkv": {"options": x264()},
    "every-frame.mp4": {"options": x264(keyint=1)},
    "one-keyframe.mp4": {"options": x264(keyint=COUNT)},
    "sparse.mp4": {"options": x264(keyint=150, bframes=8)},
    "open.mp4": {"options": x264(**{"open-gop": 1})},
    "open.mkv": {"options": x264(**{"open-gop": 1})},
    "uneven.mp4": {"options": x264(), "times": UNEVEN},
    "uneven.mkv": {"options": x264(), "times": UNEVEN},
    "fragments.mp4": {"options": x264(), "file": {"movflags": "frag_keyframe+empty_moov"}},
    "head.mp4": {"options": x264(), "file": {"movflags": "faststart"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"g": "48", "cpu-used": "8"}},
    "hevc.mp4": {"codec": "libx265", "options": x265()},
    "open-hevc.mkv": {"codec": "libx265", "options": x265(**{"open-gop": 1})},
    "av1.mp4": {"codec": "libsvtav1", "options": {"g": "48", "preset": "12"}},
}
DECODED = {
    "refreshed.mp4": {
        "options": x264(bframes=0, **{"intra-refresh": 1})
    },  # no frame is whole at once
    "b-frames.flv": {"options": x264()},
    "b-frames.avi": {"options": x264(bframes=0)},
    "mpeg4.mp4": {"codec": "mpeg4", "options": {"g": "48", "bf": "2"}},
    "vp8.webm": {"codec": "libvpx", "options": {"g": "48"}},
}


def written(path, codec="libx264", options=None, times=None, file=None):
    """A clip whose every frame is told from all others by a bright bar and a shade."""
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no {codec}")
    with av.open(str(path), "w", options=file or {}) as container:
        stream = container.add_stream(codec, rate=RATE, options=options)
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        if times is not None:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for number in range(COUNT):
            pixels = np.full((SIDE, SIDE, 3), 220 * number // COUNT, np.uint8)
            pixels[number * 3 % SIDE] = 255
            frame = av.VideoFrame.from_ndarray(pixels)
            if times is not None:
                frame.pts, frame.time_base = times[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


class Twin:
    """All frames of a clip, decoded; what is wanted is picked from them."""

    def __init__(self, path):
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            self.promised, self.rate = stream.frames, float(stream.average_rate)
            self.every = np.stack([np.asarray(f.to_image()) for f in container.decode(stream)])

    def picked(self, sampling) -> np.ndarray:
        there = len(self.every)
        wanted = sampling.indices(self.promised or there, self.rate, "the clip")
        if wanted[-1] >= there:  # the header promised more
            wanted = sampling.indices(there, self.rate, "the clip")
        return self.every[wanted]


@pytest.fixture
def decoded(monkeypatch):
    """Names of the files that were decoded from one end to the other."""
    names, decode = [], video._decoded

    def noted(contents, name, pick):
        names.append(name)
        return decode(contents, name, pick)

    monkeypatch.setattr(video, "_decoded", noted)
    return names


@pytest.mark.parametrize("name", [*SOUGHT, *DECODED])
def test_frames_are_those_of_decoding_everything(name, tmp_path, decoded):
    path = written(tmp_path / name, **(SOUGHT | DECODED)[name])
    twin = Twin(path)
    for sampling in SAMPLINGS:
        for given in (path, BytesIO(path.read_bytes())):
            assert np.array_equal(read(given, sampling).array(), twin.picked(sampling)), sampling
    if name in SOUGHT:
        assert not decoded
    elif name != "refreshed.mp4":  # of which one frame can be had: the first
        assert len(decoded) == 2 * len(SAMPLINGS)
    else:
        assert decoded


@pytest.mark.parametrize("name", [*SOUGHT, *DECODED])
@pytest.mark.parametrize("left", [0.9, 0.5])
def test_a_clip_cut_short_gives_what_decoding_it_gives(name, left, tmp_path):
    whole = written(tmp_path / name, **(SOUGHT | DECODED)[name]).read_bytes()
    path = tmp_path / f"cut-{name}"
    path.write_bytes(whole[: int(left * len(whole))])
    try:
        twin = Twin(path)
    except (FFmpegError, IndexError, ValueError):  # its head is cut off, or a frame is broken
        with pytest.raises(InputError):
            read(path)
        return
    for sampling in SAMPLINGS:
        assert np.array_equal(read(path, sampling).array(), twin.picked(sampling)), sampling


def patched(path, box: bytes, change) -> None:
    """The contents of a box of an MP4, changed in place."""
    data = bytearray(path.read_bytes())
    place = data.index(box) + 4
    change(data, place)
    path.write_bytes(data)


def moved(data, place):
    """Says that decoding can begin at frames where it cannot."""
    (count,) = struct.unpack_from(">I", data, place + 4)
    assert count > 3
    for entry in range(1, count):
        struct.pack_into(">I", data, place + 8 + 4 * entry, 20 + 40 * entry)


def unnamed(data, place):
    """Without the list of keyframes all frames are some."""
    data[place - 4 : place] = b"free"


def begun_later(data, place):
    """The clip is shown from half a second on."""
    (start,) = struct.unpack_from(">i", data, place + 12)
    struct.pack_into(">i", data, place + 12, start + 15 * 512)


@pytest.mark.parametrize(
    ("box", "change"), [(b"stss", moved), (b"stss", unnamed), (b"elst", begun_later)]
)
def test_what_a_file_says_wrongly_changes_no_frame(box, change, tmp_path):
    path = written(tmp_path / "a.mp4", options=x264())
    patched(path, box, change)
    twin = Twin(path)
    for sampling in (Sampling(3), Sampling(5), Sampling(fps=1)):
        assert np.array_equal(read(path, sampling).array(), twin.picked(sampling))


def test_wanted_frames_that_are_dense_are_decoded_in_one_go(tmp_path, monkeypatch):
    path = written(tmp_path / "a.mp4", options=x264())
    for wanted, most_seeks, most_decoded in (
        (range(COUNT), 1, COUNT),
        (range(0, COUNT, 10), 1 + COUNT // 48, COUNT),
        ([0, COUNT - 1], 2, 1 + 48),
        ([100, 101], 1, 48),
    ):
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            index = index_of(container, stream)
            seeks, frames = [], []

            def seek(*args, seeks=seeks, seek=container.seek, **kwargs):
                seeks.append(args)
                seek(*args, **kwargs)

            def decode(stream, frames=frames, decode=container.decode):
                for frame in decode(stream):
                    frames.append(frame.pts)
                    yield frame

            counted = SimpleNamespace(seek=seek, decode=decode)
            found = [frame.pts for frame in sought(counted, stream, index, wanted)]
        assert found == [index.times[number] for number in wanted]
        assert len(seeks) <= most_seeks
        assert len(frames) <= most_decoded
        assert len(set(frames)) == len(frames), "none is decoded twice"


def test_a_stream_without_some_of_its_frames_is_lost(tmp_path):
    path = written(tmp_path / "a.mp4", options=x264())
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        index = index_of(container, stream)

        def decode(stream, decode=container.decode):
            return (frame for number, frame in enumerate(decode(stream)) if number != 7)

        gappy = SimpleNamespace(seek=container.seek, decode=decode)
        with pytest.raises(LostError, match="frame 7"):
            list(sought(gappy, stream, index, [3, 9]))


def packets(*times, keys=(0,), **more):
    told = {"size": 1, "is_corrupt": False, "is_discard": False, **more}
    return [
        SimpleNamespace(pts=time, is_keyframe=number in keys, **told)
        for number, time in enumerate(times)
    ]


def index_by(listed):
    container = SimpleNamespace(
        format=SimpleNamespace(name="matroska,webm"), demux=lambda stream: iter(listed)
    )
    return index_of(container, SimpleNamespace(codec_context=SimpleNamespace(name="h264")))


def test_packets_that_do_not_tell_frames_are_seen():
    index = index_by(packets(0, 30, 10, 20, 60, 40, 50, keys=(0, 4)))
    # 40 and 50 are coded behind the keyframe 60 and shown before it
    assert index.times == [0, 10, 20, 30, 40, 50, 60]
    assert (index.starts, [index.start_of(number) for number in (0, 5, 6)]) == ([0, 6], [0, 0, 6])
    for bad in (
        packets(),
        packets(0, 10, keys=()),
        packets(0, 10, keys=(1,)),  # the first frames have no keyframe
        packets(20, 0, 10),  # frames before the first keyframe, which a decoder does not show
        packets(0, 10, 10),
        packets(0, None),
        packets(0, 10, is_corrupt=True),
        packets(0, 10, is_discard=True),
        packets(*range(0, 100, 2), *range(1, 99, 2)),  # the clock begins anew
    ):
        assert index_by(bad) is None
    late = index_by(packets(0, 30, 20, 10, keys=(0, 2)))
    assert late.starts == [0]  # what follows the second keyframe is not all coded behind it
