"""An exercise of chapter 01: the estimated energy of a layer.

The oracle is a toy machine that goes through a batch number by number and counts what it reads and
writes; it knows no formula. The mistakes are formulas, each with one thing wrong.
"""

import random
from collections.abc import Callable, Iterator
from typing import Any

from shrink import cost
from shrink.classroom.exercises.attempt import Attempt, Mistake, Wrong
from shrink.classroom.exercises.cases import telling
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.numbers import Near, near, numbers, plain
from shrink.cost import Energy, Layer, Prices

Parts = tuple[float, float, float]
Args = tuple[Layer, Prices, int, int]
_PARTS = ("arithmetic", "sram", "dram")


def _live(layer: Layer, batch: int) -> int:
    return batch * (layer.inputs + layer.outputs)


def _resident(layer: Layer, room: float) -> float:
    """How many parameters stay in so much room."""
    return min(layer.parameters, max(room, 0))


def _arithmetic(layer: Layer, price: Prices, room: int, batch: int) -> float:
    return layer.macs * price.mac


def _sram(layer: Layer, price: Prices, room: int, batch: int) -> float:
    return (layer.parameters + layer.inputs + layer.outputs) * price.sram


def _dram(layer: Layer, price: Prices, room: int, batch: int) -> float:
    missing = layer.parameters - _resident(layer, room - _live(layer, batch))
    return (missing + _spilled(layer, room, batch)) / batch * price.dram


def _spilled(layer: Layer, room: int, batch: int) -> int:
    return max(_live(layer, batch) - room, 0)


def _but(**parts: Callable[[Layer, Prices, int, int], float]) -> Callable[..., Parts]:
    """The right energy but for these parts."""
    other = {"arithmetic": _arithmetic, "sram": _sram, "dram": _dram} | parts
    return lambda *args: tuple(other[name](*args) for name in _PARTS)


def _but_sram(count: Callable[[Layer, int], float]) -> Callable[..., Parts]:
    return _but(sram=lambda layer, price, room, batch: count(layer, batch) * price.sram)


def _but_dram(count: Callable[[Layer, int, int], float]) -> Callable[..., Parts]:
    """With another count of what passes to and from DRAM, for one image."""
    return _but(dram=lambda layer, price, room, batch: count(layer, room, batch) * price.dram)


def _missing(layer: Layer, room: int, batch: int) -> float:
    return layer.parameters - _resident(layer, room - _live(layer, batch))


def _exchanged_prices(layer: Layer, price: Prices, room: int, batch: int) -> Parts:
    return _but()(layer, Prices(price.mac, price.dram, price.sram), room, batch)


def _whole_batch(*args: Any) -> Parts:
    return tuple(args[-1] * part for part in _but()(*args))


MISTAKES = (
    Mistake(
        "two reads a product",
        _but_sram(lambda layer, batch: 2 * layer.macs),
        "registers keep what the layer is at work on: a number is read from SRAM once an image, "
        "not at each product",
    ),
    Mistake(
        "two reads a product, outputs too",
        _but_sram(lambda layer, batch: 2 * layer.macs + layer.outputs),
        "the outputs are right, but a weight and an input are read from SRAM once an image, "
        "not at each product",
    ),
    Mistake(
        "sram without outputs",
        _but_sram(lambda layer, batch: layer.parameters + layer.inputs),
        "sram: the outputs are written there",
    ),
    Mistake(
        "sram without inputs",
        _but_sram(lambda layer, batch: layer.parameters + layer.outputs),
        "sram: the inputs are read there",
    ),
    Mistake(
        "sram without parameters",
        _but_sram(lambda layer, batch: layer.inputs + layer.outputs),
        "sram: the parameters are read there, wherever they came from",
    ),
    Mistake(
        "sram price for dram",
        _but(dram=lambda layer, price, *args: _dram(layer, Prices(0, 0, price.sram), *args)),
        "dram: this part has a price of its own, price.dram",
    ),
    Mistake(
        "dram price for sram",
        _but(sram=lambda layer, price, *args: _sram(layer, Prices(0, price.dram, 0), *args)),
        "sram: this part has a price of its own, price.sram",
    ),
    Mistake("prices exchanged", _exchanged_prices, "the prices of SRAM and DRAM are exchanged"),
    Mistake(
        "sram and dram exchanged",
        lambda *args: (_arithmetic(*args), _dram(*args), _sram(*args)),
        "the order is (arithmetic, sram, dram)",
    ),
    Mistake(
        "counts",
        lambda layer, price, *args: _but()(layer, Prices(1, 1, 1), *args),
        "these are counts: each has a price in pJ",
    ),
    Mistake(
        "room left over",
        _but_dram(
            lambda layer, room, batch: (
                (_missing(layer, room, batch) + _live(layer, batch) - room) / batch
            )
        ),
        "where there is room left, nothing spills: not a negative number, max(..., 0)",
    ),
    Mistake(
        "no parameters stay",
        _but_dram(
            lambda layer, room, batch: (layer.parameters + _spilled(layer, room, batch)) / batch
        ),
        "parameters for which there is room stay in SRAM, and do not come from DRAM",
    ),
    Mistake(
        "residents fetched",
        _but_dram(
            lambda layer, room, batch: (
                (layer.parameters - _missing(layer, room, batch) + _spilled(layer, room, batch))
                / batch
            )
        ),
        "the parameters that stay are paid for here; it is the others that come from DRAM",
    ),
    Mistake(
        "all or nothing",
        _but_dram(
            lambda layer, room, batch: (
                (
                    layer.parameters * (_missing(layer, room, batch) > 0)
                    + _spilled(layer, room, batch)
                )
                / batch
            )
        ),
        "where some parameters fit, these stay: only the others come from DRAM",
    ),
    Mistake(
        "room for parameters alone",
        _but_dram(
            lambda layer, room, batch: (
                (layer.parameters - _resident(layer, room) + _spilled(layer, room, batch)) / batch
            )
        ),
        "inputs and outputs take their part of the room before parameters do",
    ),
    Mistake(
        "outputs take no room",
        _but_dram(
            lambda layer, room, batch: _dram(
                Layer("", 0, layer.parameters, layer.inputs, 0), Prices(0, 0, 1), room, batch
            )
        ),
        "dram: outputs take room in SRAM too",
    ),
    Mistake(
        "negative residents",
        _but_dram(
            lambda layer, room, batch: (
                (
                    layer.parameters
                    - min(layer.parameters, room - _live(layer, batch))
                    + _spilled(layer, room, batch)
                )
                / batch
            )
        ),
        "where there is no room left, no weight stays: not a negative number, max(..., 0)",
    ),
    Mistake(
        "nothing spills",
        _but_dram(lambda layer, room, batch: _missing(layer, room, batch) / batch),
        "inputs and outputs for which SRAM has no room go to DRAM, and cost there",
    ),
    Mistake(
        "parameters of each image",
        _but_dram(
            lambda layer, room, batch: (
                _missing(layer, room, batch) + _spilled(layer, room, batch) / batch
            )
        ),
        "parameters come from DRAM once a batch: its images share them, / batch",
    ),
    Mistake(
        "spilled of the batch",
        _but_dram(
            lambda layer, room, batch: (
                _missing(layer, room, batch) / batch + _spilled(layer, room, batch)
            )
        ),
        "what spills is counted for the whole batch; the answer is for one image, / batch",
    ),
    Mistake(
        "dram of the batch",
        _but(dram=lambda *args: args[-1] * _dram(*args)),
        "dram is that of the whole batch; the answer is for one image",
    ),
    Mistake(
        "arithmetic of the batch",
        _but(arithmetic=lambda *args: args[-1] * _arithmetic(*args)),
        "arithmetic is that of the whole batch; the answer is for one image",
    ),
    Mistake(
        "sram of the batch",
        _but_sram(lambda layer, batch: layer.parameters + _live(layer, batch)),
        "sram: inputs and outputs are those of one image, not of the whole batch",
    ),
    Mistake(
        "sram parameters once a batch",
        _but_sram(lambda layer, batch: layer.parameters / batch + layer.inputs + layer.outputs),
        "sram: each image reads the parameters there; it is from DRAM that they come once a batch",
    ),
    Mistake("all of the batch", _whole_batch, "this is the whole batch; the answer is for 1 image"),
    Mistake(
        "room for one image",
        _but_dram(
            lambda layer, room, batch: (
                (
                    layer.parameters
                    - _resident(layer, room - _live(layer, 1))
                    + _spilled(layer, room, 1)
                )
                / batch
            )
        ),
        "the inputs and outputs of all images of the batch take room at once, not those of one",
    ),
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

    events, fetched = dict.fromkeys(_PARTS, 0), set(stay)
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
    return tuple(events[part] * pj / batch for part, pj in zip(_PARTS, each, strict=True))


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
        return Layer("conv", 10 * layer.macs, *_numbers(layer)), price, room, batch

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


def _numbers(layer: Layer) -> tuple[float, int, int]:
    return layer.parameters, layer.inputs, layer.outputs


def _parts(result: Any) -> tuple[float, ...] | None:
    """The numbers of a sequence, or of an Energy."""
    if isinstance(result, Energy):
        result = [result.arithmetic, result.sram, result.dram]
    return numbers(result)


def _seen(result: Any) -> Any:
    found = _parts(result)
    return plain(result) if found is None else Near(found)


def _check_layer_energy(answer: Attempt, rng: random.Random) -> None:
    for layer, price, room, batch in telling(_cases(rng), _right, MISTAKES, _seen):
        right = _right(layer, price, room, batch)
        given = answer(layer, price, room, batch, alike=_seen)
        found = _parts(given)
        if found is None or len(found) != 3:
            raise Wrong(
                "return three numbers, (arithmetic, sram, dram)", expected=right, given=given
            )
        events = _events(layer, room, batch)
        does = {
            "arithmetic": "multiply-accumulates",
            "sram": "reads and writes of SRAM",
            "dram": "numbers to or from DRAM",
        }
        for part, pj, mine in zip(_PARTS, right, found, strict=True):
            if not near([pj], [mine], 1e-6):
                images = "for the image" if batch == 1 else f"for a batch of {batch} images"
                raise Wrong(
                    f"{part}: the machine has {events[part]} {does[part]} {images}, "
                    f"so an image takes {pj:.7g} pJ and not {mine:.7g}",
                    expected=right,
                    given=given,
                )


layer_energy = Exercise(
    "layer_energy",
    _check_layer_energy,
    reference=cost.layer_energy,
    core=True,
    minutes=15,
    mistakes=MISTAKES,
)
