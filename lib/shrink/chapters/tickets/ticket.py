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
import torch.nn.functional as F
from torch import Tensor, nn

from shrink import pruning
from shrink.classroom.exercises.attempt import Attempt, Wrong, known
from shrink.classroom.exercises.cases import generator
from shrink.classroom.exercises.exercise import Exercise

State = dict[str, Tensor]
Masks = dict[str, Tensor]


class Train:
    """Four steps of SGD, always the same ones; it knows the parameters that the model had."""

    def __init__(self, model: nn.Module, x: Tensor, target: Tensor) -> None:
        self.x, self.target, self.calls = x, target, 0
        self.parameters = list(model.parameters())

    def __call__(self, model: nn.Module) -> None:
        self.calls += 1
        model.train()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
        for _ in range(4):
            optimizer.zero_grad()
            F.mse_loss(model(self.x), self.target).backward()
            optimizer.step()

    def __repr__(self) -> str:
        return "train"


class Prune:
    """Masks for these weights, which drop the smallest as they are now."""

    def __init__(self, sparsities: Mapping[str, float]) -> None:
        self.sparsities = sparsities

    def __call__(self, model: nn.Module) -> Masks:
        weights = {name: model.get_parameter(name) for name in self.sparsities}
        return {n: pruning.magnitude_mask(w, self.sparsities[n]) for n, w in weights.items()}

    def __repr__(self) -> str:
        return "prune"


Case = tuple[nn.Module, Train, Prune]


def _state(model: nn.Module) -> State:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def _write(model: nn.Module, state: Mapping[str, Tensor], masks: Masks) -> Masks:
    """Set the model in place, where there is a state for a tensor and a mask for it."""
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            tensor.copy_(state.get(name, tensor))
            if name in masks:
                tensor.masked_fill_(~masks[name], 0)
    return masks


def _rewinding(among: Callable[[str, Tensor, Masks, nn.Module], bool]) -> Callable[..., Masks]:
    """An answer that rewinds these tensors alone."""

    def find(model: nn.Module, train: Train, prune: Prune) -> Masks:
        state = _state(model)
        train(model)
        masks = prune(model)
        part = {n: tensor for n, tensor in state.items() if among(n, tensor, masks, model)}
        return _write(model, part, masks)

    return find


_right = _rewinding(lambda name, tensor, masks, model: True)


@known(
    "these are the trained values. state_dict(), detach() and .data hand out the model's own "
    "tensors, which training changes: .clone() each one, before train runs",
    "live reference",
)
def _live(model: nn.Module, train: Train, prune: Prune) -> Masks:
    state = dict(model.state_dict())
    train(model)
    return _write(model, state, prune(model))


@known(
    "the model has all of its first values again, those that are pruned as well: they must be 0 "
    "where the mask is False"
)
def _mask_missing(model: nn.Module, train: Train, prune: Prune) -> Masks:
    state = _state(model)
    train(model)
    masks = prune(model)
    _write(model, state, {})
    return masks


@known(
    "these masks rank the values before training. What is small at first may become large: call "
    "prune when the model is trained, and rewind after that",
    "ranked before training",
)
def _ranked_before(model: nn.Module, train: Train, prune: Prune) -> Masks:
    state = _state(model)
    train(model)
    _write(model, state, {})
    return _write(model, state, prune(model))


@known(
    "the weights that stay are rewound, and those that go keep their trained values: write zeros "
    "there",
    "pruned ones keep trained values",
)
def _survivors_only(model: nn.Module, train: Train, prune: Prune) -> Masks:
    state = _state(model)
    train(model)
    masks = prune(model)
    trained = _state(model)
    whole = {n: t.where(masks[n], trained[n]) if n in masks else t for n, t in state.items()}
    _write(model, whole, {})
    return masks


@known(
    "the model was given new Parameter objects: an optimizer made before goes on with the old "
    "ones. Change the values in place, with copy_ or load_state_dict",
    "new Parameter objects",
)
def _rebinds(model: nn.Module, train: Train, prune: Prune) -> Masks:
    masks = _right(model, train, prune)
    for layer in model.modules():
        for name, p in list(layer.named_parameters(recurse=False)):
            setattr(layer, name, nn.Parameter(p.detach().clone()))
    return masks


@known(
    "the model itself is still as it was trained. `model = ...`, or a new dict, is another object, "
    "and the caller keeps this one: load the values into it",
    "nothing written",
)
def _not_written(model: nn.Module, train: Train, prune: Prune) -> Masks:
    train(model)
    return prune(model)


_weights_only = known(
    "biases (and what else has one axis) were trained as well, and are not rewound: a snapshot is "
    "of the whole state",
    "biases not rewound",
)(_rewinding(lambda name, tensor, masks, model: tensor.dim() >= 2))

_masked_only = known(
    "only what has a mask is rewound. All the rest was trained as well: a tensor without a mask "
    "goes back whole",
    "only what has a mask",
)(_rewinding(lambda name, tensor, masks, model: name in masks))

_parameters_only = known(
    "parameters are rewound, buffers are not: training has changed a batch norm's running mean and "
    "variance too, and they are in state_dict(), not among the parameters",
    "norm statistics kept",
)(_rewinding(lambda name, tensor, masks, model: name in dict(model.named_parameters())))

MISTAKES = (
    _live,
    _mask_missing,
    _ranked_before,
    _survivors_only,
    _weights_only,
    _masked_only,
    _parameters_only,
    _rebinds,
    _not_written,
)


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
        first, twin = _state(model), _trained(model, train)
        trained, masks = _state(twin), prune(twin)
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
        same = isinstance(given[name], Tensor) and given[name].dtype == torch.bool
        if not same or given[name].is_meta or not torch.equal(given[name], mask):
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
