"""Chapter 05's explorers on small data: networks of a second, few stops, few flips."""

from shrink import sharing
from shrink.chapters import code as exercises
from shrink.chapters.code import explorer, file_explorer, file_lab, lab, prepared
from shrink.classroom import baselines, models
from shrink.classroom.training import Recipe
from shrink.coding import codec
from tests.chapters.small import Small

STOPS, NUMBERS = (50, 80, 92, 98), (2, 16)
FLIPS = 30
EXERCISES = (exercises.code_lengths,)


def prepare(patch):
    for module in (explorer, lab, prepared):
        patch.setattr(module, "STOPS", STOPS)
        patch.setattr(module, "NUMBERS", NUMBERS)
    patch.setattr(file_lab, "FLIPS", FLIPS)
    patch.setitem(baselines.RECIPES, (prepared.NAME, "digits"), Recipe(epochs=6))


def content_of(dataset):
    """A file of the pruned network, its weights shared."""
    net = baselines.pruned_baseline(prepared.NAME, dataset)
    shared = {name: sharing.share(w, 8) for name, w in models.weights(net).items()}
    return codec.encode(net.state_dict() | shared, code="huffman")


EXPLORERS = (
    Small(
        "coding",
        prepare,
        lambda digits: explorer.explore_coding(digits, *EXERCISES),
        EXERCISES,
        alone=explorer.explore_coding,
    ),
    Small(
        "file",
        prepare,
        lambda digits: file_explorer.explore_file(content_of(digits), digits),
        runs="flips",
    ),
)
