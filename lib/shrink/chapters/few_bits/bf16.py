"""An exercise of chapter 10: float32 rounded to bfloat16 with integers alone.

The oracle is PyTorch's own cast, which an answer may not use.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from shrink.chapters.few_bits.bf16_mistakes import INFINITY, LARGEST, LOW, MISTAKES, SIGN, bits_of
from shrink.classroom.exercises.attempt import Attempt, Wrong, kind_of, place_of
from shrink.classroom.exercises.cases import generator, telling
from shrink.classroom.exercises.exercise import Exercise
from shrink.quantization import number_formats

Case = tuple[Tensor]


def _cast(x: Tensor) -> Tensor:
    return x.to(torch.bfloat16).to(torch.float32)


def _cases(rng: random.Random) -> Iterator[Callable[[], Case]]:
    def of_bits(bits: Sequence[int]) -> Case:
        """The numbers of these bits, in any order, half of them below 0."""
        signed = [b + SIGN * (place % 2) for place, b in enumerate(rng.sample(bits, len(bits)))]
        return (torch.tensor(signed, dtype=torch.int32).view(torch.float32),)

    def near(exponent: int) -> int:
        """The bits of a number between 2**exponent and twice that, not a tie nor in bf16."""
        upper = (exponent + 127) << 7 | rng.randrange(2**7 - 1)
        return upper << 16 | rng.choice([rng.randint(1, 0x7000), rng.randint(0x9000, LOW)])

    def usual() -> Case:
        return of_bits([near(rng.randint(-6, 6)) for _ in range(6)])

    def ties() -> Case:
        """Halfway, and one bit to each side of it; even and odd ones."""
        uppers = [(rng.randint(120, 133) << 7 | rng.randrange(2**7 - 2)) & ~1 for _ in range(3)]
        steps = (0x8000, 0x18000, 0x7FFF, 0x8001)
        return of_bits([(upper << 16) + step for upper in uppers for step in steps])

    def carries() -> Case:
        """Just below a power of two."""
        return of_bits([(rng.randint(1, 253) << 23) - rng.randint(1, 0x7000) for _ in range(6)])

    def subnormals() -> Case:
        least = [1, 0x7FFF, 0x8000, 0x8001, 0x18000]
        return of_bits([*least, *(rng.randrange(0x18001, 2**23) for _ in range(3))])

    def zeros() -> Case:
        return (torch.tensor([0.0, -0.0, rng.choice([0.5, -3.0])]),)

    def too_large() -> Case:
        """The largest of float32, that halfway between bf16's largest and infinity, less."""
        halfway = LARGEST + 0x8000
        return of_bits([INFINITY - 1, halfway, halfway - 1, rng.randint(halfway, INFINITY - 1)])

    def infinities() -> Case:
        return (torch.tensor([torch.inf, -torch.inf, rng.uniform(-2, 2)]),)

    def nans() -> Case:
        odd = [INFINITY + 1, 2**31 - 1, INFINITY + rng.randint(2, LOW), INFINITY + 2**22]
        return of_bits([*odd, near(0)])

    def everything(*shape: int) -> Tensor:
        """Numbers of all magnitudes, NaN among them."""
        bits = torch.randint(SIGN, 2**31, shape, generator=generator(rng))
        return bits.to(torch.int32).view(torch.float32)

    yield usual
    yield ties
    yield carries
    yield zeros
    yield infinities
    yield too_large
    yield subnormals
    yield nans
    yield lambda: (everything(3, 1000),)
    yield lambda: (everything(6, 4).t(),)  # not contiguous
    yield lambda: (everything(),)
    yield lambda: (everything(0),)
    if torch.cuda.is_available():
        yield lambda: (everything(100).cuda(),)


def _read(result: Any) -> Any:
    """The bits of float32 numbers, the same for every NaN; anything else as it is."""
    if not isinstance(result, Tensor) or kind_of(result) != "torch.float32":
        return result
    bits = bits_of(result).masked_fill(result.detach().isnan(), INFINITY + 1)
    return result.shape, str(result.device), bits.flatten().tolist()


class _Casts(TorchFunctionMode):
    """Inside, it is seen whether PyTorch makes a tensor of bfloat16."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = False

    def __torch_function__(
        self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        self.seen |= isinstance(result, Tensor) and result.dtype == torch.bfloat16
        return result


def _wrong_numbers(given: Any, right: Tensor, x: Tensor) -> Wrong | None:
    told = "return a float32 tensor of x's shape"
    if not isinstance(given, Tensor):
        return Wrong(told, expected=right, given=given)
    if kind_of(given) != kind_of(right):
        return Wrong(told, expected=kind_of(right), given=kind_of(given))
    if (given.shape, given.device) != (right.shape, right.device):
        expected = place_of(right.shape, right.device)
        return Wrong(told, expected=expected, given=place_of(given.shape, given.device))
    off = (bits_of(given) != bits_of(right)) & ~(given.isnan() & right.isnan())
    if not off.any():
        return None
    at = tuple(off.nonzero()[0].tolist())
    place = f"x[{', '.join(map(str, at))}]" if at else "x"
    become = f"{place} is {_told(x[at])} and becomes {_told(right[at])}, not {_told(given[at])}"
    return Wrong(f"{become}: {_reason(x[at], right[at], given[at])}", expected=right, given=given)


def _told(number: Tensor) -> str:
    """A number with its bits: NaN has many."""
    return f"{number.item():.7g} (0x{_unsigned(number):08x})"


def _unsigned(number: Tensor) -> int:
    return bits_of(number).item() & 0xFFFFFFFF


def _reason(x: Tensor, right: Tensor, given: Tensor) -> str:
    if x.isnan():
        return "NaN stays NaN, whatever its bits are"
    if x.isinf():
        return "infinity stays as it is"
    if given.isnan() or _unsigned(given) & LOW:
        return "a number of bf16 has zeros in its lower 16 bits"
    if x.signbit() != given.signbit():
        return "the sign stays as it is, that of 0 too"
    if right.isinf():
        return "where the exponent runs over, it is infinity"
    upper, low = _unsigned(x) >> 16, _unsigned(x) & LOW
    if low == 0:
        return "it is a number of bf16 already"
    neighbours = f"0x{upper:04x} and 0x{upper + 1:04x}"
    if low == 0x8000:
        return f"it lies halfway between {neighbours}, of which 0x{upper + upper % 2:04x} is even"
    return f"it lies between {neighbours}, and that is the nearer"


def _check(answer: Attempt, rng: random.Random) -> None:
    for args in telling(_cases(rng), _cast, MISTAKES, _read):
        right = _cast(*args)
        with _Casts() as casts:
            given = answer(*args, alike=_read)
        if casts.seen:
            raise Wrong(
                "your function lets PyTorch round to bfloat16; here you write that cast, with "
                "integers",
                given=given,
                known_mistakes=False,
            )
        if wrong := _wrong_numbers(given, right, *args):
            raise wrong


def rounded(x: Tensor) -> Tensor:
    """x rounded to the nearest number of bf16, halves to the even one: float32 of x's shape.

    >>> rounded(torch.tensor([1.001, 1.005]))  # between 1 and 1 + 2**-7
    tensor([1.0000, 1.0078])
    """
    return number_formats.round_to(x, number_formats.BF16)


round_to_bf16 = Exercise(
    "round_to_bf16", _check, reference=rounded, core=False, minutes=10, mistakes=MISTAKES
)
