"""What tests of groups and surgery ask with: the models, units at random, how far outputs are."""

import copy
import functools
import random

import torch

from shrink.classroom import models
from shrink.pruning import dependency_groups
from tests.pruning import corners
from tests.pruning.nets import IMAGES, NETS, images, shaken

DIGITS = (2, 1, 28, 28)


def course(kind):
    return lambda: (kind(), DIGITS)


def other(kind):
    return lambda: (kind(), IMAGES)


LARGE = {
    **{name: course(kind) for name, kind in models.MODELS.items()},
    **{name: other(kind) for name, kind in NETS.items()},
}
RIGHT = {**LARGE, **corners.CONVOLUTIONS, **corners.GROUPED, **corners.BETWEEN}


def built(make, dtype=torch.float32, seed=0):
    """The model with every number of it drawn, in use, and its input."""
    model, shape = make()
    model = shaken(copy.deepcopy(model), seed)
    return model.to(dtype), images(shape, seed, dtype)


@functools.cache
def groups_of(name):
    """The groups of a net in `RIGHT`, which do not depend on its numbers."""
    return dependency_groups(*built(RIGHT[name]))


def some(groups, seed):
    """Of most groups, units at random, at least one of each layer."""
    draw = random.Random(seed)
    kept = {}
    for name, group in groups.items():
        if draw.random() < 0.8:
            chosen = set(draw.sample(range(group.units), draw.randint(1, group.units)))
            for member in group.members:
                units = set(member.units.tolist()) - {-1}
                chosen |= set() if units & chosen else {draw.choice(sorted(units))}
            kept[name] = torch.tensor(sorted(chosen))
    return kept


def flat(y):
    if isinstance(y, torch.Tensor):
        return [y]
    return [t for part in (y.values() if isinstance(y, dict) else y) for t in flat(part)]


def off(found, expected):
    """How far the outputs are from each other, as a part of the largest."""
    found, expected = flat(found), flat(expected)
    assert [y.shape for y in found] == [y.shape for y in expected]
    assert all(y.isfinite().all() for y in [*found, *expected])
    pairs = zip(found, expected, strict=True)
    return max(((a - b).abs().max() / (1e-9 + b.abs().max())).item() for a, b in pairs)


def answers(model, x):
    with torch.no_grad():
        return model(x)


def assert_same(before, after):
    assert before[0] == after[0] and before[2] == after[2]
    assert all(before[1][name].equal(after[1][name]) for name in before[1])
