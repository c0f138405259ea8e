"""What the tests of the reproductions share."""

import contextlib
import io
import zlib
from subprocess import CompletedProcess
from types import SimpleNamespace

import pytest

from shrink.coding import codec
from shrink.papers import deep_compression, deep_compression_smaller, read_file, stages


@pytest.fixture
def read_here(monkeypatch):
    """Files are read back by the same code, in the test's own process: seconds less for each."""

    def run(command, **how):
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            read_file.main(*command[command.index(read_file.__name__) + 1 :])
        return CompletedProcess(command, 0, said.getvalue(), "")

    monkeypatch.setattr(stages, "subprocess", SimpleNamespace(run=run))


@pytest.fixture
def in_process(monkeypatch):
    """Figures without a process of its own for each file, where they are not what is tested."""

    def measured(name, dataset, write, content):
        raw = codec.encode(content)
        return {"file_bytes": len(raw), "checksum": zlib.crc32(raw[:-4])}  # all but its own CRC

    for paper in (deep_compression, deep_compression_smaller):
        monkeypatch.setattr(paper, "measured", measured)
