"""Cross-layer equalization: ranges of layers made alike by rescaling, and no answer changed.

ReLU(x / s) = ReLU(x) / s for s > 0, and so for max pooling, flattening and padding with zeros. So
what makes a channel of one layer may be divided by s if the weights that read it are multiplied.
Chapter 03 ruins a network in this way, stretching one channel; here the same heals it.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from shrink.plain import copied
from shrink.quantization.chain import chain_of
from shrink.quantization.forms import WEIGHTED, check_weighted
from shrink.quantization.mixed_bits import folded

MOST_ROUNDS = 1000  # of a chain; those of the course take some ten


def equalizing_factors(first: nn.Linear | nn.Conv2d, second: nn.Linear | nn.Conv2d) -> Tensor:
    """By what each output of the first layer is divided so that its range is that of its readers.

    Args:
        first: its outputs are channels.
        second: reads these: by as many input channels, or, linear behind flattened images, by a
            number of inputs for each.

    Returns:
        s, float64 (channels,): √(r₁ / r₂) of the largest magnitudes of the weights that make a
        channel and of those that read it, which both become √(r₁ r₂). 1 where one of them is 0.

    Source: Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias
        Correction", section 4.1, equation 11.

    Raises:
        ValueError: the second layer does not read so many channels.

    >>> first, second = nn.Linear(1, 2), nn.Linear(2, 1)
    >>> _ = first.weight.data.copy_(torch.tensor([[8.0], [1.0]]))
    >>> _ = second.weight.data.copy_(torch.tensor([[2.0, 1.0]]))
    >>> equalizing_factors(first, second)
    tensor([2., 1.], dtype=torch.float64)
    """
    making = first.weight.detach().double().abs().flatten(1).amax(1)
    reading = _by_input(second).double().abs().amax(1)
    if len(reading) % len(making):
        raise ValueError(f"{second} reads {len(reading)} inputs, and {first} makes {len(making)}")
    reading = reading.view(len(making), -1).amax(1)
    return torch.where((making > 0) & (reading > 0), (making / reading).sqrt(), 1)


def equalized(
    first: nn.Linear | nn.Conv2d, second: nn.Linear | nn.Conv2d
) -> tuple[nn.Linear | nn.Conv2d, nn.Linear | nn.Conv2d]:
    """The two layers with the channels between them rescaled: new ones, the same together.

    Between them may be what keeps a factor: ReLU, max pooling, flattening. Arguments and errors are
    those of `equalizing_factors`; and the layers must be plain ones of finite weights.

    >>> first, second = nn.Linear(3, 2), nn.Linear(2, 4)
    >>> new_first, new_second = equalized(first, second)
    >>> ranges = new_first.weight.abs().amax(1), new_second.weight.abs().amax(0)
    >>> torch.allclose(*ranges)
    True
    """
    for layer in (first, second):
        check_weighted(layer, str(layer))
    factors = equalizing_factors(first, second)
    first, second = copied(first), copied(second)
    _rescale(first, second, factors)
    return first, second


def equalize(model: nn.Module, tolerance: float = 1e-4) -> nn.Module:
    """The network with all of its layers equalized: a new one of plain layers, the same answers.

    Batch norms are folded first. Then the pairs of layers that follow on one another are equalized
    in turn, again and again, until no factor is off 1 by more than the tolerance.

    Args:
        model: a trained network of floats, its layers in a chain with ReLU, max pooling and
            flattening between them.

    Returns:
        A network of the same names, as `mixed_bits.folded` gives. Its answers differ by rounding.

    Source: Nagel et al. 2019, section 4.1.
    Differs: large biases are not absorbed by the next layer (section 4.1.3), so that ranges of
        activations may be wider than before.

    Raises:
        ValueError: with the name of what does not keep a factor or is no chain, such as tanh or an
            addition; and as `aware.prepare`.
        TypeError: the model is no module.
    """
    plain = folded(model)
    try:
        chain = chain_of(plain)
    except ValueError as error:
        told = "a factor passes through ReLU, max pooling and flattening in a chain"
        raise ValueError(f"{error} ({told})") from None
    layers = [part for _, part in chain if isinstance(part, WEIGHTED)]
    kinds = [layer.weight.dtype for layer in layers]
    for layer in layers:
        layer.double()
    for _ in range(MOST_ROUNDS):
        moved = 0.0
        for first, second in pairwise(layers):
            factors = equalizing_factors(first, second)
            _rescale(first, second, factors)
            moved = max(moved, float((factors - 1).abs().max()))
        if moved <= tolerance:
            break
    for layer, kind in zip(layers, kinds, strict=True):
        layer.to(kind)
    return plain


def _by_input(layer: nn.Linear | nn.Conv2d) -> Tensor:
    """The weight with an input of the layer in each row: (inputs, weights)."""
    groups = getattr(layer, "groups", 1)
    rows = layer.weight.detach().unflatten(0, (groups, -1)).transpose(1, 2)
    return rows.flatten(0, 1).flatten(1)


@torch.no_grad()
def _rescale(first: nn.Module, second: nn.Module, factors: Tensor) -> None:
    """In place: outputs of the first layer divided, weights of the second that read them times."""
    for p in first.parameters():
        p.div_(factors.view(-1, *[1] * (p.dim() - 1)))
    groups = getattr(second, "groups", 1)
    of_inputs = factors.repeat_interleave(second.weight.shape[1] * groups // len(factors))
    by_output = of_inputs.view(groups, -1).repeat_interleave(len(second.weight) // groups, 0)
    second.weight.mul_(by_output.view(*by_output.shape, *[1] * (second.weight.dim() - 2)))
