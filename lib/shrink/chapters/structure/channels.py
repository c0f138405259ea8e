"""An exercise of chapter 07: channels removed from a convolution, its batch norm and the next one.

The oracle runs the three layers as large as they were, with zeros in the filters and in the batch
norm of all channels that go.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Parameter

from shrink.chapters.structure import layers
from shrink.chapters.structure.layers import Layer, taken
from shrink.classroom.exercises.attempt import Mistake, Wrong
from shrink.classroom.exercises.cases import by_cases, generator
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.parts import Part

LAYERS = ("conv", "norm", "following")
STATISTICS = ("running_mean", "running_var")
AFTER = ("the convolution", "the batch norm", "the next convolution")  # each of the layers

Cut = Callable[[Layer, Tensor], Layer]
Three = tuple[Layer, Layer, Layer]
Case = tuple[Layer, Layer, Layer, Tensor]


def _outputs(layer: Layer, kept: Tensor) -> Layer:
    return {name: taken(tensor, 0, kept) for name, tensor in layer.items()}


def _inputs(layer: Layer, kept: Tensor) -> Layer:
    return {**layer, "weight": taken(layer["weight"], 1, kept)}


def _whole(layer: Layer, _: Tensor) -> Layer:
    return dict(layer)


def _only(*names: str) -> Cut:
    """A cut of these tensors of a layer; the others stay as they are."""
    return lambda layer, kept: {**layer, **_outputs({name: layer[name] for name in names}, kept)}


def _removing(
    conv: Cut = _outputs, norm: Cut = _outputs, following: Cut = _inputs
) -> Callable[[Layer, Layer, Layer, Tensor], Three]:
    """An answer that cuts each layer so, by default in the right way."""
    cuts = (conv, norm, following)
    return lambda *case: tuple(cut(layer, case[3]) for cut, layer in zip(cuts, case, strict=False))


def removed(conv: Layer, norm: Layer, following: Layer, kept: Tensor) -> Three:
    """The three layers with the channels `kept` alone, in that order; those given stay as they are.

    Args:
        conv: "weight" (channels, in, height, width) and "bias" (channels,).
        norm: "weight", "bias", "running_mean" and "running_var", each (channels,).
        following: "weight" (next, channels, height, width) and "bias" (next,).
        kept: int64 (k,), ascending.

    >>> two = torch.tensor([1.0, 2.0])
    >>> norm = dict.fromkeys(("weight", "bias", "running_mean", "running_var"), two)
    >>> conv = {"weight": two.view(2, 1, 1, 1), "bias": two}
    >>> following = {"weight": torch.tensor([[[[3.0]], [[4.0]]]]), "bias": torch.tensor([5.0])}
    >>> conv, norm, following = removed(conv, norm, following, torch.tensor([1]))
    >>> conv["bias"], norm["running_var"], following["weight"].flatten(), following["bias"]
    (tensor([2.]), tensor([2.]), tensor([4.]), tensor([5.]))
    """
    return _removing()(conv, norm, following, kept)


def _first_statistics(norm: Layer, kept: Tensor) -> Layer:
    first = {name: norm[name].detach()[: len(kept)] for name in STATISTICS}
    return {**_outputs(norm, kept), **first}


def _swapped(conv: Layer, norm: Layer, following: Layer, kept: Tensor) -> Three:
    goes = torch.ones(len(conv["bias"]), device=kept.device).index_fill(0, kept, 0)
    return removed(conv, norm, following, goes.nonzero()[:, 0])


FIRST_STATISTICS = Mistake(
    "first statistics",
    _removing(norm=_first_statistics),
    "the running mean and variance are those of the first channels, [:k]: each channel keeps its "
    "own",
)
FILTERS_ZEROED = Mistake(
    "filters zeroed",
    _removing(layers.masked_layer, _whole, _whole),
    "the filters are zero but still there, and batch norm makes a constant of the zeros, which "
    "the next layer reads: index the tensors, do not multiply them",
)
MISTAKES = (
    FIRST_STATISTICS,
    FILTERS_ZEROED,
    Mistake(
        "gamma and beta whole",
        _removing(norm=_only(*STATISTICS)),
        "batch norm's weight and bias, gamma and beta, have one number per channel, as the "
        "statistics have",
    ),
    Mistake(
        "bias whole",
        _removing(conv=_only("weight")),
        "a filter that goes takes its bias with it: conv's bias has one number per filter",
    ),
    Mistake(
        "next layer whole",
        _removing(following=_whole),
        "the next convolution still reads all channels: they lie along axis 1 of its weight",
    ),
    Mistake(
        "next weight on axis 0",
        _removing(following=_only("weight")),
        "axis 0 of the next weight is its own filters, and they all stay: the channels that it "
        "reads lie along axis 1",
    ),
    Mistake(
        "next layer on axis 0",
        _removing(following=_outputs),
        "axis 0 of the next layer's weight and bias is its own filters, and they all stay: the "
        "channels that it reads lie along axis 1 of the weight",
    ),
    Mistake(
        "next bias cut",
        _removing(following=lambda layer, kept: _only("bias")(_inputs(layer, kept), kept)),
        "the next layer's bias has one number per filter of its own, and they all stay",
    ),
    Mistake(
        "kept and removed swapped",
        _swapped,
        "`kept` lists the channels that stay, and yours have gone",
    ),
)


def _cases(rng: random.Random) -> Iterator[Callable[[], Case]]:
    g = generator(rng)

    def case(out: int, inputs: int, k: int, following: int, *sides: int) -> Case:
        """Layers of these sizes; the kernels of both are `sides` high and wide."""
        conv = layers.some_numbers(g, out, inputs, *sides)
        return (
            {"weight": conv, "bias": layers.some_channels(g, out)},
            layers.some_norm(g, out),
            {
                "weight": layers.some_numbers(g, following, out, *sides),
                "bias": layers.some_channels(g, following),
            },
            layers.some_kept(g, out, k),
        )

    def changed(change: Callable[[Tensor], Tensor], *sizes: int) -> Case:
        *three, kept = case(*sizes)
        return *({n: change(t) for n, t in layer.items()} for layer in three), kept

    def on_gpu() -> Case:
        *three, kept = changed(Tensor.cuda, 4, 2, 2, 3, 3, 3)
        return *three, kept.cuda()

    yield lambda: case(5, 2, 3, 6, 3, 3)
    yield lambda: case(4, 4, 2, 4, 3, 3)  # what is cut along another axis gives no error here
    yield lambda: case(6, 1, 1, 2, 1, 1)
    yield lambda: case(3, 2, 3, 1, 3, 1)
    yield lambda: case(20, 3, 11, 5, 1, 3)
    yield lambda: changed(Tensor.double, 5, 1, 2, 3, 3, 3)
    yield lambda: changed(Parameter, 4, 2, 3, 2, 3, 3)
    yield lambda: changed(lambda t: t.repeat_interleave(2, -1)[..., ::2], 4, 2, 3, 2, 3, 3)
    if torch.cuda.is_available():
        yield on_gpu


def _stages(x: Tensor, conv: Layer, norm: Layer, following: Layer) -> tuple[Tensor, ...]:
    """The outputs of the convolution, of its batch norm, and of the next convolution after a ReLU.

    What a ReLU hides in the last is seen in the two before.
    """
    convolved = layers.convolved(x, conv)
    normed = layers.normed(convolved, norm)
    return convolved, normed, layers.convolved(F.relu(normed), following)


def _by_name(three: Three) -> dict[str, Tensor]:
    """All tensors, named as a student writes them: "norm['running_var']"."""
    return {
        f"{layer}[{name!r}]": tensor
        for layer, tensors in zip(LAYERS, three, strict=True)
        for name, tensor in tensors.items()
    }


def _is_three(result: Any) -> bool:
    three = isinstance(result, tuple | list) and len(result) == 3
    return three and all(isinstance(layer, Mapping) for layer in result)


def _comparable(result: Any) -> Any:
    if not _is_three(result):
        return result
    return [[(n, layers.comparable(layer[n])) for n in sorted(layer, key=str)] for layer in result]


def _wrong(given: Any, right: Three, *case: Any) -> Wrong | None:
    if not _is_three(given):
        return Wrong("return three dicts", expected="(conv, norm, following)", given=given)
    for layer, mine, its in zip(LAYERS, given, right, strict=True):
        if wrong := layers.wrong_names(mine, its, layer):
            return wrong
    mine, its = _by_name(given), _by_name(right)
    for name, tensor in mine.items():
        if wrong := layers.wrong_tensor(name, tensor, its[name]):
            return wrong
    return layers.wrong_shapes(mine, its) or _wrong_outputs(given, right, *case)


def _wrong_outputs(given: Three, right: Three, *case: Any) -> Wrong | None:
    """Where the smaller layers do something else than the masked ones, if they do."""
    conv, norm, following = map(layers.doubled, case[:3])
    kept, x = case[3], layers.random_images(conv["weight"])
    masked = (layers.masked_layer(layer, kept) for layer in (conv, norm))
    *inner, last = _stages(x, *masked, following)
    expected = [*(outputs[:, kept] for outputs in inner), last]
    found = _stages(x, *map(layers.doubled, given))
    for i, (mine, its) in enumerate(zip(found, expected, strict=True)):
        if not layers.near(mine, its):
            told = f"after {AFTER[i]} {layers.how_far_off(mine, its)}"
            return _explained(LAYERS[i], given[i], right[i], case[i], kept, told)
    return None


def _explained(
    layer: str, given: Layer, right: Layer, whole: Layer, kept: Tensor, told: str
) -> Wrong:
    """Which tensor of the layer is wrong, and which channels it has where it should have those."""
    off = [name for name, its in right.items() if not layers.same(given[name], its)]
    name = off[0] if off else "weight"
    if layer == "following" and name == "bias":
        why = "has changed, and no channel that goes has a part in it"
    else:
        axis = 1 if layer == "following" else 0
        found = layers.slices_in(given[name], whole[name], axis)
        has = f"has channels {layers.listed(found)}" if found else "has numbers that no channel had"
        why = f"{has}; kept are {layers.listed(kept.tolist())}"
    return Wrong(f"{layer}[{name!r}] {why}; {told}", expected=right[name], given=given[name])


def _parts(*case: Any) -> Iterator[Part]:
    """Each of the three layers by itself."""
    for i, layer in enumerate(LAYERS):
        yield Part(f"in {layer}", case, lambda three, i=i: _comparable(three)[i])


remove_channels = Exercise(
    "remove_channels",
    by_cases(_cases, removed, _wrong, mistakes=MISTAKES, alike=_comparable, parts=_parts),
    reference=removed,
    core=True,
    minutes=15,
    mistakes=MISTAKES,
)
