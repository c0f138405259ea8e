"""Floating point of 16 and 8 bits, by integers alone: sign, exponent, mantissa."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Format:
    """A format of 1 + exponent_bits + mantissa_bits bits, the exponent biased as IEEE 754 has it.

    Without `infinities` the highest exponent has numbers as well, and NaN is all ones.
    """

    name: str
    exponent_bits: int
    mantissa_bits: int
    infinities: bool = True

    @property
    def bits(self) -> int:
        return 1 + self.exponent_bits + self.mantissa_bits

    @property
    def bias(self) -> int:
        return 2 ** (self.exponent_bits - 1) - 1

    @property
    def infinity(self) -> int:
        """The code of infinity; without infinities that of NaN, which follows the largest."""
        ones = (1 << self.exponent_bits) - 1
        highest = ones << self.mantissa_bits
        return highest if self.infinities else highest | ((1 << self.mantissa_bits) - 1)

    @property
    def largest(self) -> float:
        return float(decode(torch.tensor(self.infinity - 1), self))

    @property
    def least_normal(self) -> float:
        return 2.0 ** (1 - self.bias)

    @property
    def least(self) -> float:
        return 2.0 ** (1 - self.bias - self.mantissa_bits)


FP16 = Format("fp16", 5, 10)
BF16 = Format("bf16", 8, 7)
E4M3 = Format("fp8 e4m3", 4, 3, infinities=False)
E5M2 = Format("fp8 e5m2", 5, 2)
FORMATS = {f.name: f for f in (FP16, BF16, E4M3, E5M2)}


def encode(x: Tensor, format: Format, saturate: bool = False) -> Tensor:
    """The code of the nearest number, halves to the even one: int32 of x's shape.

    Args:
        x: float32.
        saturate: what is too large becomes the largest number, not infinity (or NaN).

    >>> [hex(code) for code in encode(torch.tensor([1.0, -2.0, 65504.0, 65520.0]), FP16).tolist()]
    ['0x3c00', '0xc000', '0x7bff', '0x7c00']
    """
    bits = x.detach().contiguous().view(torch.int32)
    sign = (bits >> 31) & 1
    magnitude = bits & 0x7FFFFFFF
    exponent = magnitude >> 23
    significand = (magnitude & 0x7FFFFF) | torch.where(exponent > 0, 1 << 23, 0)
    exponent = exponent.clamp(min=1)
    least = 127 - format.bias + 1  # float32's exponent field of the format's least normal number
    shift = (23 - format.mantissa_bits + (least - exponent).clamp(min=0)).clamp(max=25)
    half = (1 << (shift - 1)) - 1 + ((significand >> shift) & 1)  # a tie goes up if that is even
    rounded = (significand + half) >> shift
    # the leading one is part of `rounded`, and so is a carry: both run into the exponent
    code = rounded + ((exponent - least).clamp(min=0) << format.mantissa_bits)
    over = (code >= format.infinity) | (magnitude >= 0x7F800000)
    code = torch.where(over, format.infinity - int(saturate), code)
    nan = format.infinity + int(format.infinities)
    code = torch.where(magnitude > 0x7F800000, nan, code)
    return code | (sign << (format.bits - 1))


def decode(codes: Tensor, format: Format) -> Tensor:
    """The numbers of codes, float32, exactly.

    >>> decode(torch.tensor([0x3C00, 0x0001]), FP16)
    tensor([1.0000e+00, 5.9605e-08])
    """
    codes = codes.to(torch.int32)
    sign = (codes >> (format.bits - 1)) & 1
    code = codes & ((1 << (format.bits - 1)) - 1)
    exponent, mantissa = code >> format.mantissa_bits, code & ((1 << format.mantissa_bits) - 1)
    normal = ((exponent + 127 - format.bias) << 23) | (mantissa << (23 - format.mantissa_bits))
    value = torch.where(exponent > 0, normal, 0).view(torch.float32)
    value = torch.where(exponent > 0, value, mantissa.float() * format.least)
    if format.infinities:
        value = torch.where(code == format.infinity, torch.inf, value)
        value = torch.where(code > format.infinity, torch.nan, value)
    else:
        value = torch.where(code == format.infinity, torch.nan, value)
    return torch.where(sign == 1, -value, value)


def round_to(x: Tensor, format: Format, saturate: bool = False) -> Tensor:
    """x rounded to numbers of the format, float32 of x's shape.

    >>> round_to(torch.tensor([0.1, 1e-9, 70000.0]), FP16)
    tensor([0.1000, 0.0000,    inf])
    """
    return decode(encode(x, format, saturate), format)
