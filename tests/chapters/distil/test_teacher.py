"""A teacher's answers in training: the same whether asked for or read from disk."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from shrink.chapters.distil import teacher
from shrink.chapters.distil.teacher import ask, with_answers, with_cached_answers
from shrink.classroom import data, models
from shrink.classroom.cache import cache_dir
from shrink.classroom.data import Split
from shrink.classroom.training import Recipe, draw_shifts, shift, shifted, train
from shrink.distillation import distillation_loss

RECIPE = Recipe(epochs=3, batch_size=50)


class Killed(Exception):
    """The process ends here."""


class Counting(nn.Module):
    """A network that counts what it is asked; with dropout, so that its mode is seen."""

    def __init__(self, seed=0):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.layers = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(784, 10))
        self.asked = 0

    def forward(self, images):
        self.asked += len(images)
        return self.layers(images)


@pytest.fixture(scope="module")
def digits():
    return data.load("digits", announce=False)


@pytest.fixture
def some(digits):
    return Split(digits.train.images[:130], digits.train.labels[:130])


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """A cache of its own for each test."""
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def distil(logits, images, labels, theirs):
    return distillation_loss(logits, theirs, labels, temperature=4, alpha=0.9)


def student():
    return models.build("lenet-300-100", seed=0, hidden=(20, 10))


def files(cache):
    return sorted(path for path in cache.rglob("*") if path.is_file())


def same(a, b):
    return all(x.equal(y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def alike(a, b):
    return all(
        torch.allclose(x, y, rtol=1e-5, atol=1e-6)
        for x, y in zip(a.parameters(), b.parameters(), strict=True)
    )


def train_with(examples, split, **options):
    net = student()
    return net, train(net, split, RECIPE, seed=1, loss=distil, examples=examples, **options)


@pytest.mark.parametrize("pixels", [0, 1, 2])
def test_answers_from_the_cache_train_as_the_teacher_does(some, pixels):
    net = Counting()

    def augment(images, generator):
        return shifted(images, generator, pixels)

    live, told = train_with(with_answers(some, net, augment=augment), some)
    asked = net.asked
    assert asked == RECIPE.epochs * len(some)
    cached, told_too = train_with(with_cached_answers(some, net, pixels=pixels), some)
    assert net.asked == asked + (2 * pixels + 1) ** 2 * len(some)
    assert alike(live, cached) and told.losses == pytest.approx(told_too.losses, rel=1e-5)
    assert not alike(
        live, train_with(with_answers(some, Counting(seed=1), augment=augment), some)[0]
    )
    assert not alike(live, student())


def test_without_shifts_the_images_are_as_they_are(some):
    plain, _ = train_with(with_answers(some, Counting()), some)
    cached, _ = train_with(with_cached_answers(some, Counting(), pixels=0), some)
    moved, _ = train_with(with_cached_answers(some, Counting(), pixels=1), some)
    assert alike(plain, cached) and not alike(plain, moved)


def test_the_student_sees_the_images_it_would_see_without_a_teacher(some):
    nets = [student() for _ in range(3)]
    no_answers = lambda logits, images, labels, *_: F.cross_entropy(logits, labels)  # noqa: E731
    ways = [
        {"augment": shifted},
        {"examples": with_answers(some, Counting(), augment=shifted), "loss": no_answers},
        {"examples": with_cached_answers(some, Counting())},  # without a loss: cross entropy
    ]
    done = [train(net, some, RECIPE, **way) for net, way in zip(nets, ways, strict=True)]
    assert done[0] == done[1] == done[2]
    assert same(nets[0], nets[1]) and same(nets[0], nets[2])


@pytest.mark.parametrize("pixels", [0, 1, 2])
def test_each_image_has_the_answer_to_itself_where_it_is(some, pixels):
    net = Counting().eval()
    examples = with_cached_answers(some, net, pixels=pixels)
    batch = torch.randperm(130, generator=torch.Generator().manual_seed(5))
    images, labels, answers = examples(batch, torch.Generator().manual_seed(3))
    assert images.equal(shifted(some.images[batch], torch.Generator().manual_seed(3), pixels))
    assert labels.equal(some.labels[batch])
    assert torch.allclose(answers, net(images), atol=1e-6) and not answers.requires_grad


def test_two_teachers_give_two_answers(some):
    nets = [Counting(seed).eval() for seed in (0, 1)]
    batch = torch.arange(7)
    for examples in (with_cached_answers(some, *nets), with_answers(some, *nets, augment=shifted)):
        images, _, *answers = examples(batch, torch.Generator().manual_seed(3))
        assert len(answers) == 2
        for net, answer in zip(nets, answers, strict=True):
            assert torch.allclose(answer, net(images), atol=1e-6)


def test_a_teacher_is_asked_once(some, cache):
    net = Counting()
    first = with_cached_answers(some, net)
    written = [(path, path.stat().st_mtime_ns) for path in files(cache)]
    assert len(written) == 9 and all(path.parts[-2] == "teachers" for path, _ in written)
    asked = net.asked
    again = with_cached_answers(some, net)
    assert net.asked == asked
    assert [(path, path.stat().st_mtime_ns) for path in files(cache)] == written
    batch = torch.arange(130)
    outcomes = [e(batch, torch.Generator().manual_seed(0)) for e in (first, again)]
    assert all(a.equal(b) for a, b in zip(*outcomes, strict=True))


def test_what_the_answers_depend_on_has_files_of_its_own(some, cache, monkeypatch):
    def files_for(*changes):
        before = set(files(cache))
        for split, net in changes:
            with_cached_answers(split, net, pixels=0)
        return len(set(files(cache)) - before)

    assert files_for((some, Counting())) == 1
    assert files_for((some, Counting())) == 0
    other_weight = Counting()
    with torch.no_grad():
        other_weight.layers[2].weight[3, 5] += 1e-6
    other_image = some.images.clone()
    other_image[100, 0, 27, 27] += 1e-6
    reshaped = Counting()
    reshaped.layers[1] = nn.Identity()  # prints otherwise, same weights
    assert files_for((some, other_weight)) == 1
    assert files_for((Split(other_image, some.labels), Counting())) == 1
    assert files_for((Split(some.images[:129], some.labels[:129]), Counting())) == 1
    assert files_for((some, reshaped)) == 1

    class Other(Counting):
        def forward(self, images):
            return -super().forward(images)

    Other.__name__ = "Counting"  # what it prints
    assert files_for((some, Other())) == 1
    assert files_for((some, Counting(1)), (some, Counting(2))) == 2
    monkeypatch.setattr(torch, "__version__", "99.0")
    assert files_for((some, Counting())) == 1
    labels = Split(some.images, some.labels.flip(0))
    assert files_for((labels, Counting())) == 0  # the teacher does not see them


def test_a_larger_reach_reads_the_shifts_that_are_there(some, cache):
    net = Counting()
    with_cached_answers(some, net, pixels=1)
    asked = net.asked
    with_cached_answers(some, net, pixels=2)
    assert net.asked == asked + (25 - 9) * len(some) and len(files(cache)) == 25


def test_working_the_answers_out_goes_on_after_a_kill(some, cache):
    net, calls = Counting(), []

    def kill(done, total):
        if done == 4:
            raise Killed

    with pytest.raises(Killed):
        with_cached_answers(some, net, progress=kill)
    assert len(files(cache)) == 4
    with_cached_answers(some, net, Counting(1), progress=lambda *call: calls.append(call))
    assert net.asked == 9 * len(some)
    assert calls == [(done, 18) for done in range(1, 19)]


def test_a_damaged_file_is_made_again(some, cache):
    examples = with_cached_answers(some, Counting())
    whole = {path: path.read_bytes() for path in files(cache)}
    path = next(iter(whole))
    path.write_bytes(whole[path][:100])
    again = with_cached_answers(some, Counting())
    assert {path: path.read_bytes() for path in files(cache)} == whole
    batch = torch.arange(130)
    outcomes = [e(batch, torch.Generator().manual_seed(0)) for e in (examples, again)]
    assert outcomes[0][2].equal(outcomes[1][2])


def test_training_with_the_cache_goes_on_after_a_kill(some, tmp_path):
    examples = with_cached_answers(some, Counting())
    whole, uninterrupted = train_with(examples, some)
    checkpoint = tmp_path / "training.partial"

    def kill(done, total):
        if done == 7:
            raise Killed

    with pytest.raises(Killed):
        train_with(examples, some, checkpoint=checkpoint, progress=kill)
    resumed, told = train_with(with_cached_answers(some, Counting()), some, checkpoint=checkpoint)
    assert told == uninterrupted and same(resumed, whole)


def test_the_teacher_is_asked_as_it_is_in_use_and_left_as_it_was(some, cache):
    net = Counting().train()
    net.layers[2].eval()
    before = torch.get_rng_state()
    with_cached_answers(some, net)
    answers = with_answers(some, net)(torch.arange(130), torch.Generator())[2]
    assert torch.get_rng_state().equal(before)  # no dropout was drawn
    assert [module.training for module in net.modules()] == [True, True, True, True, False]
    assert answers.equal(net.eval()(some.images)) and not answers.requires_grad
    assert all(p.grad is None for p in net.parameters())


def test_asking_in_parts_changes_nothing(digits, monkeypatch):
    net = Counting().eval()
    expected = net(digits.train.images)
    for size in (1000, 7):
        monkeypatch.setattr(teacher, "BATCH", size)
        assert torch.allclose(ask(net, digits.train.images), expected, atol=1e-6)


def test_an_augmentation_beside_examples_is_refused(some):
    with pytest.raises(ValueError, match="examples"):
        train(student(), some, RECIPE, examples=with_answers(some), augment=shifted)


def test_examples_give_the_loss_whatever_they_like(some):
    seen = []

    def examples(batch, generator):
        return some.images[batch], some.labels[batch], batch, batch + 1

    def loss(logits, images, labels, batch, more):
        seen.extend(batch.tolist())
        assert more.equal(batch + 1) and images.equal(some.images[batch])
        return F.cross_entropy(logits, labels)

    nets = [student(), student()]
    train(nets[0], some, Recipe(epochs=1, batch_size=50), examples=examples, loss=loss)
    train(nets[1], some, Recipe(epochs=1, batch_size=50))
    assert sorted(seen) == list(range(130)) and same(*nets)


def test_the_random_stream_of_training_is_kept(some):
    """What a seed gave before there were examples: an order and shifts from one generator."""
    seen = []

    def loss(logits, images, labels):
        seen.append((images, labels))
        return logits.sum()

    train(student(), some, Recipe(epochs=2, batch_size=50), seed=7, augment=shifted, loss=loss)
    batches = iter(seen)
    for epoch in range(2):
        generator = torch.Generator().manual_seed(1_000_003 * 7 + epoch)
        for batch in torch.randperm(130, generator=generator).split(50):
            draws = torch.randint(3, (2, len(batch)), generator=generator).numpy()
            images, labels = next(batches)
            assert labels.equal(some.labels[batch])
            for i, (top, left) in enumerate(draws.T):
                padded = np.pad(some.images[batch[i], 0].numpy(), 1)
                assert np.array_equal(images[i, 0], padded[top : top + 28, left : left + 28])


def test_a_shift_goes_down_and_to_the_right():
    image = torch.zeros(1, 1, 5, 5)
    image[0, 0, 2, 2] = 1
    for down in range(-2, 3):
        for right in range(-2, 3):
            moved = shift(image, torch.tensor([[down], [right]]))
            assert moved.nonzero().tolist() == [[0, 0, 2 + down, 2 + right]]
    draws = draw_shifts(2000, torch.Generator().manual_seed(0), pixels=2)
    assert draws.shape == (2, 2000) and set(draws.flatten().tolist()) == {-2, -1, 0, 1, 2}


def test_the_cache_lies_where_all_caches_lie(some, cache):
    with_cached_answers(some, Counting(), pixels=0)
    assert cache_dir() == cache
    (path,) = files(cache)
    assert path.match("teachers/down+0-right+0-*.safetensors")
