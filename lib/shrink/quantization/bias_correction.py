"""Bias correction: rounding shifts the mean of a layer's outputs, and its bias shifts it back."""

from torch import Tensor


def corrected_bias(
    bias: Tensor, weight: Tensor, rounded: Tensor, mean: Tensor, rounded_mean: Tensor
) -> Tensor:
    """The bias with which the layer's mean outputs are those of the float network: (outputs,).

    b + E[Wx] - E[Ŵx̂]: the network of floats has inputs x, the quantized one x̂. Layers are corrected
    as they run, since what one gets depends on those before it. The mean of a convolution is over
    all places; at a border it may differ, and a bias cannot tell.

    Args:
        bias: float (outputs,), zeros where the layer has none.
        weight, rounded: float (outputs, ...): W and Ŵ.
        mean, rounded_mean: (groups, inputs), E[x] and E[x̂], as `moments.Moments` has them.

    Returns:
        Of the bias's shape and type.

    Source: Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias
        Correction", section 4.2, with means that are measured.
    Differs: the paper's own form knows the means from batch norms, without data.

    Raises:
        ValueError: the shapes do not fit.

    >>> import torch
    >>> w, rounded = torch.tensor([[0.4, 0.4]]), torch.tensor([[0.0, 0.0]])
    >>> mean = torch.tensor([[1.0, 2.0]])
    >>> corrected_bias(torch.zeros(1), w, rounded, mean, mean)  # 0.4 · 1 + 0.4 · 2
    tensor([1.2000])
    """
    inputs = weight.shape[1:].numel()
    fits = weight.dim() >= 2 and weight.shape == rounded.shape and len(bias) == len(weight)
    fits = fits and mean.shape == rounded_mean.shape == (len(mean), inputs)
    if not fits or len(weight) % len(mean):
        shapes = [tuple(x.shape) for x in (bias, weight, rounded, mean, rounded_mean)]
        raise ValueError(f"bias, weight, rounded and means do not fit: {shapes}")

    def outputs(weight: Tensor, mean: Tensor) -> Tensor:
        rows = weight.detach().double().reshape(len(mean), -1, mean.shape[-1])
        return (rows @ mean.double()[..., None]).flatten()

    shift = outputs(weight, mean) - outputs(rounded, rounded_mean)
    return (bias.detach().double() + shift).to(bias.dtype)
