"""Students that train side by side are what each is when it trains by itself."""

import threading

import pytest
import torch
from torch.nn import functional as F

from shrink.chapters.distil import pupils
from shrink.chapters.distil.pupils import Lesson, Pupils, build, taught, teach
from shrink.classroom.data import Split
from shrink.classroom.training import Recipe, train
from shrink.distillation import distillation_loss

RECIPE = Recipe(epochs=2, learning_rate=0.05, weight_decay=0, batch_size=16)
WIDTH = 5


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def split():
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(100, 1, 28, 28, generator=generator)
    return Split(images, torch.randint(10, (100,), generator=generator))


@pytest.fixture(scope="module")
def answers():
    return 5 * torch.randn(100, 10, generator=torch.Generator().manual_seed(1))


def state_of(number, trained):
    states = trained.states().items()
    return {n.partition("/")[2]: t for n, t in states if n.startswith(f"{number}/")}


def alone_by_train(split, answers, lesson, recipe=RECIPE, order=0):
    """The lesson learned by itself, with the library's loss and a rate of its own."""
    net = build(lesson.seed, WIDTH)
    rate = recipe.learning_rate * lesson.rate
    own = Recipe(recipe.epochs, rate, recipe.weight_decay, recipe.batch_size)

    def loss(logits, images, labels, theirs):
        seen = labels != (-1 if lesson.missing is None else lesson.missing)
        return distillation_loss(
            logits[seen], theirs[seen], labels[seen], lesson.temperature, lesson.alpha
        )

    def examples(batch, generator):
        return split.images[batch], split.labels[batch], answers[batch]

    train(net, split, own, seed=order, loss=loss, examples=examples)
    return net.state_dict()


LESSONS = (
    Lesson(0, 1.0, 0.0),
    Lesson(0, 4.0, 0.9),
    Lesson(1, 0.1, 1.0, rate=3.0),
    Lesson(2, 20.0, 0.5, missing=3, rate=0.2),
    Lesson(2, 1.0, 0.0, missing=7),
)


def test_each_student_is_the_one_that_trains_by_itself(split, answers):
    trained, done = teach(split, answers, LESSONS, RECIPE, width=WIDTH, order=2)
    assert not trained.training and not done.stopped
    for number, lesson in enumerate(LESSONS):
        expected = alone_by_train(split, answers, lesson, order=2)
        assert len(expected) == 6
        for name, tensor in state_of(number, trained).items():
            assert tensor == pytest.approx(expected[name], abs=2e-5), (lesson, name)
            begun = build(lesson.seed, WIDTH).state_dict()[name]
            assert not torch.allclose(tensor, begun, atol=1e-4)


def test_weight_decay_is_the_recipes(split, answers):
    recipe = Recipe(2, 0.05, weight_decay=0.1, batch_size=16)
    trained, _ = teach(split, answers, LESSONS[:2], recipe, width=WIDTH)
    for number, lesson in enumerate(LESSONS[:2]):
        expected = alone_by_train(split, answers, lesson, recipe)
        for name, tensor in state_of(number, trained).items():
            assert tensor == pytest.approx(expected[name], abs=2e-5)


def test_the_stack_answers_as_its_networks_do(split):
    networks = [build(seed, WIDTH) for seed in range(3)]
    logits = Pupils(networks)(split.images)
    assert logits.shape == (3, 100, 10)
    for found, network in zip(logits, networks, strict=True):
        assert found.detach() == pytest.approx(network(split.images).detach(), abs=1e-5)


def test_with_few_labels_the_rest_is_learned_from_the_teacher_alone(split, answers):
    """The labels' part sees the first ten images only, the teacher's part all."""
    lesson = Lesson(0, 2.0, 0.5)
    trained, _ = teach(split, answers, [lesson], RECIPE, width=WIDTH, labelled=10)
    net = build(0, WIDTH)

    def examples(batch, generator):
        told = batch % 10
        both = torch.cat([split.images[batch], split.images[told]])
        return both, split.labels[told], answers[batch]

    def loss(logits, images, told, theirs):
        soft, hard = logits.chunk(2)
        kl = distillation_loss(soft, theirs, told, 2.0, 1.0)
        return 0.5 * F.cross_entropy(hard, told) + 0.5 * kl

    train(net, split, RECIPE, loss=loss, examples=examples)
    for name, tensor in state_of(0, trained).items():
        assert tensor == pytest.approx(net.state_dict()[name], abs=2e-5)


@pytest.mark.parametrize("alpha", [0, 0.5, 1])
def test_labels_beyond_the_told_ones_do_not_matter(split, answers, alpha):
    other = Split(split.images, torch.cat([split.labels[:20], 9 - split.labels[20:]]))
    trained = [
        teach(some, answers, [Lesson(0, 2.0, alpha)], RECIPE, width=WIDTH, labelled=20)[0]
        for some in (split, other)
    ]
    for one, another in zip(*(t.state_dict().values() for t in trained), strict=True):
        assert one.equal(another)


def test_images_of_the_missing_digit_do_not_matter(split, answers):
    lesson = Lesson(0, 2.0, 0.5, missing=4)
    images = torch.where((split.labels == 4).view(-1, 1, 1, 1), 0.3, split.images)
    trained = [
        teach(Split(some, split.labels), answers, [lesson], RECIPE, width=WIDTH, labelled=n)[0]
        for some in (split.images, images)
        for n in (None, 30)
    ]
    for number in (0, 1):
        pair = (trained[number], trained[number + 2])
        for one, another in zip(*(t.state_dict().values() for t in pair), strict=True):
            assert one == pytest.approx(another, abs=1e-6)


def test_it_stops_and_reports_its_steps(split, answers):
    stop, calls = threading.Event(), []

    def progress(done, total):
        calls.append((done, total))
        if done == 3:
            stop.set()

    _, done = teach(split, answers, LESSONS[:1], RECIPE, width=WIDTH, progress=progress, stop=stop)
    assert done.stopped and done.steps == 3 and calls == [(1, 14), (2, 14), (3, 14)]


def test_what_does_not_go_together_is_refused(split, answers):
    with pytest.raises(ValueError, match="without weight decay"):
        teach(split, answers, [Lesson(0, rate=0.5)], Recipe(1), width=WIDTH)
    with pytest.raises(ValueError, match="at least one image must have a label, not 0"):
        teach(split, answers, [Lesson(0)], RECIPE, width=WIDTH, labelled=0)


def test_taught_trains_once_and_then_reads(split, answers, cache, monkeypatch):
    first = list(taught(split, answers, LESSONS, RECIPE, width=WIDTH))
    trained, _ = teach(split, answers, LESSONS, RECIPE, width=WIDTH)
    monkeypatch.setattr(pupils, "new_bar", lambda *a, **o: pytest.fail("trained again"))
    again = taught(split, answers, LESSONS, RECIPE, width=WIDTH)
    for number, (one, other) in enumerate(zip(first, again, strict=True)):
        assert not one.training and not other.training
        for name, tensor in one.state_dict().items():
            assert tensor.equal(other.state_dict()[name])
            assert tensor.equal(state_of(number, trained)[name])


def test_whatever_a_training_depends_on_makes_other_students(split, answers, cache):
    swapped = Split(split.images, split.labels.flip(0))
    asked = [
        (split, answers, LESSONS[:1], RECIPE),
        (split, answers, LESSONS[1:2], RECIPE),
        (swapped, answers, LESSONS[:1], RECIPE),
        (split, answers + 1, LESSONS[:1], RECIPE),
        (split, answers, LESSONS[:1], Recipe(1, 0.05, 0, 16)),
        (Split(1 - split.images, split.labels), answers, LESSONS[:1], RECIPE),
    ]
    for given in asked:
        list(taught(*given, width=WIDTH))
    list(taught(*asked[0], width=WIDTH + 1))
    list(taught(*asked[0], width=WIDTH, order=1))
    assert len(list((cache / "pupils").iterdir())) == len(asked) + 2
