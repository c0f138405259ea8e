"""Answers to the exercises of chapter 06, right ones and wrong ones."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shrink.chapters import distil
from tests.chapters.wrong import changed

right_soft = distil.soften.reference

# --- right ---------------------------------------------------------------------------------


def soften_by_logarithms(logits, temperature):
    cooled = logits.double() / temperature
    return (cooled - cooled.logsumexp(-1, keepdim=True)).exp()


def loss_by_kl_div(student_logits, teacher_logits, labels, temperature, alpha):
    log_p = F.log_softmax(student_logits / temperature, -1)
    q = F.softmax(teacher_logits / temperature, -1)
    soft = F.kl_div(log_p, q, reduction="batchmean") * temperature**2
    return F.cross_entropy(student_logits, labels) * (1 - alpha) + soft * alpha


def loss_less_the_entropy(student_logits, teacher_logits, labels, temperature, alpha):
    q = torch.softmax(teacher_logits / temperature, -1)
    entropy = torch.special.entr(q).sum(-1).mean()
    crossed = F.cross_entropy(student_logits / temperature, q)
    hard = F.nll_loss(student_logits.log_softmax(1), labels)
    return hard * (1 - alpha) + (crossed - entropy) * alpha * temperature**2


def bias_by_a_fine_grid(logits, labels, missing):
    spread = (logits.max() - logits.min()).item()
    biases = torch.linspace(-spread, spread, 801)
    moved = logits.repeat(len(biases), 1, 1)
    moved[:, :, missing] += biases[:, None]
    return biases[(moved.argmax(2) == labels).sum(1).argmax()].item()


def pair_by_torch(student_logits, teacher_logits, temperature):
    p, q = student_logits / temperature, torch.softmax(teacher_logits / temperature, -1)
    return [F.cross_entropy(p, q), F.kl_div(p.log_softmax(-1), q, reduction="batchmean")]


def hint_by_torch(student_features, teacher_features, regressor):
    return 0.5 * F.mse_loss(regressor(student_features), teacher_features.detach())


def distance_both_ways(student_features, teacher_features):
    def distances(x):
        n, x = len(x), x.reshape(len(x), -1)
        other = ~torch.eye(n, dtype=torch.bool)
        found = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")[other]
        return found / found.mean()

    theirs = distances(teacher_features).detach()
    return F.smooth_l1_loss(distances(student_features), theirs)


def another_break():
    student = nn.Parameter(torch.tensor([[20.0, 0.0]] * 3, dtype=torch.float64))
    teacher = torch.tensor([[8.0, 6.0]] * 3)
    return [student, teacher, torch.tensor([0, 0, 0]), torch.tensor(2.0), np.float64(0.95)]


RIGHT = {
    "soften": [soften_by_logarithms],
    "distillation_loss": [loss_by_kl_div, loss_less_the_entropy],
    "best_bias": [bias_by_a_fine_grid],
    "soft_losses": [pair_by_torch],
    "hint_loss": [hint_by_torch],
    "distance_loss": [distance_both_ways],
    "break_the_loss": [another_break],
}


# --- known mistakes, as students write them ------------------------------------------------


def _plain_exponentials(logits, temperature):
    powers = torch.exp(logits / temperature)
    return powers / powers.sum(dim=-1, keepdim=True)


def _loss_of(soft):
    """The loss with T² times this soft part."""
    return lambda z, v, y, T, alpha: (
        (1 - alpha) * F.cross_entropy(z, y) + alpha * T**2 * soft(z / T, v / T)
    )


def _kl_div(z, v, reduction="batchmean"):
    return F.kl_div(z.log_softmax(-1), v.softmax(-1), reduction=reduction)


def _soft_labels(z, v):
    return F.cross_entropy(z, v.softmax(-1))


def _average_gap(logits, labels, missing):
    some = logits[labels == missing].clone()
    own = some[:, missing].clone()
    some[:, missing] = -1e9
    return (some.amax(1) - own).mean()


def _all_with_all(student, teacher):
    ours, theirs = (torch.cdist(x.flatten(1), x.flatten(1)) for x in (student, teacher.detach()))
    return F.smooth_l1_loss(ours / ours.mean(), theirs / theirs.mean())


DISGUISED = [
    ("soften", "overflow", _plain_exponentials),
    ("distillation_loss", "mean over the classes", _loss_of(lambda z, v: _kl_div(z, v, "mean"))),
    ("distillation_loss", "summed", _loss_of(lambda z, v: _kl_div(z, v, "sum"))),
    ("distillation_loss", "arguments exchanged", _loss_of(lambda z, v: _kl_div(v, z))),
    ("distillation_loss", "cross entropy", _loss_of(_soft_labels)),
    ("best_bias", "mean shortfall", _average_gap),
    ("distance_loss", "itself included", _all_with_all),
]


# --- wrong ---------------------------------------------------------------------------------


def _softmax_then_log(z, v):
    return F.kl_div(z.softmax(-1).log(), v.softmax(-1), reduction="batchmean")


def _half_of_it_learns(z, v, y, T, alpha):
    hard = F.cross_entropy(z, y)
    whole = loss_by_kl_div(z, v, y, T, alpha).detach()
    return whole + (1 - alpha) * (hard - hard.detach())


def _grid_of_integers(logits, labels, missing):
    found = []
    for bias in range(-60, 61):
        moved = logits.clone()
        moved[:, missing] += bias
        found.append((int((moved.argmax(1) == labels).sum()), -abs(bias), bias))
    return max(found)[2]


def _teacher_follows(student, teacher, regressor):
    return (regressor(student) - teacher).square().mean() / 2


def _regressor_stays(student, teacher, regressor):
    with torch.no_grad():
        guided = regressor(student)
    return (guided - teacher.detach()).square().mean() / 2 + 0 * student.sum()


def _student_stays(student, teacher, regressor):
    return hint_by_torch(student.detach(), teacher, regressor) + 0 * student.sum()


def _both_follow(student, teacher):
    ours, theirs = (torch.pdist(x.flatten(1)) for x in (student, teacher))
    return F.huber_loss(ours / ours.mean(), theirs / theirs.mean())


def _root_of_nothing(student, teacher):
    n = len(student)

    def distances(x):
        x = x.flatten(1)
        found = (x[:, None] - x[None]).square().sum(-1).sqrt()
        return found / (found.sum() / (n * (n - 1)))

    found = F.huber_loss(distances(student), distances(teacher.detach()), reduction="sum")
    return found / (n * (n - 1))


# two mistakes at once, which no hint knows: the parts are told


def _exchanged_without_t2(z, v, y, T, alpha):
    return (1 - alpha) * F.cross_entropy(z, y) + alpha * _kl_div(v / T, z / T)


def _hard_part_softened_and_t(z, v, y, T, alpha):
    return (1 - alpha) * F.cross_entropy(z / T, y) + alpha * T * _kl_div(z / T, v / T)


def _one_exchanged_and_one_softened(z, v, y, T, alpha):
    return alpha * F.cross_entropy(z / T, y) + (1 - alpha) * T**2 * _kl_div(z / T, v)


def _subtracted_and_whole(logits, labels, missing):
    return -_grid_of_integers(logits, labels, missing)


def the_chapters_break():
    student = torch.tensor([[16.0, 0.0, 0.0]] * 3)
    teacher = torch.tensor([[10.0, 8.0, 0.0]] * 3)
    return student, teacher, torch.tensor([0, 0, 0]), 2, 0.9


def replaced(**parts):
    """The chapter's input that breaks the loss, with some of its five parts replaced."""
    names = ("student", "teacher", "labels", "temperature", "alpha")
    return lambda: tuple({**dict(zip(names, the_chapters_break(), strict=True)), **parts}.values())


def hidden(*names):
    """What is said of these mistakes: they are among those that an input does not break."""
    return "".join(rf".*{name} \([\d.]+ times\)" for name in names) + ": on your input neither"


APART = replaced(
    student=torch.tensor([[16.0, 0.0, 0.0], [0.0, 16.0, 0.0], [0.0, 0.0, 16.0]]),
    teacher=torch.tensor([[10.0, 8.0, 0.0], [0.0, 10.0, 8.0], [8.0, 0.0, 10.0]]),
    labels=torch.tensor([0, 1, 2]),
)


def _one_image():
    student, teacher, labels, temperature, alpha = the_chapters_break()
    return student[:1], teacher[:1], labels[:1], temperature, alpha


NO_LOSS = "the loss is a float tensor without axes"
NO_GRADIENT = "the loss is right, and no gradient reaches the student's"
OTHER_GRADIENT = "the loss is right, and its gradient for the student's "
WRONG = {
    "soften": {
        changed(right_soft, Tensor.tolist): r"probabilities are a float tensor.*given: +\[",
        changed(right_soft, lambda p: p[..., :1]): "the shape and device of the logits",
        lambda logits, temperature: right_soft(logits, temperature * 1.01): (
            r"not the probabilities at a temperature of [\d.]+"
        ),
    },
    "distillation_loss": {
        changed(loss_by_kl_div, Tensor.item): NO_LOSS,
        changed(loss_by_kl_div, lambda loss: loss[None]): NO_LOSS,
        changed(loss_by_kl_div, Tensor.detach): NO_GRADIENT,
        _half_of_it_learns: OTHER_GRADIENT,
        changed(loss_by_kl_div, lambda loss: 1.1 * loss): r"the loss is [\d.]+; yours is [\d.]+",
        _loss_of(_softmax_then_log): "the loss is .*; yours is (nan|inf)",
        _exchanged_without_t2: (
            "in parts: right at alpha = 0, wrong at alpha = 1, right at alpha = 0 and temperature "
            "= 1, wrong at alpha = 1 and temperature = 1\n +at alpha = 1 and temperature = 1: this "
            "is KL.p ‖ q., which checks"
        ),
        _hard_part_softened_and_t: (
            "in parts: wrong at alpha = 0, wrong at alpha = 1, right at alpha = 0 and temperature "
            "= 1, right at alpha = 1 and temperature = 1\n"
        ),
        _one_exchanged_and_one_softened: "at alpha = 0 and temperature = 1: alpha is the weight of",
    },
    "best_bias": {
        lambda *_: math.inf: "return one number, the bias",
        lambda *_: 0: r"with this bias \d+ of 200 images are right; with another \d+",
        _grid_of_integers: "images are right; with another|hint: +whole numbers",
        _subtracted_and_whole: (
            "(wrong where the best bias is about 0.24.*about -14: |hint: +)"
            "this is the number to subtract"
        ),
    },
    "soft_losses": {
        changed(pair_by_torch, lambda pair: pair[0]): "return two losses",
        changed(pair_by_torch, lambda pair: [loss.detach() for loss in pair]): NO_GRADIENT,
    },
    "hint_loss": {
        changed(hint_by_torch, Tensor.item): NO_LOSS,
        _teacher_follows: "a gradient goes to the teacher's features",
        _regressor_stays: OTHER_GRADIENT + "features is not",
        _student_stays: OTHER_GRADIENT + "features is not",
    },
    "distance_loss": {
        lambda *_: 0.5: NO_LOSS,
        _both_follow: "a gradient goes to the teacher's features",
        _root_of_nothing: OTHER_GRADIENT + "features is not.*root",
    },
    "break_the_loss": {
        replaced(temperature=1): hidden("no T²", "teacher not softened"),
        replaced(alpha=0.5): hidden("alpha exchanged"),
        replaced(student=torch.tensor([[6.0, 0.0, 0.0]] * 3)): hidden("arguments exchanged"),
        replaced(teacher=torch.tensor([[12.0, 12.0, 0.0]] * 3)): hidden("teacher not softened"),
        APART: hidden("over the images"),
        _one_image: hidden("summed"),
        lambda: (1, 2, 3): "return five things",
        replaced(student=torch.zeros(3)): "logits are float tensors",
        replaced(student=torch.zeros(2, 3)): "for the same images and classes",
        replaced(student=torch.zeros(3, 5), teacher=torch.zeros(3, 5)): "at most 3 images",
        replaced(student=torch.full((3, 3), 30.0)): "logits lie from -20 to 20",
        replaced(teacher=torch.full((3, 3), math.nan)): "logits lie from -20 to 20",
        replaced(labels=torch.tensor([0.0, 0.0, 0.0])): "labels are integers",
        replaced(labels=torch.tensor([0, 0, 3])): "labels lie from 0 to 2",
        replaced(temperature=0): "the temperature is a number",
        replaced(alpha=1.5): "alpha is a number from 0 to 1",
        replaced(teacher=the_chapters_break()[0], alpha=1): "keep it from 0.01 to 100",
    },
}
