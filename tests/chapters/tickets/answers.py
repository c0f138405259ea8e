"""Answers to the exercises of chapter 09, right ones and wrong ones."""

import itertools
import math

import numpy as np
import torch
from torch import nn

from shrink.chapters.tickets import dense_sparse_dense, stopping_step
from tests.chapters.tickets import round_answers as rounds
from tests.chapters.wrong import CHANGED, given_as

SGD = torch.optim.SGD
right_phases = dense_sparse_dense.reference
right_step = stopping_step.reference

# --- right answers -------------------------------------------------------------------------


def by_masked_gradients(weight, loss, sparsity, rate, steps):
    """With momentum that starts at 0, a gradient of 0 moves nothing."""

    def train(rate, mask):
        optimizer = SGD([weight], rate, 0.9)
        for _ in range(steps):
            optimizer.zero_grad()
            loss(weight).backward()
            weight.grad *= mask
            optimizer.step()

    train(rate, 1)
    order = weight.detach().abs().flatten().argsort()
    mask = torch.ones_like(weight).flatten()
    mask[order[: round(sparsity * len(mask))]] = 0
    mask = mask.view_as(weight)
    with torch.no_grad():
        weight *= mask
    train(rate, mask)
    train(0.1 * rate, 1)


def by_a_masked_loss(weight, loss, sparsity, rate, steps):
    """In the second training the loss is that of weight times mask."""
    mask = torch.ones_like(weight, requires_grad=False)
    for phase in range(3):
        if phase == 1:
            sizes = weight.detach().abs().flatten().cpu().numpy()
            flat = np.ones(len(sizes))
            flat[np.argsort(sizes, kind="stable")[: round(sparsity * len(sizes))]] = 0
            mask = torch.from_numpy(flat).to(weight).view(weight.shape)
        optimizer = SGD([weight], lr=[rate, rate, rate / 10][phase], momentum=0.9)
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=False)
            (loss(weight * mask) if phase == 1 else loss(weight)).backward()
            optimizer.step()
        if phase == 1:
            with torch.no_grad():
                weight.mul_(mask)


def without_an_optimizer(weight, loss, sparsity, rate, steps):
    """Says how the loss falls, too."""
    n = weight.numel()
    for phase, lr in enumerate([rate, rate, rate / 10]):
        stays = torch.ones_like(weight, dtype=torch.bool)
        if phase == 1 and (count := round(sparsity * n)):
            threshold = weight.detach().abs().flatten().sort().values[count - 1]
            stays = weight.detach().abs() > threshold
            weight.data *= stays
        velocity, losses = 0, [loss(weight).item()]
        for _ in range(steps):
            (gradient,) = torch.autograd.grad(loss(weight), [weight])
            velocity = 0.9 * velocity + gradient
            weight.data -= lr * velocity
            weight.data *= stays
            losses.append(loss(weight).item())
    return losses


def with_closures(weight, loss, sparsity, rate, steps):
    gone = weight.new_zeros(weight.shape, dtype=torch.bool)

    def train(lr, gone=None):
        optimizer = SGD([weight], lr=lr, momentum=0.9)

        def closure():
            optimizer.zero_grad()
            value = loss(weight)
            value.backward()
            return value

        for _ in range(steps):
            optimizer.step(closure)
            if gone is not None:
                weight.data.masked_fill_(gone, 0)

    train(rate)
    chosen = torch.topk(
        weight.detach().abs().flatten(), round(sparsity * weight.numel()), largest=False
    )
    gone.view(-1)[chosen.indices] = True
    weight.data[gone] = 0
    train(rate, gone)
    train(rate / 10)
    return gone


def by_a_loop(log):
    best, least = None, math.inf
    for step, loss in zip(log["step"], log["validation loss"], strict=True):
        if loss < least:
            best, least = step, loss
    return best


def by_nanargmin(log):
    return np.array(log["step"])[np.nanargmin(log["validation loss"])]


def by_sorting(log):
    losses = {step: x for step, x in zip(log["step"], log["validation loss"]) if x == x}  # noqa: B905
    return float(sorted(losses, key=losses.get)[0])


def by_torch(log):
    losses = torch.tensor(log["validation loss"]).nan_to_num(torch.inf)
    return torch.tensor(log["step"])[losses == losses.min()].min()


def another_round():
    return torch.tensor([-11.0, 0, 0, 12, 0, 0.5]), np.array([13, -14, 15, 16])


def four_are_gone():
    return [[0, 0, 0, -3, 2, 0], (9.5, 10, 7, 8)]


RIGHT = {
    "dense_sparse_dense": [
        by_masked_gradients,
        by_a_masked_loss,
        without_an_optimizer,
        with_closures,
    ],
    "stopping_step": [by_a_loop, by_nanargmin, by_sorting, by_torch],
    "break_the_round": [another_round, four_are_gone],
}

# --- wrong: known mistakes as students write them ------------------------------------------


def _trains(weight, loss, rate, steps, gone=None, optimizer=None):
    optimizer = optimizer or SGD([weight], lr=rate, momentum=0.9)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(weight).backward()
        optimizer.step()
        if gone is not None:
            weight.data[gone] = 0


def _pruned(weight, sparsity):
    """Sets the smallest to 0, and says which they are."""
    gone = torch.zeros(weight.numel(), dtype=torch.bool, device=weight.device)
    gone[weight.detach().abs().flatten().argsort()[: round(sparsity * len(gone))]] = True
    gone = gone.view(weight.shape)
    weight.data[gone] = 0
    return gone


def _back_to_the_initial_values(weight, loss, sparsity, rate, steps):
    """As a lottery ticket's weights go."""
    initial = weight.detach().clone()
    _trains(weight, loss, rate, steps)
    gone = _pruned(weight, sparsity)
    _trains(weight, loss, rate, steps, gone)
    weight.data[gone] = initial[gone]
    _trains(weight, loss, rate / 10, steps)


def _kaiming(weight, loss, sparsity, rate, steps):
    _trains(weight, loss, rate, steps)
    gone = _pruned(weight, sparsity)
    _trains(weight, loss, rate, steps, gone)
    bound = 1 / math.sqrt(weight.shape[-1])
    weight.data = torch.where(gone, torch.empty_like(weight).uniform_(-bound, bound), weight.data)
    _trains(weight, loss, rate / 10, steps)


def _masks_the_loss_and_keeps_the_weights(weight, loss, sparsity, rate, steps):
    """Nothing is set to 0 but in the loss, so that the old values are there again."""
    _trains(weight, loss, rate, steps)
    trained = weight.detach().clone()
    mask = ~_pruned(weight, sparsity)
    weight.data = trained
    _trains(weight, lambda w: loss(w * mask), rate, steps)
    _trains(weight, loss, rate / 10, steps)


def _lowers_the_rate_of_the_optimizer_at_hand(weight, loss, sparsity, rate, steps):
    optimizer = SGD([weight], lr=rate, momentum=0.9)
    _trains(weight, loss, rate, steps, None, optimizer)
    gone = _pruned(weight, sparsity)
    _trains(weight, loss, rate, steps, gone, optimizer)
    for group in optimizer.param_groups:
        group["lr"] /= 10
    _trains(weight, loss, rate, steps, None, optimizer)


def _same_again(weight, loss, sparsity, rate, steps):
    _trains(weight, loss, rate, steps)
    _trains(weight, loss, rate, steps, _pruned(weight, sparsity))
    _trains(weight, loss, rate, steps)


def _held_to_the_end_and_says_the_loss(weight, loss, sparsity, rate, steps):
    _trains(weight, loss, rate, steps)
    said = [loss(weight).item()]
    gone = _pruned(weight, sparsity)
    said.append(loss(weight).item())
    _trains(weight, loss, rate, steps, gone)
    said.append(loss(weight).item())
    _trains(weight, loss, rate / 10, steps, gone)
    return said


def _python_min(log):
    return log["step"][log["validation loss"].index(min(log["validation loss"]))]


def _argmin(log):
    return np.array(log["step"])[np.argmin(log["validation loss"])]


def _not_above(log):
    best, least = None, math.inf
    for step, loss in zip(log["step"], log["validation loss"], strict=True):
        if loss <= least:
            best, least = step, loss
    return best


DISGUISED = [
    ("dense_sparse_dense", "re-initialised", _back_to_the_initial_values),
    ("dense_sparse_dense", "re-initialised", _kaiming),
    ("dense_sparse_dense", "old values restored", _masks_the_loss_and_keeps_the_weights),
    ("dense_sparse_dense", "one optimizer", _lowers_the_rate_of_the_optimizer_at_hand),
    ("dense_sparse_dense", "rate not lowered", _same_again),
    ("dense_sparse_dense", "mask still held", _held_to_the_end_and_says_the_loss),
    ("stopping_step", "nan for the least", _python_min),
    ("stopping_step", "nan for the least", _argmin),
    ("stopping_step", "last of equal ones", _not_above),
    given_as(np.int64, stopping_step, "index for step"),
    given_as(torch.tensor, stopping_step, "the loss"),
]

# --- wrong otherwise -----------------------------------------------------------------------


def _begins_sparse(weight, loss, sparsity, rate, steps):
    _pruned(weight, sparsity)
    right_phases(weight, loss, sparsity, rate, steps)


def _no_first_training(weight, loss, sparsity, rate, steps):
    _trains(weight, loss, rate, steps, _pruned(weight, sparsity))
    _trains(weight, loss, rate / 10, steps)


def _shares_the_steps_out(weight, loss, sparsity, rate, steps):
    right_phases(weight, loss, sparsity, rate, max(steps // 3, 1) if steps > 1 else 2)


def _no_momentum(weight, loss, sparsity, rate, steps):
    gone = None
    for phase in range(3):
        gone = _pruned(weight, sparsity) if phase == 1 else None
        _trains(weight, loss, 0, steps, gone, SGD([weight], lr=rate / (1, 1, 10)[phase]))


def _adam(weight, loss, sparsity, rate, steps):
    _trains(weight, loss, rate, steps, None, torch.optim.Adam([weight], lr=rate))


def _all_at_a_tenth(weight, loss, sparsity, rate, steps):
    right_phases(weight, loss, sparsity, rate / 10, steps)


def _sparse_at_a_tenth(weight, loss, sparsity, rate, steps):
    _trains(weight, loss, rate, steps)
    _trains(weight, loss, rate / 10, steps, _pruned(weight, sparsity))
    _trains(weight, loss, rate / 100, steps)


def _the_largest_go(weight, loss, sparsity, rate, steps):
    _trains(weight, loss, rate, steps)
    gone = torch.zeros_like(weight, dtype=torch.bool)
    gone.view(-1)[weight.abs().flatten().topk(round(sparsity * weight.numel())).indices] = True
    weight.data[gone] = 0
    _trains(weight, loss, rate, steps, gone)
    _trains(weight, loss, rate / 10, steps)


def _signed_ranking(weight, loss, sparsity, rate, steps):
    _trains(weight, loss, rate, steps)
    gone = torch.zeros_like(weight, dtype=torch.bool)
    gone.view(-1)[weight.flatten().argsort()[: round(sparsity * weight.numel())]] = True
    weight.data[gone] = 0
    _trains(weight, loss, rate, steps, gone)
    _trains(weight, loss, rate / 10, steps)


def _mask_that_reaches_nothing(weight, loss, sparsity, rate, steps):
    _trains(weight, loss, rate, steps)
    mask = ~_pruned(nn.Parameter(weight.detach().clone()), sparsity)
    pruned = weight * mask  # noqa: F841
    _trains(weight, loss, rate, steps)
    _trains(weight, loss, rate / 10, steps)


def _trains_a_copy(weight, loss, sparsity, rate, steps):
    copy = nn.Parameter(weight.detach().clone())
    right_phases(copy, loss, sparsity, rate, steps)
    return copy


def _rebinds(weight, loss, sparsity, rate, steps):
    _trains(weight, loss, rate, steps)
    weight = weight * ~_pruned(nn.Parameter(weight.detach().clone()), sparsity)
    _trains(weight, loss, rate, steps)


def _without_no_grad(weight, loss, sparsity, rate, steps):
    _trains(weight, loss, rate, steps)
    weight[weight.abs() < 1] = 0


def _prunes_again_at_the_end(weight, loss, sparsity, rate, steps):
    right_phases(weight, loss, sparsity, rate, steps)
    _pruned(weight, sparsity)


def _in_half(weight, loss, sparsity, rate, steps):
    right_phases(weight, loss, sparsity, rate, steps)
    weight.data = weight.data.to(torch.float16)


def _frozen_at_the_end(weight, loss, sparsity, rate, steps):
    right_phases(weight, loss, sparsity, rate, steps)
    weight.requires_grad_(False)


def _of_a_list(weight, loss, sparsity, rate, steps):
    loss(weight.tolist())


def _one_by_one(weight, loss, sparsity, rate, steps):
    for w in weight.flatten():
        loss(w).backward()


def _nearly_zero(weight, loss, sparsity, rate, steps):
    """Clamps what is pruned to 1e-8 and less."""
    _trains(weight, loss, rate, steps)
    gone = _pruned(weight, sparsity)
    optimizer = SGD([weight], lr=rate, momentum=0.9)
    for _ in range(steps):
        _trains(weight, loss, rate, 1, gone, optimizer)
        weight.data[gone] = 1e-8
    _trains(weight, loss, rate / 10, steps)


def _gradient_masked_with_the_old_momentum(weight, loss, sparsity, rate, steps):
    optimizer = SGD([weight], lr=rate, momentum=0.9)
    _trains(weight, loss, rate, steps, None, optimizer)
    gone = _pruned(weight, sparsity)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(weight).backward()
        weight.grad[gone] = 0
        optimizer.step()
    _trains(weight, loss, rate / 10, steps)


def _patience(evaluations):
    def stopping_step(log):
        best, least, since = None, math.inf, 0
        for step, loss in zip(log["step"], log["validation loss"], strict=True):
            if loss < least:
                best, least, since = step, loss, 0
            else:
                since += 1
            if since == evaluations:
                break
        return best

    return stopping_step


def _stops_where_the_patience_ends(log):
    losses = log["validation loss"]
    best = 0
    for i, loss in enumerate(losses):
        if loss < losses[best] or math.isnan(losses[best]):
            best = i
        elif i - best == 2:
            return log["step"][i]
    return log["step"][best]


def _largest_loss(log):
    return max(zip(log["validation loss"], log["step"], strict=True))[1]


def _test_accuracy(log):
    return log["test accuracy"]


def _drops_rows_of_its_input(log):
    known = [loss == loss for loss in log["validation loss"]]
    for name, column in log.items():
        log[name] = list(itertools.compress(column, known))
    return right_step(log)


def _smoothed(log):
    smooth, best, least = log["validation loss"][0], log["step"][0], math.inf
    for step, loss in zip(log["step"], log["validation loss"], strict=True):
        smooth = 0.6 * smooth + 0.4 * loss
        if smooth < least:
            best, least = step, smooth
    return best


def _pair(hidden=(0, 0, 0, 1, 5, 10), output=(7, 8, 6, 9)):
    return lambda: (hidden, output)


WRONG = {
    "dense_sparse_dense": {
        (lambda *case: None): "weight has not changed: train it in place",
        _trains_a_copy: "weight ends as it began: the parameter itself must be trained, in place",
        _begins_sparse: "the first training begins with the weights as they are",
        _no_first_training: "of 3 steps change the weights 9 times; yours changed them 6",
        _shares_the_steps_out: "of 3 steps change the weights 9 times; yours changed them 3",
        _no_momentum: "after step 2 of the first training the weights are not where SGD takes them",
        _adam: "of 3 steps change the weights 9 times; yours changed them 3",
        _all_at_a_tenth: "after step 1 of the first training the weights are not where SGD takes",
        _sparse_at_a_tenth: "after step 1 of the second training the weights are not.*full rate",
        _the_largest_go: "the smallest weights at 0, by their magnitudes after the first; your zer",
        _signed_ranking: "the smallest weights at 0, by their magnitudes after the first; your zer",
        _mask_that_reaches_nothing: "with 3 of 8 weights at 0, round.*; yours begins with 0",
        _rebinds: "your code raised ValueError: can't optimize a non-leaf Tensor",
        _without_no_grad: "your code raised RuntimeError: a leaf Variable that requires grad",
        _prunes_again_at_the_end: "after step 3 of the last training the pruned weights are 0, and",
        _in_half: "no longer the parameter that it was.*torch.float32.*torch.float16",
        _frozen_at_the_end: "no longer the parameter that it was.*requires_grad=False",
        _of_a_list: r"ValueError: loss takes the weight, a tensor of shape \(8,\), not list",
        _one_by_one: r"ValueError: loss takes the weight, a tensor of shape \(8,\), not \(\)",
        _nearly_zero: "after step 1 of the second training 3 of 3 pruned weights are not 0",
        _gradient_masked_with_the_old_momentum: "after step 1 of the second training 3 of 3 pruned",
    },
    "stopping_step": {
        _patience(2): "the least validation loss is",
        _patience(3): "the least validation loss is",
        _patience(6): "the least validation loss is",
        _stops_where_the_patience_ends: "the least validation loss is",
        _largest_loss: r"the least validation loss is [\d.]+, at step \d+; at step \d+ it is",
        _test_accuracy: "your code raised KeyError: 'test accuracy'",
        _drops_rows_of_its_input: CHANGED,
        _smoothed: "the least validation loss is",
        (lambda log: {"step": right_step(log)}): "return one of the steps in log",
        (lambda log: [right_step(log)]): "return one of the steps in log",
        (lambda log: str(right_step(log))): "return one of the steps in log",
        (lambda log: right_step(log) + 0.5): "return one of the steps in log",
        (lambda log: bool(right_step(log))): "return one of the steps in log",
    },
    "break_the_round": {
        _pair((12, 0, 8, 6, 4, 2), (7, 5, 3, 1)): r"share of all, initial values: the right "
        r"weights go \(hidden\[4\], hidden\[5\], output\[3\]\), so the mistake hides "
        r"\(wrong there, as it should be: zeros ranked, n \+ 1, one rate, one ranking\)",
        _pair((12, 0, 10, 5, 4, 2)): "round: share of all: the right weights go",
        _pair(
            output=(7, 8, 4, 9)
        ): r"round: one ranking: the right .* \(hidden\[3\], output\[2\]\)",
        _pair((0, 0, 0, 10, 5, 1), (9, 8, 7, 6)): "round: initial values: the right weights go",
        _pair((11, 1, 5, 10, 12, 0), (0, 0, 4, 2)): r"share of all and one rate both prune",
        _pair((0,) * 6, (0,) * 4): "so the mistake hides.*as it should be: none",
        _pair((0, 0, 0, 1, 5, 9)): "two weights have the magnitude 9, so that either may go",
        _pair((0, 0, 0, 1, 5, -8)): "two weights have the magnitude 8, so that either may go",
        _pair((0, 0, 0, 1, 5)): "hidden is a list of 6 numbers",
        _pair(output=(7, 8, 6, 9, 3)): "output is a list of 4 numbers",
        _pair(output=((7, 8), (6, 9))): "output is a list of 4 numbers",
        _pair(output=(7, 8, 6, True)): "output is a list of 4 numbers",
        _pair(output="7869"): "output is a list of 4 numbers",
        _pair(output={0: 7, 1: 8, 2: 6, 3: 9}): "output is a list of 4 numbers",
        _pair(output=(7, 8, 6, 21)): "the weights of output lie from -20 to 20",
        _pair(output=(7, 8, 6, np.nan)): "the weights of output lie from -20 to 20",
        (lambda: (0, 0, 0, 1, 5, 10)): "return two lists",
        (lambda: {"hidden": [0, 0, 0, 1, 5, 10], "output": [7, 8, 6, 9]}): "return two lists",
    },
}

# --- the exercises on rounds ----------------------------------------------------------------

RIGHT |= rounds.RIGHT
WRONG |= rounds.WRONG
DISGUISED += rounds.DISGUISED
RAISING = rounds.RAISING
