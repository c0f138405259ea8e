"""What a network costs, computed from its shapes: counts, bytes, and an estimate of the energy.

Nothing here is measured. Counts are exact; the energy is an estimate, from figures of 2014, for the
machine that `layer_energy` describes. `shrink.latency` measures times.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvTransposeNd

from shrink.arguments import real_number, whole, whole_number
from shrink.modes import in_use
from shrink.plain import (
    WeightsApart,
    check_module,
    own_names,
    parts_with_parameters,
    refuse_packed,
    refuse_unless_parameters,
    used_parameters,
)
from shrink.tensors import check_plain, check_tensor

ADD = {32: 0.9, 16: 0.4}  # pJ, floats of that many bits
MULTIPLY = {32: 3.7, 16: 1.1}  # pJ, floats
INT8_MULTIPLY, INT32_ADD = 0.2, 0.1  # pJ
SRAM = {8 * 1024: 5.0, 32 * 1024: 10.0, 1024 * 1024: 50.0}  # bytes of memory → pJ for 32 bits
DRAM = 640.0  # pJ for 32 bits


@dataclass(frozen=True)
class Layer:
    """What one layer does for one image, in numbers (not bytes).

    `parameters` are its own, weights and biases; `inputs` are the numbers it reads, `outputs` those
    it writes.
    """

    name: str
    macs: int
    parameters: float
    inputs: int
    outputs: int


@dataclass(frozen=True)
class Prices:
    """The energy in pJ of a multiply-accumulate, and of a number from SRAM and from DRAM."""

    mac: float
    sram: float
    dram: float


@dataclass(frozen=True)
class Energy:
    """An estimate for one image, in pJ: a million of them are a microjoule."""

    arithmetic: float
    sram: float
    dram: float

    @property
    def total(self) -> float:
        return self.arithmetic + self.sram + self.dram

    def __add__(self, other: "Energy") -> "Energy":
        return Energy(
            self.arithmetic + other.arithmetic, self.sram + other.sram, self.dram + other.dram
        )


def parameters_and_bytes(model: nn.Module) -> tuple[int, int]:
    """The number of parameters, and the bytes that its parameters and buffers take.

    A tensor that is used in two places counts once. A file is a little longer than these bytes: it
    has names and shapes as well. Raises as `nonzeros`, except on meta.

    >>> parameters_and_bytes(nn.Linear(3, 2))
    (8, 32)
    """
    _check_countable(model)
    tensors = [*model.parameters(), *model.buffers()]
    return sum(p.numel() for p in model.parameters()), sum(t.nbytes for t in tensors)


def nonzeros(model: nn.Module) -> int:
    """The number of parameters that are not zero, of those that the model uses.

    If torch computes a weight at each call (its pruning, a parametrization, weight and spectral
    norm), the result counts, not the tensors that it is computed from.

    Raises:
        TypeError: the model is no module, or a parameter or buffer of it is not dense.
        ValueError: it is on meta, or holds weights that torch's own quantization packed.

    >>> layer = nn.Linear(3, 2)
    >>> _ = nn.init.zeros_(layer.bias), nn.init.ones_(layer.weight)
    >>> nonzeros(layer)
    6
    """
    _check_countable(model)
    if any(p.is_meta for p in model.parameters()):
        raise ValueError("the model is on meta, where its parameters have no values to count")
    with in_use(model):
        return sum(int((p != 0).sum()) for p in used_parameters(model))


def _check_countable(model: nn.Module) -> None:
    """Raise unless it is a module, and its numbers are those of dense parameters and buffers."""
    check_module(model)
    refuse_packed(model)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        check_plain(name, tensor)


def conv_macs(layer: nn.Conv1d | nn.Conv2d | nn.Conv3d, size: Sequence[int]) -> int:
    """The multiply-accumulates of a convolution on one image of `size`, (height, width) in 2-D.

    Each output number sums over the kernel and over the channels of its group. Products with the
    zeros of the padding count; adding the bias does not.

    >>> conv_macs(nn.Conv2d(1, 2, kernel_size=3), (4, 4))  # 2 x (2 x 2) outputs of 9 products
    72
    >>> conv_macs(nn.Conv2d(8, 8, kernel_size=3, stride=2, padding=1, groups=8), (4, 4))
    288

    Raises:
        TypeError: a number in `size` is not whole.
        ValueError: the image is smaller than the kernel, `size` does not have one number for each
            dimension of the kernel, or the layer is transposed, lazy, or not a convolution.
    """
    if isinstance(layer, _ConvTransposeNd) or not hasattr(layer, "kernel_size"):
        raise ValueError(f"no rule counts {layer}, which is transposed or no convolution")
    if layer.in_channels == 0:
        raise ValueError(f"{layer} has no weight yet: run the model once, on an input")
    size = tuple(whole_number("a size", length, 0) for length in size)
    if len(size) != len(layer.kernel_size):
        raise ValueError(f"size must have {len(layer.kernel_size)} numbers, got {size}")
    places = [_conv_places(layer, d, length) for d, length in enumerate(size)]
    if min(places) < 1:
        raise ValueError(f"an image of size {size} is smaller than the kernel of {layer}")
    products = layer.in_channels // layer.groups * math.prod(layer.kernel_size)
    return layer.out_channels * math.prod(places) * products


def _count_conv(layer: nn.Conv1d | nn.Conv2d | nn.Conv3d, x: Tensor, y: Tensor) -> int:
    return len(x) * conv_macs(layer, x.shape[2:])


def _conv_places(layer: nn.Conv1d | nn.Conv2d | nn.Conv3d, d: int, length: int) -> int:
    """How many places the kernel takes along dimension `d` of an image `length` long there."""
    reach = _along(layer.dilation, d) * (layer.kernel_size[d] - 1)
    if layer.padding == "same":
        return length
    padding = 0 if layer.padding == "valid" else _along(layer.padding, d)
    return (length + 2 * padding - reach - 1) // _along(layer.stride, d) + 1


def _along(sizes: int | Sequence[int], d: int) -> int:
    """The size of dimension `d`, where one number may stand for all dimensions, as in torch."""
    sizes = sizes if isinstance(sizes, Sequence) else [sizes]
    return sizes[d] if len(sizes) > 1 else sizes[0]


# For each kind of layer with parameters of its own: (layer, input, output) → multiply-accumulates.
# A layer of another kind may bring its own rule, a method `count_macs` of input and output.
# A layer without parameters (ReLU, pooling, dropout, flatten) counts as none. A norm is one scale
# and shift for each number; finding mean and variance, where they are not stored, is left out.
RULES: dict[type[nn.Module], Callable[[nn.Module, Tensor, Tensor], int]] = {
    nn.Linear: lambda layer, x, y: layer.in_features * y.numel(),
    **dict.fromkeys((nn.Conv1d, nn.Conv2d, nn.Conv3d), _count_conv),
    _BatchNorm: lambda layer, x, y: y.numel(),
    nn.SyncBatchNorm: lambda layer, x, y: y.numel(),
    nn.LayerNorm: lambda layer, x, y: y.numel(),
    nn.GroupNorm: lambda layer, x, y: y.numel(),
}
# A subclass that defines one of these may multiply more, or less, than its rule counts.
COMPUTING = {"forward", "_conv_forward", "__call__", "__getattr__", "weight", "bias"}


def layers(model: nn.Module, example: Tensor) -> list[Layer]:
    """What each layer with parameters does for one image, in the order in which they run.

    The model runs once, in `eval` mode, and a hook looks at each layer; afterwards the hooks are
    gone, and the model is as it was. Products outside of the layers are not counted; products with
    a layer's weight outside of that layer are refused. A layer that runs twice is listed twice,
    with its parameters each time.

    Args:
        example: images (n, ...) on the model's device; n does not matter.

    Raises:
        TypeError: the model is not a module, or the example not a tensor.
        ValueError: a layer has parameters and no rule in `RULES`, or a forward of its own that the
            rule of its class does not count (as in LoRA); its weight is computed at each call (the
            message says what to run first) or packed by torch's own quantization; the model
            multiplies by it without calling the layer; or there is no image, or no axis of images.

    >>> from torch import zeros
    >>> layers(nn.Sequential(nn.Linear(3, 2), nn.ReLU()), zeros(5, 3))
    [Layer(name='0', macs=6, parameters=8, inputs=3, outputs=2)]
    """
    check_tensor("the example", example)
    n = len(example) if example.dim() else 0
    if n == 0:
        raise ValueError(f"the example must hold an image, its shape is {tuple(example.shape)}")
    found: list[Layer] = []
    apart = WeightsApart()
    hooks = []
    try:
        for name, module, rule in _ruled(model):

            def see(module, args, kwargs, y, name=name, rule=rule) -> None:
                x = [*args, *kwargs.values()][0]
                if not (_are_images(x, n) and _are_images(y, n) and x.dim() > 1):
                    raise ValueError(
                        "the first axis of the example must be images, got "
                        f"{tuple(example.shape)}, and so must that of what {name} takes and gives"
                    )
                own = sum(p.numel() for p in module.parameters(recurse=False))
                found.append(
                    Layer(name, rule(module, x, y) // n, own, x.numel() // n, y.numel() // n)
                )

            hooks += apart.watch(name, module)
            hooks.append(module.register_forward_hook(see, with_kwargs=True))
        with in_use(model), apart:
            model(example)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _are_images(x: object, n: int) -> bool:
    """Whether it is a tensor whose first axis is n images, or several parts of each."""
    return isinstance(x, Tensor) and x.dim() > 0 and len(x) % n == 0


def _ruled(model: nn.Module) -> Iterator[tuple[str, nn.Module, Callable]]:
    """Each module that has parameters of its own, with its name and its rule."""
    for name, module in parts_with_parameters(model):
        kind = next((kind for kind in type(module).__mro__ if _rule_of(kind)), None)
        what = f"{name or 'the model'}, a {type(module).__name__}"
        if kind is None:
            raise ValueError(f"no rule counts {what}")
        refuse_unless_parameters(module, what)
        if own := own_names(module, kind) & COMPUTING:
            own = f"its own {', '.join(sorted(own))}, which the rule of {kind.__name__} does not"
            raise ValueError(f"no rule counts {what}: it has {own}; give it a method count_macs")
        yield name or type(module).__name__, module, _rule_of(kind)


def _rule_of(kind: type) -> Callable[[nn.Module, Tensor, Tensor], int] | None:
    """The rule for one class alone: the method of that name, or what `RULES` has."""
    return vars(kind).get("count_macs") or RULES.get(kind)


def macs(model: nn.Module, example: Tensor) -> int:
    """The multiply-accumulates of the model for one image of `example`; see `layers`.

    >>> from torch import zeros
    >>> macs(nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 4)), zeros(1, 3))
    14
    """
    return sum(layer.macs for layer in layers(model, example))


def intensity(layer: Layer, batch: int = 1, num_bits: int = 32) -> float:
    """The arithmetic intensity, in operations per byte: a multiply-accumulate is two operations.

    The parameters move once for the whole batch, inputs and outputs once for each image.
    Source: Williams et al. 2009, "Roofline", who call it operational intensity.

    >>> intensity(Layer("fc", macs=6, parameters=8, inputs=3, outputs=2))  # 12 / (4 x 13)
    0.23076923076923078
    """
    batch, num_bits = whole_number("batch", batch, 1), whole_number("num_bits", num_bits, 1)
    numbers = layer.parameters + batch * (layer.inputs + layer.outputs)
    return 2 * layer.macs * batch / (numbers * num_bits / 8)


def prices(on_chip: float, num_bits: int = 32) -> Prices:
    """What arithmetic and memory cost at 45 nm, for numbers of `num_bits`.

    Reading from a larger SRAM costs more. Between 8 KB, 32 KB and 1 MB (1 KB = 1024 bytes) we
    interpolate on a log-log scale, and beyond them we extrapolate. Numbers of fewer bits lie
    packed, so in memory they cost bits/32 of a 32-bit word. 32 and 16 bits are floats; 8 bits and
    fewer are integers, which are added up in 32 bits.

    Source: Horowitz 2014, "Computing's energy problem", ISSCC; 8 KB of SRAM and DRAM for 32 bits as
    Han et al. 2015 quote it, larger SRAM in the same proportion.
    Differs: for an integer product of fewer than 8 bits we estimate 0.2 pJ x (bits / 8)².

    Raises:
        ValueError: `on_chip` is not above 0, or no price is known for `num_bits`.

    >>> price = prices(on_chip=32 * 1024, num_bits=8)
    >>> round(price.mac, 3), price.sram, price.dram
    (0.3, 2.5, 160.0)
    """
    bits = whole(num_bits)
    if bits in MULTIPLY:
        mac = MULTIPLY[bits] + ADD[bits]
    elif bits in range(1, 9):
        mac = INT8_MULTIPLY * (bits / 8) ** 2 + INT32_ADD
    else:
        raise ValueError(f"num_bits must be 32, 16, or 8 and less, got {num_bits!r}")
    words = bits / 32
    return Prices(mac, _sram_price(on_chip) * words, DRAM * words)


def _sram_price(on_chip: float) -> float:
    """pJ for 32 bits, on the straight log-log lines through the points of `SRAM`."""
    on_chip = real_number("on_chip", on_chip)
    if not 0 < on_chip < math.inf:
        raise ValueError(f"on_chip must be a number of bytes above 0, got {on_chip}")
    pieces = list(pairwise(SRAM.items()))
    (x0, y0), (x1, y1) = next((p for p in pieces if on_chip <= p[1][0]), pieces[-1])
    return y0 * (on_chip / x0) ** (math.log(y1 / y0) / math.log(x1 / x0))


def layer_energy(layer: Layer, price: Prices, room: float, batch: int = 1) -> Energy:
    """The energy of one layer for one image of a batch: an estimate, for the machine below.

    The machine, in five sentences:

    1. Registers hold the numbers that a layer is working on: for each image every parameter and
       input is read from SRAM once, however often it is used, and every output is written once.
    2. SRAM holds `room` numbers: first the inputs and outputs of the whole batch, then parameters.
    3. Parameters that fit stay, from batch to batch. The others come from DRAM, once per batch.
    4. Inputs and outputs that do not fit go to DRAM or come from there, once.
    5. Nothing else costs: no instructions, no control, no decoding, no leakage, no ReLU or pooling,
       no adding of biases, nor how images get to the chip and answers from it.

    Registers of real chips are small, so they read more often: (1) makes `sram` a lower bound, and
    two reads per product would be the upper one. (5) leaves out most of what a CPU uses. So use it
    to compare, and to see which of the three parts is largest.

    Raises `ValueError` when `batch` is below 1.

    >>> layer = Layer("fc", macs=6, parameters=8, inputs=3, outputs=2)
    >>> layer_energy(layer, Prices(mac=1, sram=10, dram=100), room=9)  # 4 of 8 stay
    Energy(arithmetic=6, sram=130, dram=400.0)
    """
    batch, room = whole_number("batch", batch, 1), real_number("room", room)
    live = batch * (layer.inputs + layer.outputs)
    spilled = max(live - room, 0)
    resident = min(layer.parameters, max(room - live, 0))
    return Energy(
        arithmetic=layer.macs * price.mac,
        sram=(layer.parameters + layer.inputs + layer.outputs) * price.sram,
        dram=(layer.parameters - resident + spilled) / batch * price.dram,
    )


def share_room(network: Sequence[Layer], room: float, batch: int = 1) -> list[tuple[float, float]]:
    """How layers share SRAM for `room` numbers: what is live of each, and the parameters that stay.

    Room for the inputs and outputs of the hungriest layer is set aside; the rest keeps parameters,
    of the first layers first. So with a larger batch one fetch from DRAM serves more images, but
    fewer parameters have room to stay.

    >>> fc = Layer("fc", macs=6, parameters=8, inputs=3, outputs=2)
    >>> share_room([fc, fc], room=15)
    [(5, 8), (5, 2)]
    """
    batch, room = whole_number("batch", batch, 1), real_number("room", room)
    live = [batch * (layer.inputs + layer.outputs) for layer in network]
    spare, shares = max(room - max(live, default=0), 0), []
    for layer, own in zip(network, live, strict=True):
        kept = min(layer.parameters, spare)
        spare -= kept
        shares.append((min(own, room), kept))
    return shares


def energy(
    network: Iterable[Layer],
    on_chip: float,
    batch: int = 1,
    num_bits: int = 32,
    stored_bytes: float | None = None,
    by: Callable[[Layer, Prices, float, int], Energy] = layer_energy,
) -> list[Energy]:
    """The energy of each layer of a network for one image: an estimate, see `layer_energy`.

    The layers share `on_chip` bytes of SRAM, as `share_room` says.

    Args:
        network: as `layers` returns them, or any iterable of such.
        batch: images that pass each layer together.
        num_bits: of parameters, inputs and outputs.
        stored_bytes: the bytes of all parameters as stored, if that is not `num_bits` each: the
            length of a compressed file. Expanding them costs nothing here, and they stay compressed
            on the chip.
        by: the function (layer, price, room, batch) → energy of one layer.

    Raises:
        TypeError: `batch` or `num_bits` is not whole, or another number is none.
        ValueError: `batch` is below 1 or `stored_bytes` below 0 or infinite; and as `prices`.

    >>> fc = Layer("fc", macs=6, parameters=8, inputs=3, outputs=2)
    >>> (one,) = energy([fc], on_chip=20)
    >>> one.dram == 8 * DRAM  # 20 bytes hold the inputs and outputs, and no weight
    True
    """
    if stored_bytes is not None and not 0 <= real_number("stored_bytes", stored_bytes) < math.inf:
        raise ValueError(f"stored_bytes must be finite and at least 0, got {stored_bytes}")
    network, price = list(network), prices(on_chip, num_bits)
    num_bits = whole_number("num_bits", num_bits, 1)
    room = real_number("on_chip", on_chip) * 8 // num_bits
    once = {layer.name: layer.parameters for layer in network}  # a layer may run twice
    if stored_bytes is not None and any(once.values()):
        scale = real_number("stored_bytes", stored_bytes) * 8 / num_bits / sum(once.values())
        network = [replace(layer, parameters=scale * layer.parameters) for layer in network]
    shares = share_room(network, room, batch)
    return [
        by(layer, price, live + kept, batch)
        for layer, (live, kept) in zip(network, shares, strict=True)
    ]
