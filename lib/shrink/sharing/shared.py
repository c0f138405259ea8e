"""A weight that is shared: numbers into a codebook, with its zeros as they are."""

from dataclasses import dataclass

import torch
from torch import Tensor

from shrink.sharing.codebooks import (
    MOST,
    assign,
    check_k,
    check_values,
    narrow,
    nearest,
    rebuild,
)
from shrink.sharing.kmeans import fit_codebook


@dataclass(frozen=True, eq=False)
class Shared:
    """A weight as numbers into a codebook.

    `codebook` is float32 (values,); `assignments` has the weight's shape, uint8 for at most 256
    values and int32 for more. The value number `zero`, if there is one, is 0 and stays 0.
    """

    codebook: Tensor
    assignments: Tensor
    zero: int | None = None

    @property
    def weight(self) -> Tensor:
        """The weight that they stand for: float32 of the assignments' shape."""
        return rebuild(self.assignments, self.codebook)


def share(
    weight: Tensor, k: int, init: str = "linear", *, keep_zeros: bool = True, seed: int = 0
) -> Shared:
    """The weight with k different values, found by k-means, and its zeros as they are.

    Zeros, which pruning left, are not clustered: 0 is one more value in the codebook, if there are
    any. There are fewer than k values where the weight has fewer.

    Args:
        weight: float, any shape.
        k: 1 to 65 535 values besides the 0.
        init: one of `INITS`; see `initial_codebook`.
        keep_zeros: False clusters the zeros with the rest.
        seed: for the initialisation "random" alone.

    Source: Han, Mao, Dally 2016, "Deep Compression", section 3.

    Raises:
        TypeError: the weight is no dense tensor of floating point.
        ValueError: NaN or infinities in the weight, k out of range, or an unknown init.

    >>> shared = share(torch.tensor([0.0, 1.0, 1.2, 0.0, -3.0]), k=2)
    >>> shared.codebook, shared.assignments
    (tensor([-3.0000,  0.0000,  1.1000]), tensor([1, 2, 2, 1, 0], dtype=torch.uint8))
    """
    check_values(weight)
    flat = weight.detach().flatten()
    kept = flat[flat != 0] if keep_zeros else flat
    k = check_k(k, MOST - 1)
    codebook = fit_codebook(kept, k, init, seed) if len(kept) else kept.float()
    if len(kept) == len(flat) > 0:
        return Shared(codebook, assign(weight, codebook))
    zero = int((codebook < 0).sum())
    numbers = nearest(flat, codebook) if len(codebook) else flat.long()
    numbers += numbers >= zero
    numbers[flat == 0] = zero
    codebook = torch.cat([codebook[:zero], codebook.new_zeros(1), codebook[zero:]])
    return Shared(codebook, narrow(numbers, len(codebook)).view(weight.shape), zero)
