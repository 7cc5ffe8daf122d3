"""What a person sees of a picture: one test a kind, on tiny pictures."""

import io
import struct

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from foveate.errors import InputError
from foveate.pictures import ORIENTATION, frames_to_rgb, from_array, to_image, to_rgb

MARKED = np.zeros((5, 7, 3), np.uint8)  # unlike itself however it is turned
MARKED[0], MARKED[:, 0], MARKED[0, 0] = (200, 40, 40), (40, 200, 40), (40, 40, 200)
GREY = np.arange(0, 255, 5, dtype=np.uint8)[:50].reshape(5, 10)


def through(picture, kind, **how):
    """Saved and opened."""
    file = io.BytesIO()
    picture.save(file, kind, **how)
    return Image.open(file)


def pixels(picture, **more):
    return np.asarray(to_rgb(picture, **more))


def stored(orientation):
    """The marked picture as a camera held that way stores it."""
    inverse = {6: 8, 8: 6}.get(orientation, orientation)
    tag = Image.Exif()
    tag[ORIENTATION] = inverse
    upright = Image.fromarray(MARKED)
    upright.info["exif"] = tag.tobytes()
    turned = ImageOps.exif_transpose(upright)
    tag[ORIENTATION] = orientation
    return turned, tag


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_their_exif_says(kind, orientation):
    turned, tag = stored(orientation)
    picture = through(turned, kind, exif=tag, **({"lossless": True} if kind == "WEBP" else {}))
    assert (pixels(picture) == MARKED).all()
    assert (pixels(picture) == MARKED).all()  # again: what was passed is as before
    assert (pixels(to_rgb(picture)) == MARKED).all()  # once only
    assert (pixels(ImageOps.exif_transpose(picture)) == MARKED).all()
    assert (pixels(through(turned, kind, exif=tag, lossless=True).convert("RGB")) == MARKED).all()


@pytest.mark.parametrize("tag", [b"Exif\0\0MM", b"Exif\0\0" + bytes(20), b"no", b""])
def test_a_broken_exif_turns_nothing(tag):
    picture = Image.fromarray(MARKED)
    picture.info["exif"] = tag
    assert (pixels(picture) == MARKED).all()


def test_a_camera_jpeg_with_further_views_is_its_first(tmp_path):
    picture = Image.fromarray(MARKED).resize((48, 32))
    second = Image.new("RGB", (24, 16), "white")
    views = through(picture, "MPO", save_all=True, append_images=[second], quality=95)
    assert views.n_frames == 2
    assert (pixels(views) == np.asarray(through(picture, "JPEG", quality=95))).all()


@pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B", "I;16N"])
def test_16_bits_become_8(mode):
    words = Image.frombuffer(mode, (10, 5), (GREY * np.uint16(257)).astype(
        ">u2" if mode == "I;16B" else "<u2").tobytes(), "raw", mode, 0, 1)  # fmt: skip
    assert (pixels(words) == GREY[..., None]).all()
    for kind in ("PNG", "TIFF"):
        if mode == "I;16":
            assert (pixels(through(words, kind)) == GREY[..., None]).all()


def test_what_a_tiff_says_is_white_is_white():
    words = Image.fromarray(GREY * np.uint16(257))
    negative = through(words, "TIFF", tiffinfo={262: 0})
    assert (pixels(negative) == 255 - GREY[..., None]).all()


def test_a_dark_16_bit_file_is_dark():
    dark = Image.fromarray(np.full((2, 2), 200, np.uint16))
    assert (pixels(through(dark, "PNG")) == 1).all()
    assert (pixels(through(dark.convert("I"), "PPM")) == 1).all()


def test_integers_and_floats_go_by_their_range():
    for values in (GREY, GREY * np.uint16(257), GREY / np.float32(255), GREY / 255):
        for kind in (np.int32, np.float32):
            if values.dtype == np.uint16 and kind is np.float32:
                continue
            if values.dtype.kind == "f" and kind is np.int32:
                continue
            given = values.astype(kind)
            assert (pixels(Image.fromarray(given)) == GREY[..., None]).all()
            assert (pixels(given) == GREY[..., None]).all()
    for values in (
        [-1.0, 1.0],
        [0.0, 1.02],
        [0.0, 16.0],
        [0.0, 300.0],
        [0.0, np.nan],
        [-3, 5],
        [0, 70000],
    ):
        array = np.array([values], np.float32 if isinstance(values[0], float) else np.int32)
        for given in (Image.fromarray(array), array, torch.from_numpy(array)):
            with pytest.raises(
                InputError, match=r"which value is white .* of .* to .*; allowed: 0"
            ):
                to_rgb(given)


def test_frames_are_scaled_alike():
    dark, light = (Image.fromarray(np.full((2, 2), top, np.float32)) for top in (1, 255))
    first, last = frames_to_rgb([dark, light], ["a", "b"])
    assert first.getpixel((0, 0)) == (1, 1, 1)
    assert last.getpixel((0, 0)) == (255, 255, 255)


def ink(colour, hidden, mode="RGBA"):
    """Two columns of it beside two that are transparent and hold a hidden colour."""
    if mode in ("P", "PA"):
        picture = Image.new("P", (4, 2), 1)
        picture.putpalette([*colour, *hidden])
        picture.paste(0, (0, 0, 2, 2))
        if mode == "PA":
            picture.putalpha(ink(colour, hidden).getchannel("A"))
        return picture
    picture = Image.new("RGBA", (4, 2), (*hidden, 0))
    picture.paste((*colour, 255), (0, 0, 2, 2))
    return picture.convert("LA").convert("La") if mode == "La" else picture.convert(mode)


RED, WHITE, BLACK = (200, 0, 0), (255, 255, 255), (0, 0, 0)


@pytest.mark.parametrize("mode", ["RGBA", "RGBa", "LA", "La", "PA"])
@pytest.mark.parametrize(("colour", "below"), [(BLACK, WHITE), (WHITE, BLACK), (RED, WHITE)])
def test_what_is_transparent_does_not_show(mode, colour, below):
    got = pixels(ink(colour, colour, mode))
    grey = Image.new("RGB", (1, 1), colour).convert("L").convert("RGB").getpixel((0, 0))
    assert (got[:, :2] == (grey if mode[0] == "L" else colour)).all()
    assert (got[:, 2:] == below).all()


@pytest.mark.parametrize(("kind", "transparency"), [("PNG", 1), ("PNG", b"\xff\x00"), ("GIF", 1)])
def test_a_palette_with_a_transparent_colour(kind, transparency):
    picture = through(ink(BLACK, RED, "P"), kind, transparency=transparency)
    assert (pixels(picture)[:, :2] == BLACK).all()
    assert (pixels(picture)[:, 2:] == WHITE).all()


@pytest.mark.parametrize(
    ("mode", "drawn", "key"),
    [("RGB", RED, RED), ("L", 76, 76), ("1", 1, 1), ("I;16", 30000, 30000)],
)
def test_one_colour_may_stand_for_transparent(mode, drawn, key):
    picture = Image.new(mode, (2, 2), drawn)
    if mode == "I;16":
        picture.info["transparency"] = key
    else:
        picture = through(picture, "PNG", transparency=key)
    assert (pixels(picture) == 255).all()


def test_half_transparent_ink_is_mixed():
    picture = Image.new("RGBA", (2, 2), (0, 0, 0, 128))
    assert (pixels(picture) == 127).all()
    assert (pixels(Image.new("RGBA", (2, 2), (9, 9, 9, 0))) == 255).all()
    opaque = Image.new("RGBA", (2, 2), (250, 250, 250, 255))
    assert (pixels(opaque) == 250).all()


def test_frames_are_laid_on_one_background():
    dark, light = ink(BLACK, RED), ink(WHITE, RED)
    for frames, below in (([dark, dark, light], WHITE), ([light] * 4 + [dark], BLACK)):
        seen = frames_to_rgb(frames, [""] * len(frames))
        assert {frame.getpixel((3, 0)) for frame in seen} == {below}


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"])
def test_other_modes_are_what_pillow_says(mode):
    picture = Image.fromarray(MARKED)
    if mode == "LAB":
        picture = Image.merge("LAB", Image.fromarray(MARKED).split())
    picture = picture.convert(mode)
    assert (pixels(picture) == np.asarray(picture.convert("RGB"))).all()
    assert pixels(picture).std() > 10


def test_an_inverted_cmyk_jpeg_is_not_a_negative():
    picture = through(Image.new("CMYK", (8, 8), (0, 0, 0, 0)), "JPEG")
    assert picture.mode == "CMYK"
    assert pixels(picture).min() > 250


def test_pages_and_thumbnails_of_a_tiff():
    page, small = Image.fromarray(MARKED), Image.new("RGB", (3, 2), "white")
    for first, second in ((page, small), (small, page)):
        picture = tiff([(first, int(first is small)), (second, int(second is small))])
        assert picture.n_frames == 2
        assert (pixels(picture) == MARKED).all()
        assert picture.tell() == 0
    for kind in (0, 2):
        with pytest.raises(
            InputError, match=r"a.tif holds 2 pictures, one is needed; copy\(\) takes"
        ):
            to_rgb(tiff([(page, kind), (page, kind)]), "a.tif")
    assert (pixels(tiff([(page, 0), (small, 0)]).copy()) == MARKED).all()


def tiff(pages):
    """A file of (picture, what kind of page it says to be)."""
    kept = []
    for picture, kind in pages:
        kept.append(through(picture, "TIFF", tiffinfo={254: kind}))
    file = io.BytesIO()
    kept[0].save(file, "TIFF", save_all=True, append_images=kept[1:], tiffinfo={254: pages[0][1]})
    whole = Image.open(file)
    for number, (_, kind) in enumerate(pages):
        whole.seek(number)
        at = whole.tag_v2._offset
        raw = bytearray(file.getvalue())
        for entry in range(struct.unpack_from("<H", raw, at)[0]):
            if struct.unpack_from("<H", raw, at + 2 + 12 * entry)[0] == 254:
                struct.pack_into("<I", raw, at + 2 + 12 * entry + 8, kind)
        file = io.BytesIO(bytes(raw))
    return Image.open(file)


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy], ids=["array", "tensor"])
def test_arrays_and_tensors(kind):
    for values in (MARKED, MARKED * np.uint16(257), MARKED / np.float32(255), MARKED.astype(int)):
        assert (pixels(kind(values)) == MARKED).all()
        first = np.ascontiguousarray(values.transpose(2, 0, 1))
        assert (pixels(kind(first)) == MARKED).all()
        assert (from_array(kind(np.stack([values] * 5))) == MARKED).all()
        assert (from_array(kind(np.stack([first] * 5))) == MARKED).all()
    assert (pixels(kind(GREY)) == GREY[..., None]).all()
    assert (pixels(kind(GREY[..., None])) == GREY[..., None]).all()
    assert (pixels(kind(GREY[None])) == GREY[..., None]).all()
    assert (pixels(kind(GREY > 100)) == 255 * (GREY > 100)[..., None]).all()
    clear = np.dstack([MARKED, np.zeros((5, 7), np.uint8)])
    assert (pixels(kind(clear)) == 255).all()


def test_tensors_of_other_kinds():
    half = torch.from_numpy(GREY / np.float32(255))
    assert np.abs(pixels(half.bfloat16()).astype(int) - GREY[..., None]).max() <= 1
    assert (pixels(half.requires_grad_()) == GREY[..., None]).all()
    both = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    assert (pixels(both) == both).all()
    with pytest.raises(
        InputError, match=r"colours of a tensor \(3, 3, 3\) may be on axis -1 or -3"
    ):
        to_rgb(torch.from_numpy(both))


@pytest.mark.parametrize(
    "shape", [(), (4,), (5, 5, 2), (8, 5, 5), (0, 3), (5, 0, 3), (2, 5, 5, 5), (1, 2, 4, 4, 3)]
)
def test_other_shapes_are_refused(shape):
    for given in (np.zeros(shape, np.uint8), torch.zeros(shape, dtype=torch.uint8)):
        with pytest.raises(InputError, match=r"a picture is \(H, W\) .* got \("):
            to_rgb(given)


def test_what_are_no_numbers_is_refused():
    for given in (np.zeros((2, 2), complex), np.full((2, 2), "a"), np.full((2, 2), None)):
        with pytest.raises(
            InputError, match=r"pixels are booleans, integers or floats, got .* in it"
        ):
            to_rgb(given, "it")
    with pytest.raises(InputError, match="cannot read it as a picture"):
        to_rgb(torch.zeros(2, 2, device="meta"), "it")
    with pytest.raises(InputError, match=r"a picture is .*got"):
        to_rgb(object(), "it")


def test_bytes_become_images():
    for channels, mode in ((1, "L"), (3, "RGB"), (4, "RGBA")):
        assert to_image(np.zeros((2, 3, channels), np.uint8)).mode == mode
