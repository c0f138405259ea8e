"""Answers to the exercises of chapter 08, right ones and wrong ones."""

import copy
from collections import OrderedDict

import numpy as np
import torch
from torch import nn
from torch.func import functional_call

from shrink.chapters.saliency import prune_in_steps, synflow_scores
from tests.chapters.saliency import hessian_answers as hessian
from tests.chapters.wrong import CHANGED, changed, in_each

right_flow = synflow_scores.reference
right_steps = prune_in_steps.reference

# --- right answers -------------------------------------------------------------------------


def _on(model, shape):
    return torch.ones(1, *shape, device=next(model.parameters()).device)


def flow_by_functional_call(model, shape):
    net = copy.deepcopy(model).eval()
    sizes = {name: p.detach().abs() for name, p in net.named_parameters()}
    sizes |= {name: torch.zeros_like(p) for name, p in sizes.items() if "bias" in name}
    for p in sizes.values():
        p.requires_grad_()
    functional_call(net, sizes, (_on(net, shape),)).sum().backward()
    return OrderedDict((n, p * p.grad) for n, p in reversed(sizes.items()) if p.dim() > 1)


def flow_restoring(model, shape):
    """As the authors' code does it: in place, and undone."""
    state = copy.deepcopy(model.state_dict())
    modes = [(layer, layer.training) for layer in model.modules()]
    model.eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.mul_(0) if name.endswith(".bias") else p.abs_()
    named = [(name, p) for name, p in model.named_parameters() if p.dim() >= 2]
    R = model(_on(model, shape)).sum()
    gradients = torch.autograd.grad(R, [p for _, p in named])
    scores = {name: (g * p).abs() for (name, p), g in zip(named, gradients, strict=True)}
    model.load_state_dict(state)
    for layer, mode in modes:
        layer.training = mode
    return {name: score.detach().double() for name, score in scores.items()}


def steps_by_sorting(score, weights, keep, steps):
    left = list(range(len(weights)))
    for step in range(steps):
        masked = torch.zeros_like(weights.detach())
        masked[left] = weights.detach()[left]
        scores = score(masked).tolist()
        count = round(len(weights) * (keep / len(weights)) ** ((step + 1) / steps))
        left = sorted(sorted(left), key=lambda i: scores[i], reverse=True)[:count]
    mask = torch.zeros(len(weights), dtype=torch.bool, device=weights.device)
    mask[left] = True
    return mask


def the_last_of_equal_scores(score, weights, keep, steps):
    n = len(weights)
    mask = np.ones(n, dtype=bool)
    for step in range(1, steps + 1):
        count = round(n * (keep / n) ** (step / steps))
        scores = score(weights * torch.from_numpy(mask).to(weights.device)).detach().cpu().numpy()
        order = np.argsort(np.where(mask, scores, -np.inf), kind="stable")
        mask = np.isin(np.arange(n), order[n - count :])
    return torch.from_numpy(mask).to(weights.device)


def drops_the_smallest(score, weights, keep, steps):
    n, mask = len(weights), torch.ones_like(weights, dtype=torch.bool)
    for step in range(1, steps + 1):
        more = int(mask.sum()) - round(n * (keep / n) ** (step / steps))
        scores = torch.where(mask, score(torch.where(mask, weights, 0.0)), torch.inf)
        mask[scores.argsort()[:more]] = False
    return mask


def another_break():
    return [torch.tensor([[-4, 3.5, 2, 0.5], [0.5, 2, -4, 3.5]]), np.array([[8.0, -9.0]])]


RIGHT = {
    "synflow_scores": [flow_by_functional_call, flow_restoring],
    "prune_in_steps": [steps_by_sorting, the_last_of_equal_scores, drops_the_smallest],
    "break_the_score": [another_break],
}

# --- wrong: known mistakes as students write them ------------------------------------------


def _state_dict_abs(model, shape):
    """The authors' own treatment of biases."""
    net = copy.deepcopy(model).eval()
    net.load_state_dict({name: t.abs() for name, t in net.state_dict().items()})
    net(_on(net, shape)).sum().backward()
    return {n: (p.grad * p).detach() for n, p in net.named_parameters() if p.dim() > 1}


def _abs_at_the_end(model, shape):
    net = copy.deepcopy(model).eval()
    for name, p in net.named_parameters():
        if "bias" in name:
            p.data.zero_()
    net(_on(net, shape)).sum().backward()
    return {n: p.grad.abs() * p.detach().abs() for n, p in net.named_parameters() if p.dim() > 1}


def _forgets_eval(model, shape):
    net = copy.deepcopy(model)
    for name, p in net.named_parameters():
        p.data = torch.zeros_like(p) if name.endswith("bias") else p.data.abs()
    net(_on(net, shape)).sum().backward()
    return {n: p.grad * p.data for n, p in net.named_parameters() if p.dim() > 1}


def _all_zero_of_one_axis(model, shape):
    net = copy.deepcopy(model).eval()
    for p in net.parameters():
        p.data = p.data.abs() if p.dim() > 1 else 0 * p.data
    net(_on(net, shape)).sum().backward()
    return {n: p.grad * p.data for n, p in net.named_parameters() if p.dim() > 1}


def _kth_value(score, weights, keep, steps):
    n, mask = len(weights), torch.ones_like(weights, dtype=torch.bool)
    for step in range(1, steps + 1):
        count = round(n * (keep / n) ** (step / steps))
        scores = score(weights * mask).masked_fill(~mask, -torch.inf)
        mask = scores >= scores.kthvalue(n - count + 1).values
    return mask


def _from_the_model_as_it_was(score, weights, keep, steps):
    scores = score(weights)
    mask = torch.zeros_like(weights, dtype=torch.bool)
    mask[scores.topk(keep).indices] = True
    return mask


def _range_from_zero(score, weights, keep, steps):
    n, mask = len(weights), torch.ones_like(weights, dtype=torch.bool)
    for step in range(steps):
        count = round(n * (keep / n) ** (step / steps))
        scores = score(weights * mask).masked_fill(~mask, -torch.inf)
        mask = torch.zeros_like(mask)
        mask[scores.topk(count).indices] = True
    return mask


def _times_mask(score, weights, keep, steps):
    n, mask = len(weights), torch.ones_like(weights, dtype=torch.bool)
    for step in range(1, steps + 1):
        scores = mask * score(weights * mask)
        mask = torch.zeros_like(mask)
        mask[scores.topk(round(n * (keep / n) ** (step / steps))).indices] = True
    return mask


def _and_of_masks(score, weights, keep, steps):
    n, mask = len(weights), torch.ones_like(weights, dtype=torch.bool)
    for step in range(1, steps + 1):
        best = torch.zeros_like(mask)
        count = round(n * (keep / n) ** (step / steps))
        mask = mask & best.index_fill(0, score(weights * mask).topk(count).indices, True)
    return mask


def _log(model, shape):
    """The logarithm of R, differentiated."""
    net = copy.deepcopy(model).eval()
    for name, p in net.named_parameters():
        p.data = torch.zeros_like(p) if name.endswith("bias") else p.data.abs()
    net(_on(net, shape)).sum().log().backward()
    return {n: p.grad * p.data for n, p in net.named_parameters() if p.dim() > 1}


DISGUISED = [
    ("synflow_scores", "shares of a layer", _log),
    ("synflow_scores", "magnitudes of biases", _state_dict_abs),
    ("synflow_scores", "weights with their signs", _abs_at_the_end),
    ("synflow_scores", "training mode", _forgets_eval),
    ("synflow_scores", "norm's scale at 0", _all_zero_of_one_axis),
    ("prune_in_steps", "threshold", _kth_value),
    ("prune_in_steps", "both masks", _and_of_masks),
    ("prune_in_steps", "scored once", _from_the_model_as_it_was),
    ("prune_in_steps", "last step missing", _range_from_zero),
    ("prune_in_steps", "zero for pruned ones", _times_mask),
]

# --- wrong otherwise -----------------------------------------------------------------------


def _signs_not_restored(model, shape):
    for p in model.parameters():
        p.data.abs_()
    return right_flow(model, shape)


def _left_in_eval(model, shape):
    return right_flow(model.eval(), shape)


def _in_place_with_backward(model, shape):
    """Undoes all but .grad, to which `backward` has added."""
    net = copy.deepcopy(model).eval()
    for name, p in net.named_parameters():
        p.data = torch.zeros_like(p) if name.endswith("bias") else p.data.abs()
    net(_on(net, shape)).sum().backward()
    scores = {}
    for (name, p), own in zip(net.named_parameters(), model.parameters(), strict=True):
        own.grad = p.grad if own.grad is None else own.grad + p.grad
        if p.dim() > 1:
            scores[name] = own.grad * p.data
    return scores


def _adds_to_what_was_there(model, shape):
    scores = right_flow(model, shape)
    for name, p in model.named_parameters():
        if name in scores and p.grad is not None:
            scores[name] = scores[name] + p.grad * p.detach().abs()
    return scores


def _random_image(model, shape):
    net = copy.deepcopy(model).eval()
    for name, p in net.named_parameters():
        p.data = torch.zeros_like(p) if name.endswith("bias") else p.data.abs()
    net(torch.rand(1, *shape)).sum().backward()
    return {n: p.grad * p.data for n, p in net.named_parameters() if p.dim() > 1}


def _image_of_threes(model, shape):
    return {n: 3 * s for n, s in right_flow(model, shape).items()}


def _shares_of_everything(model, shape):
    scores = right_flow(model, shape)
    total = sum(score.sum() for score in scores.values())
    return {name: score / total for name, score in scores.items()}


def _biases_and_signs(model, shape):
    net = copy.deepcopy(model).eval()
    net(_on(net, shape)).sum().backward()
    return {n: (p.grad * p).abs().detach() for n, p in net.named_parameters() if p.dim() > 1}


def _magnitudes(model, shape):
    return {n: p.detach().abs() for n, p in model.named_parameters() if p.dim() > 1}


def _biases_too(model, shape):
    scores = right_flow(model, shape)
    return scores | {n: p.detach() * 0 for n, p in model.named_parameters() if n not in scores}


def _strictly_above(score, weights, keep, steps):
    n, mask = len(weights), torch.ones_like(weights, dtype=torch.bool)
    for step in range(1, steps + 1):
        count = round(n * (keep / n) ** (step / steps))
        scores = score(weights * mask).masked_fill(~mask, -torch.inf)
        mask = scores > scores.kthvalue(n - count).values if count < n else mask
    return mask


def _only_what_is_left(score, weights, keep, steps):
    mask = torch.ones_like(weights, dtype=torch.bool)
    for step in range(1, steps + 1):
        count = round(len(weights) * (keep / len(weights)) ** (step / steps))
        left = mask.nonzero().flatten()
        best = score(weights[mask]).topk(count).indices
        mask = torch.zeros_like(mask).index_fill(0, left[best], True)
    return mask


def _cubic(score, weights, keep, steps):
    """The schedule of chapter 02."""
    n, mask = len(weights), torch.ones_like(weights, dtype=torch.bool)
    for step in range(1, steps + 1):
        count = round(keep + (n - keep) * (1 - step / steps) ** 3)
        scores = score(weights * mask).masked_fill(~mask, -torch.inf)
        mask = torch.zeros_like(mask).index_fill(0, scores.topk(count).indices, True)
    return mask


def _the_smallest(score, weights, keep, steps):
    return right_steps(lambda w: -score(w), weights, keep, steps)


def _prunes_the_weights(score, weights, keep, steps):
    mask = right_steps(score, weights, keep, steps)
    weights.data[~mask] = 0
    return mask


RIGHT_W1, RIGHT_W2 = [[4, 3, 1, 1], [4, 3, 1, 1]], [[6, 5]]
HIDES = [[1, 1, 1, 9], [1, 1, 1, 1]], [[5, 1]]


def _pair(w1=RIGHT_W1, w2=RIGHT_W2):
    return lambda: (w1, w2)


WRONG = {
    "synflow_scores": {
        _signs_not_restored: CHANGED + r" \(fc\d\.",
        _left_in_eval: CHANGED + r" \(its mode\)",
        _in_place_with_backward: r"leaves gradients behind in the model's \.grad",
        _adds_to_what_was_there: r"added to one that was in \.grad before",
        _random_image: "asked again about the same model, your function gives other scores",
        _image_of_threes: r"flows through it: your score is",
        _shares_of_everything: r"flows through it: your score is 0\.\d+",
        _biases_and_signs: "in parts: wrong without biases, wrong where no weight is negative|"
        "in parts: .*wrong",
        _magnitudes: "flows through it: your score is",
        _biases_too: r"and no others; fc1.bias has one axis and is no weight",
        (lambda model, shape: list(right_flow(model, shape).values())): "return a dict that maps",
        changed(right_flow, in_each(torch.Tensor.tolist)): "the score of fc1.weight is a tensor",
        changed(right_flow, in_each(torch.Tensor.long)): "is a dense tensor of floats",
        changed(right_flow, in_each(torch.Tensor.sum)): "has one number per weight, in the shape",
        changed(right_flow, in_each(torch.Tensor.log)): "flows through it: your score is",
    },
    "prune_in_steps": {
        changed(right_steps, torch.logical_not): "5 weights stay, and with your mask 11 do",
        _cubic: "your score was taken with 16, then 10, then 6, then 5 weights left, and there "
        "must be 16, then 12, then 9, then 7, then 5",
        _strictly_above: r"weights stay, and with your mask \d do; left must be",
        _only_what_is_left: r"your code raised ValueError: score takes all 16 weights, with 0 for",
        _the_smallest: "in each step the right number of weights is left, but not the right ones",
        _prunes_the_weights: CHANGED,
        (lambda score, weights, keep, steps: weights.abs() > 4): "with your mask|must be 16, then",
        (
            lambda score, *args: right_steps(torch.abs, *args)
        ): "your score was taken with no weights left, and there must be",
        changed(right_steps, torch.Tensor.tolist): r"a mask is a tensor.*given: +\[",
        changed(right_steps, torch.Tensor.float): "is a bool tensor.*given: +torch.float32",
        changed(right_steps, lambda mask: mask[None]): r"shape and device.*\(16,\).*\(1, 16\)",
        changed(right_steps, lambda mask: mask.nonzero()): "a mask is a bool tensor",
    },
    "break_the_score": {
        _pair(*HIDES): r"magnitude \(keeps W1\[0\]\[3\] and W2\[0\]\[0\]\), gradient \(keeps .*, "
        r"SNIP .*, one shot .*, linear .*on your weights a path is left, so the mistake hides \(no "
        r"path, as it should be: none\)",
        _pair([[4, 3, 2, 2], [4, 3, 1, 1]]): r"score: gradient \(keeps W1\[0\]\[3\] and W2\[0\]\[0",
        _pair(w2=[[3, 5]]): r"score: magnitude \(keeps",
        _pair([[9, 9, 1, 1], [2, 2, 2, 2]], [[1, 1]]): r"score: one shot \(.*, linear \(keeps",
        _pair([[1] * 4] * 2, [[1, 1]]): "right way cuts every path too: it may keep, as scores tie",
        _pair([[3, 1, 1, 1], [6, 1, 1, 1]], [[9, 4]]): r"score: linear \(keeps",
        _pair([[4, 3, 1, 1], [4, 3, 1, 0]]): "W1 has a weight of 0, which is pruned already",
        _pair(w2=[6, 5]): r"W2 has another shape.*\(1, 2\).*\(2,\)",
        _pair([[4, 3], [4, 3]]): r"W1 has another shape.*\(2, 4\).*\(2, 2\)",
        _pair([[4, 3, 1, 1], [4, 3]]): "W1 is a list of lists of numbers, or a tensor",
        _pair(w2=[[11, 5]]): "the weights of W2 lie from -10 to 10",
        _pair(w2=[[np.nan, 5]]): "the weights of W2 lie from -10 to 10",
        (lambda: nn.Linear(4, 2)): "return two matrices",
    },
}

# --- the exercises on derivatives -----------------------------------------------------------

RIGHT |= hessian.RIGHT
WRONG |= hessian.WRONG
DISGUISED += hessian.DISGUISED
