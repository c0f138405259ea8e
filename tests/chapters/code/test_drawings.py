"""The figures of chapter 05: a code as a tree, and bytes stage by stage."""

import numpy as np
import pytest

from shrink.chapters.code import drawings
from shrink.classroom import plots


def test_a_leaf_of_the_tree_hangs_as_deep_as_its_code_is_long():
    codes = ["10", "0", "", "110", "111"]
    plot, (ax,) = plots.new(alt="a tree")
    drawings.code_tree(ax, codes, list("abcde"), [0.2, 0.5, 0, 0.2, 0.1])
    at = {text.get_text(): text.xy for text in ax.texts}
    assert at.keys() == set("abde")  # c has no code
    assert {name: depth for name, (_, depth) in at.items()} == {"b": 1, "a": 2, "d": 3, "e": 3}
    assert sorted(at, key=lambda name: at[name][0]) == ["b", "a", "d", "e"]  # 0 to the left
    branches = [(tuple(line.get_ydata()), line.get_linestyle()) for line in ax.lines]
    assert sorted(branches) == sorted(
        [((depth, depth + 1), style) for depth in range(3) for style in (":", "-")]
    )
    sizes = [dot.get_sizes()[0] for dot in ax.collections]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] == pytest.approx(5 * sizes[-1])
    plot.draw_without_rendering()


def test_the_code_of_a_symbol_that_is_alone_is_one_step():
    _, (ax,) = plots.new(alt="a tree")
    drawings.code_tree(ax, ["", "0"], ["a", "b"], [0, 1])
    assert [tuple(line.get_ydata()) for line in ax.lines] == [(0, 1)]


def test_a_stage_shows_what_is_left_and_what_it_saved():
    _, (ax,) = plots.new(alt="stages")
    stages = {"dense": 8000, "pruned": 2000, "coded": 500}
    drawings.stages(ax, stages, {"zlib": 1000}, whole=8000)
    bars = [(bar.get_x(), bar.get_width()) for bar in ax.patches if bar.get_width()]
    assert bars == [(0, 8), (0, 2), (2, 6), (0, 0.5), (0.5, 1.5), (0, 1)]
    told = [text.get_text().strip() for text in ax.texts]
    assert told == ["8,000 bytes", "2,000 bytes, 4.0x", "500 bytes, 16.0x", "1,000 bytes, 8.0x"]
    labels = [text.get_text() for text in ax.get_yticklabels()]
    assert labels == ["dense", "pruned", "coded", "zlib"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # from the top down


def test_a_stage_that_saves_nothing_has_no_pale_end():
    _, (ax,) = plots.new(alt="stages")
    drawings.stages(ax, {"fixed": 900, "coded": 1000}, {}, whole=900)
    assert [bar.get_width() for bar in ax.patches if bar.get_width()] == [0.9, 1.0]


def test_files_of_seeds_are_dots_with_a_line_through_their_means():
    plot, (ax,) = plots.new(alt="files")
    sizes, errors = np.array([[20_000, 22_000], [4_000, 4_200]]), np.array([[1.0, 1.2], [1.4, 1.5]])
    recipes = {"ours": (sizes.tolist(), errors.tolist()), "more": ([[30_000]], [[0.5]])}
    drawings.files_of_seeds(ax, recipes, paper=(27_000, 1.58))
    dots, line, *_, star = ax.lines
    assert sorted(zip(*dots.get_data(), strict=True)) == sorted(
        zip(sizes.ravel(), errors.ravel(), strict=True)
    )
    assert line.get_xdata().tolist() == [21_000, 4_100]
    assert line.get_ydata().tolist() == pytest.approx([1.1, 1.45])
    assert (*star.get_xdata(), *star.get_ydata()) == (27_000, 1.58)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "ours",
        "more",
        "the paper's",
    ]
    plot.draw_without_rendering()
