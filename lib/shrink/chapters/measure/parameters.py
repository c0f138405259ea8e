"""The exercises of chapter 01, Measure. The count of parameters and bytes is here.

Its oracle is outside: the bytes of a safetensors file behind its header, and the parameters at
addresses that differ.
"""

import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from shrink import cost
from shrink.classroom.exercises.attempt import Attempt, Mistake, Wrong
from shrink.classroom.exercises.cases import telling
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.numbers import count, whole

Model = nn.Module
Pair = tuple[int, int]


def _numel(tensors: Iterable[Tensor]) -> int:
    return sum(t.numel() for t in tensors)


def _nbytes(tensors: Iterable[Tensor]) -> int:
    return sum(t.nbytes for t in tensors)


def _all(model: Model) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]


def _bytes_right(parameters: Callable[[Model], int]) -> Callable[[Model], Pair]:
    return lambda model: (parameters(model), _nbytes(_all(model)))


def _parameters_right(size: Callable[[Model], Any]) -> Callable[[Model], Pair]:
    return lambda model: (_numel(model.parameters()), size(model))


def _only(some: Callable[[Model], Iterable[Tensor]]) -> Callable[[Model], Pair]:
    """Some of the parameters, or some more, in both numbers; the buffers are right."""

    def parameters_and_bytes(model: Model) -> Pair:
        tensors = list(some(model))
        return _numel(tensors), _nbytes(tensors) + _nbytes(model.buffers())

    return parameters_and_bytes


def _trainable(model: Model) -> list[Tensor]:
    return [p for p in model.parameters() if p.requires_grad]


def _exchanged(model: Model) -> Pair:
    return _nbytes(_all(model)), _numel(model.parameters())


def _top_only(model: Model) -> Pair:
    own = list(model.parameters(recurse=False))
    return _numel(own), _nbytes([*own, *model.buffers(recurse=False)])


def _nonzeros(model: Model) -> Pair:
    stored = sum(int(t.count_nonzero()) * t.element_size() for t in _all(model))
    return cost.nonzeros(model), stored


MISTAKES = (
    Mistake("exchanged", _exchanged, "parameters come first, then bytes"),
    Mistake(
        "weights only",
        _only(lambda m: [p for name, p in m.named_parameters() if name.endswith("weight")]),
        "biases are parameters too",
    ),
    Mistake(
        "tensors counted",
        _bytes_right(lambda m: len(list(m.parameters()))),
        "you count tensors; each of them has numel() parameters",
    ),
    Mistake(
        "top only",
        _top_only,
        "recurse=False leaves out what the layers inside the model hold",
    ),
    Mistake(
        "nonzeros",
        _bytes_right(cost.nonzeros),
        "a parameter that is zero is a parameter; count them all",
    ),
    Mistake(
        "nonzeros in both",
        _nonzeros,
        "zeros are stored like any other number, and are parameters: count them in both",
    ),
    Mistake(
        "a byte each",
        _parameters_right(lambda m: _numel(_all(m))),
        "your bytes are numbers: each takes element_size() bytes",
    ),
    Mistake("bits", _parameters_right(lambda m: 8 * _nbytes(_all(m))), "these are bits, not bytes"),
    Mistake(
        "kilobytes",
        _parameters_right(lambda m: _nbytes(_all(m)) / 1024),
        "these are kilobytes: leave out the division by 1024",
    ),
    Mistake(
        "trainable",
        _only(_trainable),
        "a frozen parameter (requires_grad=False) counts too, and takes bytes",
    ),
    Mistake(
        "trainable parameters",
        _bytes_right(lambda m: _numel(_trainable(m))),
        "the bytes are right, but a frozen parameter (requires_grad=False) is a parameter too",
    ),
    Mistake(
        "four bytes",
        _parameters_right(lambda m: 4 * _numel(_all(m))),
        "not every number takes 4 bytes: ask each tensor for its element_size()",
    ),
    Mistake(
        "one type",
        _parameters_right(lambda m: _numel(_all(m)) * next(m.parameters()).element_size()),
        "the tensors of a model may differ in type: ask each for its own element_size()",
    ),
    Mistake(
        "tied twice",
        _only(lambda m: [p for _, p in m.named_parameters(remove_duplicate=False)]),
        "what is used in two places counts once; state_dict() and a loop over the layers "
        "give it twice",
    ),
    Mistake(
        "tied bytes twice",
        _parameters_right(lambda m: _nbytes(m.state_dict().values())),
        "the parameters are right, but what is used in two places takes its bytes once; "
        "state_dict() gives it twice",
    ),
    Mistake(
        "buffers forgotten",
        _parameters_right(lambda m: _nbytes(m.parameters())),
        "the buffers take bytes too: model.buffers()",
    ),
    Mistake(
        "buffers are parameters",
        _bytes_right(lambda m: _numel(_all(m))),
        "a buffer takes bytes, but it is not trained and is no parameter",
    ),
    Mistake(
        "buffers of four bytes",
        _parameters_right(lambda m: _nbytes(m.parameters()) + 4 * _numel(m.buffers())),
        "a buffer has a type of its own: batch norm's num_batches_tracked is an int64",
    ),
    Mistake(
        "no counters",
        _parameters_right(lambda m: _nbytes(t for t in _all(m) if t.ndim)),
        "batch norm's num_batches_tracked has no axes, and is one number all the same",
    ),
)


def _right(model: Model) -> Pair:
    """By addresses, and by the bytes of a safetensors file behind its header."""
    parameters = {
        p.data_ptr(): p.numel() for _, p in model.named_parameters(remove_duplicate=False)
    }
    held = {t.data_ptr(): t.contiguous() for t in model.state_dict().values()}
    file = safetensors.torch.save({str(address): t for address, t in held.items()})
    header = 8 + int.from_bytes(file[:8], "little")
    return sum(parameters.values()), len(file) - header


def _models(rng: random.Random) -> Iterator[Callable[[], Model]]:
    def size() -> int:
        return rng.randint(2, 9)

    def two_layers() -> nn.Sequential:
        inputs, hidden, outputs = size(), size(), size()
        return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))

    def with_zeros() -> Model:
        model = two_layers()
        for p in model.parameters():
            p.data.flatten()[rng.randrange(p.numel())] = 0
        return model

    def frozen() -> Model:
        model = two_layers()
        model[2 * rng.randrange(2)].requires_grad_(False)
        return model

    def mixed() -> Model:
        model = two_layers()
        model[0].to(rng.choice([torch.float16, torch.float64]))
        return model

    def tied() -> Model:
        words, width = size(), size()
        model = nn.Sequential(nn.Embedding(words, width), nn.Linear(width, words, bias=False))
        model[1].weight = model[0].weight
        return model

    def used_twice() -> Model:
        width = size()
        layer = nn.Linear(width, width)
        return nn.Sequential(layer, nn.ReLU(), layer, nn.Linear(width, size()))

    def normalised() -> nn.Sequential:
        channels = size()
        conv = nn.Conv2d(rng.randint(1, 3), channels, (3, rng.randint(1, 3)), bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(channels))

    def everything() -> Model:
        model = nn.Sequential(normalised(), tied().half(), used_twice(), nn.PReLU(), frozen())
        model.register_buffer("levels", torch.arange(size(), dtype=torch.int8))
        return model

    yield with_zeros
    yield frozen
    yield lambda: two_layers().to(rng.choice([torch.float16, torch.bfloat16, torch.float64]))
    yield mixed
    yield tied
    yield used_twice
    yield normalised
    yield lambda: normalised().half().eval()
    yield lambda: nn.BatchNorm1d(size(), affine=False)  # buffers, and no parameters
    yield lambda: nn.Sequential(nn.Flatten(), nn.ReLU())
    yield lambda: nn.Linear(size(), size(), bias=False)
    yield everything


def _pair(result: Any) -> Any:
    """The same for a tuple and a list, and for a number of any kind."""
    return tuple(map(count, result)) if isinstance(result, tuple | list) else result


def _check_parameters_and_bytes(answer: Attempt, rng: random.Random) -> None:
    draws = (lambda make=make: (make(),) for make in _models(rng))
    for (model,) in telling(draws, _right, MISTAKES, _pair):
        right = _right(model)
        given = answer(model, alike=_pair)
        expected = f"{right}, for {_held(model)}"
        if not isinstance(given, tuple | list) or len(given) != 2:
            raise Wrong("return a pair, (parameters, bytes)", expected=expected, given=given)
        parameters, size = map(whole, given)
        if parameters is None or size is None:
            raise Wrong(
                "parameters and bytes are whole numbers (int)",
                expected=expected,
                given=given,
                known_mistakes=_pair(given) != right,
            )
        if (parameters, size) != right:
            what = "bytes" if parameters == right[0] else "parameters"
            also = " and bytes" if what == "parameters" and size != right[1] else ""
            raise Wrong(f"the number of {what}{also} is wrong", expected=expected, given=given)


def _held(model: Model) -> str:
    """What the model holds, each tensor by its first name."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    parts = [
        f"{name} {'x'.join(map(str, t.shape)) or 1} {str(t.dtype).removeprefix('torch.')}"
        for name, t in tensors
    ]
    return ", ".join(parts) or "a model that holds nothing"


parameters_and_bytes = Exercise(
    "parameters_and_bytes",
    _check_parameters_and_bytes,
    reference=cost.parameters_and_bytes,
    core=True,
    minutes=10,
    mistakes=MISTAKES,
)
