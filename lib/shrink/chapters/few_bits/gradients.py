"""The gradient that passes through what an answer returns, as exercise 1 of chapter 10 asks it."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from shrink.chapters.few_bits.tensors import Close, as_numbers, is_floats


def upstream(like: Tensor) -> Tensor:
    """The gradient that comes back to a result, in its shape: 2, -1, 3, -1.5 and so on."""
    pattern = torch.tensor([2.0, -1.0, 3.0, -1.5, 0.5], dtype=like.dtype, device=like.device)
    return pattern.repeat(like.numel() // 5 + 1)[: like.numel()].view(like.shape)


def passed(result: Tensor, x: Tensor) -> Tensor | None:
    """What of `upstream` reaches x; None where autograd finds no way from the result to x.

    Raises what the answer's own backward raises.
    """
    if not result.requires_grad:
        return None
    (found,) = torch.autograd.grad(
        result, x, upstream(result), retain_graph=True, allow_unused=True
    )
    return found


@dataclass(frozen=True)
class Seen:
    """What counts of a result: its numbers, and the gradient that passes through it."""

    values: Any
    gradient: Any


def seen(result: Any) -> Any:
    """A tensor of floats as what compares; anything else as it is."""
    if not is_floats(result):
        return result
    values = Close(as_numbers(result))
    if not result.requires_grad:
        return Seen(values, Close(torch.zeros(result.shape, dtype=torch.float64)))
    leaves = _leaves(result)
    if len(leaves) != 1:
        return Seen(values, f"{len(leaves)} tensors that take a gradient")
    try:
        found = passed(result, leaves[0])
    except Exception as error:  # of a backward that a student wrote
        return Seen(values, repr(error))
    return Seen(values, Close(as_numbers(torch.zeros_like(result) if found is None else found)))


def _leaves(result: Tensor) -> list[Tensor]:
    """The tensors that take a gradient and of which autograd knows that the result is made."""
    if result.grad_fn is None:
        return [result]
    nodes, known, leaves = [result.grad_fn], set(), []
    while nodes:
        node = nodes.pop()
        if node is None or node in known:
            continue
        known.add(node)
        if node.name().endswith("AccumulateGrad"):
            leaves.append(node.variable)
        nodes += [before for before, _ in node.next_functions]
    return leaves
