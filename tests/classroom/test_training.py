"""Training: the same every time, stopped when asked, taken up after a kill; the dense baselines."""

import json
import threading
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from scipy import ndimage
from torch import nn

from shrink import pruning, sharing
from shrink.classroom import CourseError, baselines, data, models
from shrink.classroom.baselines import RECIPES, baseline, pruned_baseline
from shrink.classroom.data import Split
from shrink.classroom.progress import bar_progress, new_bar
from shrink.classroom.training import Recipe, accuracy, pick_device, predict, shifted, train

SHIPPED = Path(baselines.__file__).parent / "shipped"
RECIPE = Recipe(epochs=4, batch_size=50)
STEPS = 4 * 5  # of 230 images, the last batch of an epoch being smaller


class Killed(Exception):
    """The process ends here."""


@pytest.fixture(scope="module")
def digits():
    return data.load("digits", announce=False)


@pytest.fixture
def some(digits):
    return Split(digits.train.images[:230], digits.train.labels[:230])


@pytest.fixture
def checkpoint(tmp_path):
    return tmp_path / "folder" / "training.partial"


@pytest.fixture
def quick(monkeypatch, tmp_path):
    """Baselines of two epochs, in a cache of their own."""
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(RECIPES, ("lenet-300-100", "digits"), Recipe(epochs=2))
    return tmp_path / "cache"


def made_again(*args, **kwargs):
    """In place of the bar under which things are made."""
    pytest.fail("made again")


def small_net(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 20), nn.ReLU(), nn.Linear(20, 10))


def kill_at(step):
    def progress(done, total):
        if done == step:
            raise Killed

    return progress


def killed_training(net, split, checkpoint, step, recipe=RECIPE, seed=0):
    with pytest.raises(Killed):
        train(net, split, recipe, seed=seed, checkpoint=checkpoint, progress=kill_at(step))


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return list(a) == list(b) and all(a[name].equal(b[name]) for name in a)


def test_training_is_the_same_every_time_and_another_with_another_seed(some):
    nets = [small_net() for _ in range(3)]
    first, again, other = (
        train(net, some, RECIPE, seed=seed) for net, seed in zip(nets, (3, 3, 4), strict=True)
    )
    assert first == again and first.losses != other.losses
    assert same(nets[0], nets[1]) and not same(nets[0], nets[2])


def test_training_leaves_the_processes_random_state_alone(some):
    before = torch.get_rng_state()
    train(small_net(), some, RECIPE)
    models.build("lenet-5", seed=3)
    assert torch.get_rng_state().equal(before)


def test_training_learns(digits):
    net = small_net()
    before = accuracy(net, digits.validation)
    training = train(net, digits.train, Recipe(epochs=20))
    assert accuracy(net, digits.validation) > 0.8 > 0.3 > before
    assert training.losses[-1] < 0.3 * training.losses[0]


def test_training_tells_what_it_did(some):
    training = train(small_net(), some, RECIPE)
    assert training.steps == training.planned == STEPS
    assert not training.stopped and len(training.losses) == 4


def test_a_loss_of_ones_own_takes_the_place_of_cross_entropy(some):
    def cross_entropy(logits, images, labels):
        assert len(logits) == len(labels) == len(images) and images.shape[1:] == (1, 28, 28)
        return nn.functional.cross_entropy(logits, labels)

    nets = [small_net() for _ in range(3)]
    given = train(nets[0], some, RECIPE, loss=cross_entropy)
    assert given == train(nets[1], some, RECIPE) and same(nets[0], nets[1])
    train(nets[2], some, RECIPE, loss=lambda logits, images, labels: 0 * logits.sum())
    assert (nets[2][1].weight.abs() <= small_net()[1].weight.abs()).all()  # weight decay alone


def test_images_are_shifted_by_all_steps_and_no_others():
    images = torch.rand(50, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    moved = shifted(images, torch.Generator().manual_seed(0), pixels=2)
    found = set()
    for image, there in zip(images[:, 0], moved[:, 0], strict=True):
        ways = {
            (down, right)
            for down in range(-2, 3)
            for right in range(-2, 3)
            if there.equal(affine_shift(image, down, right))
        }
        assert ways
        found |= ways if len(ways) == 1 else set()
    assert len(found) > 15
    assert shifted(images, torch.Generator(), pixels=0).equal(images)


def affine_shift(image, down, right):
    moved = ndimage.shift(image.double().numpy(), (down, right), order=0, prefilter=False)
    return torch.from_numpy(moved).float()


def test_each_batch_is_augmented_by_chances_of_its_own(some):
    draws = []

    def augment(images, generator):
        draws.append(int(torch.randint(10**9, (1,), generator=generator)))
        return images

    train(small_net(), some, RECIPE, augment=augment)
    assert len(draws) == len(set(draws)) == STEPS


def test_shifts_are_the_same_every_time_and_after_a_kill(some, tmp_path):
    whole, killed, plain = (small_net() for _ in range(3))
    train(whole, some, RECIPE, augment=shifted)
    train(plain, some, RECIPE)
    path = tmp_path / "training.partial"
    with pytest.raises(Killed):
        train(killed, some, RECIPE, augment=shifted, checkpoint=path, progress=kill_at(12))
    train(killed, some, RECIPE, augment=shifted, checkpoint=path)
    assert same(whole, killed) and not same(whole, plain)


def test_no_epochs_leave_the_model_as_it_is(some):
    net = small_net()
    training = train(net, some, Recipe(epochs=0))
    assert training.steps == training.planned == 0 and not training.stopped
    assert same(net, small_net())


def test_progress_counts_every_step_up_to_the_total(some):
    calls = []
    train(small_net(), some, RECIPE, progress=lambda *call: calls.append(call))
    assert calls == [(step, STEPS) for step in range(1, STEPS + 1)]


def test_a_bar_follows_the_progress():
    class Bar:
        n, total = 0, None

        def update(self, steps):
            self.n += steps

    bar = Bar()
    progress = bar_progress(bar)
    for done in (7, 8, 20):
        progress(done, 20)
        assert (bar.n, bar.total) == (done, 20)


@pytest.mark.parametrize("step", [1, 7, 10])
def test_stop_ends_training_after_the_step_under_way(some, step):
    stop, net = threading.Event(), small_net()

    def progress(done, total):
        assert not stop.is_set()
        if done == step:
            stop.set()

    training = train(net, some, RECIPE, stop=stop, progress=progress)
    assert training.stopped and (training.steps, training.planned) == (step, STEPS)
    assert len(training.losses) == step // 5
    assert not same(net, small_net())


def test_a_stop_beforehand_leaves_the_model_as_it_is(some):
    stop, net = threading.Event(), small_net()
    stop.set()
    assert train(net, some, RECIPE, stop=stop).steps == 0
    assert same(net, small_net())


def test_a_context_is_open_while_the_model_trains(some):
    events = []

    @contextmanager
    def hold(optimizer):
        assert optimizer.param_groups[0]["params"] == list(net.parameters())
        assert same(net, small_net())
        events.append("open")
        try:
            yield
        finally:
            events.append("closed")

    net = small_net()
    train(net, some, RECIPE, hold=hold, progress=lambda done, total: events.append(done))
    assert events == ["open", *range(1, STEPS + 1), "closed"]
    events.clear()
    net = small_net()
    with pytest.raises(Killed):
        train(net, some, RECIPE, hold=hold, progress=kill_at(3))
    assert events == ["open", "closed"]


def test_held_masks_hold_through_training(some):
    net = small_net()
    weights = {"1.weight": net[1].weight, "3.weight": net[3].weight}
    masks = pruning.global_masks(weights, 0.9)
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    train(net, some, RECIPE, hold=lambda optimizer: pruning.hold_masks(weights, masks, optimizer))
    for name, weight in weights.items():
        assert not weight[~masks[name]].any()
        assert not weight[masks[name]].equal(before[name][masks[name]])


@pytest.mark.parametrize("step", [2, 6, 13, STEPS])
def test_after_a_kill_training_goes_on_to_the_same_end(some, checkpoint, step):
    whole = small_net()
    uninterrupted = train(whole, some, RECIPE, seed=1)
    killed_training(small_net(), some, checkpoint, step, seed=1)
    calls, net = [], small_net()
    progress = lambda done, total: calls.append(done)  # noqa: E731
    resumed = train(net, some, RECIPE, seed=1, checkpoint=checkpoint, progress=progress)
    assert resumed == uninterrupted
    assert same(net, whole)
    assert calls[0] == 5 * ((step - 1) // 5) + 1
    assert not checkpoint.exists()


def test_after_a_kill_codebooks_go_on_to_the_same_end(some, checkpoint):
    """What holds them sets the weights when it begins: to those taken up, not to the first."""

    def tune(**options):
        net = small_net()
        weights = {"1.weight": net[1].weight, "3.weight": net[3].weight}
        shared = {name: sharing.share(w.detach(), 4) for name, w in weights.items()}
        hold = lambda optimizer: sharing.hold_shared(weights, shared, optimizer)  # noqa: E731
        train(net, some, RECIPE, hold=hold, **options)
        return net

    whole = tune()
    with pytest.raises(Killed):
        tune(checkpoint=checkpoint, progress=kill_at(12))
    assert checkpoint.exists()
    assert same(tune(checkpoint=checkpoint), whole)


def test_after_two_kills_training_goes_on_to_the_same_end(some, checkpoint):
    whole = small_net()
    uninterrupted = train(whole, some, RECIPE)
    killed_training(small_net(), some, checkpoint, 8)
    killed_training(small_net(), some, checkpoint, 17)
    net = small_net()
    assert train(net, some, RECIPE, checkpoint=checkpoint) == uninterrupted
    assert same(net, whole)


def test_a_stopped_training_can_be_taken_up(some, checkpoint):
    whole, stop = small_net(), threading.Event()
    uninterrupted = train(whole, some, RECIPE)
    progress = lambda done, total: stop.set() if done == 7 else None  # noqa: E731
    train(small_net(), some, RECIPE, stop=stop, progress=progress, checkpoint=checkpoint)
    net = small_net()
    assert train(net, some, RECIPE, checkpoint=checkpoint) == uninterrupted
    assert same(net, whole)


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"junk"])
def test_a_damaged_checkpoint_means_starting_again(some, checkpoint, damage):
    whole = small_net()
    uninterrupted = train(whole, some, RECIPE)
    killed_training(small_net(), some, checkpoint, 12)
    checkpoint.write_bytes(damage(checkpoint.read_bytes()))
    net = small_net()
    assert train(net, some, RECIPE, checkpoint=checkpoint) == uninterrupted
    assert same(net, whole)


@pytest.mark.parametrize(
    ("recipe", "seed"), [(Recipe(epochs=3, batch_size=50), 0), (RECIPE, 1), (Recipe(epochs=4), 0)]
)
def test_the_checkpoint_of_another_plan_is_not_taken_up(some, checkpoint, recipe, seed):
    killed_training(small_net(), some, checkpoint, 12, recipe=RECIPE, seed=0)
    net, whole = small_net(), small_net()
    resumed = train(net, some, recipe, seed=seed, checkpoint=checkpoint)
    assert resumed == train(whole, some, recipe, seed=seed)
    assert same(net, whole)


@pytest.mark.parametrize("give", [lambda y: (y, y), lambda y: {"logits": y}, lambda y: y[:, 0]])
def test_what_gives_no_logits_is_named(digits, give):
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(10))
    model(digits.test.images[:1])
    model.register_forward_hook(lambda module, x, y: give(y))
    with pytest.raises(TypeError, match=r"the model must give logits \(n, classes\), not"):
        predict(model, digits.test.images)


def test_predict_gives_the_largest_logit_whatever_the_batch(digits):
    net = small_net()
    images = digits.test.images
    expected = net(images).argmax(1)
    for batch_size in (1, 7, 400, 2000):
        answers = predict(net, images, batch_size)
        assert answers.equal(expected) and not answers.requires_grad
    right = int((expected == digits.test.labels).sum())
    assert accuracy(net, digits.test) == pytest.approx(right / len(digits.test))


class Modes(nn.Module):
    """Notes the mode in which it is called."""

    def __init__(self, fails=False):
        super().__init__()
        self.fails, self.seen = fails, []

    def forward(self, images):
        self.seen.append(self.training)
        if self.fails:
            raise Killed
        return images.flatten(1)


@pytest.mark.parametrize("training", [True, False])
def test_predict_evaluates_and_leaves_the_mode_as_it_was(training):
    net = Modes().train(training)
    predict(net, torch.zeros(2, 1, 28, 28))
    assert net.seen == [False] and net.training is training
    failing = Modes(fails=True).train(training)
    with pytest.raises(Killed):
        predict(failing, torch.zeros(2, 1, 28, 28))
    assert failing.training is training


def test_the_device_is_the_named_one_or_the_environments(monkeypatch):
    monkeypatch.setenv("SHRINK_DEVICE", "cpu:0")
    assert pick_device() == torch.device("cpu:0")
    assert pick_device("cpu") == torch.device("cpu")
    monkeypatch.setenv("SHRINK_DEVICE", "")
    assert pick_device().type in ("cpu", "cuda")
    monkeypatch.delenv("SHRINK_DEVICE")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device() == torch.device("cpu")


@pytest.mark.parametrize("name", ["abacus", "cuda:4321", "cpu:x", "meta"])
def test_a_device_that_is_not_there_is_named_in_one_line(monkeypatch, name):
    with pytest.raises(CourseError, match=f"no device '{name}' here") as caught:
        pick_device(name)
    assert "\n" not in str(caught.value)
    monkeypatch.setenv("SHRINK_DEVICE", name)
    with pytest.raises(CourseError, match=name):
        pick_device()


def test_models_have_the_papers_sizes_and_their_seed():
    sizes = {
        name: sum(p.numel() for p in models.build(name, 0).parameters()) for name in models.MODELS
    }
    assert sizes == {
        "lenet-300-100": 266_610,
        "lenet-5": 431_080,
        "separable": 9_226,
        "residual": 30_970,
        "tiny-tanh": 1_770,
        "tiny-relu": 1_770,
    }
    weights = models.weights(models.build("lenet-300-100", 0))
    assert sum(w.numel() for w in weights.values()) == 266_200
    for name in models.MODELS:
        assert same(models.build(name, 3), models.build(name, 3))
        assert not same(models.build(name, 3), models.build(name, 4))
        assert models.build(name, 0)(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    with pytest.raises(ValueError, match=r"'lenet-6'.*lenet-300-100, lenet-5"):
        models.build("lenet-6", 0)


def test_each_residual_block_adds_its_input_to_what_it_makes():
    """A block whose last norm gives zeros hands on what came in."""
    net = models.build("residual", 0, hidden=(3, 5, 7, 2)).eval()
    images = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    for norm in (net.norm2, net.norm5):
        nn.init.zeros_(norm.weight)
    into = {}
    for name in ("conv1", "down", "conv3", "fc"):
        layer = net.get_submodule(name)
        layer.register_forward_pre_hook(lambda _, x, name=name: into.update({name: x[0]}))
    assert net(images).shape == (4, 10)
    assert into["conv1"].shape == (4, 3, 14, 14) and into["conv3"].shape == (4, 7, 7, 7)
    assert into["down"].equal(into["conv1"]) and into["down"].any()
    assert into["fc"].equal(nn.functional.max_pool2d(into["conv3"], 2).flatten(1))


def test_a_baseline_is_trained_once(quick, digits, monkeypatch):
    trained = baseline("lenet-300-100", digits)
    assert accuracy(trained, digits.validation) > 0.5 and not trained.training
    monkeypatch.setattr(baselines, "new_bar", made_again)
    assert same(baseline("lenet-300-100", digits), trained)
    (file,) = (path for path in quick.rglob("*") if path.is_file())
    assert file.match("baselines/lenet-300-100-digits-0-*.safetensors")


def test_a_pruned_baseline_has_8_percent_of_the_weights_and_is_made_once(
    quick, digits, monkeypatch
):
    dense, pruned = (make("lenet-300-100", digits) for make in (baseline, pruned_baseline))
    left = sum(int(w.count_nonzero()) for w in models.weights(pruned).values())
    assert left == 266_200 - round(0.92 * 266_200) and not pruned.training
    assert accuracy(pruned, digits.validation) > 0.9 * accuracy(dense, digits.validation)

    with monkeypatch.context() as patch:
        patch.setattr(baselines, "new_bar", made_again)
        assert same(pruned_baseline("lenet-300-100", digits), pruned)
        assert same(baseline("lenet-300-100", digits), dense)
    monkeypatch.setattr(baselines, "TUNING", Recipe(epochs=1))
    assert not same(pruned_baseline("lenet-300-100", digits), pruned)


def test_seeds_and_recipes_have_baselines_of_their_own(quick, digits, monkeypatch):
    first = baseline("lenet-300-100", digits)
    other_seed = baseline("lenet-300-100", digits, seed=1)
    monkeypatch.setitem(RECIPES, ("lenet-300-100", "digits"), Recipe(epochs=1))
    other_recipe = baseline("lenet-300-100", digits)
    assert not same(first, other_seed) and not same(first, other_recipe)
    assert len(list(quick.rglob("*.safetensors"))) == 3


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"x" * 99])
def test_a_damaged_cache_file_is_made_again(quick, digits, damage):
    trained = baseline("lenet-300-100", digits)
    (path,) = quick.rglob("*.safetensors")
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert same(baseline("lenet-300-100", digits), trained)
    assert path.read_bytes() == whole


def test_a_baseline_whose_training_was_killed_comes_out_the_same(
    quick, digits, monkeypatch, tmp_path
):
    with monkeypatch.context() as patch:
        patch.setattr(baselines, "bar_progress", lambda bar: kill_at(15))
        with pytest.raises(Killed):
            baseline("lenet-300-100", digits)
    assert not list(quick.rglob("*.safetensors")) and len(list(quick.rglob("*.partial"))) == 1
    resumed = baseline("lenet-300-100", digits)
    assert not list(quick.rglob("*.partial"))
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path / "another"))
    assert same(resumed, baseline("lenet-300-100", digits))


def test_an_unknown_baseline_is_named(quick, digits):
    with pytest.raises(ValueError, match="lenet-6"):
        baseline("lenet-6", digits)
    renamed = data.Dataset("stamps", digits.train, digits.validation, digits.test)
    with pytest.raises(ValueError, match="'lenet-5' on 'stamps'"):
        baseline("lenet-5", renamed)


def shipped_records():
    marks = {"mnist": [pytest.mark.mnist]}
    for path in sorted(SHIPPED.glob("*.json")):
        yield pytest.param(path, id=path.stem, marks=marks.get(path.stem, []))


@pytest.mark.parametrize("path", list(shipped_records()))
def test_shipped_baselines_err_as_their_record_says(path):
    dataset = data.load(path.stem, announce=False)
    networks = json.loads(path.read_text())["networks"]
    assert {(name, path.stem) for name in networks} == {k for k in RECIPES if k[1] == path.stem}
    for name, facts in networks.items():
        assert facts["recipe"] == repr(RECIPES[name, path.stem])
        assert (SHIPPED / f"{name}-{path.stem}-0.safetensors").is_file()
        error = 100 * (1 - accuracy(baseline(name, dataset), dataset.test))
        assert error == pytest.approx(facts["test error in %"], abs=0.02)


@pytest.fixture
def few(digits, some, monkeypatch):
    """A few digits, for which two networks ship, trained for an epoch."""
    for name in models.MODELS:
        monkeypatch.delitem(RECIPES, (name, "digits"))
    for name in ("lenet-300-100", "residual"):
        monkeypatch.setitem(RECIPES, (name, "digits"), Recipe(epochs=1))
    return replace(digits, train=some)


def test_one_network_is_shipped_afresh_and_the_others_stay(few, tmp_path):
    record, kept = tmp_path / "digits.json", tmp_path / "lenet-300-100-digits-0.safetensors"
    assert len(baselines.ship(tmp_path, few)) == 2
    whole, file = json.loads(record.read_text()), kept.read_bytes()
    assert list(whole["networks"]) == ["lenet-300-100", "residual"]

    RECIPES["residual", "digits"] = RECIPES["lenet-300-100", "digits"] = Recipe(epochs=2)
    (line,) = baselines.ship(tmp_path, few, ["residual"])
    assert line.startswith("residual: ")
    one = json.loads(record.read_text())
    assert one["networks"]["residual"]["recipe"] == repr(Recipe(epochs=2))
    assert kept.read_bytes() == file
    one["networks"]["residual"] = whole["networks"]["residual"]
    assert one == whole and list(one["networks"]) == list(whole["networks"])


def test_one_network_is_not_put_into_a_record_that_others_made(few, tmp_path):
    baselines.ship(tmp_path, few, ["residual"])
    record = tmp_path / "digits.json"
    record.write_text(record.read_text().replace(torch.__version__, "1.0"))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(before) == {"digits.json", "residual-digits-0.safetensors"}
    with pytest.raises(CourseError, match=r"made with torch 1\.0, .* `shrink baselines digits`"):
        baselines.ship(tmp_path, few, ["lenet-300-100"])
    with pytest.raises(CourseError, match=r"'lenet-5' .* digits; there are lenet-300-100, resid"):
        baselines.ship(tmp_path, few, ["residual", "lenet-5"])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert len(baselines.ship(tmp_path, few)) == 2


def test_shipped_baselines_are_small_together():
    assert sum(path.stat().st_size for path in SHIPPED.glob("*.safetensors")) < 6_000_000


@pytest.mark.mnist
def test_the_shipped_baseline_errs_at_most_1_6_percent_on_mnist():
    assert (SHIPPED / "lenet-300-100-mnist-0.safetensors").is_file()
    mnist = data.load("mnist", announce=False)
    assert accuracy(baseline("lenet-300-100", mnist), mnist.test) >= 0.984


def test_a_bar_in_a_notebook_moves_once_a_second_at_most(capsys):
    with new_bar("work", total=1000) as bar:
        for _ in range(1000):
            bar.update()
        assert bar.last_print_n == 0
    assert capsys.readouterr().err.count("\r") == 3  # where it began, and where it was wiped away
