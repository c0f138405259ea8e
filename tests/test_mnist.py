"""On MNIST, in a minute: the network that the course starts from, and what pruning leaves of it."""

import pytest

from shrink import pruning
from shrink.classroom import data, models
from shrink.classroom.baselines import baseline
from shrink.classroom.training import Recipe, accuracy, pick_device, train


@pytest.mark.mnist
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
    error = 100 * (1 - accuracy(net, mnist.test))
    print(f"8 % of the weights: {error:.2f} % test error")
    assert error <= 1.6
