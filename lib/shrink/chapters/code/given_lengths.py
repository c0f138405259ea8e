"""The lengths that a student's `code_lengths` returns, checked before they are used."""

import numpy as np
import torch
from torch import Tensor

from shrink.classroom.exercises.exercise import ExerciseError
from shrink.classroom.explorers.refusals import tensor_of_shape
from shrink.coding import huffman


def checked(lengths: object, counts: Tensor) -> Tensor:
    """These lengths, of symbols with these counts, as int64 (symbols,).

    Raises:
        ExerciseError: they are not whole numbers of that shape, a symbol that occurs has none, one
            is far too long, or no prefix code has them.
    """
    if isinstance(lengths, list | tuple | np.ndarray):
        lengths = torch.as_tensor(lengths)
    promise = f"code_lengths gives a length for each count, {tuple(counts.shape)}"
    given = tensor_of_shape(lengths, counts.shape, promise).detach().cpu().double()
    if not given.equal(given.round()):  # NaN is not equal either
        raise ExerciseError(f"lengths are whole numbers; yours begin with {given[:8].tolist()}")
    whole = given.long()
    _refuse_what_no_code_has(whole, counts)
    return whole


def _refuse_what_no_code_has(lengths: Tensor, counts: Tensor) -> None:
    wrong = (counts > 0) & (lengths < 1)
    if wrong.any():
        first = int(wrong.nonzero()[0])
        raise ExerciseError(
            f"a symbol that occurs needs at least one bit: symbol {first} occurs "
            f"{int(counts[first])} times, and your code_lengths gives it {int(lengths[first])}"
        )
    if lengths.min() < 0 or lengths.max() > huffman.LONGEST:
        found = f"{int(lengths.min())} to {int(lengths.max())}"
        raise ExerciseError(f"lengths are 0 to {huffman.LONGEST} bits here; yours are {found}")
    kraft = sum(2.0**-n for n in lengths[lengths > 0].tolist())
    if kraft > 1:
        raise ExerciseError(
            f"no prefix code has your lengths: their Kraft sum, 2^-length over all symbols, is "
            f"{kraft:.4g}, above 1; of the counts {counts.tolist()[:12]}"
        )
