"""The bytes that chapter 03's explorer compares: of a file, or of an image's activations."""

from collections.abc import Sequence

from torch import Tensor

from shrink.chapters.quantize.network import GROUP, Network, Setting, disturbed, in_parts
from shrink.classroom import formats, measure
from shrink.quantization import choose_qparams

Bytes = tuple[int, int, int, int]  # in float32, quantized; of that the integers, and the scales


def bytes_of_activations(net: Network, bits: int) -> Bytes:
    """Of the layers' inputs in memory, for one image."""
    numbers = [x.shape[1] for x in net.inputs]
    packed = sum(-(-n * bits // 8) for n in numbers)
    return 4 * sum(numbers), packed, packed, 0


def has_zero_points(
    setting: Setting, bits: int, ranges: Sequence[tuple[Tensor, Tensor]]
) -> tuple[bool, ...]:
    """Whether each layer stores zero points; no range changes a file's length otherwise."""
    return tuple(
        bool(choose_qparams(*ends, bits, setting.symmetric).zero_point.any()) for ends in ranges
    )


def bytes_of_file(
    net: Network, setting: Setting, bits: int, ranges: Sequence[tuple[Tensor, Tensor]]
) -> Bytes:
    """Of the file of quantized weights, each layer's clipped to its ranges; scales are counted with
    zero points.
    """
    options = {"channel": {"axis": 0}, "group": {"group": GROUP}}.get(setting.by, {})
    state, layers = dict(net.state), disturbed(net, setting)
    names = [name for name, t in state.items() if t.dim() == 2]
    for name, w, (low, high) in zip(names, layers, ranges, strict=True):
        clipped = in_parts(w, setting.by).clamp(low, high)
        state[name] = clipped.view(len(w), -1)[:, : w.shape[1]]
    arrays = formats.pack_quantized(state, bits, symmetric=setting.symmetric, **options)
    integers = sum(a.nbytes for name, a in arrays.items() if name.endswith("/q"))
    scales = sum(a.nbytes for n, a in arrays.items() if n.endswith(("/scale", "/zero_point")))
    return measure.size(net.state), measure.size(arrays), integers, scales
