"""Writes that are killed, hindered or run beside others leave the file whole and nothing behind."""

import errno
import os
import signal
import subprocess
import sys
import threading

import pytest

from shrink import files
from shrink.files import sweep, write_atomically

LEFT = ".thing.bin.0123456789abcdef0123456789abcdef"
KILLED = """
import os, signal, sys
from shrink import files
os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
files.write_atomically(sys.argv[1], b"half")
"""


def everything(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "thing.bin"


def test_what_a_killed_writer_left_is_swept_by_the_next(path):
    for _ in range(2):
        killed = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
        assert killed.returncode == -signal.SIGKILL
    assert len(everything(path.parent)) == 1  # the second swept what the first had left
    assert write_atomically(path, b"whole") == 5
    assert everything(path.parent) == ["thing.bin"] and path.read_bytes() == b"whole"


def test_only_what_was_left_of_this_file_is_swept(path):
    others = [
        ".thing.bin.0123",
        ".thing.bin.0123456789abcdef0123456789abcdeg",
        ".other.bin.0123456789abcdef0123456789abcdef",
        ".thing-bin.0123456789abcdef0123456789abcdef",
        "thing.bin.0123456789abcdef0123456789abcdef",
    ]
    path.parent.mkdir()
    for name in (LEFT, *others):
        (path.parent / name).touch()
    sweep(path)
    assert everything(path.parent) == sorted(others)
    sweep(path.parent / "nowhere" / "thing.bin")


def test_what_a_living_writer_writes_is_not_swept(path, monkeypatch):
    waiting, go_on, fsync = threading.Event(), threading.Event(), os.fsync

    def slow(descriptor):
        if threading.current_thread() is writer:
            waiting.set()
            go_on.wait(20)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", slow)
    writer = threading.Thread(target=write_atomically, args=(path, b"slow"))
    writer.start()
    assert waiting.wait(20)
    write_atomically(path, b"quick")
    sweep(path)
    assert len(everything(path.parent)) == 2 and path.read_bytes() == b"quick"
    go_on.set()
    writer.join()
    assert everything(path.parent) == ["thing.bin"] and path.read_bytes() == b"slow"


def test_a_writer_whose_temporary_was_swept_before_it_was_locked_writes_again(path, monkeypatch):
    lock, swept = files.lock, []

    def late(file):
        if not swept:
            swept.append(file.name)
            sweep(path)
        lock(file)

    monkeypatch.setattr(files, "lock", late)
    write_atomically(path, b"whole")
    assert swept and everything(path.parent) == ["thing.bin"] and path.read_bytes() == b"whole"


def test_without_locks_as_on_windows_writes_are_whole_and_leftovers_go(path, monkeypatch):
    monkeypatch.setattr(files, "fcntl", None)
    path.parent.mkdir()
    (path.parent / LEFT).touch()
    write_atomically(path, b"whole")
    assert everything(path.parent) == ["thing.bin"] and path.read_bytes() == b"whole"


REFUSALS = [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT, errno.EIO, errno.ENOENT]


@pytest.mark.parametrize("number", REFUSALS)
@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_disk_that_refuses_is_told_with_the_files_own_name(path, monkeypatch, number, function):
    write_atomically(path, b"before")

    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, function, refuse)
    with pytest.raises(OSError, match=r"folder/thing\.bin'$") as caught:
        write_atomically(path, b"after")
    assert caught.value.errno == number and os.strerror(number) in str(caught.value)
    assert everything(path.parent) == ["thing.bin"] and path.read_bytes() == b"before"


def test_a_folder_in_its_place_and_a_file_in_its_folders_are_told(path):
    path.mkdir(parents=True)
    with pytest.raises(IsADirectoryError, match=r"thing\.bin'$"):
        write_atomically(path, b"whole")
    assert everything(path.parent) == ["thing.bin"]
    (path / "file").touch()
    with pytest.raises(OSError, match="below"):
        write_atomically(path / "file" / "below", b"whole")


def test_a_link_is_replaced_and_what_it_led_to_stays(path, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"mine")
    path.parent.mkdir()
    path.symlink_to(elsewhere)
    write_atomically(path, b"whole")
    assert path.read_bytes() == b"whole" and elsewhere.read_bytes() == b"mine"
