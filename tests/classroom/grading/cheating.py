"""Judges answers as the worker of `shrink check --strict` does, many in one process.

`python -m tests.classroom.grading.cheating ANSWERS` reads a list of (chapter, exercise, source of a
cell) from a file of JSON and prints one of (state, message). All are tried in the same process, one
after the other, so that what one leaves behind meets the next ones.
"""

import importlib
import json
import subprocess
import sys
from pathlib import Path

from nbformat.v4 import new_code_cell, new_notebook

from shrink.classroom.grading.strict import worker
from shrink.classroom.grading.strict.source import NotAdmitted, admit, code_cells
from tests import ROOT

SETUP = "import numpy as np\nimport torch\nimport torch.nn.functional as F\nfrom torch import nn"


def judged_strictly(folder, answers):
    """The state and message of each answer, given as (chapter, exercise, source of its cell)."""
    path = Path(folder, "answers.json")
    path.write_text(json.dumps(answers), encoding="utf-8")
    command = [sys.executable, "-m", "tests.classroom.grading.cheating", str(path)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return [tuple(row) for row in json.loads(ended.stdout.splitlines()[-1])]


def _judge(chapter, exercise, source, eye):
    found = importlib.import_module(f"shrink.chapters.{chapter}").EXERCISES
    exercises = {e.name: e for e in found}
    cells = code_cells(new_notebook(cells=[new_code_cell(SETUP), new_code_cell(source)]))
    try:
        answer = admit(cells, exercise, exercises)
    except NotAdmitted as error:
        return error.state, error.message
    facts = {
        "function": answer.function,
        "imports": answer.imports,
        "pieces": [vars(piece) for piece in answer.pieces],
    }
    job = {"order": list(exercises), "answers": {exercise: facts}}
    return worker._Trial(job, exercises, eye).judge(exercise, seed=0)


def main(path):
    answers = json.loads(Path(path).read_text(encoding="utf-8"))
    eye = worker.watched()
    print(json.dumps([_judge(*answer, eye) for answer in answers]))


if __name__ == "__main__":
    main(sys.argv[1])
