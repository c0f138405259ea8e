"""An exercise of chapter 07: the linear layer that reads flattened channels, with fewer of them.

The oracle runs the layer as large as it was, on channels of which those that go are zero.
"""

import random
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Parameter

from shrink.chapters.structure import layers
from shrink.classroom.exercises.attempt import Mistake, Wrong, known
from shrink.classroom.exercises.cases import by_cases, generator
from shrink.classroom.exercises.exercise import Exercise

Case = tuple[Tensor, Tensor, int]


def _places(weight: Tensor, places: int) -> Tensor:
    return torch.arange(places, device=weight.device)


def _columns(weight: Tensor, columns: Tensor) -> Tensor:
    return layers.taken(weight, 1, columns.flatten())


def inputs_removed(weight: Tensor, kept: Tensor, places: int) -> Tensor:
    """The weight with the columns of the channels `kept` alone, in that order; a new tensor.

    Args:
        weight: (outputs, channels * places): of each channel the columns of all its places, as
            `flatten` puts them, one channel after the other.
        kept: int64 (k,), ascending.
        places: height times width of what was flattened.

    >>> inputs_removed(torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]]), torch.tensor([0, 2]), 2)
    tensor([[1., 2., 5., 6.]])
    """
    return _columns(weight, kept[:, None] * places + _places(weight, places))


ONE_COLUMN = Mistake(
    "one column per channel",
    lambda weight, kept, places: _columns(weight, kept),
    "this is one column per channel: each channel has one for each of its places",
)


@known(
    "this reads the columns as if all channels of the first place came first: flatten puts all "
    "places of the first channel first"
)
def _channels_last(weight: Tensor, kept: Tensor, places: int) -> Tensor:
    by_place = weight.detach().unflatten(1, (places, -1))
    return by_place.index_select(2, kept).flatten(1)


@known(
    "the columns of a channel are neighbours; you have taken every stride-th column, as far apart "
    "as there are channels",
    "every stride-th column",
)
def _as_far_apart_as_channels(weight: Tensor, kept: Tensor, places: int) -> Tensor:
    stride = weight.shape[1] // places
    return _columns(weight, kept[:, None] + stride * _places(weight, places))


@known(
    "repeat gives 0, 2, 0, 2, and repeat_interleave 0, 0, 2, 2: one of the two sums needs the "
    "second, or channel and place do not belong together"
)
def _repeat(weight: Tensor, kept: Tensor, places: int) -> Tensor:
    return _columns(
        weight, kept.repeat(places) * places + _places(weight, places).repeat(len(kept))
    )


@known(
    "these are the right columns in the wrong order: all places of one channel come before the "
    "next channel"
)
def _place_by_place(weight: Tensor, kept: Tensor, places: int) -> Tensor:
    return _columns(weight, kept * places + _places(weight, places)[:, None])


@known("channel c begins at column c * places, not at column c")
def _not_multiplied(weight: Tensor, kept: Tensor, places: int) -> Tensor:
    return _columns(weight, kept[:, None] + _places(weight, places))


@known("torch.cat puts pieces below each other: side by side they are along axis 1, `dim=1`")
def _below_each_other(weight: Tensor, kept: Tensor, places: int) -> Tensor:
    return torch.cat([inputs_removed(weight, channel[None], places) for channel in kept])


@known("the rows are the layer's own outputs, and they all stay: its inputs are the columns")
def _rows(weight: Tensor, kept: Tensor, places: int) -> Tensor:
    return layers.taken(weight, 0, kept)


@known("the columns are zero but still there: take them out, so that the layer is smaller")
def _zeroed(weight: Tensor, kept: Tensor, places: int) -> Tensor:
    return layers.masked(weight.unflatten(1, (-1, places)), 1, kept).flatten(1)


MISTAKES = (
    ONE_COLUMN,
    _channels_last,
    _as_far_apart_as_channels,
    _repeat,
    _place_by_place,
    _not_multiplied,
    _below_each_other,
    _rows,
    _zeroed,
)


def _cases(rng: random.Random) -> Iterator[Callable[[], Case]]:
    g = generator(rng)

    def small() -> Case:
        """A layer that a message has room for; with channels 0 and 2 two mistakes are the same."""
        weight, _, places = case(3, 3, 2, 2)
        return weight, torch.tensor([1, 2]), places

    def case(outputs: int, channels: int, places: int, k: int) -> Case:
        """A layer in which no two columns are the same."""
        first = layers.some_channels(g, channels * places)[None]
        rest = layers.some_numbers(g, outputs - 1, channels * places)
        return torch.cat([first, rest]), layers.some_kept(g, channels, k), places

    def changed(change: Callable[[Tensor], Tensor], *sizes: int) -> Case:
        weight, kept, places = case(*sizes)
        return change(weight), kept, places

    def on_gpu() -> Case:
        weight, kept, places = case(3, 4, 4, 2)
        return weight.cuda(), kept.cuda(), places

    yield small
    yield lambda: case(6, 5, 4, 3)
    yield lambda: case(4, 4, 4, 2)  # as many channels as places
    yield lambda: case(3, 6, 6, 1)
    yield lambda: case(2, 5, 1, 2)  # as after an average over all places
    yield lambda: case(1, 3, 2, 3)
    yield lambda: case(10, 32, 9, 16)
    yield lambda: changed(Tensor.double, 3, 4, 2, 2)
    yield lambda: changed(Parameter, 2, 5, 3, 3)
    yield lambda: changed(lambda t: t.t().contiguous().t(), 4, 3, 2, 2)  # not contiguous
    if torch.cuda.is_available():
        yield on_gpu


def _wrong(given: Any, right: Tensor, weight: Tensor, kept: Tensor, places: int) -> Wrong | None:
    if wrong := layers.wrong_tensor("the new weight", given, right):
        return wrong
    if given.shape != right.shape:
        inputs = f"{len(kept)} channels of {places} places each are {len(kept) * places} inputs"
        its, mine = (f"shape {tuple(one.shape)}" for one in (right, given))
        return Wrong(f"{inputs}; all outputs stay", expected=its, given=mine)
    dense, small = weight.detach().double(), given.detach().double()
    x = layers.random_inputs(weight, weight.shape[1] // places, places)
    masked = F.linear(layers.masked(x, 1, kept).flatten(1), dense)
    found = F.linear(x[:, kept].flatten(1), small)
    if layers.near(found, masked):
        return None
    told = layers.how_far_off(found, masked)
    return Wrong(f"{_explained(given, right, weight, places)}; {told}", expected=right, given=given)


def _explained(given: Tensor, right: Tensor, weight: Tensor, places: int) -> str:
    """Which column is the first to be wrong."""
    columns, needed = (layers.slices_in(one, weight, 1) for one in (given, right))
    if columns is None:
        return "your columns are not all columns of the weight"
    i = next(i for i, (mine, its) in enumerate(zip(columns, needed, strict=True)) if mine != its)
    mine, its = (
        f"column {column}, of channel {column // places} at place {column % places}"
        for column in (columns[i], needed[i])
    )
    return f"your column {i} is {mine}, and should be {its}"


remove_inputs = Exercise(
    "remove_inputs",
    by_cases(_cases, inputs_removed, _wrong, mistakes=MISTAKES, alike=layers.comparable),
    reference=inputs_removed,
    core=True,
    minutes=15,
    mistakes=MISTAKES,
)
