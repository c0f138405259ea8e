"""On MNIST, in a minute: the network that the course starts from, and what pruning leaves of it."""

import statistics

import pytest
import torch

from shrink import pruning
from shrink.classroom import data, models
from shrink.classroom.baselines import baseline
from shrink.classroom.training import Recipe, accuracy, pick_device, train
from shrink.papers import reproduce


@pytest.fixture
def one_thread():
    """Sums in one order, at least on one machine: others add in another, and err differently."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.mnist
@pytest.mark.deep
@pytest.mark.usefixtures("one_thread")
def test_pruned_to_8_percent_and_fine_tuned_it_errs_as_the_record_has_it():
    """At most its mean and three standard deviations; weights at random places err far more."""
    errors = reproduce.stored("pruning").errors
    limit = statistics.mean(errors["pruned"]) + 3 * statistics.stdev(errors["pruned"])
    assert limit < min(errors["random"])
    mnist = data.load("mnist", device=pick_device(), announce=False)
    net = baseline("lenet-300-100", mnist)
    weights = models.weights(net)
    masks = pruning.global_masks(weights, sparsity=0.92)
    train(
        net,
        mnist.train,
        Recipe(epochs=15, weight_decay=1e-4),
        seed=9,
        hold=lambda optimizer: pruning.hold_masks(weights, masks, optimizer),
    )
    assert sum(int(w.count_nonzero()) for w in weights.values()) <= round(0.08 * 266_200)
    error = 100 * (1 - accuracy(net, mnist.test))
    print(f"8 % of the weights: {error:.2f} % test error, at most {limit:.2f}")
    assert error <= limit
