"""The process in which `shrink check --strict` runs one student's answers.

`python -m shrink.classroom.grading.strict.worker JOB` limits its own memory once torch is
imported, tries the exercises in order, and writes a line of JSON for each as it is finished. The
lines go where stdout went, behind a word that only this process and its parent know; before any
answer runs, stdout and stderr are pointed at nothing.

An answer runs among lent modules (`lending`), under watch (`watch`), and what it returns is made
anew (`results`): it can neither change what the checks compare with nor ask for the reference.
That ends what is found in ten minutes; code that attacks the process is not defended against.
Imports are few here: they are what grading a notebook costs.
"""

import ast
import contextlib
import errno
import importlib
import json
import linecache
import mmap
import os
import random
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import CodeType
from typing import Any, TextIO

from shrink.classroom.exercises.attempt import in_words
from shrink.classroom.exercises.exercise import Exercise, Outcome
from shrink.classroom.grading.strict import watch
from shrink.classroom.grading.strict.definition import INSTANCE, bare, guarded
from shrink.classroom.grading.strict.lending import builtins_of_answers, instance
from shrink.classroom.grading.strict.results import made_anew
from shrink.classroom.grading.strict.settings import settings_kept

_OUT_OF_MEMORY = re.compile(
    r".*(MemoryError|can't allocate memory|not enough memory|bad_alloc|Unable to allocate)"
)
_LONGEST = 4000  # characters of a message
_DEEPEST = 2000  # frames: a recursive answer takes four a call here, and two in a notebook


class _Trial:
    """The answers of one notebook as functions, each in a namespace of its own.

    In it the exercises are plain functions. One that stands earlier in the chapter answers with
    the reference until the student's has passed. A later one is the student's own in any case:
    its reference would answer for the exercise on trial.
    """

    def __init__(self, job: dict, exercises: dict[str, Exercise], eye: watch.Watch) -> None:
        self._order, self._answers, self._exercises = job["order"], job["answers"], exercises
        self._eye = eye
        self._functions: dict[str, Callable] = {}
        self._turn = 0

    def function(self, name: str) -> Callable:
        """The student's function; raises whatever its definition raises."""
        if name not in self._functions:
            if name not in self._answers:
                raise NameError(f"{name} is a later exercise, and has no answer of yours")
            self._functions[name] = _Watched(self._define(**self._answers[name]), self._eye)
        return self._functions[name]

    def judge(self, name: str, seed: int) -> tuple[str, str]:
        """The state and message of one exercise, whatever the student's code raises."""
        self._turn = self._order.index(name)
        exercise = self._exercises[name]
        watch.refusals.clear()
        try:
            exercise.answer(self.function(name))
            outcome = exercise.judge(seed)
        except BaseException as error:  # KeyboardInterrupt, which a check lets through, is theirs
            outcome = Outcome("wrong", f"your code raised {in_words(error)}")
        if watch.refusals:
            return "refused", watch.refusals[0]
        message = outcome.message.removeprefix(f"{name}: ")
        return outcome.state, "" if message == outcome.state else message

    def pass_again(self, name: str) -> None:
        """Take an exercise as done: it was, in a process that is gone."""
        self._exercises[name].answer(self.function(name)).passed = True

    def _define(self, function: str, imports: list[str], pieces: list[dict], **_: Any) -> Callable:
        names = {"__name__": "answer", INSTANCE: instance}
        names |= {"__builtins__": builtins_of_answers(self._eye)}
        names |= {name: self._plain(name) for name in self._order}
        with self._eye.switched(on=False):  # another answer may have called this one
            for text in imports:
                with contextlib.suppress(ImportError):  # of a submodule that there is not
                    exec(text, names)
            compiled = [_compiled(piece) for piece in pieces]
        with self._eye.switched(on=True):
            for code in compiled:
                exec(code, names)
        defined = names[function]
        names |= {name: self._plain(name) for name in self._order}
        return defined

    def _plain(self, name: str) -> Callable:
        def call(*args: Any, **kwargs: Any) -> Any:
            if self._order.index(name) > self._turn:
                return self.function(name)(*args, **kwargs)
            with self._eye.switched(on=False):  # the reference may import
                return self._exercises[name](*args, **kwargs)

        call.__name__ = name
        return call


class _Watched:
    """A student's function, under watch: what it returns is made anew, what it sets is undone."""

    def __init__(self, function: Callable, eye: watch.Watch) -> None:
        self._function, self._eye = function, eye
        self.__code__ = getattr(function, "__code__", None)  # by which its lines are quoted

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with settings_kept(), self._eye.switched(on=True):
            return made_anew(self._function(*args, **kwargs))


def _compiled(piece: dict) -> CodeType:
    """The admitted statements of a cell; errors in them will quote its lines."""
    file = f"{watch.CELL}{piece['cell']}>"
    lines = piece["source"].splitlines(keepends=True)
    linecache.cache[file] = (len(piece["source"]), None, lines, file)
    body = ast.parse(piece["source"]).body
    functions = [guarded(bare(body[number])) for number in piece["statements"]]
    return compile(ast.Module(functions, type_ignores=[]), file, "exec")


def _limit(memory: int, cpu: int) -> bool:
    """Hold this process to so many MB more than it has; whether the system does."""
    try:
        import resource  # not on Windows
    except ImportError:
        return False
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**26, 2**26))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu))  # if nobody kills it
    try:
        status = Path("/proc/self/status").read_text()
        now = int(re.search(r"VmData:\s*(\d+) kB", status)[1]) * 1024
        most = now + memory * 2**20
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        mmap.mmap(-1, most + 2**20, flags=flags).close()
    except OSError as error:
        return error.errno == errno.ENOMEM
    except (TypeError, ValueError):
        return False
    return False


def _tell(out: TextIO, token: str, **facts: Any) -> None:
    print(f"\n{token}{json.dumps(facts)}", file=out, flush=True)


def _silence() -> TextIO:
    """What was stdout, for us alone; what is printed from now on goes nowhere."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    return out


def watched() -> watch.Watch:
    """Prepare this process for answers, for good."""
    warnings.simplefilter("ignore")  # to show them, Python opens files
    sys.setrecursionlimit(_DEEPEST)
    eye = watch.Watch()
    eye.begin()
    return eye


def main(path: str) -> None:
    """Try the exercises of the job in the file `path`."""
    out = _silence()
    job = json.loads(Path(path).read_text(encoding="utf-8"))
    found = vars(importlib.import_module(job["module"])).values()
    trial = _Trial(job, {e.name: e for e in found if isinstance(e, Exercise)}, watched())
    memory, token = job["memory"], job["token"]
    _tell(out, token, limited=_limit(memory, job["cpu"]))
    for name in job["done"]:
        trial.pass_again(name)
    for name in job["todo"]:
        state, message = trial.judge(name, random.SystemRandom().randrange(10**6))
        full = state == "wrong" and bool(_OUT_OF_MEMORY.match(message.partition("\n")[0]))
        if full:
            message = f"needs more than {memory} MB of memory"
        _tell(out, token, state=state, message=message[:_LONGEST], last=full)
        if full:
            break
    out.flush()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
