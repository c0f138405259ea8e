"""How `shrink check --strict` runs answers: each notebook in a process of its own, with limits.

The process is `worker`. It says how an exercise stands as soon as that is known. When one
takes too long, the process is killed with all that it has started; what is left is tried in a fresh
process, as it is when Python died or the memory ran out.
"""

import contextlib
import json
import os
import queue
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from shrink.classroom.grading.strict.source import Answer

START = 300.0  # seconds for Python and torch, on a busy machine too
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "SYSTEMROOT", "TMPDIR", "TEMP", "TMP")


@dataclass(frozen=True)
class Job:
    """The admitted answers of one notebook; `order` names all the exercises of its chapter."""

    module: str
    order: tuple[str, ...]
    answers: dict[str, Answer]


@dataclass
class Runner:
    """Runs jobs, each in processes of its own; may be used by several threads at once.

    Args:
        timeout: seconds for each exercise.
        memory: MB that a process may take beyond what it has after its imports.
    """

    timeout: float
    memory: int
    limited: bool = True  # whether the system holds processes to `memory`, as far as is known
    _stopped: bool = False
    _live: set[subprocess.Popen] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, job: Job) -> dict[str, tuple[str, str]]:
        """The state and message of each exercise that has an answer."""
        results: dict[str, tuple[str, str]] = {}
        while todo := [name for name in job.order if name in job.answers and name not in results]:
            if self._stopped:
                raise KeyboardInterrupt
            done = [name for name, (state, _) in results.items() if state == "done"]
            cpu = 2 * self.timeout * len(todo) + START
            token = secrets.token_hex(16)
            facts = {"todo": todo, "done": done, "memory": self.memory, "cpu": int(cpu)}
            facts["token"] = token
            with tempfile.TemporaryDirectory(prefix="shrink-", ignore_cleanup_errors=True) as at:
                path, empty = Path(at, "job.json"), Path(at, "empty")
                path.write_text(json.dumps(asdict(job) | facts), encoding="utf-8")
                empty.mkdir()
                results |= self._round(todo, path, empty, token.encode())
        return results

    def stop(self) -> None:
        """Kill what runs, and start nothing more."""
        with self._lock:
            self._stopped = True
            for process in self._live:
                _kill(process)

    def _round(
        self, todo: Sequence[str], job: Path, folder: Path, token: bytes
    ) -> dict[str, tuple[str, str]]:
        """What one process finishes, and at least one of the exercises: it may be its last."""
        found: dict[str, tuple[str, str]] = {}
        with self._process(job, folder, token) as lines:
            first = _next(lines, START)
            if not isinstance(first, dict):
                how = "did not start" if first is None else f"did not start in {START:g} seconds"
                return dict.fromkeys(todo, ("not graded", f"the process that grades {how}"))
            self.limited = self.limited and first["limited"]
            for name in todo:
                line = _next(lines, self.timeout)
                if isinstance(line, dict):
                    found[name] = line["state"], line["message"]
                    if line["last"]:
                        break
                else:
                    late = f"not finished after {self.timeout:g} seconds"
                    found[name] = "wrong", "Python died in it" if line is None else late
                    break
        return found

    @contextlib.contextmanager
    def _process(self, job: Path, folder: Path, token: bytes) -> Iterator[queue.Queue]:
        """A process and the queue of its lines, which ends with None; it is dead afterwards."""
        with self._lock:
            if self._stopped:
                raise KeyboardInterrupt
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "shrink.classroom.grading.strict.worker", str(job)],
                cwd=folder,
                env=_environment(folder),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            self._live.add(process)
        lines: queue.Queue = queue.Queue()
        reader = threading.Thread(target=_read, args=(process.stdout, token, lines), daemon=True)
        reader.start()
        try:
            yield lines
        finally:
            with self._lock:
                _kill(process)
                self._live.discard(process)
                process.wait()
            reader.join(timeout=5)


def _environment(folder: Path) -> dict[str, str]:
    """Little of our own: no tokens, no sign of a notebook, no GPU, whose memory has no limit."""
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    return kept | {
        "HOME": str(folder),
        "PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path if path),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "CUDA_VISIBLE_DEVICES": "",
    }


def _kill(process: subprocess.Popen) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()


def _read(stream: IO[bytes], token: bytes, lines: queue.Queue) -> None:
    """What the process itself says, not what an answer may have written there."""
    for line in stream:
        if line.startswith(token):
            lines.put(line.removeprefix(token))
    lines.put(None)


def _next(lines: queue.Queue, seconds: float) -> dict | str | None:
    """The next line of the process, "late" when there is none in time, None at its end."""
    try:
        line = lines.get(timeout=seconds)
        return None if line is None else json.loads(line)
    except queue.Empty:
        return "late"
    except ValueError:
        return None
