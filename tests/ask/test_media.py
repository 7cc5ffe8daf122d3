import io
import struct
import subprocess
import sys
import zlib

import av
import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from foveate import example
from foveate.ask.media import Clip, Sampling, is_one, read, read_picture, spread
from foveate.errors import InputError
from foveate.pictures import ORIENTATION


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
        "import resource, sys; from foveate.ask.media import Sampling, read; "
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


LEFT = np.zeros((5, 8, 3), np.uint8)
LEFT[:, :4] = 255


def ways(path):
    """What a file may be given as."""
    data = path.read_bytes()
    yield path
    yield str(path)
    yield from (data, bytearray(data), memoryview(data))
    file = io.BytesIO(data)
    file.read()  # as it stands after `save`
    yield file
    with path.open("rb") as opened:
        yield opened
    if path.suffix != ".mp4":
        with Image.open(path) as picture:
            yield picture
            yield picture  # again: it is left as it was


def test_a_file_is_the_same_however_it_is_given(tmp_path):
    tag = Image.Exif()
    tag[ORIENTATION] = 6
    Image.fromarray(LEFT).save(tmp_path / "sideways.png", exif=tag)
    frames = [Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in range(0, 200, 10)]
    for name in ("clip.gif", "clip.webp", "clip.png"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], duration=100)
    write_clip(tmp_path / "clip.mp4", 20)
    for path in tmp_path.iterdir():
        first = read(path, Sampling(4))
        assert isinstance(first, Clip) == (path.stem == "clip")
        for given in ways(path):
            assert is_one(given)
            again = read(given, Sampling(4))
            assert (np.asarray(pixels_of(again)) == pixels_of(first)).all()
        (tmp_path / "renamed.bin").write_bytes(path.read_bytes())
        assert (pixels_of(read(tmp_path / "renamed.bin", Sampling(4))) == pixels_of(first)).all()


def pixels_of(media):
    return media.array() if isinstance(media, Clip) else np.asarray(media)


def test_sideways_pictures_and_frames_are_turned(tmp_path):
    tag = Image.Exif()
    tag[ORIENTATION] = 6
    Image.fromarray(LEFT).save(tmp_path / "a.png", exif=tag)
    upright = np.rot90(LEFT, -1)
    assert (np.asarray(read(tmp_path / "a.png")) == upright).all()
    with Image.open(tmp_path / "a.png") as opened:
        assert (Clip([opened, opened]).array() == upright).all()
        assert (read(Clip([opened])).array() == upright).all()
    other = Image.fromarray(255 - LEFT)
    for name in ("a.webp", "b.png"):
        how = {"save_all": True, "append_images": [other], "exif": tag, "duration": 100}
        Image.fromarray(LEFT).save(tmp_path / name, lossless=True, **how)
        assert (read(tmp_path / name).array() == [upright, 255 - upright]).all()


def test_a_camera_jpeg_with_a_preview_is_a_picture(tmp_path):
    second = Image.new("RGB", (4, 2), "red")
    Image.fromarray(LEFT).save(
        tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[second]
    )
    for given in ways(tmp_path / "a.jpg"):
        found = np.asarray(read(given)).astype(int)
        assert np.abs(found - LEFT).max() < 9


def test_pages_are_no_clip(tmp_path):
    pages = [Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in (0, 100, 200)]
    pages[0].save(tmp_path / "pages.tiff", save_all=True, append_images=pages[1:])
    for given in ways(tmp_path / "pages.tiff"):
        with pytest.raises(InputError, match=r"is a TIFF of 3 pages.* give the page that is meant"):
            read(given)
    with Image.open(tmp_path / "pages.tiff") as opened:
        told = [read(page.copy()) for page in ImageSequence.Iterator(opened)]
    assert [page.getpixel((0, 0))[0] for page in told] == [0, 100, 200]


def test_animations_of_one_frame_are_pictures(tmp_path):
    for name in ("a.gif", "a.webp", "a.png"):
        Image.fromarray(LEFT).save(tmp_path / name, save_all=True, lossless=True)
        assert (np.asarray(read(tmp_path / name)) == LEFT).all()


def test_an_animation_that_stands_elsewhere_is_refused(tmp_path):
    frames = [Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in (0, 100, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with Image.open(tmp_path / "a.gif") as opened:
        opened.seek(1)
        with pytest.raises(InputError, match=r"stands at frame 1; copy\(\) .* seek\(0\)"):
            read(opened)
        assert read(opened.copy()).getpixel((0, 0))[0] == 100
        opened.seek(0)
        assert len(read(opened).frames) == 3
        with pytest.raises(InputError, match=r"frame 0 of a Clip holds 3 pictures, one is needed"):
            read(Clip([opened]))
    with pytest.raises(InputError, match=r"a.gif is a clip; a picture is needed"):
        read_picture(tmp_path / "a.gif")


def test_frames_are_composed_and_on_one_background(tmp_path):
    """Each frame draws one white square beside those before; only squares are opaque."""
    frames = []
    for number in range(3):
        frames.append(Image.new("RGBA", (9, 3), (255, 0, 0, 0)))
        frames[-1].paste((255, 255, 255, 255), (0, 0, 3 * number + 3, 3))
    for name in ("a.png", "a.webp", "a.gif"):
        how = {"save_all": True, "append_images": frames[1:], "duration": 100, "lossless": True}
        frames[0].save(tmp_path / name, **how)
        got = read(tmp_path / name).array()
        for number, frame in enumerate(got):
            assert (frame[:, : 3 * number + 3] == 255).all(), name
            assert (frame[:, 3 * number + 3 :] == 0).all(), name


def test_a_png_shows_its_animation_not_what_stands_in_for_it(tmp_path):
    shades = [Image.new("RGB", (4, 4), (shade, 0, 0)) for shade in (50, 100, 150)]
    how = {"save_all": True, "default_image": True, "duration": 500}
    shades[0].save(tmp_path / "a.png", append_images=shades[1:], **how)
    assert pixels_of(read(tmp_path / "a.png"))[:, 0, 0, 0].tolist() == [100, 150]
    shades[0].save(tmp_path / "b.png", append_images=shades[1:2], **how)
    for given in ways(tmp_path / "b.png"):
        assert read(given).getpixel((0, 0))[0] == 100


@pytest.mark.parametrize(
    ("matrix", "turn"),
    [
        ((1, 0, 0, 1), lambda pixels: pixels),
        ((0, 1, -1, 0), lambda pixels: np.rot90(pixels, -1)),
        ((-1, 0, 0, -1), lambda pixels: np.rot90(pixels, 2)),
        ((0, -1, 1, 0), lambda pixels: np.rot90(pixels)),
        ((-1, 0, 0, 1), np.fliplr),
        ((1, 0, 0, -1), np.flipud),
        ((0, 1, 1, 0), lambda pixels: pixels.transpose(1, 0, 2)),
        ((0, -1, -1, 0), lambda pixels: np.rot90(pixels, 2).transpose(1, 0, 2)),
    ],
)
def test_phone_videos_are_turned(tmp_path, matrix, turn):
    marked = np.zeros((32, 64, 3), np.uint8)
    marked[:16, :32] = 255
    filmed(tmp_path / "a.mp4", marked, matrix)
    for given in (tmp_path / "a.mp4", (tmp_path / "a.mp4").read_bytes()):
        frame = read(given, Sampling(1)).array()[0].astype(int)
        assert frame.shape == turn(marked).shape
        assert np.abs(frame - turn(marked)).mean() < 10


def test_a_video_turned_by_part_of_a_right_angle_is_refused(tmp_path):
    filmed(tmp_path / "a.mp4", np.zeros((32, 64, 3), np.uint8), (0.7, 0.7, -0.7, 0.7))
    with pytest.raises(InputError, match=r"a.mp4 is to be shown turned by part of a right angle"):
        read(tmp_path / "a.mp4")


def filmed(path, pixels, matrix):
    """Two frames with a note how the screen shows them, as phones write it."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width = pixels.shape[:2]
        for _ in range(2):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
        container.mux(stream.encode())
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 44  # of version 0
    whole = [int(65536 * part) for part in matrix]
    struct.pack_into(">9i", data, place, *whole[:2], 0, *whole[2:], 0, 0, 0, 1 << 30)
    path.write_bytes(data)


def test_a_clip_that_is_shorter_than_its_header_says_is_spread_anew(tmp_path):
    write_clip(tmp_path / "a.avi", 20)
    data = bytearray((tmp_path / "a.avi").read_bytes())
    place = data.index(b"strh") + 8 + 32  # how many frames
    assert struct.unpack_from("<I", data, place) == (20,)
    struct.pack_into("<I", data, place, 200)
    (tmp_path / "b.avi").write_bytes(data)
    whole, longer = (read(tmp_path / name, Sampling(4)) for name in ("a.avi", "b.avi"))
    assert (longer.array() == whole.array()).all()


def test_arrays_and_tensors_are_pictures_and_clips():
    values = np.stack([LEFT // (number + 1) for number in range(20)])
    assert (np.asarray(read(LEFT)) == LEFT).all()
    assert (read(values, Sampling(4)).array() == values[spread(20, 4)]).all()
    tensor = torch.from_numpy(values).permute(0, 3, 1, 2)
    assert (read(tensor, Sampling(4)).array() == values[spread(20, 4)]).all()
    assert (np.asarray(read(torch.from_numpy(LEFT / np.float32(255)))) == LEFT).all()
    with pytest.raises(InputError, match="the array has no frame rate"):
        read(values, Sampling(fps=1))
    with pytest.raises(InputError, match="of -1 to 1; allowed: 0 to 1"):
        read(LEFT / 127.5 - 1)


@pytest.mark.parametrize(
    "given",
    [None, 5, "", ".", "a" * 5000, "\0", {}, b"", b"abc", io.BytesIO(), io.StringIO("a"), object()],
)
def test_what_is_no_source_is_one_clear_error(given):
    named = (
        "a picture is a path, .* got|no such picture or video|empty|is none of what Pillow opens"
    )
    with pytest.raises(InputError, match=named) as caught:
        read(given)
    assert len(str(caught.value)) < 300


def test_what_pillow_cannot_open_says_what_it_can(tmp_path):
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
    (tmp_path / "a.heic").write_bytes(heic)
    for given in (tmp_path / "a.heic", heic):
        with pytest.raises(InputError, match=r"none of .*JPEG.*PNG.*; HEIC takes pillow_heif"):
            read(given)


def test_a_file_that_is_cut_short_is_one_clear_error(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    frames = [Image.fromarray(noise), Image.fromarray(255 - noise)]
    for name in ("a.jpg", "a.png", "a.tiff", "a.bmp", "a.webp", "a.gif", "clip.gif", "clip.webp"):
        more = {"save_all": True, "append_images": frames[1:]} if "clip" in name else {}
        frames[0].save(tmp_path / name, **more)
        data = (tmp_path / name).read_bytes()
        for given in (data[: len(data) * 7 // 8], data[: len(data) // 3]):
            with pytest.raises(InputError, match="cannot read the file as a picture"):
                read(given)


def test_a_title_need_not_be_in_utf_8(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        container.metadata["title"] = "TITLE"
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))))
        container.mux(stream.encode())
    latin = (tmp_path / "a.mkv").read_bytes().replace(b"TITLE", b"T\xcfTLE")
    assert len(read(latin).frames) == 1
