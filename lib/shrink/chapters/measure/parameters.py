"""An exercise of chapter 01: the parameters of a model, and the bytes that it takes.

The oracle is outside: the bytes of a safetensors file behind its header, and the parameters at
addresses that differ.
"""

import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from shrink import cost
from shrink.classroom.exercises.attempt import Wrong, known
from shrink.classroom.exercises.cases import by_cases
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


@known("biases are parameters too")
def _weights_only(model: Model) -> Pair:
    weights = [p for name, p in model.named_parameters() if name.endswith("weight")]
    return _numel(weights), _nbytes([*weights, *model.buffers()])


@known("you counted numbers, not bytes: each number takes element_size() bytes")
def _a_byte_each(model: Model) -> Pair:
    return _numel(model.parameters()), _numel(_all(model))


@known("the bytes are right, but a frozen parameter (requires_grad=False) is a parameter too")
def _trainable_parameters(model: Model) -> Pair:
    return _numel(p for p in model.parameters() if p.requires_grad), _nbytes(_all(model))


@known("not every number takes 4 bytes: ask each tensor for its element_size()")
def _four_bytes(model: Model) -> Pair:
    return _numel(model.parameters()), 4 * _numel(_all(model))


@known(
    "a tensor that is used in two places counts once; state_dict() and a loop over the layers "
    "give it twice"
)
def _tied_twice(model: Model) -> Pair:
    parameters = [p for _, p in model.named_parameters(remove_duplicate=False)]
    return _numel(parameters), _nbytes([*parameters, *model.buffers()])


@known(
    "the parameters are right, but a tensor that is used in two places takes its bytes once; "
    "state_dict() gives it twice"
)
def _tied_bytes_twice(model: Model) -> Pair:
    return _numel(model.parameters()), _nbytes(model.state_dict().values())


@known("the buffers take bytes too: model.buffers()")
def _buffers_forgotten(model: Model) -> Pair:
    return _numel(model.parameters()), _nbytes(model.parameters())


@known("a buffer takes bytes, but it is not trained and is no parameter")
def _buffers_are_parameters(model: Model) -> Pair:
    return _numel(_all(model)), _nbytes(_all(model))


MISTAKES = (
    _weights_only,
    _a_byte_each,
    _trainable_parameters,
    _four_bytes,
    _tied_twice,
    _tied_bytes_twice,
    _buffers_forgotten,
    _buffers_are_parameters,
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


def _cases(rng: random.Random) -> Iterator[Callable[[], tuple[Model]]]:
    return ((lambda make=make: (make(),)) for make in _models(rng))


def _wrong_pair(given: Any, right: Pair, model: Model) -> Wrong | None:
    expected = f"{right}, for {_held(model)}"
    if not isinstance(given, tuple | list) or len(given) != 2:
        return Wrong("return a pair, (parameters, bytes)", expected=expected, given=given)
    parameters, size = map(whole, given)
    if parameters is None or size is None:
        return Wrong(
            "parameters and bytes are whole numbers (int)",
            expected=expected,
            given=given,
            known_mistakes=_pair(given) != right,
        )
    if (parameters, size) != right:
        what = "bytes" if parameters == right[0] else "parameters"
        also = " and bytes" if what == "parameters" and size != right[1] else ""
        return Wrong(f"the number of {what}{also} is wrong", expected=expected, given=given)
    return None


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
    by_cases(_cases, _right, _wrong_pair, mistakes=MISTAKES, alike=_pair),
    reference=cost.parameters_and_bytes,
    core=True,
    minutes=10,
    mistakes=MISTAKES,
)
