"""Chapter 03's explorer on small data: baselines of a second, and little to calibrate on."""

from shrink.chapters import quantize as exercises
from shrink.chapters.quantize import lab, network, prepared
from shrink.chapters.quantize.explorer import explore_quantization
from shrink.classroom import baselines
from shrink.classroom.training import Recipe
from shrink.quantization import calibration
from tests.chapters.small import comparing_seeds

SEEDS = (0, 1)
EXERCISES = (exercises.scale_and_zero_point, exercises.quantize)


def prepare(patch):
    for module in (lab, network, prepared):
        patch.setattr(module, "IMAGES", 150)
    for module in (network, prepared):
        patch.setattr(module, "SEEN", 60)
        patch.setattr(module, "BATCH", 20)
    patch.setattr(calibration, "HALF", 256)
    patch.setitem(baselines.RECIPES, (network.NAME, "digits"), Recipe(epochs=6))


EXPLORERS = (
    comparing_seeds(
        "quantization",
        prepare,
        explore_quantization,
        EXERCISES,
        SEEDS,
    ),
)
