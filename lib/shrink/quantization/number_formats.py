"""Floating point of 16 and 8 bits, by integers alone: sign, exponent, mantissa.

The code of a number has its sign in the highest bit, then the exponent, then the mantissa. So codes
of one sign are in the order of their numbers, the next number up is the next code, and a carry out
of the mantissa runs into the exponent, where it belongs.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from shrink.quantization.arguments import check_floats, check_integers

CHUNK = 2**17  # numbers at a time, so that what lies between two operations stays in the cache


@dataclass(frozen=True)
class Format:
    """A format of 1 + exponent_bits + mantissa_bits bits, the exponent biased as IEEE 754 has it.

    The exponent 0 stands for the same power of two as 1, without the leading one: subnormal numbers
    and zero. With `infinities` the highest exponent is that of infinity and NaN. Without, it has
    numbers as well, there is no infinity, and NaN is all ones.

    Args:
        exponent_bits: 2 to 8, which is what float32 holds.
        mantissa_bits: 1 to 22.

    Source: IEEE 754-2019, section 3.4; for e4m3 and e5m2 Micikevicius et al. 2022, "FP8 formats for
    deep learning", section 3 and table 1.

    >>> FP16.bits, FP16.bias, FP16.largest, FP16.least_normal == 2**-14, FP16.least == 2**-24
    (16, 15, 65504.0, True, True)
    >>> E4M3.largest, E5M2.largest
    (448.0, 57344.0)
    """

    name: str
    exponent_bits: int
    mantissa_bits: int
    infinities: bool = True

    def __post_init__(self) -> None:
        for what, most in (("exponent_bits", 8), ("mantissa_bits", 22)):
            least = 2 if what == "exponent_bits" else 1
            if not least <= getattr(self, what) <= most:
                raise ValueError(f"{what} must be {least} to {most}, not {getattr(self, what)!r}")

    @property
    def bits(self) -> int:
        return 1 + self.exponent_bits + self.mantissa_bits

    @property
    def bias(self) -> int:
        """What is subtracted from the exponent: 15 for fp16, 127 for bf16 as for float32."""
        return 2 ** (self.exponent_bits - 1) - 1

    @property
    def infinity(self) -> int:
        """The code after that of the largest number: of infinity, or of NaN if there is none."""
        ones = (1 << self.exponent_bits) - 1
        highest = ones << self.mantissa_bits
        return highest if self.infinities else highest | ((1 << self.mantissa_bits) - 1)

    @property
    def nan(self) -> int:
        """The code of NaN that `encode` gives: a quiet one, its mantissa's highest bit is 1."""
        return self.infinity | (1 << (self.mantissa_bits - 1))

    @property
    def largest(self) -> float:
        return float(decode(torch.tensor(self.infinity - 1), self))

    @property
    def least_normal(self) -> float:
        """The least number above 0 that has all its mantissa's bits."""
        return 2.0 ** (1 - self.bias)

    @property
    def least(self) -> float:
        """The least number above 0. Half of it, and all below, is rounded to 0."""
        return 2.0 ** (1 - self.bias - self.mantissa_bits)


FP16 = Format("fp16", 5, 10)
BF16 = Format("bf16", 8, 7)
E4M3 = Format("fp8 e4m3", 4, 3, infinities=False)
E5M2 = Format("fp8 e5m2", 5, 2)
FORMATS = {f.name: f for f in (FP16, BF16, E4M3, E5M2)}


def encode(x: Tensor, format: Format, saturate: bool = False) -> Tensor:
    """The code of the nearest number, halfway the even one: int32 of x's shape.

    What rounds to more than the largest number becomes infinity, as IEEE 754 has it, or NaN where
    the format has no infinity: so that who looks for what is not finite finds it, as a loss scaler
    does. With `saturate` it becomes the largest number, infinities too. NaN stays NaN, of its sign;
    what else was in its mantissa is lost.

    Args:
        x: float of 16, 32 or 64 bits, any shape, on any device. Each is rounded once, float64 too:
            by way of float32 it would be rounded twice, and what lies just above halfway might
            first become halfway, and then the even number below.

    Source: IEEE 754-2019, sections 4.3.1 and 7.4.
    Differs: torch's cast to float8_e4m3fn saturates.

    Raises:
        TypeError: x is not floating point, or sparse.

    >>> [hex(code) for code in encode(torch.tensor([1.0, -2.0, 65504.0, 65520.0]), FP16).tolist()]
    ['0x3c00', '0xc000', '0x7bff', '0x7c00']
    >>> [hex(code) for code in encode(torch.tensor([448.0, 464.0, 465.0]), E4M3).tolist()]
    ['0x7e', '0x7e', '0x7f']
    """
    return _in_chunks(lambda some: _encode(some, format, saturate), _wide(x), torch.int32)


def _wide(x: Tensor) -> Tensor:
    """x as float64 if it is that, and else as float32, which holds every half."""
    check_floats(x)
    return x.detach() if x.dtype == torch.float64 else x.detach().float()


def _encode(x: Tensor, format: Format, saturate: bool) -> Tensor:
    stored, width, bias = (
        (torch.int64, 52, 1023) if x.dtype == torch.float64 else (torch.int32, 23, 127)
    )
    bits = x.view(stored)
    sign = (bits < 0).to(torch.int32) << (format.bits - 1)
    magnitude = bits & torch.iinfo(stored).max
    # The mantissa with its leading one. A number below the format's least normal one loses more of
    # its bits, one for each power of two. (x's own subnormal numbers have no leading one.)
    exponent = magnitude >> width
    significand = (magnitude & ((1 << width) - 1)) | (exponent.clamp(max=1) << width)
    exponent.clamp_(min=1).sub_(bias - format.bias)  # in the format; its least normal one has 1
    lost = (1 - exponent).clamp_(0, format.mantissa_bits + 2).add_(width - format.mantissa_bits)
    # Almost a half is added, a whole one where what is kept is odd: halfway goes to the even.
    odd = (significand >> lost) & 1
    half = torch.ones_like(lost).bitwise_left_shift_(lost - 1)
    rounded = significand.add_(half).add_(odd).sub_(1).bitwise_right_shift_(lost)
    # The leading one adds 1 to the exponent, and so does a carry.
    code = exponent.sub_(1).clamp_(min=0).bitwise_left_shift_(format.mantissa_bits).add_(rounded)
    code.clamp_(max=format.infinity - int(saturate))
    infinite = ((1 << (x.element_size() * 8 - 1 - width)) - 1) << width
    code.masked_fill_(magnitude > infinite, format.nan)
    return code.to(torch.int32).bitwise_or_(sign)


def decode(codes: Tensor, format: Format) -> Tensor:
    """The numbers that codes stand for, float32 of the codes' shape, exactly.

    Args:
        codes: integers, the code in their lowest bits; what stands above is not looked at, so that
            int16 with a negative sign serves as well.

    Raises:
        TypeError: codes are no integers.

    >>> decode(torch.tensor([0x3C00, 0x3C01, 0x0001]), FP16)  # 1, 1 + 1/1024, 2^-24
    tensor([1.0000e+00, 1.0010e+00, 5.9605e-08])
    """
    check_integers(codes, "codes")
    return _in_chunks(lambda some: _decode(some, format), codes, torch.float32)


def _decode(codes: Tensor, format: Format) -> Tensor:
    codes = codes.to(torch.int32)
    shift, more = 23 - format.mantissa_bits, 127 - format.bias
    code = codes & ((1 << (format.bits - 1)) - 1)
    sign = (codes ^ code) << (32 - format.bits)  # in the highest bit; shifts drop the rest
    # Exponent and mantissa go where float32 has them, and the exponent gets float32's bias.
    bits = (code << shift).add_(more << 23)
    if more:  # subnormal numbers are normal ones in float32: 1.m - 1, times the power of two
        subnormal = (bits + (1 << 23)).view(torch.float32).sub_(format.least_normal)
        bits = torch.where(code < (1 << format.mantissa_bits), subnormal.view(torch.int32), bits)
    bits.masked_fill_(code >= format.infinity, 0xFF << 23)
    bits.masked_fill_(code >= format.infinity + int(format.infinities), 0x1FF << 22)
    return bits.bitwise_or_(sign).view(torch.float32)


def _in_chunks(each: Callable[[Tensor], Tensor], x: Tensor, dtype: torch.dtype) -> Tensor:
    if x.numel() <= CHUNK or x.device.type != "cpu":
        return each(x)
    y = torch.empty(x.shape, dtype=dtype)
    for some, into in zip(x.reshape(-1).split(CHUNK), y.view(-1).split(CHUNK), strict=True):
        into.copy_(each(some))
    return y


def round_to(x: Tensor, format: Format, saturate: bool = False) -> Tensor:
    """x rounded to numbers of the format, as `encode` rounds: float32 of x's shape.

    >>> round_to(torch.tensor([0.1, 1e-9, 70000.0]), FP16)
    tensor([0.1000, 0.0000,    inf])
    >>> round_to(torch.tensor([1 + 1 / 256, 1 + 3 / 256]), BF16)  # both lie halfway, 1/128 apart
    tensor([1.0000, 1.0156])
    """

    def rounded(some: Tensor) -> Tensor:
        return _decode(_encode(some, format, saturate), format)

    return _in_chunks(rounded, _wide(x), torch.float32)
