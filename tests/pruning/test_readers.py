"""Who reads a unit is found without groups: by changing what its makers say, and listening."""

import random

import pytest
import torch
from torch import nn

from tests import depth
from tests.pruning.cases import LARGE, RIGHT, answers, built, groups_of

# Three of the others have a shared layer, or one that changes its input's channels.
ASKED = [*LARGE, "depthwise in a residual", "dense connections", "squeeze and excitation"]
ASKED += ["sum of what is put together", "flattened with the places first", "features last"]


def listening(model):
    """Linear layers and convolutions by name; a depthwise one passes each channel on."""
    found = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}
    return {n: m for n, m in found.items() if not getattr(m, "groups", 1) > 1}


def axis_of(layer, x):
    return x.dim() - 1 if isinstance(layer, nn.Linear) else 1


def heard(model, x, say):
    """What each layer takes in while it says, in place of its output y, `say(name, y)`."""
    takes, handles = {}, []
    for name, layer in listening(model).items():

        def after(_, args, y, name=name):
            takes[name] = args[0].clone()
            return say(name, y)

        handles.append(layer.register_forward_hook(after))
    answers(model, x)
    for handle in handles:
        handle.remove()
    return takes


def reached(model, x, makers, unit):
    """Of each layer, the inputs that change with what the makers say for the unit.

    All other layers say what they said before, so that a change goes no further than to the next.
    """
    layers, said = listening(model), {}
    before = heard(model, x, lambda name, y: said.setdefault(name, y.clone()))

    def louder(name, y, bits):
        y = said[name].clone()
        if name in makers:
            sign = (-1) ** (bits >> [*makers].index(name) % 3)
            ours = (makers[name] == unit).to(y.dtype)
            noise = sign * 0.1 * 1000 ** torch.rand_like(y)
            y += noise * ours.view(-1, *[1] * (y.dim() - 1 - axis_of(layers[name], y)))
        return y

    found = {}
    for bits in range(8):  # of three makers each choice of signs: one of them passes a ReLU
        now = heard(model, x, lambda name, y, bits=bits: louder(name, y, bits))
        for name, taken in now.items():
            axis = axis_of(layers[name], taken)
            rows = (taken - before[name]).abs().movedim(axis, 0).flatten(1).amax(1)
            found.setdefault(name, set()).update((rows > 1e-6).nonzero().flatten().tolist())
    return {name: entries for name, entries in found.items() if entries}


def entries_of(group, role, unit):
    return {
        m.layer: set((m.units == unit).nonzero().flatten().tolist())
        for m in group.members
        if m.role == role and m.tensor.endswith("weight") and (m.units == unit).any()
    }


@pytest.mark.parametrize("name", ASKED)
def test_who_reads_a_unit_is_who_hears_it_change(name):
    for group in groups_of(name).values():
        makers = {m.layer: m.units for m in group.members if m.role == "makes"}
        units = random.Random(0).sample(range(group.units), min(group.units, 3))
        for unit in units if depth.DEEP else units[:1]:
            expected, found = entries_of(group, "reads", unit), {}
            for seed in range(5):  # with some weights a unit is dead, whatever its makers say
                model, x = built(RIGHT[name], torch.float64, seed)
                for layer, entries in reached(model, x, makers, unit).items():
                    found.setdefault(layer, set()).update(entries)
                if found == expected:
                    break
            assert found == expected
