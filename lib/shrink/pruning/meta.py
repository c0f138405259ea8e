"""MetaPruning: a small network makes the weights of a pruned one from its widths.

The networks here are perceptrons with batch norm: of each hidden layer a linear one without bias,
batch norm without weights of its own, ReLU; then a linear layer. `RandomWidths` trains whatever
makes their weights, at other widths in each step. Which widths are good is then asked of `evolve`.
"""

import operator
import random
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shrink.arguments import whole_number, whole_seed
from shrink.modes import seeded
from shrink.pruning.evolution import SearchSpace
from shrink.tensors import check_floating


def crop_weight(weight: Tensor, outputs: int, inputs: int) -> Tensor:
    """The first rows and columns of a weight: what it is for fewer outputs and inputs.

    >>> crop_weight(torch.tensor([[1, 2, 3], [4, 5, 6]]), outputs=1, inputs=2)
    tensor([[1, 2]])

    Args:
        weight: (outputs, inputs) of the largest layer; what comes back is a view of it.

    Raises:
        TypeError: a number is not whole.
        ValueError: a number is not 1 to that of the largest layer.

    Source: Liu et al. 2019, "MetaPruning", section 3.1.
    """
    rows, columns = weight.shape
    outputs = whole_number("outputs", outputs, 1, rows)
    return weight[:outputs, : whole_number("inputs", inputs, 1, columns)]


class WeightGenerator(nn.Module):
    """Makes the weights of a perceptron from its widths: `generator(widths)`.

    For each layer there are two linear layers with ReLU between them. Their input is the encoding
    of the structure, each width divided by the largest one; their output is the layer's whole
    weight, of the largest widths, which is then cropped.

    >>> generator = WeightGenerator(4, largest=(8, 6), outputs=2, seed=0)
    >>> [tuple(weight.shape) for weight in generator((3, 5))]
    [(3, 4), (5, 3), (2, 5)]

    Args:
        inputs, largest, outputs: the sizes of the largest perceptron.
        seed: of the initial weights.
        units: between the two linear layers.

    Raises:
        TypeError, ValueError: a size, or a width in a call, is not whole or not 1 to the largest.

    Source: Liu et al. 2019, "MetaPruning", section 3.1.
    Differs: in the paper's code a layer is told its own widths, not those of the whole network.
    """

    def __init__(
        self, inputs: int, largest: Sequence[int], outputs: int, *, seed: int, units: int = 32
    ) -> None:
        super().__init__()
        self.sizes = _sizes(inputs, largest, outputs)
        units = whole_number("units", units, 1)
        with seeded(seed):
            self.layers = nn.ModuleList(
                nn.Sequential(
                    nn.Linear(len(self.sizes) - 2, units), nn.ReLU(), nn.Linear(units, a * b)
                )
                for a, b in pairwise(self.sizes)
            )

    def forward(self, widths: Sequence[int]) -> list[Tensor]:
        """The weight of each layer, (outputs, inputs) of that layer."""
        sizes = _within(self.sizes, widths)
        shares = [width / most for width, most in zip(sizes, self.sizes, strict=True)]
        encoding = self.layers[0][0].weight.new_tensor(shares[1:-1])
        whole = [
            layer(encoding).view(after, before)
            for layer, (before, after) in zip(self.layers, pairwise(self.sizes), strict=True)
        ]
        return _cropped(whole, sizes)


class SharedWeights(nn.Module):
    """One weight a layer for perceptrons of all widths, cropped: the control without a generator.

    >>> shared = SharedWeights(4, largest=(8, 6), outputs=2, seed=0)
    >>> wide, narrow = shared((8, 6)), shared((3, 5))
    >>> torch.equal(narrow[1], wide[1][:5, :3])
    True

    Args and Raises: as `WeightGenerator` has them.

    Source: Yu et al. 2019, "Slimmable Neural Networks".
    Differs: there each width has a batch norm of its own; here statistics are those of the batch.
    """

    def __init__(self, inputs: int, largest: Sequence[int], outputs: int, *, seed: int) -> None:
        super().__init__()
        self.sizes = _sizes(inputs, largest, outputs)
        with seeded(seed):
            layers = [nn.Linear(a, b, bias=False) for a, b in pairwise(self.sizes)]
        self.weights = nn.ParameterList(layer.weight for layer in layers)

    def forward(self, widths: Sequence[int]) -> list[Tensor]:
        """The weight of each layer, (outputs, inputs) of that layer."""
        return _cropped(list(self.weights), _within(self.sizes, widths))


class RandomWidths(nn.Module):
    """A perceptron that has other widths at each call, so that training reaches all of them.

    `forward` takes images (n, ...) and gives logits (n, outputs); batch norm uses the statistics of
    the batch. How many calls there were is part of the state, and says with the seed which widths
    come next: a training that is resumed draws what it would have drawn.

    >>> shared = SharedWeights(4, largest=(8, 6), outputs=2, seed=0)
    >>> space = SearchSpace(4, choices=[range(1, 9), range(1, 7)], outputs=2)
    >>> RandomWidths(shared, space, seed=0)(torch.rand(5, 2, 2)).shape
    torch.Size([5, 2])

    Args:
        weights: a `WeightGenerator` or `SharedWeights`: widths → the weight of each layer.
        space: the structures that are trained.
        seed: of the widths.

    Raises:
        TypeError: the seed is not whole.
        ValueError: the space has other inputs or outputs than the weights, or larger structures.

    Source: Liu et al. 2019, section 3.1 (stochastic training).
    """

    def __init__(self, weights: nn.Module, space: SearchSpace, *, seed: int) -> None:
        super().__init__()
        _check_space(space, weights.sizes)
        self.weights, self.space, self.seed = weights, space, whole_seed(seed)
        self.register_buffer("calls", torch.tensor(0))

    def forward(self, images: Tensor) -> Tensor:
        widths = self.space.draw(random.Random(f"{self.seed} {int(self.calls)}"))
        self.calls += 1
        *hidden, last = self.weights(widths)
        x = images.flatten(1)
        for weight in hidden:
            x = F.relu(F.batch_norm(F.linear(x, weight), None, None, training=True))
        return F.linear(x, last)


def perceptron(weights: Sequence[Tensor]) -> nn.Sequential:
    """The network of these weights, for images (n, ...): flatten; linear, batch norm, ReLU; linear.

    The weights are copied. Batch norm knows no statistics yet: `recompute_norms` finds them.

    >>> net = perceptron([torch.ones(3, 4), torch.ones(2, 3)])
    >>> [type(layer).__name__ for layer in net]
    ['Flatten', 'Linear', 'BatchNorm1d', 'ReLU', 'Linear']

    Raises:
        TypeError: a weight is not a dense floating-point tensor.
        ValueError: there is none, or the inputs of one are not the outputs of the one before.
    """
    _check_chain(weights)
    layers: list[nn.Module] = [nn.Flatten()]
    for weight in weights[:-1]:
        layers += [_linear(weight), nn.BatchNorm1d(len(weight), affine=False), nn.ReLU()]
    layers.append(_linear(weights[-1]))
    return nn.Sequential(*layers).to(weights[0])  # its type and device


def _check_chain(weights: Sequence[Tensor]) -> None:
    if not weights:
        raise ValueError("a perceptron needs the weight of one layer at least")
    for weight in weights:
        check_floating(weight, "a weight")
        if weight.dim() != 2 or not weight.numel():
            raise ValueError(f"a weight is (outputs, inputs), not {tuple(weight.shape)}")
    for before, after in pairwise(weights):
        if after.shape[1] != len(before):
            raise ValueError(f"{len(before)} outputs go into {after.shape[1]} inputs")


def _linear(weight: Tensor) -> nn.Linear:
    outputs, inputs = weight.shape
    layer = nn.Linear(inputs, outputs, bias=False, device="meta")
    layer.weight = nn.Parameter(weight.detach().clone())
    return layer


def _sizes(inputs: int, largest: Sequence[int], outputs: int) -> tuple[int, ...]:
    """Inputs, the largest hidden layers, outputs; raises unless each is at least 1."""
    if not largest:
        raise ValueError("there is no hidden layer, so there are no widths to choose")
    return tuple(whole_number("a width", size, 1) for size in (inputs, *largest, outputs))


def _within(most: Sequence[int], widths: Sequence[int]) -> tuple[int, ...]:
    """Inputs, these hidden layers, outputs; raises unless each is 1 to its largest width."""
    if len(widths) != len(most) - 2:
        raise ValueError(f"there are {len(most) - 2} hidden layers, not {len(widths)}")
    hidden = (whole_number("a width", w, 1, top) for w, top in zip(widths, most[1:], strict=False))
    return (most[0], *hidden, most[-1])


def _check_space(space: SearchSpace, most: Sequence[int]) -> None:
    """Raise unless the weights are as large as the space's largest structure, or larger."""
    sizes = (space.inputs, *space.largest, space.outputs)
    ends = sizes[0] == most[0] and sizes[-1] == most[-1]
    if len(sizes) != len(most) or not ends or any(map(operator.gt, sizes, most)):
        raise ValueError(f"the space has structures up to {sizes}, the weights {tuple(most)}")


def _cropped(whole: Sequence[Tensor], sizes: Sequence[int]) -> list[Tensor]:
    return [
        crop_weight(weight, after, before)
        for weight, (before, after) in zip(whole, pairwise(sizes), strict=True)
    ]
