"""What a teacher costs while a student trains: asked each time, or looked up."""

import os
import tempfile
from collections.abc import Callable, Iterator
from unittest.mock import patch

from torch import Tensor

from shrink.chapters.distil.teacher import with_answers, with_cached_answers
from shrink.classroom import data, models
from shrink.classroom.baselines import baseline
from shrink.classroom.training import Examples, Recipe, shifted, train
from shrink.distillation import distillation_loss
from tests.bench.rows import Row, faster, in_turns


def epochs() -> Iterator[Row]:
    """An epoch of distillation beside one from labels, on images that are shifted."""
    split = data.load("glyphs", announce=False).train
    teacher = baseline("lenet-5", data.load("glyphs", announce=False))
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, SHRINK_CACHE=folder):
        looked_up = with_cached_answers(split, teacher)
    ways = {
        "asked for": with_answers(split, teacher, augment=shifted),
        "looked up": looked_up,
    }

    def from_labels() -> None:
        train(models.build("lenet-300-100", 0), split, Recipe(1, 0.01), augment=shifted)

    def from_teacher(examples: Examples) -> Callable[[], None]:
        def loss(logits: Tensor, images: Tensor, labels: Tensor, theirs: Tensor) -> Tensor:
            return distillation_loss(logits, theirs, labels, temperature=4, alpha=0.9)

        return lambda: train(
            models.build("lenet-300-100", 0), split, Recipe(1, 0.01), loss=loss, examples=examples
        )

    for way, examples in ways.items():
        ours, plain = in_turns(from_teacher(examples), from_labels, runs=5, warm_up=1)
        yield Row(
            f"an epoch of LeNet-300-100 on 12,000 shifted glyphs, LeNet-5's answers {way}",
            f"{ours / 1000:.2f} s",
            f"from labels {plain / 1000:.2f} s",
            faster(ours, plain),
        )
