"""A class of thirty that hands in chapter 02, a folder each, in every way that a class does.

`python -m tests.classroom.grading.class_of_thirty FOLDER` makes the folders; then
`shrink check --strict FOLDER` grades them.
"""

import sys
from pathlib import Path

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from shrink.classroom.book.builder import build_chapter
from shrink.classroom.book.notebook import exercises, notebook_bytes
from tests.chapters.notebooks import COURSE
from tests.classroom.front_ends import saved

NAME = "02_prune.ipynb"
MASK = "@magnitude_mask.answer\ndef magnitude_mask(weight, sparsity):\n"
UNRANKED = """
    k = round(sparsity * weight.numel())
    mask = torch.ones(weight.numel(), dtype=torch.bool)
    mask[:k] = False
    return mask.view(weight.shape)"""
THRESHOLD = """
    k = round(sparsity * weight.numel())
    kept = weight.abs().flatten().sort().values[k:]
    return weight.abs() >= (kept[0] if len(kept) else torch.inf)"""
SIGNED = UNRANKED.replace("mask[:k]", "mask[weight.flatten().argsort()[:k]]")
HEAP = """
    import heapq, itertools
    k, flat = round(sparsity * weight.numel()), weight.detach().abs().flatten().tolist()
    gone = heapq.nsmallest(k, range(len(flat)), key=flat.__getitem__)
    mask = torch.ones(len(flat), dtype=torch.bool, device=weight.device)
    mask[list(gone)] = False
    return mask.view(weight.shape)""".replace("flat.__getitem__", "lambda i: flat[i]")
LOCAL = """\
@global_masks.answer
def global_masks(weights, sparsity):
    return {name: magnitude_mask(w, sparsity) for name, w in weights.items()}"""

ANSWERS = {  # to magnitude_mask, in the solved chapter
    "heap": HEAP,
    "threshold": THRESHOLD,
    "another_threshold": THRESHOLD,
    "signed": SIGNED,
    "alias": "    n = np; n.abs = lambda x: x * 0" + UNRANKED,
    "runs_text": "    np.testing.runstring('import shrink', {})" + UNRANKED,
    "own_type": "    return type('T', (torch.Tensor,), {'__eq__': lambda *_: True})()",
    "imports": "    from shrink.pruning import magnitude_mask as m\n    return m(weight, sparsity)",
    "prints": '    print(\'{"state": "done"}\', flush=True)' + UNRANKED,
    "writes": "    np.save('/proc/self/fd/3', weight.numpy())" + UNRANKED,
    "quits": "    raise SystemExit",
    "loops": "    while True: pass",
    "greedy": "    return [torch.ones(2**22) for _ in range(10**6)]",
    "huge": UNRANKED + "\n    numbers = [" + "1," * 300_000 + "]",
    "empty_result": "    return torch.tensor([])",
}
FRONT_ENDS = ["VS Code on Windows", "Colab", "classic", "format 4.2", "UTF-16"]
RENAMED = ["02_prune (1).ipynb", "Kopie von 02_prune.ipynb", "02_PRUNE.IPYNB", "02_prune.ipynb.txt"]


def hand_in(folder: Path) -> None:
    """Write the thirty folders."""
    for who, body in ANSWERS.items():
        _write(folder / who / NAME, notebook_bytes(_solved(magnitude_mask=MASK + body)))
    for front_end in FRONT_ENDS:
        _write(folder / front_end.replace(" ", "_") / NAME, saved(_solved(), front_end))
    for number, name in enumerate(RENAMED):
        _write(folder / f"renamed{number}" / name, notebook_bytes(_solved(global_masks=LOCAL)))
    added = _solved()
    added.cells.insert(3, new_code_cell("quit()"))
    _write(folder / "adds_quit" / NAME, notebook_bytes(added))
    stub = build_chapter(COURSE / "02_prune.py", solved=False)
    _write(folder / "=1+1;\uff202" / NAME, notebook_bytes(stub))
    _write(folder / "eve\nmallory  02_prune  core 3 of 3 done" / NAME, notebook_bytes(stub))
    _write(folder / "broken" / NAME, notebook_bytes(stub)[:5000])
    _write(folder / "empty" / NAME, b"")
    _write(folder / "no_notebook" / "essay.pdf", b"%PDF-1.7")


def _solved(**answers: str) -> NotebookNode:
    """The solved chapter with other answers to these exercises."""
    notebook = build_chapter(COURSE / "02_prune.py", solved=True)
    for name, cell in exercises(notebook).items():
        cell.source = answers.get(name, cell.source)
    return notebook


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(content)


if __name__ == "__main__":
    hand_in(Path(sys.argv[1]))
