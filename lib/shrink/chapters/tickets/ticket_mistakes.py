"""A round of chapter 09's exercise on rewinding: how it trains, how it prunes, known mistakes."""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shrink import pruning
from shrink.classroom.exercises.attempt import known

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


def state_of(model: nn.Module) -> State:
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
        state = state_of(model)
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
    state = state_of(model)
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
    state = state_of(model)
    train(model)
    _write(model, state, {})
    return _write(model, state, prune(model))


@known(
    "the weights that stay are rewound, and those that go keep their trained values: write zeros "
    "there",
    "pruned ones keep trained values",
)
def _survivors_only(model: nn.Module, train: Train, prune: Prune) -> Masks:
    state = state_of(model)
    train(model)
    masks = prune(model)
    trained = state_of(model)
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
