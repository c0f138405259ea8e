"""An exercise of chapter 01: the estimated energy of a layer.

The oracle is a toy machine that goes through a batch number by number and counts what it reads and
writes; it knows no formula. The mistakes are formulas, each with one thing wrong.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import wraps
from typing import Any

from shrink import cost
from shrink.classroom.exercises.attempt import Wrong, known
from shrink.classroom.exercises.cases import by_cases
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.numbers import Near, near, numbers, plain
from shrink.cost import Energy, Layer, Prices

Parts = tuple[float, float, float]
Args = tuple[Layer, Prices, int, int]

# The parts of the answer, and what the machine does that each is paid for.
_EVENTS = {
    "arithmetic": "multiply-accumulates",
    "sram": "reads and writes of SRAM",
    "dram": "numbers to or from DRAM",
}


def _live(layer: Layer, batch: int) -> int:
    return batch * (layer.inputs + layer.outputs)


def _spilled(layer: Layer, room: int, batch: int) -> int:
    """How many inputs and outputs of a batch have no room."""
    return max(_live(layer, batch) - room, 0)


def _missing(layer: Layer, room_left: int) -> float:
    """How many parameters have no room."""
    return layer.parameters - min(layer.parameters, max(room_left, 0))


def _dram_for_a_batch(numbers_in_dram: Callable[[Layer, int, int], float]) -> Callable[..., Parts]:
    """The right energy except for how many numbers cross to or from DRAM in a batch."""

    @wraps(numbers_in_dram)
    def layer_energy(layer: Layer, price: Prices, room: int, batch: int) -> Parts:
        right = cost.layer_energy(layer, price, room, batch)
        crossing = numbers_in_dram(layer, room, batch)
        return right.arithmetic, right.sram, crossing / batch * price.dram

    return layer_energy


@known(
    "registers keep the numbers that the layer is working on: each is read from SRAM once per "
    "image, not for every product"
)
def _two_reads_a_product(layer: Layer, price: Prices, room: int, batch: int) -> Parts:
    right = cost.layer_energy(layer, price, room, batch)
    return right.arithmetic, 2 * layer.macs * price.sram, right.dram


@known("the parameters that fit stay in SRAM: only the others come from DRAM")
@_dram_for_a_batch
def _all_or_nothing(layer: Layer, room: int, batch: int) -> float:
    all_fit = layer.parameters <= room - _live(layer, batch)
    return (0 if all_fit else layer.parameters) + _spilled(layer, room, batch)


@known("inputs and outputs take their part of the room before parameters do")
@_dram_for_a_batch
def _room_for_parameters_alone(layer: Layer, room: int, batch: int) -> float:
    return _missing(layer, room) + _spilled(layer, room, batch)


@known("inputs and outputs that do not fit into SRAM go to DRAM, and cost energy there")
@_dram_for_a_batch
def _nothing_spills(layer: Layer, room: int, batch: int) -> float:
    return _missing(layer, room - _live(layer, batch))


@known("parameters come from DRAM once per batch, and its images share that: divide by batch")
@_dram_for_a_batch
def _parameters_of_each_image(layer: Layer, room: int, batch: int) -> float:
    return batch * _missing(layer, room - _live(layer, batch)) + _spilled(layer, room, batch)


@known("the inputs and outputs of the whole batch take room at once, not those of one image")
@_dram_for_a_batch
def _room_for_one_image(layer: Layer, room: int, batch: int) -> float:
    return _missing(layer, room - _live(layer, 1)) + _spilled(layer, room, 1)


MISTAKES = (
    _two_reads_a_product,
    _all_or_nothing,
    _room_for_parameters_alone,
    _nothing_spills,
    _parameters_of_each_image,
    _room_for_one_image,
)


def _events(layer: Layer, room: int, batch: int) -> dict[str, int]:
    """What the machine does in one batch, counted as it does it."""
    held: set[tuple] = set()
    for image in range(batch):
        names = [("input", i) for i in range(layer.inputs)]
        names += [("output", i) for i in range(layer.outputs)]
        for name in names:
            if len(held) < room:
                held.add((image, *name))
    stay: set[int] = set()
    for weight in range(layer.parameters):
        if len(held) + len(stay) < room:
            stay.add(weight)

    events, fetched = dict.fromkeys(_EVENTS, 0), set(stay)
    for image in range(batch):
        for weight in range(layer.parameters):
            if weight not in fetched:
                events["dram"] += 1
                fetched.add(weight)
            events["sram"] += 1
        for i in range(layer.inputs):
            events["dram"] += (image, "input", i) not in held
            events["sram"] += 1
        events["arithmetic"] += layer.macs
        for i in range(layer.outputs):
            events["sram"] += 1
            events["dram"] += (image, "output", i) not in held
    return events


def _right(layer: Layer, price: Prices, room: int, batch: int) -> Parts:
    events, each = _events(layer, room, batch), (price.mac, price.sram, price.dram)
    return tuple(events[part] * pj / batch for part, pj in zip(_EVENTS, each, strict=True))


def _cases(rng: random.Random) -> Iterator[Callable[[], Args]]:
    def case(
        live: float = 1, stay: float = 0, batch: int = 1, weights: int | None = None, spare: int = 0
    ) -> Args:
        """SRAM has room for these fractions of what is live and of the weights."""
        inputs, outputs = rng.sample(range(4, 12), 2)
        weights = inputs * outputs + outputs if weights is None else weights
        layer = Layer("fc", inputs * outputs, weights, inputs, outputs)
        price = Prices(rng.randint(2, 18) / 4, rng.randint(5, 20), rng.randint(200, 640))
        room = round(live * batch * (inputs + outputs)) + round(stay * weights) + spare
        return layer, price, room, batch

    def few() -> float:
        return rng.uniform(0.2, 0.8)

    def images() -> int:
        return rng.choice([2, 3, 4, 5, 8])

    def convolution() -> Args:
        """Few weights, used often."""
        layer, price, room, batch = case(stay=few(), batch=images(), weights=rng.randint(5, 20))
        return replace(layer, name="conv", macs=10 * layer.macs), price, room, batch

    yield case  # room for inputs and outputs
    yield lambda: case(stay=1, spare=rng.randint(1, 9))  # all fits
    yield lambda: case(stay=few())
    yield lambda: case(live=few())
    yield lambda: case(live=few(), batch=images())
    yield lambda: case(stay=few(), batch=images())
    yield lambda: case(stay=1, batch=images(), spare=rng.randint(1, 9))
    yield convolution
    yield lambda: case(batch=images())  # room for what is live, and no more
    yield lambda: case(stay=1, batch=images())  # for all, and no more
    yield lambda: case(live=0, batch=images())  # for nothing
    yield lambda: case(live=few(), batch=images(), weights=0)  # pooling


def _numbers(result: Any) -> tuple[float, ...] | None:
    """The numbers of a sequence, or of an Energy."""
    if isinstance(result, Energy):
        result = [result.arithmetic, result.sram, result.dram]
    return numbers(result)


def _alike(result: Any) -> Any:
    found = _numbers(result)
    return plain(result) if found is None else Near(found)


def _wrong_energy(
    given: Any, right: Parts, layer: Layer, price: Prices, room: int, batch: int
) -> Wrong | None:
    found = _numbers(given)
    if found is None or len(found) != 3:
        return Wrong("return three numbers, (arithmetic, sram, dram)", expected=right, given=given)
    events = _events(layer, room, batch)
    for (part, does), pj, mine in zip(_EVENTS.items(), right, found, strict=True):
        if not near([pj], [mine], 1e-6):
            images = "for the image" if batch == 1 else f"for a batch of {batch} images"
            return Wrong(
                f"{part}: the machine has {events[part]} {does} {images}, "
                f"so one image takes {pj:.7g} pJ and not {mine:.7g}",
                expected=right,
                given=given,
            )
    return None


layer_energy = Exercise(
    "layer_energy",
    by_cases(_cases, _right, _wrong_energy, mistakes=MISTAKES, alike=_alike),
    reference=cost.layer_energy,
    core=True,
    minutes=15,
    mistakes=MISTAKES,
)
