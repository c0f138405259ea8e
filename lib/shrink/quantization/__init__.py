"""Quantization: x ≈ scale · (q - zero_point), ranges, and networks of integers."""

from shrink.quantization.affine import (
    CHUNK,
    QParams,
    choose_qparams,
    dequantize,
    fake_quantize,
    pack_bits,
    qparams_of,
    quantize,
    unpack_bits,
)

__all__ = [
    "CHUNK",
    "QParams",
    "choose_qparams",
    "dequantize",
    "fake_quantize",
    "pack_bits",
    "qparams_of",
    "quantize",
    "unpack_bits",
]
