"""Answers to exercises 1, 2 and 5 of chapter 08, on the loss's derivatives: for `answers.py`."""

import copy

import numpy as np
import torch
import torch.nn.functional as F
from torch.autograd.functional import hessian, jacobian

from shrink.chapters.saliency.diagonal import hessian_diagonal
from shrink.chapters.saliency.obd import obd_saliency
from shrink.chapters.saliency.snip import snip_scores
from tests.chapters.wrong import CHANGED, changed, given_as, in_each

right_rises = obd_saliency.reference
right_pair = hessian_diagonal.reference
right_scores = snip_scores.reference

# --- right answers -------------------------------------------------------------------------


def rises_in_a_loop(weight, diagonal):
    pairs = zip(weight.flatten().tolist(), diagonal.flatten().tolist(), strict=True)
    rises = [0.5 * h * w * w for w, h in pairs]
    return torch.tensor(rises, device=weight.device).view(weight.shape)


def rises_by_numpy(weight, diagonal):
    w, h = (t.detach().cpu().numpy().astype(np.float64) for t in (weight, diagonal))
    return torch.from_numpy(np.asarray(h * np.square(w) / 2)).to(weight.device)


def rises_with_a_gradient(weight, diagonal):
    return 0.5 * diagonal * weight.pow(2)  # of a parameter: it takes a gradient


def exact_pair(x, labels, first, second):
    """All of both Hessians, in the type of the input."""

    def loss(first, second):
        return F.cross_entropy(torch.relu(x @ first.T) @ second.T, labels)

    (of_first, _), (_, of_second) = hessian(loss, (first.detach(), second.detach()))
    found = (of_first, first), (of_second, second)
    return [h.reshape(w.numel(), -1).diagonal().view(w.shape) for h, w in found]


def image_by_image(x, labels, first, second):
    of_first, of_second = torch.zeros_like(first.detach()), torch.zeros_like(second.detach())
    for image in x:
        hidden = (first.detach() @ image).clamp(min=0)
        p = torch.softmax(second.detach() @ hidden, dim=0)
        h = p - p**2
        of_second += torch.outer(h, hidden**2) / len(x)
        at_hidden = (second.detach() ** 2).T @ h
        of_first += torch.outer(at_hidden * (hidden > 0), image**2) / len(x)
    return of_first, of_second


def by_einsum(x, labels, first, second):
    x, first, second = (t.detach().double() for t in (x, first, second))
    hidden = F.relu(torch.einsum("ni,hi->nh", x, first))
    p = torch.exp(F.log_softmax(hidden @ second.T, dim=-1))
    h, n = p * (1 - p), len(x)
    on = torch.where(hidden > 0, 1.0, 0.0).double()
    of_second = torch.einsum("nc,nh,nh->ch", h, hidden, hidden) / n
    of_first = torch.einsum("nc,ch,ch,nh,ni,ni->hi", h, second, second, on, x, x) / n
    return of_first.float(), of_second.float()


def variance_of_the_weights(x, labels, first, second):
    """Exactly: a unit moves the logits along its weights, whose variance is the curvature."""
    x, first, second = (t.detach().double() for t in (x, first, second))
    hidden = (x @ first.T).relu()
    p = (hidden @ second.T).softmax(1)
    at_hidden = (p @ second**2 - (p @ second) ** 2) * (hidden > 0)
    return at_hidden.T @ x**2 / len(x), (p * (1 - p)).T @ hidden**2 / len(x)


def scores_by_backward(model, images, labels):
    twin = copy.deepcopy(model)
    twin.zero_grad()
    F.cross_entropy(twin(images), labels).backward()
    return {name: (p * p.grad).abs() for name, p in twin.named_parameters() if p.ndim != 1}


def scores_and_no_gradient_left(model, images, labels):
    model.zero_grad()
    torch.nn.CrossEntropyLoss()(model(images), labels).backward()
    found = {n: p.grad.abs() * p.abs() for n, p in model.named_parameters() if p.dim() > 1}
    model.zero_grad()
    return found


def scores_of_explicit_masks(model, images, labels):
    weights = {n: p.detach().double() for n, p in model.named_parameters()}
    names = [name for name, p in weights.items() if p.dim() > 1]

    def loss(*masks):
        masked = weights | {n: weights[n] * c for n, c in zip(names, masks, strict=True)}
        logits = torch.func.functional_call(model, masked, images.double())
        return F.nll_loss(logits.log_softmax(1), labels)

    masks = tuple(torch.ones_like(weights[name]) for name in names)
    return {n: g.abs() for n, g in zip(reversed(names), reversed(jacobian(loss, masks)))}  # noqa: B905


RIGHT = {
    "obd_saliency": [rises_in_a_loop, rises_by_numpy, rises_with_a_gradient],
    "hessian_diagonal": [exact_pair, image_by_image, by_einsum, variance_of_the_weights],
    "snip_scores": [scores_by_backward, scores_and_no_gradient_left, scores_of_explicit_masks],
}

# --- wrong: known mistakes as students write them ------------------------------------------


def _relu_of_the_curvature(weight, diagonal):
    return torch.relu(diagonal) * weight**2 / 2


def _fisher_image_by_image(x, labels, first, second):
    weights = [t.detach().clone().requires_grad_() for t in (first, second)]
    total = [torch.zeros_like(w) for w in weights]
    for image, label in zip(x, labels, strict=True):
        loss = F.cross_entropy(torch.relu(weights[0] @ image) @ weights[1].T, label)
        for t, g in zip(total, torch.autograd.grad(loss, weights), strict=True):
            t += g**2 / len(x)
    return total


def _square_of_grad(x, labels, first, second):
    weights = [t.detach().clone().requires_grad_() for t in (first, second)]
    F.cross_entropy(torch.relu(x @ weights[0].T) @ weights[1].T, labels).backward()
    return tuple(w.grad**2 for w in weights)


def _grad_of_the_sum_of_grad(x, labels, first, second):
    weights = [t.detach().clone().requires_grad_() for t in (first, second)]
    loss = F.cross_entropy(torch.relu(x @ weights[0].T) @ weights[1].T, labels)
    found = []
    for w in weights:
        (g,) = torch.autograd.grad(loss, w, create_graph=True)
        found.append(torch.autograd.grad(g.sum(), w, retain_graph=True)[0])
    return found


def _all_by_state(model, images, labels):
    loss = F.cross_entropy(model(images), labels)
    names, tensors = zip(*model.named_parameters(), strict=True)
    gradients = torch.autograd.grad(loss, tensors)
    return {n: (g * p).abs() for n, p, g in zip(names, tensors, gradients, strict=True)}


def _largest_of_a_layer_is_1(model, images, labels):
    return {n: s / s.max() for n, s in right_scores(model, images, labels).items()}


def _two_images_of_one(model, images, labels):
    """The sum over the images of what each adds to the mean, in absolute value."""
    found = {}
    for image, label in zip(images, labels, strict=True):
        for n, s in right_scores(model, image[None], label[None]).items():
            found[n] = found.get(n, 0) + s / len(images)
    return found


def _half_of_h_times_magnitude(weight, diagonal):
    return 0.5 * diagonal * weight.abs()


DISGUISED = [
    ("obd_saliency", "negative curvature clamped", _relu_of_the_curvature),
    ("obd_saliency", "half the magnitude", _half_of_h_times_magnitude),
    given_as(torch.Tensor.float, obd_saliency, "not halved"),
    given_as(torch.Tensor.float, obd_saliency, "divided by the curvature"),
    ("hessian_diagonal", "Fisher", _fisher_image_by_image),
    ("hessian_diagonal", "squared mean gradient", _square_of_grad),
    ("hessian_diagonal", "row sums", _grad_of_the_sum_of_grad),
    ("snip_scores", "biases too", _all_by_state),
    ("snip_scores", "absolute value for each image", _two_images_of_one),
    given_as(in_each(torch.Tensor.double), snip_scores, "signed"),
]
RAISING = {}

# --- wrong otherwise -----------------------------------------------------------------------

SHAPE = "has one number per weight, in the shape and on the device of the weights"


def _clamped_and_not_halved(weight, diagonal):
    return diagonal.clamp(min=0) * weight**2


def _slope_too(weight, diagonal):
    return diagonal * weight + right_rises(weight, diagonal)


def _of_the_standard_deviation(weight, diagonal):
    return right_rises(weight, diagonal) / weight.std()


def _ranked(weight, diagonal):
    return right_rises(weight, diagonal).flatten().argsort().float().view(weight.shape)


def _squares_the_weight_in_place(weight, diagonal):
    weight.data.pow_(2)
    return weight * diagonal / 2


def _mean_over_classes_too(x, labels, first, second):
    return [diagonal / len(second) for diagonal in right_pair(x, labels, first, second)]


def _no_softmax(x, labels, first, second):
    hidden = torch.relu(x @ first.T)
    p = torch.sigmoid(hidden @ second.T)
    h = p * (1 - p)
    return (h @ second**2 * (hidden > 0)).T @ x**2 / len(x), h.T @ hidden**2 / len(x)


def _softmax_over_the_images(x, labels, first, second):
    hidden = torch.relu(x @ first.T)
    p = (hidden @ second.T).softmax(0)
    h = p * (1 - p)
    return (h @ second**2 * (hidden > 0)).T @ x**2 / len(x), h.T @ hidden**2 / len(x)


def _softmax_by_hand(x, labels, first, second):
    x, first, second = (t.detach().float() for t in (x, first, second))
    hidden = torch.relu(x @ first.T)
    e = (hidden @ second.T).exp()
    p = e / e.sum(1, keepdim=True)
    h = p * (1 - p)
    return (h @ second**2 * (hidden > 0)).T @ x**2 / len(x), h.T @ hidden**2 / len(x)


def _first_as_a_gradient(x, labels, first, second):
    """The square of the weights is forgotten, and so is the ReLU; `second` is right."""
    hidden = torch.relu(x @ first.T)
    p = (hidden @ second.T).softmax(1)
    h = p * (1 - p)
    return (h @ second).T @ x**2 / len(x), h.T @ hidden**2 / len(x)


def _relu_before_the_squares(x, labels, first, second):
    """`second` is not squared for `first`, nor `hidden` for `second`."""
    hidden = torch.relu(x @ first.T)
    p = (hidden @ second.T).softmax(1)
    h = p * (1 - p)
    return (h @ second * (hidden > 0)).T @ x**2 / len(x), h.T @ hidden / len(x)


def _trained_a_step(model, images, labels):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    found = right_scores(model, images, labels)
    F.cross_entropy(model(images), labels).backward()
    optimizer.step()
    optimizer.zero_grad()
    return found


def _frozen_biases(model, images, labels):
    for p in model.parameters():
        p.requires_grad_(p.dim() > 1)
    return right_scores(model, images, labels)


def _backward(model, images, labels):
    F.cross_entropy(model(images), labels).backward()
    return {n: (p * p.grad).abs() for n, p in model.named_parameters() if p.dim() > 1}


def _backward_and_then_none(model, images, labels):
    found = _backward(model, images, labels)
    model.zero_grad()
    return found


def _weights_by_name(model, images, labels):
    weights = {n: p for n, p in model.named_parameters() if n.endswith("weight")}
    gradients = torch.autograd.grad(F.cross_entropy(model(images), labels), list(weights.values()))
    return {n: (g * weights[n]).abs() for n, g in zip(weights, gradients, strict=True)}


def _squared_loss(model, images, labels):
    logits = model(images)
    loss = F.mse_loss(logits, F.one_hot(labels, logits.shape[1]).to(logits.dtype))
    weights = {n: p for n, p in model.named_parameters() if p.dim() > 1}
    gradients = torch.autograd.grad(loss, list(weights.values()))
    return {n: (g * weights[n]).abs() for n, g in zip(weights, gradients, strict=True)}


def _squared(model, images, labels):
    return {n: s**2 for n, s in right_scores(model, images, labels).items()}


def _named_by_layer(model, images, labels):
    found = right_scores(model, images, labels)
    return {name.removesuffix(".weight"): scores for name, scores in found.items()}


WRONG = {
    "obd_saliency": {
        changed(right_rises, torch.Tensor.tolist): r"the saliency is a tensor.*given: +\[",
        changed(right_rises, torch.Tensor.long): "is a dense tensor of floats.*given: +torch.int64",
        changed(right_rises, torch.Tensor.flatten): SHAPE,
        changed(right_rises, lambda rise: rise * torch.nan): "your saliency is nan",
        _clamped_and_not_halved: "in parts: .*: a parabola with the second derivative h is",
        _slope_too: "wrong where all weights are 1, wrong where all second|your saliency is",
        _of_the_standard_deviation: r"at \[\d, \d\] the weight is -?[\d.]+ and the second deriv",
        _ranked: r"a quadratic error changes by -?[\d.]+ when this weight becomes 0",
        _squares_the_weight_in_place: CHANGED,
        (lambda weight, diagonal: (weight, diagonal)): "the saliency is a tensor",
        (lambda weight, diagonal: {"weight": weight}): "the saliency is a tensor",
    },
    "hessian_diagonal": {
        (lambda *case: right_pair(*case)[0]): "return a pair of tensors, the diagonal for `first`",
        (lambda *case: dict(zip("ab", right_pair(*case), strict=True))): "return a pair of tensors",
        (lambda *case: right_pair(*case)[::-1]): "the two are right, in the other order",
        (lambda *case: [t.T for t in right_pair(*case)]): f"the diagonal for `first` {SHAPE}",
        (lambda *case: [t.tolist() for t in right_pair(*case)]): "for `first` is a tensor.*given",
        (lambda *case: (right_pair(*case)[0], None)): "the diagonal for `second` is a tensor",
        (lambda *case: [t.long() for t in right_pair(*case)]): "a dense tensor of floats",
        (lambda *case: [t.sum() for t in right_pair(*case)]): f"the diagonal for `first` {SHAPE}",
        (
            lambda *case: tuple(torch.zeros_like(t) for t in case[2:])
        ): r"by first\[\d, \d\] is .* when carried back(?!.*whole row)",
        _mean_over_classes_too: r"by first\[\d, \d\] is .* when carried back",
        _no_softmax: r"by first\[\d, \d\] is [\d.e-]+ when carried back \(the exact one is [\d.e-]",
        _softmax_over_the_images: r"by first\[\d, \d\] is .* when carried back",
        _softmax_by_hand: r"yours is nan. Some numbers are not finite: exp\(\) of a large logit",
        _first_as_a_gradient: "wrong in first, right in second",
        _relu_before_the_squares: "in first: on the way back to the hidden.*in second: a weight",
        (lambda x, labels, first, second: right_pair(x.mul_(2), labels, first, second)): CHANGED,
    },
    "snip_scores": {
        (lambda *case: list(right_scores(*case).values())): "return a dict that maps names",
        changed(right_scores, in_each(torch.Tensor.tolist)): r"the score of 0.weight is a tensor",
        changed(right_scores, in_each(torch.Tensor.sum)): f"the score of 0.weight {SHAPE}",
        changed(right_scores, in_each(torch.Tensor.long)): "a dense tensor of floats",
        _trained_a_step: CHANGED,
        _frozen_biases: CHANGED,
        _backward: r"scores are right, and your function leaves gradients behind in the model's",
        _backward_and_then_none: r"added to one that was in \.grad before: backward\(\) adds",
        _weights_by_name: r"and no others; 1.weight has one axis and is no weight",
        _squared_loss: r"the slope of the loss in its mask -?[\d.e-]+: your score is",
        _squared: r"at \[\d, \d\] of 0.weight the weight is",
        _named_by_layer: r"the names are those of named_parameters\(\).*given: +\['0', '2'\]",
        _largest_of_a_layer_is_1: r"at \[\d, \d\] of 0.weight the weight is .*your score is",
    },
}
