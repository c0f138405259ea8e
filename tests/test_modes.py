"""Random numbers from a seed, also where several threads want them at once."""

import threading

import pytest
import torch

from shrink.classroom import models
from shrink.modes import seeded


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
