"""Draws `glyphs`, the synthetic data set: digits of 19 typefaces, each bent in its own way.

It stands in for MNIST if that has not been downloaded. Each image starts as a digit in one of the
faces that matplotlib ships, fitted into a box of 20 x 20 pixels in a field of 28 x 28, white on
black, as in MNIST. Then a random affine map, a smooth random displacement (elastic distortion),
a stroke that is thicker or not, blur, uneven ink and contrast make it one of its kind. Away from
the ink every pixel stays exactly 0, so that most of the border is black, as in MNIST.

The strength was tuned once, for these errors on the test set (mean, and standard deviation over
three seeds, in points; the recipes of `baselines`): LeNet-300-100 2.03 (0.04); with 4 more epochs
1.96 (0.04); pruned by magnitude over all layers to 80 % zeros and then given the same 4 epochs
2.01 (0.05). LeNet-5, one seed: 0.79.

Source: Simard, Steinkraus and Platt 2003, section 2, for elastic distortion.
Differs: their field is noise smoothed by a Gaussian; ours is a coarse random grid, interpolated.
"""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont
from torch import Generator, Tensor

STRENGTH = 0.52  # of all distortions together; tuned once, to the errors above
SIZES = {"train": 12_000, "validation": 2_000, "test": 10_000}
SEEDS = {"train": 1, "validation": 2, "test": 3}
BLOCK = 500  # images drawn at once
BLUR = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]).view(1, 1, 3, 3) / 16

# Every face that has digits and serves. Left out: cmmi10 (old-style figures) and the two bold
# faces of DejaVuSansMono (the dot in the zero grows into the bar of an 8).
FACES = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique"),
    *("DejaVuSansMono", "DejaVuSansMono-Oblique"),
    *("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic"),
    *("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta"),
    *("cmr10", "cmb10", "cmss10", "cmti10", "cmtt10"),
)
DIGITS = "0123456789"
STROKES = (0, 3)  # added around the outline, in pixels of a digit about 100 pixels high


def draw(
    split: str, progress: Callable[[int, int], None] | None = None, count: int | None = None
) -> tuple[Tensor, Tensor]:
    """Draw a split: images uint8 (n, 28, 28), and labels uint8 (n,) in balanced random order.

    `split` is "train" (12 000 images), "validation" (2 000) or "test" (10 000). `count` asks for
    only that many, the first ones of the whole. `progress(done, total)` is called as images are
    done. The same call draws the same images, to within what another build of the font renderer
    changes. Raises `ValueError` for an unknown split.

    >>> images, labels = draw("test", count=4)
    >>> images.shape, images.dtype, labels.shape
    (torch.Size([4, 28, 28]), torch.uint8, torch.Size([4]))
    """
    if split not in SIZES:
        raise ValueError(f"no split named {split!r}; there are {', '.join(SIZES)}")
    total = SIZES[split] if count is None else count
    generator = torch.Generator().manual_seed(SEEDS[split])
    letters = set_letters()
    images, labels = [], []
    for start in range(0, total, BLOCK):
        digits = torch.arange(BLOCK).remainder(10)[torch.randperm(BLOCK, generator=generator)]
        images.append(_distort(_choose(letters, digits, generator), generator))
        labels.append(digits.to(torch.uint8))
        if progress is not None:
            progress(min(start + BLOCK, total), total)
    return torch.cat(images)[:total], torch.cat(labels)[:total]


def set_letters() -> Tensor:
    """The undistorted digits: float32 (faces, strokes, 10, 56, 56) in 0..1, at twice the size."""
    rows = [
        _letter(face, stroke, digit) for face in FACES for stroke in STROKES for digit in DIGITS
    ]
    return torch.stack(rows).view(len(FACES), len(STROKES), 10, 56, 56)


def _letter(face: str, stroke: int, digit: str) -> Tensor:
    """One digit, its longer side 40 pixels, in the middle of a field of 56 x 56."""
    font = ImageFont.truetype(Path(get_data_path(), "fonts", "ttf", f"{face}.ttf"), size=140)
    large = Image.new("L", (280, 280))
    ImageDraw.Draw(large).text((60, 40), digit, font=font, fill=255, stroke_width=stroke)
    large = large.crop(large.getbbox())
    scale = 40 / max(large.size)
    small = large.resize([max(1, round(side * scale)) for side in large.size], Image.BOX)
    field = Image.new("L", (56, 56))
    field.paste(small, [(56 - side) // 2 for side in small.size])
    return torch.frombuffer(bytearray(field.tobytes()), dtype=torch.uint8).view(56, 56) / 255


def _choose(letters: Tensor, digits: Tensor, generator: Generator) -> Tensor:
    """A random face and stroke for each digit: (n, 1, 56, 56)."""
    n = len(digits)
    face = torch.randint(len(FACES), (n,), generator=generator)
    stroke = torch.randint(len(STROKES), (n,), generator=generator)
    return letters[face, stroke, digits].unsqueeze(1)


def _distort(letters: Tensor, generator: Generator) -> Tensor:
    """Letters (n, 1, 56, 56) float32 → images (n, 28, 28) uint8, each distorted in its own way."""
    n = len(letters)

    def vary(limit: float, *shape: int) -> Tensor:
        """(n, *shape) uniform numbers between -limit and limit, times the strength."""
        return (torch.rand(n, *shape, generator=generator) * 2 - 1) * limit * STRENGTH

    where = F.affine_grid(_affine(vary), [n, 1, 56, 56], align_corners=False)
    bend = F.interpolate(vary(0.25, 2, 5, 5), size=(56, 56), mode="bicubic", align_corners=True)
    where = where + bend.permute(0, 2, 3, 1)
    images = F.avg_pool2d(F.grid_sample(letters, where, align_corners=False), 2)

    images = images.lerp(
        F.conv2d(images, BLUR, padding=1), torch.rand(n, 1, 1, 1, generator=generator)
    )
    ink = F.interpolate(vary(0.3, 1, 7, 7), size=(28, 28), mode="bilinear") + vary(0.2, 1, 28, 28)
    images = images * (1 + ink) * (1 + vary(0.4, 1, 1, 1))
    return (images.clamp(0, 1) * 255).round().to(torch.uint8).squeeze(1)


def _affine(vary: Callable[..., Tensor]) -> Tensor:
    """Random maps (n, 2, 3), from where a pixel is seen to where its letter is read."""
    turn, slant = vary(0.3), vary(0.4)
    cos, sin = turn.cos(), turn.sin()
    wider, taller = vary(0.3).exp(), vary(0.2).exp()
    x_row = torch.stack([cos * wider, (slant * cos - sin) * wider, vary(0.12)], dim=1)
    y_row = torch.stack([sin * taller, (slant * sin + cos) * taller, vary(0.12)], dim=1)
    return torch.stack([x_row, y_row], dim=1)
