"""The strip of casualties: the first images, two rows, each over its caption."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from shrink.classroom.explorers import strip
from shrink.classroom.explorers.strip import Strip

IMAGES = np.random.default_rng(0).random((30, 28, 28), np.float32)
BEFORE, AFTER = np.arange(30) % 10, np.arange(30) % 7


def strip_of(places):
    return Strip.of(IMAGES, np.array(places, int), BEFORE, AFTER)


@pytest.mark.parametrize("count", [0, 1, 5, 6, 10, 11])
def test_each_image_stands_in_its_place_over_nothing(count):
    places = list(range(29, 29 - count, -1))
    shown = strip_of(places)
    assert shown.picture.shape == (80, 200)
    expected = np.zeros_like(shown.picture)
    for i, place in enumerate(places[:10]):
        row, column = divmod(i, 5)
        top, left = 40 * row, 40 * column + 6
        expected[top : top + 28, left : left + 28] = IMAGES[place]
    assert np.array_equal(shown.picture, expected)
    assert shown.captions == tuple(f"{p % 10} → {p % 7}" for p in places[:10])


def test_captions_stand_under_their_images_and_go_with_them():
    ax = Figure().subplots()
    artists = strip.draw(ax)
    image, *texts = artists
    for places in ([8, 9, 10, 11, 12, 13], [8]):
        shown = strip_of(places)
        strip.update(artists, shown)
        assert np.array_equal(image.get_array(), shown.picture)
        named = [text.get_text() for text in texts]
        assert named == [*shown.captions, *[""] * (10 - len(places))]
    assert [text.get_position() for text in texts[4:6]] == [(180, 34), (20, 74)]
