"""Answers to the exercises of chapter 07, right ones and wrong ones."""

import numpy as np
import torch

from shrink.chapters.structure.blocks import n_of_m
from shrink.chapters.structure.filters import filters_to_keep
from tests.chapters.structure import surgery_answers as surgery
from tests.chapters.wrong import CHANGED, changed, given_as

right_filters = filters_to_keep.reference
right_blocks = n_of_m.reference

# --- right answers -------------------------------------------------------------------------


def by_topk(weight, count):
    return weight.detach().abs().sum((1, 2, 3)).topk(count).indices.sort().values


def of_equal_ones_the_first(weight, count):
    norms = weight.detach().flatten(1).norm(p=1, dim=1)
    order = norms.argsort(descending=True, stable=True)
    return order[:count].sort().values.int()


def filters_by_numpy(weight, count):
    norms = np.abs(weight.detach().cpu().numpy()).sum(axis=(1, 2, 3))
    kept = np.sort(np.argsort(-norms, kind="stable")[:count])
    return torch.from_numpy(kept).to(weight.device)


def blocks_by_topk(weight, n, m):
    blocks = weight.detach().abs().reshape(weight.shape[0], -1, m)
    mask = torch.zeros_like(blocks, dtype=torch.bool)
    return mask.scatter_(2, blocks.topk(n).indices, True).reshape(weight.shape)


def first_of_equal_ones_stay(weight, n, m):
    mask = torch.zeros(weight.shape, dtype=torch.bool, device=weight.device)
    for row in range(weight.shape[0]):
        for begin in range(0, weight.shape[1], m):
            block = weight[row, begin : begin + m].abs().tolist()
            for i in sorted(range(m), key=lambda i: -block[i])[:n]:
                mask[row, begin + i] = True
    return mask


def rank_of_ranks(weight, n, m):
    blocks = weight.detach().abs().view(-1, m) if weight.is_contiguous() else None
    blocks = weight.detach().abs().reshape(-1, m) if blocks is None else blocks
    return (blocks.argsort(1).argsort(1) >= m - n).view(weight.shape)


RIGHT = {
    "filters_to_keep": [by_topk, of_equal_ones_the_first, filters_by_numpy],
    "n_of_m": [blocks_by_topk, first_of_equal_ones_stay, rank_of_ranks],
}

# --- wrong: known mistakes as students write them ------------------------------------------


def _topk_as_it_comes(weight, count):
    return weight.detach().abs().sum((1, 2, 3)).topk(count).indices


def _torchs_norm(weight, count):
    return weight.detach().flatten(1).norm(dim=1).topk(count).indices.sort().values


def _kth_value(weight, n, m):
    blocks = weight.detach().abs().reshape(-1, m)
    return (blocks >= blocks.kthvalue(m - n + 1, keepdim=True).values).view(weight.shape)


DISGUISED = [
    ("filters_to_keep", "unsorted", _topk_as_it_comes),
    ("filters_to_keep", "L2 norm", _torchs_norm),
    given_as(torch.Tensor.int, filters_to_keep, "those to drop"),
    ("n_of_m", "threshold", _kth_value),
]

# --- wrong otherwise -----------------------------------------------------------------------


def _largest_weight(weight, count):
    return weight.detach().abs().amax((1, 2, 3)).topk(count).indices.sort().values


def _twice(kept):
    return torch.cat([kept, kept])


def _prunes_the_input(weight, count):
    kept = right_filters(weight, count)
    gone = torch.ones(len(weight), dtype=torch.bool)
    gone[kept] = False
    weight.data[gone] = 0
    return kept


def _strict_threshold(weight, n, m):
    blocks = weight.detach().abs().reshape(-1, m)
    if n == m:
        return torch.ones_like(weight, dtype=torch.bool)
    return (blocks > blocks.kthvalue(m - n, keepdim=True).values).view(weight.shape)


def _one_pattern(weight, n, m):
    return (torch.arange(weight.shape[1]) % m < n).expand(weight.shape)


WRONG = {
    "filters_to_keep": {
        changed(right_filters, torch.Tensor.tolist): r"are a tensor.*given: +\[",
        changed(right_filters, torch.Tensor.float): "are int64, which torch indexes by",
        changed(right_filters, lambda kept: kept.to(torch.uint8)): "it takes uint8 and bool",
        changed(
            right_filters, lambda kept: torch.cat([kept, kept])
        ): r"as many .*, \d, on one axis",
        changed(right_filters, lambda kept: kept[:, None]): r"as many .*, \d, on one axis",
        changed(right_filters, lambda kept: kept + 5): r"numbered 0 to \d, and none is \d",
        changed(right_filters, lambda kept: kept - 10): r"numbered 0 to \d, and none is -\d",
        changed(right_filters, lambda kept: kept[:1].expand(len(kept))): "each filter stays once",
        # the L2 norm may rank alike until then, and then its hint is shown
        _largest_weight: r"filter \d+ has the L1 norm [\d.]+ and goes, filter \d+ has [\d.]+ and"
        " stays(hint:)?",
        _prunes_the_input: CHANGED,
    },
    "n_of_m": {
        changed(right_blocks, torch.Tensor.tolist): r"a mask is a tensor.*given: +\[",
        changed(right_blocks, torch.Tensor.float): "is a bool tensor.*given: +torch.float32",
        changed(right_blocks, torch.Tensor.flatten): r"shape and device.*\(4, 4\).*\(16,\)",
        _strict_threshold: r"row \d, columns \d to \d+, \d of \d weights must stay, and .* \d do",
        _one_pattern: r"in row \d, columns \d to \d, a weight of magnitude [\d.]+ goes and one of",
    },
}

# --- the exercises on surgery --------------------------------------------------------------

RIGHT |= surgery.RIGHT
WRONG |= surgery.WRONG
DISGUISED += surgery.DISGUISED
RAISING = surgery.RAISING
