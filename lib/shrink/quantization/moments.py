"""What goes into each layer of a network, as the two sums that rounding its weights needs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shrink.arguments import whole_number
from shrink.modes import in_use
from shrink.quantization.arguments import check_floats
from shrink.quantization.forms import WEIGHTED, padding_of


@dataclass(frozen=True, eq=False)
class Moments:
    """Of a layer's inputs x, one for each place of a kernel: E[x] and E[xxᵀ].

    `mean` is float64 (groups, inputs) and `products` float64 (groups, inputs, inputs), over all
    examples and places, those at the border with the zeros around them; a linear layer has one
    group. `inputs` are those of one output: channels of the group times height times width of the
    kernel. With an error Δ of its weights an output is off by Δᵀx, so that its mean squared error
    is Δᵀ E[xxᵀ] Δ: no example is needed any more.
    """

    mean: Tensor
    products: Tensor


def rows_of(layer: nn.Linear | nn.Conv2d, x: Tensor) -> Tensor:
    """What each output of the layer multiplies its weights by: (groups, n · places, inputs).

    Args:
        layer: `Linear`, or `Conv2d` of any stride, dilation and groups.
        x: what goes into it: (n, ..., inputs), or images (n, channels, height, width).

    Raises:
        ValueError: the layer pads with other than a number of zeros on either side.

    >>> rows_of(nn.Conv2d(1, 4, 2), torch.arange(9.0).view(1, 1, 3, 3))[0, 0].tolist()
    [0.0, 1.0, 3.0, 4.0]
    """
    if isinstance(layer, nn.Linear):
        return x.reshape(1, -1, x.shape[-1])
    if layer.padding == "same" or layer.padding_mode != "zeros":
        raise ValueError(f"{layer} pads otherwise than with a number of zeros on either side")
    around = {"padding": padding_of(layer), "stride": layer.stride, "dilation": layer.dilation}
    patches = F.unfold(x, layer.kernel_size, **around)
    return patches.unflatten(1, (layer.groups, -1)).permute(1, 0, 3, 2).flatten(1, 2)


def input_moments(model: nn.Module, images: Tensor, batch_size: int = 100) -> dict[str, Moments]:
    """The moments of what goes into each linear layer and convolution, by its name, as they run.

    The model runs in `eval` mode on batches of the images, and is left as it was. Sums are kept and
    not inputs, so that memory grows with a layer's inputs squared and not with the images: 800
    inputs take 5 MB. A layer that does not run has no moments.

    Args:
        model: of linear layers and convolutions, in any order.
        images: float (n, ...), a few hundred training images.
        batch_size: how many run at once.

    Raises:
        ValueError: there are no images, or a layer pads otherwise than `rows_of` can.
        TypeError: the images are not floating point, or batch_size is not whole.

    >>> net = nn.Sequential(nn.Linear(2, 1))
    >>> found = input_moments(net, torch.tensor([[1.0, 2.0], [3.0, 0.0]]))["0"]
    >>> found.mean.tolist(), found.products.tolist()
    ([[2.0, 1.0]], [[[5.0, 1.0], [1.0, 2.0]]])
    """
    layers = {name: m for name, m in model.named_modules() if isinstance(m, WEIGHTED)}
    counts: dict[str, int] = dict.fromkeys(layers, 0)
    sums: dict[str, list[Tensor]] = {}

    def see(name: str, x: Tensor) -> None:
        rows = rows_of(layers[name], x).double()
        new = [rows.sum(1), rows.mT @ rows]
        sums[name] = [a + b for a, b in zip(sums[name], new, strict=True)] if name in sums else new
        counts[name] += rows.shape[1]

    show(model, layers, images, see, batch_size)
    return {name: Moments(*(x / counts[name] for x in found)) for name, found in sums.items()}


def show(
    model: nn.Module,
    layers: Mapping[str, nn.Module],
    images: Tensor,
    see: Callable[[str, Tensor], None],
    batch_size: int = 100,
) -> None:
    """Run the model on the images, and hand what goes into each of these layers to `see`."""
    check_floats(images, "the images")
    if images.dim() == 0 or len(images) == 0:
        raise ValueError("the inputs of layers are seen on images, and there are none")
    handles = [
        layer.register_forward_pre_hook(lambda _, given, name=name: see(name, given[0]))
        for name, layer in layers.items()
    ]
    try:
        with in_use(model):
            for batch in images.split(whole_number("batch_size", batch_size, 1)):
                model(batch)
    finally:
        for handle in handles:
            handle.remove()


def output_error(error: Tensor, products: Tensor) -> Tensor:
    """The mean squared error of each output, Δᵀ E[xxᵀ] Δ, for an error Δ of its weights.

    Args:
        error: float (outputs, ...), of the weight's shape.
        products: E[xxᵀ], (groups, inputs, inputs), as `Moments` has it.

    Returns:
        float64 (outputs,).

    Raises:
        ValueError: their shapes do not fit.

    >>> g = torch.tensor([[[2.0, 1.0], [1.0, 2.0]]])
    >>> output_error(torch.tensor([[1.0, 1.0], [1.0, -1.0]]), g)
    tensor([6., 2.], dtype=torch.float64)
    """
    rows = by_group(error, products)
    return torch.einsum("gok,gkl,gol->go", rows, products.double(), rows).flatten()


def by_group(weight: Tensor, products: Tensor) -> Tensor:
    """A weight's outputs as rows, those of a group together: float64 (groups, outputs, inputs).

    Raises `ValueError` unless there are products for so many inputs.
    """
    groups, inputs = len(products), weight.shape[1:].numel()
    fits = weight.dim() >= 2 and products.shape == (groups, inputs, inputs)
    if not fits or len(weight) % groups:
        shapes = f"{tuple(products.shape)} do not fit a weight of shape {tuple(weight.shape)}"
        raise ValueError(f"products of shape {shapes}")
    return weight.detach().double().reshape(groups, -1, inputs)
