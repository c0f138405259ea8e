"""On MNIST, in a minute: the network that the course starts from, and what pruning leaves of it."""

import pytest
import torch

from shrink import pruning
from shrink.classroom import data, models
from shrink.classroom.baselines import baseline
from shrink.classroom.training import Recipe, accuracy, pick_device, train


@pytest.fixture
def one_thread():
    """Sums in one order: two threads add in another, and this very run then errs 1.60 %."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.mnist
@pytest.mark.usefixtures("one_thread")
def test_pruned_to_8_percent_and_fine_tuned_it_errs_at_most_as_the_papers_network():
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
    wrong = round(len(mnist.test) * (1 - accuracy(net, mnist.test)))
    print(f"8 % of the weights: {wrong / 100:.2f} % test error")
    assert wrong <= 160
