"""Random numbers from a seed, and floats that are flushed to 0, where there are several threads."""

import contextlib
import threading

import pytest
import torch

from shrink.classroom import models
from shrink.modes import denormals_flushed, seeded


def test_after_a_seeded_block_random_numbers_go_on_as_they_would_have():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        expected = torch.rand(4)
        torch.manual_seed(3)
        first = torch.rand(2)
        with pytest.raises(KeyError), seeded(5):
            torch.rand(9)
            raise KeyError
        assert torch.equal(torch.cat([first, torch.rand(2)]), expected)


def test_networks_built_by_several_threads_are_those_of_their_seeds():
    expected = [models.build("lenet-300-100", s, hidden=(9, 9)).state_dict() for s in range(4)]
    wrong = []

    def build(seed):
        for _ in range(100):
            found = models.build("lenet-300-100", seed, hidden=(9, 9)).state_dict()
            wrong.extend(name for name in found if not found[name].equal(expected[seed][name]))

    threads = [threading.Thread(target=build, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


flushing = pytest.mark.skipif(
    not torch.set_flush_denormal(False), reason="this processor has no such mode"
)


def is_flushed():
    return bool(torch.tensor(1e-39) * 0.5 == 0)


@flushing
def test_denormals_are_flushed_inside_alone_and_in_blocks_inside_blocks():
    with pytest.raises(KeyError), denormals_flushed():
        with denormals_flushed():
            assert is_flushed()
        assert is_flushed()
        raise KeyError
    assert not is_flushed()


@flushing
def test_denormals_are_flushed_in_gradients_and_by_the_optimizer():
    w = torch.nn.Parameter(torch.ones(8))
    optimizer = torch.optim.Adam([w], fused=True)
    for flush, tiny in ((denormals_flushed(), 0), (contextlib.nullcontext(), 8)):
        with flush:
            optimizer.zero_grad()
            (w * 1e-39).sum().backward()
            gradients = int(w.grad.view(torch.int32).count_nonzero())
            assert gradients == tiny
            optimizer.state[w] = {
                "step": torch.tensor(1.0),
                "exp_avg": torch.full((8,), 1.2e-38),
                "exp_avg_sq": torch.full((8,), 1.2e-38),
            }
            w.grad.zero_()
            optimizer.step()
            assert int(optimizer.state[w]["exp_avg"].view(torch.int32).count_nonzero()) == tiny


@flushing
def test_a_thread_that_runs_already_flushes_nothing():
    entered, found = threading.Event(), []

    def look():
        entered.wait()
        found.append(is_flushed())

    thread = threading.Thread(target=look)
    thread.start()
    with denormals_flushed():
        entered.set()
        thread.join()
    assert found == [False]
