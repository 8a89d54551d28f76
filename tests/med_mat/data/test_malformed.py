"""Pictures of every kind and damaged ones: the right pixels, or one sentence that names the file."""

import io
import warnings
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lib.data.files import DataError
from papers.med_mat.data.files import Record, read_image


def named(name):
    return Record(0, "Yes", name, "q", "a", "q\nA: x\nB: y", "A", "3")


def saved(picture, kind, **options):
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


GREY = Image.fromarray(np.arange(120, dtype=np.uint8).reshape(10, 12))
COLOUR = Image.fromarray(np.arange(360, dtype=np.uint8).reshape(10, 12, 3) * 7)
DEEP = Image.fromarray(np.arange(120, dtype=np.uint16).reshape(10, 12) * 500)
REAL = Image.fromarray(np.linspace(-1, 1, 120, dtype=np.float32).reshape(10, 12))
FILES = [
    *(saved(COLOUR, kind) for kind in ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM")),
    *(saved(DEEP, kind) for kind in ("PNG", "TIFF")),
    *(saved(GREY, "TIFF", compression=how) for how in ("tiff_lzw", "tiff_adobe_deflate")),
    saved(REAL, "TIFF"),
]


@pytest.mark.slow
def test_damaged_pictures(tmp_path):
    """Bytes changed and ends cut off: pixels of a picture, or a sentence."""
    count, path = Counter(), tmp_path / "a.png"
    changes = st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=3)

    @settings(max_examples=600, deadline=None, derandomize=True)
    @given(st.sampled_from(FILES), changes, st.sampled_from([1, 1, 1, 0.5, 0.9]), st.booleans())
    def each(content, changed, kept, early):
        content = bytearray(content[: int(len(content) * kept)])
        for place, value in changed:  # half of them in the header, where they hurt most
            content[int(place * (min(len(content), 60) if early else len(content)))] = value
        path.write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                pixels = read_image(tmp_path, named(path.name))
            except DataError as error:
                said = str(error)
                assert said.startswith(str(path)) and "\n" not in said and said.endswith(".")
                count["refused"] += 1
            else:
                assert pixels.dtype == np.uint8 and pixels.ndim in (2, 3) and pixels.shape[2:] in ((), (3,))
                count["read"] += 1

    each()
    print(f"pictures: {count.total()} inputs, {count}")
    assert count.total() >= 500 and min(count["read"], count["refused"]) > 50


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("picture", "kind"), [(GREY, "PNG"), (COLOUR, "TIFF"), (DEEP, "PNG")])
def test_a_picture_is_read_as_viewers_show_it(tmp_path, picture, kind, orientation):
    """EXIF's eight orientations, written out as what undoes each."""
    turn = {1: lambda a: a, 2: np.fliplr, 3: lambda a: a[::-1, ::-1], 4: np.flipud, 5: lambda a: a.swapaxes(0, 1)}
    turn |= {6: lambda a: np.rot90(a, -1), 7: lambda a: np.rot90(a, 2).swapaxes(0, 1), 8: lambda a: np.rot90(a)}
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "plain").write_bytes(saved(picture, kind))
    (tmp_path / "turned").write_bytes(saved(picture, kind, exif=exif))
    upright = turn[orientation](read_image(tmp_path, named("plain")))
    np.testing.assert_array_equal(read_image(tmp_path, named("turned")), upright)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_no_number_are_refused_not_shown_as_black(tmp_path, value):
    pixels = np.array(REAL)
    pixels[3, 4] = value
    (tmp_path / "a.tif").write_bytes(saved(Image.fromarray(pixels), "TIFF"))
    with pytest.raises(DataError, match=r"a\.tif has 1 pixels that are NaN or infinite; mend or leave out"):
        read_image(tmp_path, named("a.tif"))


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "PNG", "WEBP", "MPO"])
def test_several_frames_are_refused(tmp_path, kind):
    frames = {"save_all": True, "append_images": [Image.fromarray(255 - np.array(COLOUR))]}
    (tmp_path / "a").write_bytes(saved(COLOUR, kind, **frames))
    with pytest.raises(DataError, match="a holds 2 frames; save the one that the question means"):
        read_image(tmp_path, named("a"))
