"""Students guided from inside: the loss that is said, trained as `train` does, and cached."""

import math

import pytest
import torch
from torch import nn

from shrink import distillation
from shrink.chapters.distil import guided as module
from shrink.chapters.distil.guided import guided
from shrink.chapters.distil.pupils import Lesson, build, taught
from shrink.classroom.data import Split
from shrink.classroom.training import Recipe, train
from shrink.distillation import distillation_loss

RECIPE = Recipe(epochs=2, learning_rate=0.05, weight_decay=0, batch_size=16)
LESSON = Lesson(seed=3, temperature=4.0, alpha=0.9, rate=0.5)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def learned():
    """Images with labels, and the answers and features of a teacher that never was."""
    g = torch.Generator().manual_seed(0)
    split = Split(torch.rand(60, 1, 28, 28, generator=g), torch.randint(10, (60,), generator=g))
    return split, 5 * torch.randn(60, 10, generator=g), torch.randn(60, 7, generator=g)


def same(one, other, atol=1e-5):
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.allclose(a, b, atol=atol) for a, b in pairs)


@pytest.mark.parametrize("way", module.WAYS)
def test_with_weight_0_it_is_plain_distilling(learned, way):
    split, answers, features = learned
    (plain,) = taught(split, answers, [LESSON], RECIPE)
    found = guided(split, answers, features, LESSON, RECIPE, way=way, weight=0)
    assert same(found, plain) and not found.training
    assert not same(found, build(LESSON.seed))
    moved = guided(split, answers, features, LESSON, RECIPE, way=way, weight=1)
    assert not same(moved, plain, atol=1e-3)


def test_a_hint_trains_the_student_and_the_regressor(learned):
    """Written out: the second layer before its ReLU, through a layer of the lesson's seed."""
    split, answers, features = learned
    student, regressor = build(LESSON.seed), distillation.build_regressor((30,), (7,), LESSON.seed)

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.student, self.regressor = student, regressor

        def forward(self, images):
            x = self.student.fc1(images.flatten(1)).relu()
            self.own = self.student.fc2(x)
            return self.student.fc3(self.own.relu())

    both = Both()

    def loss(logits, images, labels, theirs, known):
        soft = distillation_loss(logits, theirs, labels, 4.0, 0.9)
        return soft + 0.3 * (regressor(both.own) - known).square().mean() / 2

    def examples(batch, _):
        return split.images[batch], split.labels[batch], answers[batch], features[batch]

    half = Recipe(epochs=2, learning_rate=0.025, weight_decay=0, batch_size=16)
    train(both, split, half, loss=loss, examples=examples)
    found = guided(split, answers, features, LESSON, RECIPE, way="hint", weight=0.3)
    assert same(found, student)


def test_relations_come_nearer_to_the_teachers(learned):
    split, answers, features = learned
    far, near = (
        guided(split, answers, features, LESSON, Recipe(40, 0.05), way="distance", weight=weight)
        for weight in (0, 5)
    )

    def off(student):
        with torch.no_grad():
            inside = student.fc2(student.fc1(split.images.flatten(1)).relu())
        return distillation.distance_loss(inside, features).item()

    assert off(near) < 0.8 * off(far)


def test_it_is_trained_once_and_anew_when_anything_differs(learned, own_cache, monkeypatch):
    split, answers, features = learned
    first = guided(split, answers, features, LESSON, RECIPE, way="hint", weight=1)
    kept = list((own_cache / "pupils").iterdir())

    def no_training(*args, **kwargs):
        raise AssertionError("trained again")

    monkeypatch.setattr(module, "new_bar", no_training)
    again = guided(split, answers, features, LESSON, RECIPE, way="hint", weight=1)
    assert same(again, first, atol=0) and list((own_cache / "pupils").iterdir()) == kept
    others = [
        (split, answers, features, LESSON, RECIPE, {"way": "hint", "weight": 2}),
        (split, answers, features, LESSON, RECIPE, {"way": "distance", "weight": 1}),
        (split, answers, features, LESSON, RECIPE, {"way": "hint", "weight": 1, "width": 20}),
        (split, answers, features, Lesson(4), RECIPE, {"way": "hint", "weight": 1}),
        (split, answers, features, LESSON, Recipe(3), {"way": "hint", "weight": 1}),
        (split, answers, features + 1, LESSON, RECIPE, {"way": "hint", "weight": 1}),
        (split, answers + 1, features, LESSON, RECIPE, {"way": "hint", "weight": 1}),
        (
            Split(split.images, 9 - split.labels),
            answers,
            features,
            LESSON,
            RECIPE,
            {"way": "hint", "weight": 1},
        ),
    ]
    for *args, options in others:
        with pytest.raises(AssertionError, match="trained again"):
            guided(*args, **options)


def test_the_state_of_a_student_is_left_without_hooks(learned):
    split, answers, features = learned
    found = guided(split, answers, features, LESSON, RECIPE, way="hint", weight=1)
    assert not any(layer._forward_hooks for layer in found.modules())
    assert list(found.state_dict()) == list(build(0).state_dict())
    assert all(math.isfinite(t.sum().item()) for t in found.state_dict().values())


@pytest.mark.parametrize(
    ("lesson", "way", "said"),
    [
        (LESSON, "angle", "way must be one of hint, distance, not 'angle'"),
        (Lesson(0, missing=3), "hint", "sees every digit; missing is 3"),
    ],
    ids=["way", "missing"],
)
def test_what_it_cannot_do_is_said(learned, lesson, way, said):
    with pytest.raises(ValueError, match=said):
        guided(*learned, lesson, RECIPE, way=way, weight=1)
