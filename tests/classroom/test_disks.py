"""Full, read-only, damaged and foreign caches: the course starts, says so once, and is right."""

import errno
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load as load_bytes
from safetensors.torch import save as save_bytes
from torch import nn

from shrink.classroom import CourseError, archives, baselines, cache, data, mnist
from shrink.classroom.baselines import RECIPES, baseline
from shrink.classroom.book import lab
from shrink.classroom.cache import cached_tensors, kept
from shrink.classroom.data import Dataset, Split
from shrink.classroom.reports import Report, record
from shrink.classroom.training import Recipe, train

REFUSALS = [errno.ENOSPC, errno.EROFS, errno.EACCES]


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    """A cache of its own, and nothing said yet."""
    monkeypatch.setattr(cache, "_said", set())
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SHRINK_DATA", raising=False)
    return tmp_path


def refuse(monkeypatch, number, function="replace"):
    """From now on no file is written: as on a full disk, which takes some of it, or a read-only."""

    def refused(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, function, refused)


def numbers():
    return {"x": torch.arange(6.0).view(2, 3), "y": torch.ones(5, dtype=torch.uint8)}


def lines(capsys):
    return capsys.readouterr().out.splitlines()


# ---- nothing can be written


@pytest.mark.parametrize("number", REFUSALS)
def test_without_room_things_are_made_and_one_line_says_so(monkeypatch, tmp_path, capsys, number):
    refuse(monkeypatch, number)
    for name in ("one", "two"):
        assert cached_tensors(tmp_path / name, numbers)["x"].equal(numbers()["x"])
        assert kept(name, numbers, 1)["y"].equal(numbers()["y"])
    (line,) = lines(capsys)
    assert line.startswith("nothing is kept: ") and os.strerror(number) in line
    assert str(tmp_path / "one") in line and "SHRINK_CACHE" in line
    assert not list(tmp_path.rglob("*"))[1:]  # besides the folder of the cache


@pytest.mark.parametrize("place", ["a file", "below a file", "no folder that there can be"])
def test_a_cache_that_is_no_folder_is_none(monkeypatch, tmp_path, capsys, place):
    (tmp_path / "file").write_text("mine")
    folders = {
        "a file": tmp_path / "file",
        "below a file": tmp_path / "file" / "cache",
        "no folder that there can be": "/proc/nowhere/cache",
    }
    monkeypatch.setenv("SHRINK_CACHE", str(folders[place]))
    for _ in range(2):
        assert kept("sweeps/some", numbers, 1)["x"].equal(numbers()["x"])
    assert len(lines(capsys)) == 1 and (tmp_path / "file").read_text() == "mine"


def drawn(show_progress):
    """A few images in place of the glyphs, which take seconds to draw."""
    sizes = {"train": 60, "validation": 10, "test": 20}
    images = {f"{part}.images": torch.ones(n, 28, 28).byte() for part, n in sizes.items()}
    labels = {f"{part}.labels": torch.arange(n).byte() % 10 for part, n in sizes.items()}
    return images | labels


def test_the_course_starts_without_a_cache(monkeypatch, capsys):
    monkeypatch.setattr(data, "_draw_glyphs", drawn)
    monkeypatch.setitem(RECIPES, ("lenet-300-100", "digits"), Recipe(epochs=1))
    refuse(monkeypatch, errno.EROFS)
    first, again = (data.load("glyphs") for _ in range(2))
    assert first.train.images.equal(again.train.images)
    few = Dataset("digits", first.train, first.validation, first.test)
    assert not baseline("lenet-300-100", few).training
    assert [line.split(":")[0] for line in lines(capsys)] == ["nothing is kept", "data", "data"]


def small_training(path, **options):
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    nn.init.constant_(model[1].weight, 0.1)
    nn.init.zeros_(model[1].bias)
    images = torch.rand(20, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    split = Split(images, torch.arange(20) % 2)
    did = train(model, split, Recipe(epochs=3, batch_size=5), checkpoint=path, **options)
    return did, model[1].weight.detach()


class Killed(BaseException):
    pass


def kill_at(step):
    def progress(done, total):
        if done == step:
            raise Killed

    return progress


def killed_training(path, step=9):
    with pytest.raises(Killed):
        small_training(path, progress=kill_at(step))


@pytest.mark.parametrize("number", REFUSALS)
def test_training_goes_on_without_checkpoints(monkeypatch, tmp_path, capsys, number):
    whole = small_training(None)
    refuse(monkeypatch, number)
    did, weight = small_training(tmp_path / "folder" / "training.partial")
    assert did == whole[0] and weight.equal(whole[1])
    (line,) = lines(capsys)
    assert line.startswith("nothing is kept: ") and "training.partial" in line


def test_the_running_table_is_shown_though_it_is_not_written(monkeypatch, tmp_path, capsys):
    path = tmp_path / "table.json"
    rows = [Report(name, "mnist", 10, 10, 100, 90, 100) for name in ("one", "two", "three", "four")]
    record(rows[0], path)
    with monkeypatch.context() as patch:
        refuse(patch, errno.ENOSPC)
        assert record(rows[1], path).rows == tuple(rows[:2])
        assert record(rows[2], path).rows == tuple(rows[:3])
        assert len(lines(capsys)) == 1
        assert [row["name"] for row in json.loads(path.read_text())] == ["one"]
    assert record(rows[3], path).rows == tuple(rows)  # there is room again
    assert [row["name"] for row in json.loads(path.read_text())] == ["one", "two", "three", "four"]


def test_a_running_table_in_a_folder_that_cannot_be(capsys):
    table = record(Report("one", "mnist", 10, 10, 100, 90, 100), "/proc/nowhere/table.json")
    assert [row.name for row in table.rows] == ["one"] and len(lines(capsys)) == 1


def test_a_folder_in_the_place_of_the_running_table_is_named(tmp_path):
    (tmp_path / "table.json").mkdir()
    with pytest.raises(CourseError, match=r"table\.json is no running table .*[Dd]irectory"):
        record(Report("one", "mnist", 10, 10, 100, 90, 100), tmp_path / "table.json")


# ---- MNIST


def test_mnist_for_which_there_is_no_room_is_told_with_the_folder(monkeypatch, tmp_path):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(mnist.pooch, "retrieve", full)
    with pytest.raises(CourseError, match=r"cannot be kept in .*cache/mnist \(No space left"):
        mnist.fetch(progress=False)
    (tmp_path / "file").touch()
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path / "file"))
    with pytest.raises(CourseError, match=r"cannot be kept in .*file/mnist"):
        mnist.fetch(progress=False)
    assert not mnist.at_hand()


def test_make_lab_starts_without_a_cache(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path / "file"))
    assert "MNIST cannot be kept in" in lab.try_mnist_once()


# ---- something else lies there


def damaged(content):
    """One bit of the last number is another."""
    return content[:-1] + bytes([content[-1] ^ 1])


PUT = {
    "one flipped bit": lambda path: path.write_bytes(damaged(path.read_bytes())),
    "half of it": lambda path: path.write_bytes(path.read_bytes()[:40]),
    "nothing": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("<!doctype html><title>404</title>"),
    "other tensors": lambda path: path.write_bytes(save_bytes({"z": torch.ones(3)})),
    "the same tensors of another": lambda path: path.write_bytes(
        save_bytes({name: tensor + 1 for name, tensor in numbers().items()})
    ),
    "no tensors": lambda path: path.write_bytes(save_bytes({})),
    "a type that there is not": lambda path: path.write_bytes(
        save_bytes(numbers()).replace(b"F32", b"F99")
    ),
    "a link to nowhere": lambda path: (path.unlink(), path.symlink_to("nowhere")),
    "a link to itself": lambda path: (path.unlink(), path.symlink_to(path.name)),
}


@pytest.mark.parametrize("what", PUT)
def test_what_is_not_what_was_stored_is_made_again(tmp_path, what, capsys):
    path = tmp_path / "some.safetensors"
    cached_tensors(path, numbers)
    whole = path.read_bytes()
    PUT[what](path)
    assert cached_tensors(path, numbers)["x"].equal(numbers()["x"])
    assert path.read_bytes() == whole and lines(capsys) == []
    cached_tensors(path, lambda: pytest.fail("made again"))


def test_another_thing_of_the_cache_in_its_place_is_made_again(tmp_path):
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    cached_tensors(one, numbers)
    cached_tensors(two, lambda: {"x": torch.zeros(2, 3), "y": torch.zeros(5)})
    shutil.copy(two, one)
    assert cached_tensors(one, numbers)["x"].equal(numbers()["x"])


def test_a_folder_in_its_place_costs_a_line(tmp_path, capsys):
    path = tmp_path / "some.safetensors"
    path.mkdir()
    for _ in range(2):
        assert cached_tensors(path, numbers)["x"].equal(numbers()["x"])
    (line,) = lines(capsys)
    assert "nothing is kept: " in line and "Is a directory" in line and str(path) in line


def test_other_tensors_in_the_place_of_the_glyphs_are_drawn_over(monkeypatch):
    monkeypatch.setattr(data, "_draw_glyphs", drawn)
    first = data.load("glyphs", announce=False)
    data.glyphs_file().write_bytes(save_bytes({"z": torch.ones(3)}))
    again = data.load("glyphs", announce=False)
    assert again.train.images.equal(first.train.images)


def test_what_a_killed_write_left_goes_when_the_file_is_next_read(tmp_path):
    path = tmp_path / "some.safetensors"
    cached_tensors(path, numbers)
    left = tmp_path / ".some.safetensors.0123456789abcdef0123456789abcdef"
    left.touch()
    cached_tensors(path, lambda: pytest.fail("made again"))
    assert not left.exists()


# ---- checkpoints


def other_training(path):
    """A checkpoint of the same shapes, recipe and seed, of another file."""
    killed_training(path.with_name("other.partial"), step=6)
    shutil.copy(path.with_name("other.partial"), path)


def flip(place):
    def one(path):
        content = bytearray(path.read_bytes())
        content[int(place * (len(content) - 1))] ^= 1
        path.write_bytes(content)

    return one


def saved(thing):
    return lambda path: torch.save(thing, path)


def behind_its_hash(thing):
    """Stored as a checkpoint is, by a course of another version or by hand."""

    def store(path):
        buffer = io.BytesIO()
        torch.save(thing, buffer)
        content = thing if isinstance(thing, bytes) else buffer.getvalue()
        path.write_bytes(hashlib.sha256(content).hexdigest().encode() + content)

    return store


STRANGE = {
    "no pickle behind its hash": behind_its_hash(b"<html>"),
    "other names behind their hash": behind_its_hash({"model": {}, "losses": []}),
    "a list behind its hash": behind_its_hash([1, 2]),
    "a tensor behind its hash": behind_its_hash(torch.ones(3)),
    **{f"a bit flipped at {place:.0%}": flip(place) for place in (0, 0.02, 0.3, 0.5, 0.7, 0.98, 1)},
    "half of it": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "nothing": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("<!doctype html>"),
    "a list": saved([1, 2]),
    "a network": saved({"0.weight": torch.ones(2, 4)}),
    "a tensor": saved(torch.ones(3)),
    "tensors": lambda path: path.write_bytes(save_bytes(numbers())),
    "another training": other_training,
}


@pytest.mark.parametrize("what", STRANGE)
def test_a_strange_checkpoint_is_not_taken_up_and_a_line_says_so(tmp_path, capsys, what):
    whole = small_training(None)
    path = tmp_path / "training.partial"
    killed_training(path)
    STRANGE[what](path)
    did, weight = small_training(path)
    assert did == whole[0] and weight.equal(whole[1])
    (line,) = lines(capsys)
    assert line.startswith("the training begins again: ") and "training.partial" in line
    assert not path.exists()


def test_a_whole_checkpoint_of_another_torch_is_not_taken_up(tmp_path, monkeypatch, capsys):
    whole = small_training(None)
    path = tmp_path / "training.partial"
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "0.1")
        killed_training(path)
    assert small_training(path)[1].equal(whole[1])
    assert "it is of another training" in lines(capsys)[0]
    killed_training(path)

    def unreadable(*_, **__):
        raise RuntimeError("made by a newer torch")

    monkeypatch.setattr(torch, "load", unreadable)
    assert small_training(path)[1].equal(whole[1])
    assert "it cannot be read (RuntimeError)" in lines(capsys)[0]


def test_a_folder_in_the_place_of_a_checkpoint_costs_a_line(tmp_path, capsys):
    whole = small_training(None)
    path = tmp_path / "training.partial"
    path.mkdir()
    did, weight = small_training(path)
    assert did == whole[0] and weight.equal(whole[1])
    assert [line.split(":")[0] for line in lines(capsys)] == [
        "the training begins again",
        "nothing is kept",
    ]


def test_what_a_killed_checkpoint_left_goes_with_the_training(tmp_path):
    path = tmp_path / "training.partial"
    left = tmp_path / ".training.partial.0123456789abcdef0123456789abcdef"
    left.touch()
    small_training(path)
    assert not list(tmp_path.iterdir())


# ---- what ships


@pytest.fixture
def shipped(monkeypatch, tmp_path):
    """A copy of what ships with the package, to be damaged."""
    package = tmp_path / "package"
    shutil.copytree(archives.folder(), package / "shipped")
    monkeypatch.setattr(baselines.resources, "files", lambda _: package)
    return package / "shipped"


FILE = "lenet-300-100-glyphs-0.safetensors"
HARM = {
    "one flipped bit": lambda path: path.write_bytes(damaged(path.read_bytes())),
    "another network": lambda path: shutil.copy(
        path.with_name("lenet-5-mnist-0.safetensors"), path
    ),
    "the same of other data": lambda path: shutil.copy(
        path.with_name(f"{FILE[:13]}-mnist-0.safetensors"), path
    ),
    "text": lambda path: path.write_text("version https://git-lfs.github.com/spec/v1"),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("what", HARM)
def test_a_shipped_network_that_is_not_itself_is_passed_over(shipped, what, capsys):
    assert baselines._shipped("lenet-300-100", "glyphs") and lines(capsys) == []
    HARM[what](shipped / FILE)
    assert baselines._shipped("lenet-300-100", "glyphs") is None
    (line,) = lines(capsys)
    assert "trained here" in line
    assert baselines._shipped("lenet-5", "glyphs")  # the others serve


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"networks": []}', '{"networks": 3}'])
def test_a_damaged_record_of_what_ships_is_passed_over(shipped, text):
    (shipped / "glyphs.json").write_text(text)
    assert baselines._shipped("lenet-300-100", "glyphs") is None
    assert baselines._shipped("lenet-300-100", "mnist")
    (shipped / "glyphs.json").unlink()
    assert baselines._shipped("lenet-300-100", "glyphs") is None


@pytest.mark.parametrize("what", ["flipped", "text", "empty", "folder"])
def test_a_damaged_archive_of_what_ships_is_passed_over(monkeypatch, tmp_path, what, capsys):
    folder = tmp_path / "shipped"
    folder.mkdir()
    monkeypatch.setattr(archives, "folder", lambda: folder)
    archives.ship("one", lambda: kept("thing", numbers, 1))
    archives.ship("two", lambda: kept("other", numbers, 2))
    path = folder / "one.zip"
    content = path.read_bytes()
    path.unlink()
    {
        "flipped": lambda: path.write_bytes(content.replace(content[60:70], bytes(10))),
        "text": lambda: path.write_text("version https://git-lfs.github.com/spec/v1"),
        "empty": path.touch,
        "folder": path.mkdir,
    }[what]()
    archives._labels.cache_clear()
    shutil.rmtree(tmp_path / "cache")
    assert kept("thing", numbers, 1)["x"].equal(numbers()["x"])
    assert "one.zip cannot be read" in lines(capsys)[0]
    assert kept("other", lambda: pytest.fail("made again"), 2)["x"].equal(numbers()["x"])


def test_whichever_bit_of_an_archives_directory_is_flipped(monkeypatch, tmp_path):
    monkeypatch.setattr(archives, "folder", lambda: tmp_path)
    path = tmp_path / "one.zip"
    archives.write(path, {"thing": numbers()})
    content = path.read_bytes()
    for place in range(8 * content.index(b"PK\1\2"), 8 * len(content)):
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        archives._labels.cache_clear()
        found = archives.find("thing")
        assert found is None or all(found[name].equal(t) for name, t in numbers().items())
    archives._labels.cache_clear()


# ---- a real disk that is full


def test_a_real_write_that_does_not_fit_is_told_and_survived(tmp_path):
    """A limit on the size of files stands in for a small disk: it needs no privileges."""
    code = """
import resource, signal, sys, torch
from shrink.classroom.cache import cached_tensors
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
for _ in range(2):
    print(cached_tensors(sys.argv[1], lambda: {"x": torch.ones(1000)})["x"].sum().item())
"""
    path = tmp_path / "folder" / "large"
    command = [sys.executable, "-c", code, str(path)]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert out[0].startswith("nothing is kept: ") and "File too large" in out[0]
    assert str(path) in out[0] and out[1:] == ["1000.0", "1000.0"]
    assert not list(path.parent.iterdir())


def test_what_is_stored_is_plain_safetensors(tmp_path):
    cached_tensors(tmp_path / "some", numbers)
    assert load_bytes((tmp_path / "some").read_bytes())["x"].equal(numbers()["x"])
