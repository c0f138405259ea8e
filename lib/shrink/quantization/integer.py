"""Inference in integers alone: int8 in, int8 out, and no float in between.

A layer adds up products of int8 in int32, and brings the sum back to int8 by an integer
multiplication and a shift. Scales are floats only before the first layer and after the last.
"""

import functools
import itertools
import math
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shrink.arguments import whole_number
from shrink.cost import conv_macs
from shrink.quantization import QParams, quantize
from shrink.quantization.arguments import check_floats

LONGEST = 2**15  # products in a sum: at most 255 · 127 each, and half of int32 for the bias
CHUNK = 2**19  # sums at a time: few enough for the cache, many enough to share among threads


def wrap(x: Tensor, num_bits: int) -> Tensor:
    """Whole numbers as an accumulator of `num_bits` holds them: x modulo 2^b, int64.

    Two's complement, -2^(b-1) to 2^(b-1) - 1. Wrapping once at the end gives what wrapping after
    each addition gives, so this is what an accumulator holds however often it overflowed.

    >>> wrap(torch.tensor([127, 128, 300, -200]), num_bits=8)
    tensor([ 127, -128,   44,   56])

    Raises:
        ValueError: num_bits is not 2 to 63, or x has no whole numbers.
    """
    num_bits = whole_number("num_bits", num_bits, 2, 63)
    if x.is_floating_point() or x.is_complex() or x.dtype == torch.bool:
        raise ValueError(f"whole numbers are wrapped, not {x.dtype}")
    beyond = 64 - num_bits
    return (x.long() << beyond) >> beyond  # the sign bit fills up what is above


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """Sums of products of int8, in int32: (n, k) and (m, k), both by rows → (n, m).

    Exact for k up to 131 071: a product is at most 2^14, so 2^17 - 1 of them fit in 31 bits.
    torch's int8 product does it on CUDA, and on a CPU that has instructions for it (see
    `has_int8_product`); int32 is multiplied on other CPUs, and plain integers elsewhere, with the
    same bits.

    >>> a = torch.tensor([[100, 100, 100]], dtype=torch.int8)
    >>> matmul(a, a)
    tensor([[30000]], dtype=torch.int32)

    Raises:
        ValueError: one is not int8 of two axes, the rows differ in length, or are longer than that.
    """
    for x in (a, b):
        if x.dtype != torch.int8 or x.dim() != 2:
            raise ValueError(f"int8 of two axes are multiplied, not {x.dtype} of {x.dim()}")
    if a.shape[1] != b.shape[1] or a.shape[1] >= 2**17:
        raise ValueError(f"rows of {a.shape[1]} and {b.shape[1]} numbers; need one length < 131072")
    if a.numel() == 0 or b.numel() == 0:
        return torch.zeros(len(a), len(b), dtype=torch.int32, device=a.device)
    if a.device.type == "cpu":
        return _int8_matmul(a, b) if has_int8_product() else _int32_matmul(a, b)
    if a.device.type == "cuda":
        return _cuda_matmul(a, b)
    return _plain_matmul(a, b)


@functools.cache
def has_int8_product() -> bool:
    """Whether this CPU multiplies int8 faster than int32: tried once, in some milliseconds.

    On x86 it does with VNNI (Intel from 2019, AMD from 2022). Without such instructions torch's
    int8 product is a loop, several times as slow as the int32 one.
    """
    a, b = (torch.ones(n, 784, dtype=torch.int8) for n in (64, 300))
    fastest = {}
    for product in (_int8_matmul, _int32_matmul):
        times = []
        for _ in range(4):  # the first one warms up
            start = time.perf_counter()
            product(a, b)
            times.append(time.perf_counter() - start)
        fastest[product] = min(times)
    return fastest[_int8_matmul] < fastest[_int32_matmul]


def _int32_matmul(a: Tensor, b: Tensor) -> Tensor:
    """The many rows of `a` stand on the right, where torch takes them in pieces for the cache."""
    return (b.int() @ a.int().T).T.contiguous()


def _int8_matmul(a: Tensor, b: Tensor) -> Tensor:
    """torch's product reads strides even of an axis of length 1, so they must be as of new tensors.

    (With others it leaves the result as it found the memory: PyTorch issue 195066.)
    """
    if a.shape[1] == 1:
        return a.int() * b.T.int()
    a, b = (x.reshape(-1).view(x.shape) for x in (a, b))
    return torch._int_mm(a, b.T)


def _cuda_matmul(a: Tensor, b: Tensor) -> Tensor:
    """CUDA takes more than 16 rows, and rows and columns in eights: filled up with zeros."""
    n, m, k = len(a), len(b), -a.shape[1] % 8
    a = F.pad(a, (0, k, 0, max(32 - n, -n % 8)))
    b = F.pad(b, (0, k, 0, -m % 8))
    return torch._int_mm(a, b.T)[:n, :m]


def _plain_matmul(a: Tensor, b: Tensor) -> Tensor:
    rows = max(CHUNK // b.numel(), 1)
    products = ((some[:, None].int() * b.int()).sum(-1) for some in a.split(rows))
    return torch.cat([sums.int() for sums in products])


def fixed_point(real: Tensor | float) -> tuple[Tensor, Tensor]:
    """A real number as an integer and a shift, real ≈ multiplier / 2^shift.

    Args:
        real: float64 (a number or any shape), above 0 and below 2^30.

    Returns:
        multiplier: int32, 2^30 to 2^31 - 1, so that 31 bits are significant: the paper's M0 is
            multiplier / 2^31, between a half and 1. Below 2^-24 it has fewer bits, down to 0.
        shift: int32, 1 to 54.

    Source: Jacob et al. 2018, section 2.2, equations 5 and 6.

    Raises:
        ValueError: a number is not within these bounds.

    >>> multiplier, shift = fixed_point(0.3)  # 0.3 = 0.6 / 2
    >>> multiplier.item() == round(0.6 * 2**31), shift.item()
    (True, 32)
    """
    real = torch.as_tensor(real, dtype=torch.float64)
    bad = real[~((real > 0) & (real < 2**30 - 0.25))]  # which is rounded to 2^31 / 2
    if len(bad):
        raise ValueError(f"a factor must be above 0 and below 2^30, got {bad[0].item()}")
    exponent = torch.frexp(real).exponent
    shift = (31 - exponent).clamp(max=54)
    multiplier = torch.ldexp(real, shift).round().long()
    carried = multiplier == 2**31  # 0.999...9 was rounded to 1
    multiplier = torch.where(carried, 2**30, multiplier)
    return multiplier.int(), (shift - carried.int()).int()


class Requantize(nn.Module):
    """Sums in int32 to int8, y = zero_point + round(sum · multiplier / 2^shift), which saturates.

    The product takes 62 bits, so it is formed in int64. Halves are rounded up. A ReLU costs
    nothing: where there is one, the lowest integer is the zero point.

    Args:
        factor: float64 above 0, s_x · s_w / s_y: (), or (outputs,) for one scale per channel.
        y: the parameters of the result, one for all.
        relu: clamp at zero.

    Source: Jacob et al. 2018, section 2.2 and 2.4.
    Differs: gemmlowp, which the paper uses, rounds twice, and halves away from zero.

    >>> half = Requantize(0.5, QParams(torch.tensor(1.0), torch.tensor(-128)), relu=True)
    >>> half(torch.tensor([-5, 0, 3, 4, 1000], dtype=torch.int32))
    tensor([-128, -128, -126, -126,  127], dtype=torch.int8)
    """

    def __init__(self, factor: Tensor | float, y: QParams, relu: bool = False) -> None:
        super().__init__()
        multiplier, shift = fixed_point(factor)
        zero_point = y.zero_point.reshape(()).int()
        lowest = max(y.q_min, int(zero_point)) if relu else y.q_min
        bounds = torch.tensor([lowest, y.q_max], dtype=torch.int32, device=multiplier.device)
        self.register_buffer("multiplier", multiplier)
        self.register_buffer("shift", shift)
        self.register_buffer("zero_point", zero_point)
        self.register_buffer("bounds", bounds)

    def forward(self, sums: Tensor) -> Tensor:
        shift = self.shift.long()
        offset = (self.zero_point.long() << shift) + (1 << (shift - 1))  # 61 bits at most
        y = sums.long().mul_(self.multiplier).add_(offset).bitwise_right_shift_(shift)
        return y.clamp_(*self.bounds.tolist()).to(torch.int8)


class QuantizedLinear(nn.Module):
    """A linear layer on integers: int8 (n, inputs) → int8 (n, outputs), with any axes for n.

    `forward` raises `ValueError` for another number of inputs.

    Σ (q_x - z_x) q_w + q_b is Σ q_x q_w + bias, where `bias` holds q_b - z_x Σ q_w: the terms that
    do not depend on the input are added up once, beforehand.

    Args:
        weight: int8 (outputs, inputs), zero point 0.
        bias: int32 (outputs,), of the scale s_x · s_w, with the input's zero point worked in.
        requantize: what makes int8 of the sums; without it, the last layer's are the result.
    """

    def __init__(self, weight: Tensor, bias: Tensor, requantize: Requantize | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = nn.Parameter(bias, requires_grad=False)
        self.requantize = requantize

    def forward(self, q: Tensor) -> Tensor:
        if q.dim() == 0 or q.shape[-1] != self.weight.shape[1]:
            axes = f"(n, {self.weight.shape[1]})"
            raise ValueError(f"a linear layer takes {axes}, not {tuple(q.shape)}")
        *axes, inputs = q.shape
        rows = q.reshape(math.prod(axes), inputs)
        at_once = max(CHUNK // max(len(self.weight), 1), 1)
        y = torch.cat([self._finish(matmul(some, self.weight)) for some in rows.split(at_once)])
        return y.view(*axes, len(self.weight))

    def _finish(self, sums: Tensor) -> Tensor:
        sums += self.bias
        return sums if self.requantize is None else self.requantize(sums)

    def count_macs(self, x: Tensor, y: Tensor) -> int:
        """Multiply-accumulates, for `shrink.cost`."""
        return self.weight.shape[1] * y.numel()


class QuantizedConv2d(QuantizedLinear):
    """A convolution on integers: int8 (n, channels, height, width) → int8 of the same axes.

    Each place of the kernel is a row of a matrix, and what is left is a matrix product. One image
    without n gives one, as in torch. `forward` raises `ValueError` for other axes, another number
    of channels, and an image that is smaller than the kernel.

    Args:
        weight: int8 (outputs, channels / groups, kernel height, kernel width), zero point 0.
        zero_point: what the image is padded with, as a real 0 is.

    The others are those of `QuantizedLinear` and of `torch.nn.Conv2d`.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        requantize: Requantize | None = None,
        *,
        zero_point: Tensor | int = 0,
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int] = (0, 0),
        groups: int = 1,
    ) -> None:
        super().__init__(weight, bias, requantize)
        self.register_buffer("zero_point", torch.as_tensor(zero_point, dtype=torch.int8))
        self.out_channels, self.in_channels = weight.shape[0], weight.shape[1] * groups
        self.kernel_size = tuple(weight.shape[2:])
        self.stride, self.padding, self.groups, self.dilation = stride, padding, groups, (1, 1)

    def forward(self, q: Tensor) -> Tensor:
        if q.dim() == 3:
            return self.forward(q[None])[0]
        (h, w), (up, left) = self.kernel_size, self.padding
        if q.dim() != 4 or q.shape[1] != self.in_channels:
            axes = f"(n, {self.in_channels}, height, width)"
            raise ValueError(f"a convolution takes {axes}, not {tuple(q.shape)}")
        if q.shape[2] + 2 * up < h or q.shape[3] + 2 * left < w:
            raise ValueError(f"an image of {tuple(q.shape[2:])} is smaller than the kernel {h, w}")
        if up or left:
            q = F.pad(q, (left, left, up, up), value=int(self.zero_point))
        q = q.permute(0, 2, 3, 1)  # the channels last, so that a patch is copied in long pieces
        patches = q.unfold(1, h, self.stride[0]).unfold(2, w, self.stride[1])
        _, height, width, *_ = patches.shape
        images = max(CHUNK // max(height * width * self.out_channels, 1), 1)
        y = torch.cat([self._finish(self._sums(some)) for some in patches.split(images)])
        return y.view(len(q), height, width, self.out_channels).permute(0, 3, 1, 2)

    def _sums(self, patches: Tensor) -> Tensor:
        """(n, height, width, channels, kernel height, kernel width) → (rows, outputs)."""
        if self.groups == self.in_channels == self.out_channels:  # depthwise: a kernel a channel
            places = itertools.product(*map(range, self.kernel_size))
            products = (patches[..., i, j].int() * self.weight[:, 0, i, j] for i, j in places)
            return sum(products).flatten(0, 2)
        kernels = self.weight.chunk(self.groups)
        parts = patches.chunk(self.groups, dim=3)
        sums = []
        for kernel, part in zip(kernels, parts, strict=True):
            rows = part.permute(0, 1, 2, 4, 5, 3).reshape(-1, kernel[0].numel())
            sums.append(matmul(rows, kernel.permute(0, 2, 3, 1).flatten(1)))
        return torch.cat(sums, dim=1) if self.groups > 1 else sums[0]

    def count_macs(self, x: Tensor, y: Tensor) -> int:
        """Multiply-accumulates, for `shrink.cost`."""
        return len(x) * conv_macs(self, x.shape[2:])


class IntegerMaxPool2d(nn.Module):
    """The largest of each window, of integers: quantizing keeps the order, so it commutes.

    (n, channels, height, width), or one image without n. `forward` raises `ValueError` for other
    axes, and for an image that is smaller than the window.
    """

    def __init__(self, kernel_size: tuple[int, int], stride: tuple[int, int]) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, stride

    def forward(self, q: Tensor) -> Tensor:
        (h, w), (down, right) = self.kernel_size, self.stride
        if q.dim() not in (3, 4) or q.shape[-2] < h or q.shape[-1] < w:
            raise ValueError(f"windows of {h, w} are of images, not of {tuple(q.shape)}")
        height, width = (q.shape[-2] - h) // down + 1, (q.shape[-1] - w) // right + 1
        largest = None
        for i in range(h):
            for j in range(w):
                end = i + down * (height - 1) + 1, j + right * (width - 1) + 1
                place = q[..., i : end[0] : down, j : end[1] : right]
                largest = place if largest is None else torch.maximum(largest, place)
        return largest


class IntegerNetwork(nn.Module):
    """A network of integer layers: images → logits, both floats of one type, integers in between.

    `forward` raises `TypeError` when the images are not floating point: pixels of 0 to 255 must be
    scaled first, like the images that the network was calibrated on.

    Args:
        x: the parameters of the input.
        layers: int8 → int8, the last one → int32 sums.
        scale: float32, () or (outputs,): of the last layer's sums, s_x · s_w.
    """

    def __init__(self, x: QParams, layers: nn.Sequential, scale: Tensor) -> None:
        super().__init__()
        self.layers, self.num_bits = layers, x.num_bits
        self.register_buffer("input_scale", x.scale)
        self.register_buffer("input_zero_point", x.zero_point)
        self.register_buffer("output_scale", scale)

    def forward(self, images: Tensor) -> Tensor:
        check_floats(images, "what a network of integers is given")
        x = QParams(self.input_scale, self.input_zero_point, self.num_bits)
        return (self.layers(quantize(images, x)) * self.output_scale).to(images.dtype)
