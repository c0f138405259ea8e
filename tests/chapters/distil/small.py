"""Chapter 06's explorer on small data: a teacher of a second, few images to learn from."""

from shrink.chapters import distil as exercises
from shrink.chapters.distil import explorer, lab, prepared
from shrink.classroom import baselines
from shrink.classroom.training import Recipe
from tests.chapters.small import comparing_seeds

SEEDS = (0, 1, 2)
TEMPERATURES, WIDTH = (0.5, 4.0, 20.0), 6
TEACHER = "lenet-300-100"
RECIPE = Recipe(epochs=3, learning_rate=0.05, weight_decay=0, batch_size=32)
EXERCISES = (exercises.soften,)


def prepare(patch):
    patch.setattr(prepared, "TEACHER", TEACHER)
    patch.setattr(prepared, "IMAGES", 320)
    patch.setattr(prepared, "CHAPTERS", TEMPERATURES[:2])
    patch.setattr(prepared, "ENDS", TEMPERATURES[2:])
    for module in (lab, prepared):
        patch.setattr(module, "TEMPERATURES", TEMPERATURES)
        patch.setattr(module, "RECIPE", RECIPE)
        patch.setattr(module, "WIDTH", WIDTH)
    patch.setattr(explorer, "WIDTH", WIDTH)
    patch.setattr(explorer, "WIDTHS", (WIDTH, 10))
    patch.setitem(baselines.RECIPES, (TEACHER, "digits"), Recipe(epochs=6))


EXPLORERS = (
    comparing_seeds(
        "distillation",
        prepare,
        explorer.explore_distillation,
        EXERCISES,
        SEEDS,
        job_first=True,
    ),
)
