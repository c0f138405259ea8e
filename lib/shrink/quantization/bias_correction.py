"""What rounding the weights adds to the mean of a layer's outputs, taken off by its bias."""

from torch import Tensor


def corrected_bias(
    bias: Tensor, weight: Tensor, rounded: Tensor, mean: Tensor, rounded_mean: Tensor
) -> Tensor:
    """The bias with which the layer's mean outputs are those of the float network: (outputs,).

    b + E[Wx] - E[Ŵx̂]: the network of floats has inputs x, the quantized one x̂.

    Args:
        bias: float (outputs,).
        weight, rounded: float (outputs, ...): W and Ŵ.
        mean, rounded_mean: (groups, inputs), E[x] and E[x̂], as `moments.Moments` has them.

    Source: Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias
        Correction", section 4.2; the empirical form of its appendix D.
    """

    def outputs(weight: Tensor, mean: Tensor) -> Tensor:
        rows = weight.detach().double().reshape(len(mean), -1, mean.shape[-1])
        return (rows @ mean.double()[..., None]).flatten()

    shift = outputs(weight, mean) - outputs(rounded, rounded_mean)
    return (bias.detach().double() + shift).to(bias.dtype)
