import struct
import subprocess
import sys
import zlib

import av
import numpy as np
import pytest
from PIL import Image

from foveate import example
from foveate.errors import InputError
from foveate.serve.media import Clip, Sampling, read, spread


def test_pictures_and_animations(tmp_path):
    frames = [Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in range(0, 100, 10)]
    frames[0].save(tmp_path / "one.png")
    frames[0].save(tmp_path / "many.webp", save_all=True, append_images=frames[1:], lossless=True)
    assert read(tmp_path / "one.png").size == (8, 8)
    clip = read(str(tmp_path / "many.webp"), Sampling(4))
    assert [frame.getpixel((0, 0))[0] for frame in clip.frames] == [0, 30, 60, 90]
    assert clip.array().shape == (4, 8, 8, 3)


def test_frames_a_second_of_animations(tmp_path):
    frames = [Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in range(0, 240, 30)]
    for name in ("clip.gif", "clip.webp", "clip.png"):
        more = {"save_all": True, "append_images": frames[1:], "duration": 250}
        frames[0].save(tmp_path / name, **more)
        assert len(read(tmp_path / name, Sampling(fps=2)).frames) == 4, name
    packaged = example("clip")  # 8 frames, 2 a second
    whole, second = read(packaged), read(packaged, Sampling(fps=1))
    assert (second.array() == whole.array()[::2]).all()
    frames[0].save(tmp_path / "untimed.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match=r"untimed.gif has no frame rate"):
        read(tmp_path / "untimed.gif", Sampling(fps=1))


def write_clip(path, frames, rate=10, side=32):
    """Frames that get brighter, as MPEG-4."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width = stream.height = side
        for number in range(frames):
            picture = np.full((side, side, 3), 240 * number // frames, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode())


def write_header(path, width, height):
    """A PNG of which nothing is there but its size."""
    chunks = (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", b"")
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
            for name, data in chunks
        )
    )
    return path


def shades(clip):
    return clip.array().mean(axis=(1, 2, 3))


def test_video_files(tmp_path):
    write_clip(tmp_path / "clip.mp4", 20)
    few = shades(read(tmp_path / "clip.mp4", Sampling(5)))
    assert len(few) == 5
    assert (np.diff(few) > 30).all()
    assert len(shades(read(tmp_path / "clip.mp4"))) == 8


def test_frames_a_second(tmp_path):
    write_clip(tmp_path / "clip.mp4", 40, rate=10)
    assert len(read(tmp_path / "clip.mp4", Sampling(fps=2)).frames) == 8
    assert len(read(tmp_path / "clip.mp4", Sampling(fps=1000)).frames) == 40
    assert len(read(tmp_path / "clip.mp4", Sampling(frames=3, fps=2)).frames) == 3
    steps = np.diff(shades(read(tmp_path / "clip.mp4", Sampling(fps=2))))
    assert np.ptp(steps) < 6


def test_memory_does_not_grow_with_a_clips_length(tmp_path):
    script = (
        "import resource, sys; from foveate.serve.media import Sampling, read; "
        "read(sys.argv[1], Sampling(4)); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = []
    for frames in (40, 4000):  # 4,000 frames of 160 x 160 are 300 MB
        write_clip(tmp_path / f"{frames}.mp4", frames, side=160)
        command = [sys.executable, "-c", script, str(tmp_path / f"{frames}.mp4")]
        peaks.append(int(subprocess.run(command, capture_output=True, check=True).stdout))
    assert peaks[1] - peaks[0] < 50_000  # KB


def test_broken_and_audio_only_files_say_so(tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"not a video")
    with pytest.raises(InputError, match=r"cannot read .*broken.mp4 as a video"):
        read(tmp_path / "broken.mp4")
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        silence = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), "fltp", "stereo")
        silence.sample_rate = 44100
        container.mux(stream.encode(silence))
        container.mux(stream.encode())
    with pytest.raises(InputError, match=r"sound.mp4 has no video stream"):
        read(tmp_path / "sound.mp4")


def test_spread_takes_both_ends():
    assert spread(10, 4) == [0, 3, 6, 9]
    assert spread(3, 8) == [0, 1, 2]


def test_what_cannot_be_read_is_one_clear_error(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("hello")
    whole = tmp_path / "whole.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(
        whole
    )
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:3000])
    write_header(tmp_path / "huge.png", 20_000, 20_000)
    with pytest.raises(InputError, match="no such picture"):
        read(
            tmp_path / "none.png",
        )
    with pytest.raises(InputError, match=r"empty \(0 bytes\)"):
        read(
            tmp_path / "empty.png",
        )
    with pytest.raises(InputError, match=r"cannot read .*text.png"):
        read(
            tmp_path / "text.png",
        )
    with pytest.raises(InputError, match=r"cannot read .*cut.png"):
        read(
            tmp_path / "cut.png",
        )
    with pytest.raises(InputError, match=r"huge.png is too large.* allowed.*100,000,000"):
        read(
            tmp_path / "huge.png",
        )
    with pytest.raises(InputError, match="no frames"):
        Clip([])
    with pytest.raises(InputError, match="one size"):
        Clip([Image.new("RGB", (2, 2)), Image.new("RGB", (3, 2))])
    with pytest.raises(InputError, match="frames must be at least 1, got 0"):
        read(whole, Sampling(0))
    with pytest.raises(InputError, match="fps must be above 0, got nan"):
        Sampling(fps=float("nan"))
    with pytest.raises(InputError, match="a Clip has no frame rate"):
        read(Clip([Image.new("RGB", (2, 2))]), Sampling(fps=1))


def test_broken_files_of_other_formats_say_so(tmp_path):
    whole = tmp_path / "whole.tiff"
    Image.new("RGB", (4, 4)).save(whole)
    # where the pixels are (tag 0x111) is told as text
    told = whole.read_bytes().replace(b"\x11\x01\x04\x00", b"\x11\x01\x02\x00")
    (tmp_path / "broken.tiff").write_bytes(told)
    (tmp_path / "broken.ppm").write_bytes(b"P6\n4 x\n255\n" + bytes(48))
    for name in ("broken.tiff", "broken.ppm"):
        with pytest.raises(InputError, match=rf"cannot read .*{name} as a picture"):
            read(tmp_path / name)


def test_an_opened_picture_may_be_broken_too(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.png")
    cut = tmp_path / "cut.png"
    cut.write_bytes((tmp_path / "whole.png").read_bytes()[:3000])
    with pytest.raises(InputError, match="cannot read the picture as a picture"):
        read(Image.open(cut))
    with pytest.raises(InputError, match="cannot read frame 1 of a Clip"):
        read(Clip([Image.open(tmp_path / "whole.png"), Image.open(cut)]))


def test_a_clip_is_of_pil_images(untyped):
    for frames, kind in ((np.zeros((2, 4, 4, 3), np.uint8), "ndarray"), (["a.png"], "str")):
        with pytest.raises(InputError, match=rf"a clip is a list of PIL images, got {kind}"):
            Clip(frames)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_gigantic_pictures_are_refused_before_they_are_decoded(tmp_path):
    large = write_header(tmp_path / "large.png", 10_001, 10_000)  # so few that Pillow only warns
    with pytest.raises(InputError, match=r"large.png is 10001 x 10000 .*allowed: 1 to 100,000,000"):
        read(large)
    with Image.open(large) as opened:
        with pytest.raises(InputError, match=r"the picture is 10001 x 10000 pixels"):
            read(opened)
        with pytest.raises(InputError, match=r"frame 0 of a Clip is 10001 x 10000 pixels"):
            read(Clip([opened]))


def test_a_video_without_frames_says_so(tmp_path):
    with av.open(str(tmp_path / "none.avi"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        container.start_encoding()
    with pytest.raises(InputError, match=r"none.avi has no frames"):
        read(tmp_path / "none.avi")
