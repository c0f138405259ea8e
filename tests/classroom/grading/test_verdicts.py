"""Plain and strict say the same of an answer, or strict refuses it with the reason.

Here plain's cells run in an IPython of this process, and strict's admitted code beside it; both as
they do in processes of their own, in seconds. `deep` has the processes.
"""

import ast
import json

import pytest
from IPython.core.interactiveshell import InteractiveShell
from nbformat.v4 import new_code_cell, new_notebook

from shrink.chapters import prune
from shrink.classroom.book.builder import build_chapter
from shrink.classroom.book.notebook import code_of, exercises
from shrink.classroom.grading.check import is_late
from shrink.classroom.grading.running import Run
from shrink.classroom.grading.strict.runner import Job, Runner
from shrink.classroom.grading.strict.source import NotAdmitted, admit, bare, code_cells
from shrink.classroom.grading.verdicts import Seen, status
from tests import CHAPTERS, ROOT

pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")

SETUP = """\
import torch
import numpy as np
from shrink import pruning
from shrink.chapters.prune import global_masks, magnitude_mask"""
HEAD = "@magnitude_mask.answer\ndef magnitude_mask(weight, sparsity):\n"
BODY = """\
    k = round(sparsity * weight.numel())
    mask = torch.ones(weight.numel(), dtype=torch.bool)
    mask[weight.detach().abs().flatten().argsort()[:k]] = False
    return mask.view(weight.shape)
"""
RIGHT = HEAD + BODY
WRONG = HEAD + "    return weight > sparsity\n"
STUB = HEAD + '    raise NotImplementedError("your turn")\n'
CHECK = "magnitude_mask.check()"
PLAIN = "def plain(weight, sparsity):\n" + BODY
LAMBDA = (
    "lambda weight, sparsity: (weight.abs().flatten().argsort().argsort()"
    " >= round(sparsity * weight.numel())).view(weight.shape)"
)
HELPED = HEAD + BODY.replace("mask.view(weight.shape)", "shaped(mask, weight)")
SHAPED = "def shaped(mask, weight):\n    return mask.view(weight.shape)\n"
UNSHAPED = "def shaped(mask, weight):\n    return mask\n"
DROP = BODY.replace("= False", "= DROP")
NOT_HERE = "@magnitude_mask.answer\n"

# By name: the cells between the set-up and the end, and what both say, or "refused".
DONE = {
    "as it should be": [RIGHT, CHECK],
    "time": ["%%time\n" + RIGHT, CHECK],
    "capture, blank lines": ["\n\n%%capture out\n" + RIGHT, CHECK],
    "capture and time": ["%%capture\n%%time\n" + RIGHT, CHECK],
    "prun": ["%%prun -q\n" + RIGHT, CHECK],
    "prompts": [">>> x = 1\n... \n", RIGHT, CHECK],
    "help": ["torch.argsort?\n" + RIGHT + "\n?torch.sort", CHECK],
    "two question marks": ["torch.argsort??\n" + RIGHT, CHECK],
    "timeit": ["x = %timeit -o -q -n1 -r1 3\n" + RIGHT, CHECK],
    "shell": ["files = !true\n!true\n" + RIGHT, CHECK],
    "calls without parentheses": ["/abs 1\n,print a b\n;str a b\n" + RIGHT, CHECK],
    "a lambda": [f"magnitude_mask = magnitude_mask.answer({LAMBDA})", CHECK],
    "a lambda, no name": [f"magnitude_mask.answer({LAMBDA})", CHECK],
    "a function": [PLAIN + "magnitude_mask.answer(plain)", CHECK],
    "a function of another cell": [PLAIN, "magnitude_mask.answer(plain)", CHECK],
    "a function of another name": [RIGHT.replace("def magnitude_mask", "def mine"), CHECK],
    "a constant": ["DROP = False\n" + HEAD + DROP, CHECK],
    "a constant of another cell": ["DROP: bool = not 1 > 0", HEAD + DROP, CHECK],
    "a constant of two": ["(DROP, *_), x = y = (False, True), 1", HEAD + DROP, CHECK],
    "a table": [
        "DROP = any([i for i in {j: j for j in range(3)} if i > 3])\nfor i in (1,): pass",
        HEAD + DROP,
        CHECK,
    ],
    "a lambda as a helper": ["shaped = lambda mask, w: mask.view(w.shape)", HELPED, CHECK],
    "a helper": [SHAPED, HELPED, CHECK],
    "a helper between answer and check": [HELPED, SHAPED, CHECK],
    "a helper mended between answer and check": [UNSHAPED, HELPED, SHAPED, CHECK],
    "a helper changed after the check": [SHAPED, HELPED, CHECK, UNSHAPED],
    "display and print": [HEAD + "    display(weight)\n    print(sparsity)\n" + BODY, CHECK],
    "walrus": [RIGHT.replace("[:k]", "[:(n := k)]"), CHECK],
    "decorators below": [RIGHT.replace("def", "@torch.no_grad()\ndef"), CHECK],
    "answered twice, the second right": [WRONG, CHECK, RIGHT, CHECK],
    "answered twice, checked once": [WRONG, CHECK, RIGHT],
    "checked twice": [RIGHT, CHECK, "magnitude_mask.check(seed=3)"],
    "a check above": [CHECK, RIGHT],
    "a seed in the check": [RIGHT, "magnitude_mask.check(seed=1)"],
    "bash beside": ["%%bash\n" + WRONG, RIGHT, CHECK, "%%html\n" + WRONG],
    "annotations": [RIGHT.replace("sparsity)", "sparsity: float) -> torch.Tensor"), CHECK],
    "annotations in quotes": [RIGHT.replace("sparsity)", "sparsity: 'Nothing') -> 'No'"), CHECK],
    "a bad cell above": ["1 +", RIGHT, CHECK],
    "a builtin of another's": [RIGHT, CHECK, "round = 3"],
}
WRONG_OR_UNDONE = {
    "wrong": ("wrong", [WRONG, CHECK]),
    "a stub": ("not done yet", [STUB, CHECK]),
    "a stub under time": ("not done yet", ["%%time\n" + STUB, CHECK]),
    "nothing": ("not done yet", [CHECK]),
    "in bash": ("not done yet", ["%%bash\n" + RIGHT, CHECK]),
    "written to a file": ("not done yet", ["%%writefile /dev/null\n" + RIGHT, CHECK]),
    "time of a statement": ("not done yet", ["%%time 1\n" + RIGHT, CHECK]),
    "a script that is none": ("not done yet", ["%%script true\n" + RIGHT, CHECK]),
    "in a text": ("not done yet", [f"text = {RIGHT!r}", CHECK]),
    "does not parse": ("wrong", [HEAD + "    return weight weight", CHECK]),
    "does not parse, by time": ("wrong", ["%%time\n" + HEAD + "    return 1 1", CHECK]),
    "half of it in another cell": ("wrong", [NOT_HERE, BODY, CHECK]),
    "nonlocal": ("wrong", [HEAD + "    nonlocal y", CHECK]),
    "the last does not parse": ("wrong", [RIGHT, CHECK, HEAD + "    return 1 1"]),
    "a default that fails": ("wrong", [RIGHT.replace("sparsity)", "sparsity, n=1 / 0)"), CHECK]),
    "answered twice": ("wrong", [RIGHT, CHECK, WRONG, CHECK]),
    "answered twice, checked once": ("wrong", [RIGHT, CHECK, WRONG]),
    "a wrong lambda": ("wrong", ["magnitude_mask.answer(lambda w, s: w > s)", CHECK]),
    "a helper spoilt before the check": ("wrong", [SHAPED, HELPED, UNSHAPED, CHECK]),
    "a constant spoilt": ("wrong", ["DROP = False", "DROP = True", HEAD + DROP, CHECK]),
    "a builtin spoilt": ("wrong", ["round = 3", RIGHT, CHECK]),
}
REFUSED = {  # with what plain says of them
    "asks": ("wrong", [HEAD + "    return input()", CHECK]),
    "magic inside": ("done", [HEAD + "    %who_ls\n" + BODY, CHECK]),
    "shell inside": ("done", [HEAD + "    !true\n" + BODY, CHECK]),
    "help inside": ("done", [HEAD + "    torch.argsort?\n" + BODY, CHECK]),
    "the shell inside": ("done", [HEAD + "    get_ipython()\n" + BODY, CHECK]),
    "under timeit": ("done", ["%%timeit -n1 -r1\n" + RIGHT.replace("def magnitude_mask", "def f"),
                              CHECK]),
    "annotations of nothing": ("wrong", [RIGHT.replace("sparsity)", "sparsity: Nothing)"), CHECK]),
    "in an if": ("done", ["if True:\n    " + RIGHT.replace("\n", "\n    "), CHECK]),
    "in a with": ("done", ["with torch.no_grad():\n    " + RIGHT.replace("\n", "\n    "), CHECK]),
    "in a function": ("done", [PLAIN, "def go():\n    magnitude_mask.answer(plain)\ngo()", CHECK]),
    "by an alias": ("done", [RIGHT.replace("@magnitude", "give = magnitude", 1)
                             .replace("\n", "\n@give\n", 1), CHECK]),
    "under another name": ("done", ["m = magnitude_mask\n" + RIGHT.replace("@magnitude_mask", "@m"),
                                    CHECK]),
    "out of a module": ("done", ["from shrink.chapters import prune\n@prune." + RIGHT[1:], CHECK]),
    "imported under another name": ("done", [
        "from shrink.chapters.prune import magnitude_mask as m\n"
        + RIGHT.replace("@magnitude_mask", "@m"), CHECK]),
    "by getattr": ("done", [PLAIN, "getattr(magnitude_mask, 'answer')(plain)", CHECK]),
    "by exec": ("done", [f"exec({RIGHT!r})", CHECK]),
    "a class": ("wrong", ["@magnitude_mask.answer\nclass Mask:\n    pass", CHECK]),
    "async": ("wrong", [RIGHT.replace("def", "async def"), CHECK]),
    "a decorator above": ("not done yet", ["import functools\n@functools.cache\n" + RIGHT, CHECK]),
    "a constant of a loop": ("done", ["for DROP in [False]: pass", HEAD + DROP, CHECK]),
    "a constant of a place": ("done", ["a = [1]\nDROP, a[0] = False, True", HEAD + DROP, CHECK]),
    "a constant of itself": ("done", ["DROP = True\nDROP = not DROP", HEAD + DROP, CHECK]),
    "a constant of what changes": ("done", ["n = False\nDROP = n", "n = True", HEAD + DROP, CHECK]),
    "a constant of a with": ("done", ["with torch.no_grad() as n:\n    DROP = False", HEAD + DROP,
                                      CHECK]),
    "a constant that changes": ("done", ["seen = []\nseen.append(False)",
                                         HEAD + DROP.replace("DROP", "seen[0]"), CHECK]),
    "a constant set inside": ("done", ["def go():\n    global DROP\n    DROP = False\ngo()",
                                       HEAD + DROP, CHECK]),
    "a walrus outside": ("done", ["print(DROP := False)", HEAD + DROP, CHECK]),
    "a helper by async": ("wrong", ["async def shaped(m, w): pass", HELPED, CHECK]),
    "a helper by class": ("done", [
        "class shaped:\n    def __new__(cls, mask, w):\n        return mask.view(w.shape)", HELPED,
        CHECK]),
    "a helper below": ("wrong", [HELPED, CHECK, SHAPED]),
    "what nothing sets": ("wrong", [RIGHT.replace("return mask", "return masc"), CHECK]),
    "the library": ("done", ["magnitude_mask.answer(pruning.magnitude_mask)", CHECK]),
}  # fmt: skip


@pytest.fixture
def exercise():
    """The exercise as a fresh kernel has it."""
    exercise = prune.magnitude_mask
    exercise.student, exercise.passed = None, False
    yield exercise
    exercise.student, exercise.passed = None, False


def plain(exercise, sources, report, monkeypatch):
    """How plain check has it, of cells that run in an IPython of their own."""
    monkeypatch.setenv("SHRINK_CHECK_REPORT", str(report))
    shell = InteractiveShell()
    cells = [new_code_cell(source) for source in [SETUP, *sources]]
    if is_late(exercise.name, [Seen.of(cell) for cell in cells]):
        cells.append(new_code_cell(CHECK))
    failures = {}
    for number, cell in enumerate(cells):
        result = shell.run_cell(cell.source)
        if not result.success:
            failures[number] = repr(result.error_in_exec or result.error_before_exec)
    lines = report.read_text().splitlines() if report.exists() else []
    ran = Run(tuple(map(json.loads, lines)), failures)
    return status(exercise, [Seen.of(cell) for cell in cells], ran).state


def strict(exercise, sources):
    """How strict check has it, of what it admits."""
    names = [e.name for e in prune.EXERCISES]
    cells = code_cells(new_notebook(cells=[new_code_cell(s) for s in [SETUP, *sources]]))
    try:
        answer = admit(cells, exercise.name, names)
    except NotAdmitted as refusal:
        assert refusal.message or refusal.state == "not done yet"
        return refusal.state
    scope = {"display": print, "__name__": "answer"}
    try:
        for text in answer.imports:
            exec(text, scope)
        for piece in answer.pieces:
            body = ast.parse(piece.source).body
            module = ast.Module([bare(body[n]) for n in piece.statements], [])
            exec(compile(module, "answer", "exec"), scope)
        exercise.answer(scope[answer.function])
        return exercise.judge(0).state
    except Exception:
        return "wrong"


@pytest.mark.parametrize("name", DONE)
def test_both_say_done(exercise, name, tmp_path, monkeypatch, capsys):
    assert plain(exercise, DONE[name], tmp_path / "report", monkeypatch) == "done"
    assert strict(exercise, DONE[name]) == "done"


@pytest.mark.parametrize("name", WRONG_OR_UNDONE)
def test_both_say_that_it_is_not_done(exercise, name, tmp_path, monkeypatch, capsys):
    state, cells = WRONG_OR_UNDONE[name]
    assert plain(exercise, cells, tmp_path / "report", monkeypatch) == state
    assert strict(exercise, cells) == state


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_read_is_refused(exercise, name, tmp_path, monkeypatch, capsys):
    state, cells = REFUSED[name]
    assert plain(exercise, cells, tmp_path / "report", monkeypatch) == state
    assert strict(exercise, cells) == "refused"


@pytest.mark.deep
@pytest.mark.parametrize("name", DONE)
def test_in_a_process_of_its_own_strict_says_the_same(exercise, name):
    names = tuple(e.name for e in prune.EXERCISES)
    cells = code_cells(new_notebook(cells=[new_code_cell(s) for s in [SETUP, *DONE[name]]]))
    answers = {exercise.name: admit(cells, exercise.name, names)}
    results = Runner(60, 2048).run(Job("shrink.chapters.prune", names, answers))
    assert results[exercise.name] == ("done", "")


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_what_nobody_has_touched_is_not_done_yet(chapter):
    notebook = build_chapter(ROOT / "course" / f"{chapter}.py", solved=False)
    cells, names = code_cells(notebook), exercises(notebook)
    for name in names:
        with pytest.raises(NotAdmitted) as caught:
            admit(cells, name, names)
        assert (caught.value.state, caught.value.message) == ("not done yet", "")
        assert any(cell.holds_stub(name) for cell in map(Seen.of, code_of(notebook)))
