"""An exercise of chapter 09: train a network, prune it, and rewind it to where training began.

The oracle trains a copy, and compares the weights bit for bit. A tensor that training does not
change would show no mistake, so each one does change.
"""

import copy
import random
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from shrink import pruning
from shrink.chapters.tickets.survivor_masks import is_mask
from shrink.chapters.tickets.ticket_mistakes import MISTAKES, Masks, Prune, State, Train, state_of
from shrink.classroom.exercises.attempt import Attempt, Wrong
from shrink.classroom.exercises.cases import generator
from shrink.classroom.exercises.exercise import Exercise

Case = tuple[nn.Module, Train, Prune]


def _filled(g: torch.Generator, layers: Mapping[str, nn.Module]) -> nn.Sequential:
    """A model of these layers, weights and biases from `g`, in steps of a tenth."""
    model = nn.Sequential(OrderedDict(layers))
    for layer in model:
        if isinstance(layer, nn.Linear | nn.Conv2d):
            for p in layer.parameters():
                p.data.copy_(torch.randint(-20, 21, p.shape, generator=g) / 10)
    return model


def _cases(rng: random.Random) -> Iterator[Case]:
    g = generator(rng)

    def trained_by(model: nn.Module, shape: tuple[int, ...], prune: Mapping[str, float]) -> Case:
        x = torch.randn(6, *shape, generator=g)
        with torch.no_grad():
            outputs = copy.deepcopy(model)(x).shape
        return model, Train(model, x, torch.randn(outputs, generator=g)), Prune(prune)

    def two_layers(prune: Mapping[str, float]) -> Case:
        layers = {"fc1": nn.Linear(3, 4), "tanh": nn.Tanh(), "fc2": nn.Linear(4, 2)}
        return trained_by(_filled(g, layers), (3,), prune)

    def normed() -> Case:
        layers = {"fc1": nn.Linear(3, 4, bias=False), "norm": nn.BatchNorm1d(4), "tanh": nn.Tanh()}
        model = _filled(g, layers | {"fc2": nn.Linear(4, 2)})
        return trained_by(model, (3,), {"fc1.weight": 0.5, "fc2.weight": 0.25})

    def convolved() -> Case:
        """Its statistics are not the first ones, and it comes in eval mode."""
        layers = {
            "conv": nn.Conv2d(1, 2, 3, bias=False),
            "norm": nn.BatchNorm2d(2),
            "flat": nn.Flatten(),
        }
        model = _filled(g, layers | {"fc": nn.Linear(8, 2)})
        model(torch.randn(5, 1, 4, 4, generator=g))
        return trained_by(model.eval(), (1, 4, 4), {"conv.weight": 0.5, "fc.weight": 0.3})

    def later_round() -> Case:
        """Half of the weights are 0 already."""
        model, train, prune = two_layers({"fc1.weight": 0.75, "fc2.weight": 0.5})
        for weight in (model.fc1.weight, model.fc2.weight):
            weight.data[:, ::2] = 0
        return model, train, prune

    def changed(change: Callable[[Any], Any]) -> Case:
        model, train, prune = normed()
        model = change(model)
        return model, Train(model, change(train.x), change(train.target)), prune

    while True:  # what is small before training and after must not be the same
        model, train, prune = two_layers({"fc1.weight": 0.5})
        if not _same_masks(prune(model), prune(_trained(model, train))):
            break
    yield model, train, prune
    yield two_layers({"fc1.weight": 0.5, "fc2.weight": 0.25})
    yield normed()
    yield later_round()
    yield convolved()
    yield two_layers({"fc2.weight": 0.0})
    yield changed(lambda it: it.double())
    if torch.cuda.is_available():
        yield changed(lambda it: it.cuda())


def _trained(model: nn.Module, train: Train) -> nn.Module:
    twin, train = copy.deepcopy((model, train))
    train(twin)
    return twin


def _same_masks(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(mask, b[name]) for name, mask in a.items())


def _watched(model: nn.Module, train: Train, _: Prune) -> tuple:
    """What an answer may change, by which known mistakes are recognised."""
    state = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    return state, [_is_one_of(p, train.parameters) for p in model.parameters()]


def _is_one_of(parameter: Tensor, parameters: list[Tensor]) -> bool:
    return any(parameter is one for one in parameters)


def _check(answer: Attempt, rng: random.Random) -> None:
    for model, train, prune in _cases(rng):
        first, twin = state_of(model), _trained(model, train)
        trained, masks = state_of(twin), prune(twin)
        answer.in_place(model, train, prune, watch=_watched)
        if train.calls != 1:
            raise Wrong(
                f"one round trains once: train was called {train.calls} times",
                known_mistakes=False,
            )
        _compare_state(model, first, trained, masks)
        for name, p in model.named_parameters():
            if not _is_one_of(p, train.parameters):
                told = f"{name} has the right values, and is no longer the Parameter that it was"
                raise Wrong(told)
            if not p.requires_grad:
                raise Wrong(f"{name} takes no gradient any more", known_mistakes=False)
        _compare_masks(answer.result, masks)


def _compare_state(model: nn.Module, first: State, trained: State, masks: Masks) -> None:
    """Raise unless each tensor is as it was first, and 0 where its mask is False."""
    state = model.state_dict()
    if state.keys() != first.keys():
        raise Wrong(
            "the model has other parameters or buffers than it came with",
            expected=list(first),
            given=list(state),
            known_mistakes=False,
        )
    for name, right in first.items():
        given = state[name].detach()
        if (given.shape, given.dtype, given.device) != (right.shape, right.dtype, right.device):
            raise Wrong(
                f"{name} has another shape, type or device than it came with",
                expected=f"{right.dtype}, {tuple(right.shape)}, {right.device.type}",
                given=f"{given.dtype}, {tuple(given.shape)}, {given.device.type}",
                known_mistakes=False,
            )
        keep = masks.get(name, torch.ones_like(right, dtype=torch.bool))
        if told := _explained(name, given, right, trained[name], keep):
            raise Wrong(told, expected=right.where(keep, 0), given=given)


def _explained(
    name: str, given: Tensor, right: Tensor, trained: Tensor, keep: Tensor
) -> str | None:
    """What is wrong with a tensor, if anything; `right` and `trained` are before its mask."""
    differs = _bits(given) != _bits(right)
    wrong, alive = keep & differs, ~keep & (given != 0)
    if wrong.any() and torch.equal(given, right.where(~keep, 0)):
        return f"{name} is 0 where its mask is True; True means keep"
    if wrong.any():
        place = [int(i) for i in wrong.nonzero()[0]]
        where = f"at {place} of {name}" if place else name
        had, has = right[wrong][0].item(), given[wrong][0].item()
        if torch.equal(_bits(given[wrong]), _bits(trained[wrong])):
            return f"{where} stands {has:.5g}, the trained value: before training it was {had:.5g}"
        if torch.allclose(given[wrong], right[wrong], rtol=1e-4, atol=1e-6):
            return (
                f"{where} the value is near that before training, and not the same bit for bit: "
                "copy it, do not compute it"
            )
        if has == 0 and place:
            return f"{where} stands 0, and the mask of the trained network keeps this weight"
        return f"{where} stands {has:.5g}: before training it was {had:.5g}"
    if alive.any():
        return f"{int(alive.sum())} of {int((~keep).sum())} pruned weights of {name} are not 0"
    return None


def _bits(tensor: Tensor) -> Tensor:
    """Numbers that are equal only where the others are bit for bit."""
    whole = {4: torch.int32, 8: torch.int64}[tensor.element_size()]
    return tensor.contiguous().view(whole)


def _compare_masks(given: Any, masks: Masks) -> None:
    """Raise unless the answer returned what prune did."""
    told = "the model is right; return the masks too, which the next round begins with"
    if not isinstance(given, Mapping) or given.keys() != masks.keys():
        expected = f"a dict with the names {', '.join(masks)}"
        raise Wrong(told, expected=expected, given=given, known_mistakes=False)
    for name, mask in masks.items():
        alike = is_mask(given[name]) and given[name].device == mask.device
        if not alike or not torch.equal(given[name], mask):
            raise Wrong(told, expected=mask, given=given[name], known_mistakes=False)


def _reference(model: nn.Module, train: Callable, prune: Callable) -> Masks:
    """One round: train the model, prune it, and rewind it in place to where training began.

    Returns the masks of the trained model, under which the next round trains.
    """
    first = pruning.snapshot(model)
    train(model)
    masks = prune(model)
    pruning.rewind(model, first, masks)
    return masks


find_ticket = Exercise(
    "find_ticket",
    _check,
    reference=_reference,
    core=True,
    minutes=12,
    mistakes=MISTAKES,
)
