"""Every solved chapter on MNIST: a file of its own, as it takes as long as all the others."""

import pytest

from tests.chapters.notebooks import CHAPTERS, build, failing_cells


@pytest.mark.mnist
@pytest.mark.parametrize("chapter", CHAPTERS)
def test_solved_notebook_passes_on_mnist(chapter, tmp_path):
    notebook = build(chapter, tmp_path, solved=True)
    failed, said = failing_cells(notebook, SHRINK_DATASET="mnist")
    assert failed == [], said[-3000:]
