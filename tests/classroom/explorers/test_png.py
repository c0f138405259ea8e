"""A picture's bytes: what a decoder reads of them is the picture, as the eye sees it."""

import io

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from shrink.classroom import plots
from shrink.classroom.explorers import png


def seen(pixels):
    return np.asarray(Image.open(io.BytesIO(png.encode(pixels))).convert("RGB"))


def of(*colours):
    """A row of pixels of these colours, opaque."""
    return np.array([[(*colour, 255) for colour in colours]], np.uint8)


def test_a_decoder_sees_the_pixels_where_they_are():
    black = np.random.default_rng(0).random((37, 53)) < 0.5
    pixels = np.full((37, 53, 4), 255, np.uint8)
    pixels[black, :3] = 0
    assert (seen(pixels) == pixels[..., :3]).all()


def test_the_courses_colours_are_exact_and_between_them_and_white_nearly():
    hues = [np.array(to_rgb(c)) * 255 for c in plots.COLOURS.values()]
    assert (seen(of(*np.rint(hues).astype(int))) == np.rint(hues)).all()
    for hue in hues:
        mixed = np.rint([hue + (255 - hue) * i / 40 for i in range(41)]).astype(int)
        assert abs(seen(of(*mixed)).astype(int) - mixed).max() <= 12


def test_greys_stay_grey_and_any_colour_finds_one_that_is_near():
    greys = np.arange(256)[:, None].repeat(3, 1)
    found = seen(of(*greys))[0].astype(int)
    assert (found == found[:, :1]).all() and abs(found - greys).max() <= 8
    every = np.random.default_rng(0).integers(0, 256, (5000, 3))
    assert abs(seen(of(*every)).astype(int) - every).max(-1).mean() < 40


def test_the_palette_fits_into_a_byte():
    assert png.palette().shape[0] <= 256 and png.palette().dtype == np.uint8


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (540, 960)])
def test_any_size(shape):
    assert seen(np.full((*shape, 4), 255, np.uint8)).shape == (*shape, 3)
