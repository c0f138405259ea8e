"""What `shrink lab` does: the chapters into `work/`, MNIST if it can be had, then JupyterLab.

It opens on the start page. `jupyter/` has settings that hold unless the user has others: JupyterLab
does not ask about news, nor the internet for updates, and `first_kernel` is at work.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from shrink.classroom import CourseError, mnist
from shrink.classroom.book import page
from shrink.classroom.book.update import copy_missing
from shrink.classroom.cache import cache_dir, kept_if_possible
from shrink.files import write_atomically

SETTINGS = Path(__file__).parent / "jupyter"
PATIENCE = 20.0  # seconds for the one try to fetch MNIST, all together


def prepare(notebooks: Path, work: Path) -> list[Path]:
    """Copy the missing chapters into `work`, which is made; return the copies."""
    work.mkdir(parents=True, exist_ok=True)
    return copy_missing(notebooks, work)


def try_mnist_once(patience: float = PATIENCE) -> str | None:
    """Try to fetch MNIST unless that was tried before; one line about it, or None if not tried.

    Not tried either where `$SHRINK_DATA` is set. Whatever the network does, it returns after
    `patience` seconds. A try that was interrupted does not count.
    """
    stamp = cache_dir() / "mnist-was-tried"
    if os.environ.get("SHRINK_DATA") or stamp.exists() or mnist.at_hand():
        return None
    reasons: list[str] = []

    def fetch() -> None:
        try:
            mnist.fetch(timeout=patience / 4, progress=False)
        except (CourseError, OSError) as error:
            reasons.append(str(error))

    thread = threading.Thread(target=fetch, daemon=True)
    thread.start()
    thread.join(patience)
    if thread.is_alive():
        reasons.append(
            f"not here after {patience:g} s; `shrink data mnist` tries again without hurry, and "
            "until then glyphs stand in"
        )
    with kept_if_possible():
        write_atomically(stamp, b"")
    return f"MNIST: {reasons[0]}" if reasons else f"MNIST: fetched, into {cache_dir() / 'mnist'}"


def command(work: Path, extra: Sequence[str] = ()) -> list[str]:
    """The command that starts JupyterLab in `work`, on this machine only, behind its token.

    It opens the start page, if there is one, and unless `extra` says what to open.
    """
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    words = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={work}"]
    given = {word.split("=")[0].rpartition(".")[2].lstrip("-") for word in extra}
    if "ip" not in given:
        words.append("--ServerApp.ip=127.0.0.1")
    if "default_url" not in given and (work / page.FILE).exists():
        words.append(f"--LabApp.default_url=/lab/tree/{page.FILE}")
    if root:  # in a container, where JupyterLab refuses unless told
        words.append("--allow-root")
    if root or (sys.platform.startswith("linux") and not display):
        words.append("--no-browser")
    return [*words, *extra]


def start(words: Sequence[str], project: bool = False) -> int:
    """Become JupyterLab; where a process cannot become another, wait for it and return its status.

    OpenMP's threads wait passively: of two busy processes on two cores that spin instead, each
    was seen to take thirty times as long. With `project`, figures are drawn for a projector.
    """
    environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}
    paths = [*filter(None, [environment.get("JUPYTER_CONFIG_PATH")]), str(SETTINGS)]
    environment["JUPYTER_CONFIG_PATH"] = os.pathsep.join(paths)  # what is first counts more
    if project:
        environment["SHRINK_PROJECT"] = "1"
    sys.stdout.flush()
    if os.name == "posix":
        os.execve(words[0], words, environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for JupyterLab, which asks back
    return subprocess.call(words, env=environment)
