"""The exercises of chapter 06: right answers pass, and each wrong one is told why."""

import math
import re
import time

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from shrink.chapters import distil
from shrink.chapters.distil import bias as distil_bias
from shrink.chapters.distil import guidance as distil_hints
from shrink.chapters.distil import losses as distil_loss
from shrink.classroom.exercises.exercise import Exercise
from tests import depth
from tests.chapters.judging import judge, rejected

SEEDS = depth.seeds(30)
FEW_SEEDS = depth.seeds(8)
NAMES = (
    "soften",
    "distillation_loss",
    "best_bias",
    "soft_losses",
    "hint_loss",
    "distance_loss",
    "break_the_loss",
)
EXERCISES = {name: getattr(distil, name) for name in NAMES}
WITH_MISTAKES = {name: e for name, e in EXERCISES.items() if e.mistakes}


@pytest.fixture(autouse=True)
def fresh_exercises():
    yield
    for exercise in EXERCISES.values():
        exercise.student, exercise.passed = None, False


# --- right answers -------------------------------------------------------------------------


def the_chapters_soften(logits, temperature):
    lowered = logits - logits.amax(-1, keepdim=True)
    powers = (lowered / temperature).exp()
    return powers / powers.sum(-1, keepdim=True)


def soften_by_torch(logits, temperature):
    return torch.softmax(logits / temperature, dim=-1)


def soften_by_logarithms(logits, temperature):
    cooled = logits.double() / temperature
    return (cooled - cooled.logsumexp(-1, keepdim=True)).exp()


def soften_by_comparing(logits, temperature):
    """Each class's share is 1 over the sum of the odds of all classes against it."""
    against = (logits.unsqueeze(-2) - logits.unsqueeze(-1)) / temperature
    return 1 / against.exp().sum(-1)


def the_chapters_loss(student_logits, teacher_logits, labels, temperature, alpha):
    log_p = F.log_softmax(student_logits / temperature, -1)
    log_q = F.log_softmax(teacher_logits / temperature, -1)
    soft = (log_q.exp() * (log_q - log_p)).sum(-1).mean()
    hard = F.cross_entropy(student_logits, labels)
    return (1 - alpha) * hard + alpha * temperature**2 * soft


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


def the_chapters_bias(logits, labels, missing):
    raised = logits.clone()
    raised[:, missing] = -torch.inf
    gaps = (raised.amax(1) - logits[:, missing]).sort().values
    found = []
    for bias in ((gaps[1:] + gaps[:-1]) / 2).tolist():
        raised[:, missing] = logits[:, missing] + bias
        found.append((int((raised.argmax(1) == labels).sum()), bias))
    return max(found)[1]


def bias_by_a_fine_grid(logits, labels, missing):
    spread = (logits.max() - logits.min()).item()
    biases = torch.linspace(-spread, spread, 801)
    moved = logits.repeat(len(biases), 1, 1)
    moved[:, :, missing] += biases[:, None]
    return biases[(moved.argmax(2) == labels).sum(1).argmax()].item()


def bias_by_sums(logits, labels, missing):
    """Sorted by their gaps, images of the class become right and others wrong, one by one."""
    others = torch.cat([logits[:, :missing], logits[:, missing + 1 :]], 1)
    gaps, order = (others.max(1).values - logits[:, missing]).sort()
    names = torch.tensor([c for c in range(logits.shape[1]) if c != missing])
    right = names[others.argmax(1)] == labels
    change = (labels == missing).long() - right.long()
    gained = torch.cat([torch.zeros(1).long(), change[order].cumsum(0)])
    i = int(gained.argmax())
    ends = torch.cat([gaps[:1] - 1, gaps, gaps[-1:] + 1])
    return (ends[i] + ends[i + 1]) / 2


def the_chapters_pair(student_logits, teacher_logits, temperature):
    log_p = torch.log_softmax(student_logits / temperature, -1)
    log_q = torch.log_softmax(teacher_logits / temperature, -1)
    q = log_q.exp()
    cross_entropy = -(q * log_p).sum(-1).mean()
    return cross_entropy, cross_entropy + (q * log_q).sum(-1).mean()


def pair_by_torch(student_logits, teacher_logits, temperature):
    p, q = student_logits / temperature, torch.softmax(teacher_logits / temperature, -1)
    return [F.cross_entropy(p, q), F.kl_div(p.log_softmax(-1), q, reduction="batchmean")]


def the_chapters_hint(student_features, teacher_features, regressor):
    guided = regressor(student_features)
    return (guided - teacher_features.detach()).square().mean() / 2


def hint_by_torch(student_features, teacher_features, regressor):
    return 0.5 * F.mse_loss(regressor(student_features), teacher_features.detach())


def hint_by_a_sum(student_features, teacher_features, regressor):
    off = regressor(student_features) - teacher_features.data
    return (off**2).sum() / (2 * off.numel())


def the_chapters_distance(student_features, teacher_features):
    ours = torch.pdist(student_features.flatten(1))
    theirs = torch.pdist(teacher_features.detach().flatten(1))
    return F.huber_loss(ours / ours.mean(), theirs / theirs.mean())


def distance_pair_by_pair(student_features, teacher_features):
    def distances(x):
        n = len(x)
        pairs = [(i, j) for i in range(n) for j in range(i)]
        found = torch.stack([(x[i] - x[j]).flatten().norm() for i, j in pairs])
        return found / found.sum() * len(found)

    off = (distances(student_features) - distances(teacher_features.detach())).abs()
    return torch.where(off <= 1, off**2 / 2, off - 0.5).mean()


def distance_both_ways(student_features, teacher_features):
    def distances(x):
        n, x = len(x), x.reshape(len(x), -1)
        other = ~torch.eye(n, dtype=torch.bool)
        found = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")[other]
        return found / found.mean()

    theirs = distances(teacher_features).detach()
    return F.smooth_l1_loss(distances(student_features), theirs)


def the_chapters_break():
    student = torch.tensor([[16.0, 0.0, 0.0]] * 3)
    teacher = torch.tensor([[10.0, 8.0, 0.0]] * 3)
    return student, teacher, torch.tensor([0, 0, 0]), 2, 0.9


def another_break():
    student = nn.Parameter(torch.tensor([[20.0, 0.0]] * 3, dtype=torch.float64))
    teacher = torch.tensor([[8.0, 6.0]] * 3)
    return [student, teacher, torch.tensor([0, 0, 0]), torch.tensor(2.0), np.float64(0.95)]


RIGHT = {
    "soften": [
        the_chapters_soften,
        soften_by_torch,
        soften_by_logarithms,
        soften_by_comparing,
    ],
    "distillation_loss": [the_chapters_loss, loss_by_kl_div, loss_less_the_entropy],
    "best_bias": [the_chapters_bias, bias_by_a_fine_grid, bias_by_sums],
    "soft_losses": [the_chapters_pair, pair_by_torch],
    "hint_loss": [the_chapters_hint, hint_by_torch, hint_by_a_sum],
    "distance_loss": [the_chapters_distance, distance_pair_by_pair, distance_both_ways],
    "break_the_loss": [the_chapters_break, another_break],
}


@pytest.mark.parametrize(
    ("name", "function"),
    [
        pytest.param(name, f, id=f"{name}-{f.__name__}")
        for name, functions in RIGHT.items()
        for f in functions
    ],
)
def test_right_answers_pass(name, function):
    for seed in SEEDS:
        outcome = judge(EXERCISES[name], function, seed)
        assert outcome.state == "done", outcome.message


@pytest.mark.parametrize("name", [n for n in NAMES if EXERCISES[n].reference])
def test_the_reference_passes(name):
    for seed in SEEDS:
        outcome = judge(EXERCISES[name], EXERCISES[name].reference, seed)
        assert outcome.state == "done", outcome.message


def _stub(*args):
    raise NotImplementedError("your turn")


@pytest.mark.parametrize("exercise", EXERCISES.values(), ids=EXERCISES)
def test_the_stub_is_not_done_yet(exercise):
    assert judge(exercise, _stub).state == "not done yet"


@pytest.mark.parametrize("name", EXERCISES)
def test_a_check_is_quick(name):
    judge(EXERCISES[name], RIGHT[name][0])
    start = time.process_time()
    judge(EXERCISES[name], RIGHT[name][0])
    assert time.process_time() - start < 1.5


def test_the_exercises_come_in_the_order_of_the_chapter_and_the_core_fits_its_time():
    found = [e.name for e in vars(distil).values() if isinstance(e, Exercise)]
    assert found == list(NAMES)
    exercises = list(EXERCISES.values())
    assert [exercise.core for exercise in exercises] == [True] * 3 + [False] * 4
    assert [exercise.minutes for exercise in exercises] == [10, 15, 15, 8, 10, 12, 10]
    assert sum(exercise.minutes for exercise in exercises if exercise.core) <= 40
    for name in ("soft_losses", "break_the_loss"):
        assert EXERCISES[name].reference is None


# --- the oracles ---------------------------------------------------------------------------


def test_the_examples_of_the_chapter():
    odds = torch.tensor([16.0, 4.0, 1.0])
    assert distil.softening._right(odds.log(), 2).tolist() == pytest.approx([4 / 7, 2 / 7, 1 / 7])
    z, v, y = torch.zeros(1, 2), torch.tensor([[0.0, math.log(3)]]), torch.tensor([1])
    assert float(distil_loss.right_loss(z, v, y, 1, 0)) == pytest.approx(0.6931, abs=1e-4)
    assert float(distil_loss.right_loss(z, v, y, 1, 1)) == pytest.approx(0.1308, abs=1e-4)
    logits = torch.tensor([[2.0, 0.0], [9.0, 1.0], [3.0, 0.0], [1.0, 0.0]])
    labels = torch.tensor([1, 0, 1, 0])
    bias, most = distil_bias.best(logits, labels, 1)
    assert (3 < bias < 8, most) == (True, 3)
    one, hint = torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 4.0]])
    assert float(distil_hints.right_hint(one, hint, nn.Identity())) == 1
    line, fold = torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[0.0], [5.0], [0.0]])
    assert float(distil_hints.right_distance(line, fold)) == pytest.approx(0.5208, abs=1e-4)


def test_the_gradient_is_what_small_steps_of_torchs_loss_do():
    g = torch.Generator().manual_seed(0)
    z, v = (2 * torch.randn(3, 4, generator=g, dtype=torch.float64) for _ in range(2))
    y = torch.tensor([1, 0, 3])
    for temperature, alpha in ((0.5, 0.3), (4.0, 0.9)):
        case = v, y, temperature, alpha
        found = distil_loss.right_gradient(z, *case)
        for at in np.ndindex(3, 4):
            step = torch.zeros_like(z)
            step[at] = 1e-6
            ends = [loss_by_kl_div(z + sign * step, *case) for sign in (1, -1)]
            slope = float(ends[0] - ends[1]) / 2e-6
            assert float(found[at]) == pytest.approx(slope, abs=1e-7)


def test_no_bias_of_a_fine_grid_is_better_than_the_oracles():
    for seed in range(10):
        g = torch.Generator().manual_seed(seed)
        logits, labels = torch.randn(60, 4, generator=g), torch.randint(4, (60,), generator=g)
        bias, most = distil_bias.best(logits, labels, 2)
        grid = [distil_bias.right_with(logits, labels, 2, b) for b in np.linspace(-6, 6, 1201)]
        assert distil_bias.right_with(logits, labels, 2, bias) == most >= max(grid)


# --- known mistakes ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exercise", "mistake"),
    [
        pytest.param(exercise, mistake, id=f"{name}-{mistake.name}")
        for name, exercise in WITH_MISTAKES.items()
        for mistake in exercise.mistakes
    ],
)
def test_a_known_mistake_is_rejected_with_its_hint(exercise, mistake):
    for seed in SEEDS:
        message = rejected(exercise, mistake.function, seed)
        assert f"\n  hint:     {mistake.hint}\n" in message, message
        assert message.startswith(f"{exercise.name}: ")
        assert "your code raised" not in message
        assert max(map(len, message.splitlines())) < 450


@pytest.mark.parametrize("exercise", WITH_MISTAKES.values(), ids=WITH_MISTAKES)
def test_each_mistake_has_a_name_and_a_hint_of_its_own(exercise):
    mistakes = exercise.mistakes
    assert len(mistakes) >= 5
    assert len({m.name for m in mistakes}) == len({m.hint for m in mistakes}) == len(mistakes)


def _plain_exponentials(logits, temperature):
    powers = torch.exp(logits / temperature)
    return powers / powers.sum(dim=-1, keepdim=True)


def _first_axis(logits, temperature):
    return F.softmax(logits / temperature, dim=0)


def _kl_div_mean(z, v, y, T, alpha):
    soft = F.kl_div((z / T).log_softmax(-1), (v / T).softmax(-1), reduction="mean")
    return (1 - alpha) * F.cross_entropy(z, y) + alpha * T**2 * soft


def _kl_div_sum(z, v, y, T, alpha):
    soft = F.kl_div((z / T).log_softmax(-1), (v / T).softmax(-1), reduction="sum")
    return (1 - alpha) * F.cross_entropy(z, y) + alpha * T**2 * soft


def _kl_div_the_other_way(z, v, y, T, alpha):
    soft = F.kl_div((v / T).log_softmax(-1), (z / T).softmax(-1), reduction="batchmean")
    return (1 - alpha) * F.cross_entropy(z, y) + alpha * T**2 * soft


def _forgets_the_square(z, v, y, T, alpha):
    soft = F.kl_div((z / T).log_softmax(-1), (v / T).softmax(-1), reduction="batchmean")
    return (1 - alpha) * F.cross_entropy(z, y) + alpha * soft


def _softmax_then_log(z, v, y, T, alpha):
    soft = F.kl_div((z / T).softmax(-1).log(), (v / T).softmax(-1), reduction="batchmean")
    return (1 - alpha) * F.cross_entropy(z, y) + alpha * T**2 * soft


def _soft_labels(z, v, y, T, alpha):
    soft = F.cross_entropy(z / T, (v / T).softmax(-1))
    return (1 - alpha) * F.cross_entropy(z, y) + alpha * T**2 * soft


def _grid_of_integers(logits, labels, missing):
    found = []
    for bias in range(-60, 61):
        moved = logits.clone()
        moved[:, missing] += bias
        found.append((int((moved.argmax(1) == labels).sum()), -abs(bias), bias))
    return max(found)[2]


def _average_gap(logits, labels, missing):
    some = logits[labels == missing].clone()
    own = some[:, missing].clone()
    some[:, missing] = -1e9
    return (some.amax(1) - own).mean()


def _papers_sum(student, teacher, regressor):
    off = regressor(student) - teacher.detach()
    return 0.5 * off.pow(2).flatten(1).sum(1).mean()


def _mse(student, teacher, regressor):
    return F.mse_loss(regressor(student), teacher.detach())


def _all_with_all(student, teacher):
    ours, theirs = (torch.cdist(x.flatten(1), x.flatten(1)) for x in (student, teacher.detach()))
    return F.smooth_l1_loss(ours / ours.mean(), theirs / theirs.mean())


def _mean_square(student, teacher):
    ours, theirs = (torch.pdist(x.flatten(1)) for x in (student, teacher.detach()))
    return F.mse_loss(ours / ours.mean(), theirs / theirs.mean())


AS_STUDENTS_WRITE_THEM = [
    ("soften", "overflow", _plain_exponentials),
    ("soften", "over the images", _first_axis),
    ("distillation_loss", "mean over the classes", _kl_div_mean),
    ("distillation_loss", "summed", _kl_div_sum),
    ("distillation_loss", "arguments exchanged", _kl_div_the_other_way),
    ("distillation_loss", "no T²", _forgets_the_square),
    ("distillation_loss", "log of the softmax", _softmax_then_log),
    ("distillation_loss", "cross entropy", _soft_labels),
    ("best_bias", "mean shortfall", _average_gap),
    ("hint_loss", "summed over the features", _papers_sum),
    ("hint_loss", "not halved", _mse),
    ("distance_loss", "itself included", _all_with_all),
    ("distance_loss", "squares", _mean_square),
]


@pytest.mark.parametrize(("name", "mistake", "function"), AS_STUDENTS_WRITE_THEM)
def test_a_mistake_is_known_as_students_write_it(name, mistake, function):
    (found,) = (m for m in EXERCISES[name].mistakes if m.name == mistake)
    for seed in SEEDS:
        message = rejected(EXERCISES[name], function, seed)
        assert found.hint in message, message


# --- other wrong answers -------------------------------------------------------------------


def _nothing(*args):
    pass


def _raises(*args):
    raise ValueError("no idea")


def _number(*args):
    return 0.5


def _listed(logits, temperature):
    return the_chapters_soften(logits, temperature).tolist()


def _of_one_row(logits, temperature):
    return the_chapters_soften(logits, temperature)[..., :1]


def _in_place(logits, temperature):
    logits.data.div_(temperature)
    return torch.softmax(logits, -1)


def _a_little_off(logits, temperature):
    return the_chapters_soften(logits, temperature * 1.01)


def _of_each_image(z, v, y, T, alpha):
    return the_chapters_loss(z, v, y, T, alpha)[None]


def _as_number(*args):
    return the_chapters_loss(*args).item()


def _detached(*args):
    return the_chapters_loss(*args).detach()


def _half_of_it_learns(z, v, y, T, alpha):
    hard = F.cross_entropy(z, y)
    whole = the_chapters_loss(z, v, y, T, alpha).detach()
    return whole + (1 - alpha) * (hard - hard.detach())


def _ten_percent_more(*args):
    return 1.1 * the_chapters_loss(*args)


def _one_of_two(*args):
    return the_chapters_pair(*args)[0]


def _detached_pair(*args):
    return tuple(loss.detach() for loss in the_chapters_pair(*args))


def _teacher_follows(student, teacher, regressor):
    return (regressor(student) - teacher).square().mean() / 2


def _regressor_stays(student, teacher, regressor):
    with torch.no_grad():
        guided = regressor(student)
    return (guided - teacher.detach()).square().mean() / 2 + 0 * student.sum()


def _student_stays(student, teacher, regressor):
    return the_chapters_hint(student.detach(), teacher, regressor) + 0 * student.sum()


def _both_follow(student, teacher):
    ours, theirs = (torch.pdist(x.flatten(1)) for x in (student, teacher))
    return F.huber_loss(ours / ours.mean(), theirs / theirs.mean())


def _root_of_nothing(student, teacher):
    def distances(x):
        x = x.flatten(1)
        squares = (x[:, None] - x[None]).square().sum(-1)
        n = len(x)
        found = squares.sqrt()
        return found / (found.sum() / (n * (n - 1)))

    n = len(student)
    found = F.huber_loss(distances(student), distances(teacher.detach()), reduction="sum")
    return found / (n * (n - 1))


def _changes_logits(logits, labels, missing):
    logits[:, missing] += 1
    return the_chapters_bias(logits, labels, missing) + 1


def _infinite(*args):
    return math.inf


def _zero(*args):
    return 0


OTHERS = [
    ("soften", _nothing, "probabilities are a float tensor.*given: +None"),
    ("soften", _raises, 'ValueError: no idea.*at line .*raise ValueError\\("no idea"\\)'),
    ("soften", _listed, r"probabilities are a float tensor.*given: +\["),
    ("soften", _of_one_row, "the shape and device of the logits"),
    ("soften", _in_place, "your function changed its input"),
    ("soften", _a_little_off, r"not as at a temperature of [\d.]+"),
    ("distillation_loss", _nothing, "the loss is a float tensor without axes"),
    ("distillation_loss", _as_number, "the loss is a float tensor without axes"),
    ("distillation_loss", _of_each_image, "the loss is a float tensor without axes"),
    ("distillation_loss", _detached, "the loss is right, and no gradient reaches the student's"),
    ("distillation_loss", _half_of_it_learns, "the loss is right, and its gradient for the stud"),
    ("distillation_loss", _ten_percent_more, r"the loss is [\d.]+; yours is [\d.]+"),
    ("best_bias", _nothing, "return one number, the bias"),
    ("best_bias", _infinite, "return one number, the bias"),
    ("best_bias", _zero, r"with this bias \d+ of 200 images are right; with another \d+"),
    ("best_bias", _changes_logits, "your function changed its input"),
    ("soft_losses", _one_of_two, "return two losses"),
    ("soft_losses", _number, "return two losses"),
    ("soft_losses", _detached_pair, "the loss is right, and no gradient reaches the student's"),
    ("hint_loss", _nothing, "the loss is a float tensor without axes"),
    ("hint_loss", _teacher_follows, "a gradient goes to the teacher's features"),
    ("hint_loss", _regressor_stays, "its gradient for the student's features is not"),
    ("hint_loss", _student_stays, "its gradient for the student's features is not"),
    ("distance_loss", _number, "the loss is a float tensor without axes"),
    ("distance_loss", _both_follow, "a gradient goes to the teacher's features"),
    ("distance_loss", _root_of_nothing, "its gradient for the student's features is not.*root"),
]


@pytest.mark.parametrize(("name", "function", "message"), OTHERS)
def test_other_wrong_answers_are_told_what_is_wrong(name, function, message):
    for seed in FEW_SEEDS:
        text = rejected(EXERCISES[name], function, seed)
        assert re.search(message, text, re.DOTALL), text


def test_whole_numbers_are_too_coarse_for_a_bias():
    for seed in FEW_SEEDS:
        assert "images are right; with another" in rejected(
            distil.best_bias, _grid_of_integers, seed
        )


# --- break_the_loss ------------------------------------------------------------------------


def changed(**parts):
    """The chapter's input with some of its five parts replaced."""
    names = ("student", "teacher", "labels", "temperature", "alpha")
    return lambda: tuple({**dict(zip(names, the_chapters_break(), strict=True)), **parts}.values())


def test_each_mistake_to_break_is_far_off_on_the_chapters_input():
    student, teacher, *rest = the_chapters_break()
    case = student.double(), teacher.double(), *rest
    right = float(distil_loss.right_loss(*case))
    ratios = [float(m.function(*case)) / right for m in distil_loss.BREAKABLE]
    assert len(ratios) == 6 and all(not 0.5 < ratio < 2 for ratio in ratios)


APART = torch.tensor([[16.0, 0.0, 0.0], [0.0, 16.0, 0.0], [0.0, 0.0, 16.0]])
APART_TEACHER = torch.tensor([[10.0, 8.0, 0.0], [0.0, 10.0, 8.0], [8.0, 0.0, 10.0]])
HIDES = [
    (changed(temperature=1), "no T²|teacher not softened"),
    (changed(alpha=0.5), "alpha exchanged"),
    (changed(student=torch.tensor([[6.0, 0.0, 0.0]] * 3)), "arguments exchanged"),
    (changed(teacher=torch.tensor([[12.0, 12.0, 0.0]] * 3)), "teacher not softened"),
    (
        changed(student=APART, teacher=APART_TEACHER, labels=torch.tensor([0, 1, 2])),
        "over the images",
    ),
    (
        lambda: (
            torch.tensor([[16.0, 0.0, 0.0]]),
            torch.tensor([[10.0, 8.0, 0.0]]),
            torch.tensor([0]),
            2,
            0.9,
        ),
        "summed",
    ),
]


@pytest.mark.parametrize(("function", "names"), HIDES, ids=[names for _, names in HIDES])
def test_what_hides_a_mistake_is_told_which(function, names):
    text = rejected(distil.break_the_loss, function)
    said = re.search(r"break_the_loss: (.*): less than half", text)[1]
    found = {re.sub(r" \([\d.]+ times\)", "", one) for one in said.split(", ")}
    assert set(names.split("|")) <= found, text


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (_nothing, "return five things"),
        (lambda: (1, 2, 3), "return five things"),
        (changed(student=torch.zeros(3)), "logits are float tensors"),
        (changed(student=torch.zeros(3, 3).long()), "logits are float tensors"),
        (changed(student=torch.zeros(2, 3)), "for the same images and classes"),
        (changed(student=torch.zeros(4, 3), teacher=torch.zeros(4, 3)), "at most 3 images"),
        (changed(student=torch.zeros(3, 5), teacher=torch.zeros(3, 5)), "at most 3 images"),
        (changed(student=torch.full((3, 3), 30.0)), "logits lie from -20 to 20"),
        (changed(teacher=torch.full((3, 3), math.nan)), "logits lie from -20 to 20"),
        (changed(labels=torch.tensor([0.0, 0.0, 0.0])), "labels are integers"),
        (changed(labels=torch.tensor([0, 0])), "labels are integers"),
        (changed(labels=torch.tensor([0, 0, 3])), "labels lie from 0 to 2"),
        (changed(temperature=0), "the temperature is a number"),
        (changed(temperature="2"), "the temperature is a number"),
        (changed(alpha=1.5), "alpha is a number from 0 to 1"),
        (changed(teacher=the_chapters_break()[0], alpha=1), "keep it from 0.01 to 100"),
    ],
)
def test_what_is_no_input_for_the_loss_is_said(function, message):
    assert message in rejected(distil.break_the_loss, function)
