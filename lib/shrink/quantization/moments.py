"""What goes into each layer of a network, as the two sums that rounding its weights needs."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shrink.modes import in_use
from shrink.quantization.forms import WEIGHTED, padding_of, pair


@dataclass(frozen=True, eq=False)
class Moments:
    """Of a layer's inputs x, one for each place of a kernel: E[x] and E[xxᵀ].

    `mean` is float64 (groups, inputs) and `products` float64 (groups, inputs, inputs), over all
    examples and places; a linear layer has one group. `inputs` are those of one output: channels
    of the group times height times width of the kernel. With an error Δ of its weights an output is
    off by Δᵀx, so that its mean squared error is Δᵀ E[xxᵀ] Δ: no example is needed any more.
    """

    mean: Tensor
    products: Tensor


def rows_of(layer: nn.Linear | nn.Conv2d, x: Tensor) -> Tensor:
    """What each output of the layer multiplies its weights by: (groups, n · places, inputs).

    >>> rows_of(nn.Conv2d(1, 4, 2), torch.arange(9.0).view(1, 1, 3, 3))[0, 0].tolist()
    [0.0, 1.0, 3.0, 4.0]
    """
    if isinstance(layer, nn.Linear):
        return x.reshape(1, -1, x.shape[-1])
    up, left = padding_of(layer)
    if layer.padding == "same":
        raise ValueError(f"{layer} pads to the same size; give its padding in numbers")
    patches = F.unfold(x, layer.kernel_size, padding=(up, left), stride=pair(layer.stride))
    return patches.unflatten(1, (layer.groups, -1)).permute(1, 0, 3, 2).flatten(1, 2)


def input_moments(model: nn.Module, images: Tensor, batch_size: int = 100) -> dict[str, Moments]:
    """The moments of what goes into each linear layer and convolution of images, by its name.

    The model runs in `eval` mode on batches of the images, and is left as it was.
    """
    layers = {name: m for name, m in model.named_modules() if isinstance(m, WEIGHTED)}
    counts: dict[str, int] = dict.fromkeys(layers, 0)
    sums: dict[str, list[Tensor]] = {}

    def see(name: str, layer: nn.Module, x: Tensor) -> None:
        rows = rows_of(layer, x).double()
        new = [rows.sum(1), rows.mT @ rows]
        sums[name] = [a + b for a, b in zip(sums[name], new, strict=True)] if name in sums else new
        counts[name] += rows.shape[1]

    handles = [
        layer.register_forward_pre_hook(lambda m, given, name=name: see(name, m, given[0]))
        for name, layer in layers.items()
    ]
    try:
        with in_use(model):
            for batch in images.split(batch_size):
                model(batch)
    finally:
        for handle in handles:
            handle.remove()
    return {name: Moments(*(x / counts[name] for x in found)) for name, found in sums.items()}


def output_error(error: Tensor, products: Tensor) -> Tensor:
    """The mean squared error of each output, Δᵀ E[xxᵀ] Δ, for an error Δ of the weights: (outputs,).

    >>> g = torch.tensor([[[2.0, 1.0], [1.0, 2.0]]])
    >>> output_error(torch.tensor([[1.0, 1.0], [1.0, -1.0]]), g)
    tensor([6., 2.], dtype=torch.float64)
    """
    rows = by_group(error, products)
    return torch.einsum("gok,gkl,gol->go", rows, products.double(), rows).flatten()


def by_group(weight: Tensor, products: Tensor) -> Tensor:
    """A weight's outputs as rows, those of a group together: float64 (groups, outputs, inputs)."""
    return weight.detach().double().reshape(len(products), -1, products.shape[-1])
