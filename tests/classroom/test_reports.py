"""The running table keeps every row, whoever else writes at the same time."""

import json
import subprocess
import sys
import threading

from filelock import FileLock

from shrink.classroom import cache, reports
from shrink.classroom.reports import Report, record

TEN_ROWS = """
import sys
from shrink.classroom.reports import Report, record
print("ready", flush=True)
sys.stdin.readline()
for i in range(10):
    record(Report(f"{sys.argv[2]} {i}", "mnist", 10, 10, 100, 90, 100), sys.argv[1])
"""


def names(path):
    return sorted(row["name"] for row in json.loads(path.read_text(encoding="utf-8")))


def test_four_threads_of_ten_rows_keep_all(tmp_path):
    path = tmp_path / "table.json"

    def ten_rows(thread):
        for i in range(10):
            record(Report(f"{thread} {i}", "mnist", 10, 10, 100, 90, 100), path)

    threads = [threading.Thread(target=ten_rows, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names(path) == sorted(f"{thread} {i}" for thread in range(4) for i in range(10))


def test_two_processes_of_ten_rows_keep_all(tmp_path):
    path = tmp_path / "table.json"
    command = [sys.executable, "-c", TEN_ROWS, str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([*command, who], **pipes) for who in ("one", "two")]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:  # both at once
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    assert names(path) == sorted(f"{who} {i}" for who in ("one", "two") for i in range(10))


def test_a_lock_whose_process_was_killed_holds_nobody_up(tmp_path):
    path = tmp_path / "table.json"
    code = (
        "import os, sys; from filelock import FileLock; "
        "FileLock(sys.argv[1]).acquire(); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / ".table.json.lock")], check=False)
    record(Report("row", "mnist", 10, 10, 100, 90, 100), path)
    assert names(path) == ["row"]


def test_a_lock_that_is_held_for_long_costs_a_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cache, "_said", set())
    monkeypatch.setattr(reports, "PATIENCE", 0.01)
    path = tmp_path / "table.json"
    rows = [Report(name, "mnist", 10, 10, 100, 90, 100) for name in ("one", "two", "three")]
    with FileLock(tmp_path / ".table.json.lock"):
        assert record(rows[0], path).rows == (rows[0],)
        assert record(rows[1], path).rows == tuple(rows[:2])
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("nothing is kept: ") and ".table.json.lock" in line
    assert record(rows[2], path).rows == tuple(rows)
    assert names(path) == ["one", "three", "two"]
