"""The data sets: what is in them, and what happens when files, processes or networks fail."""

import gzip
import hashlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import create_server

import pooch
import pytest
import torch

from shrink.classroom import CourseError, cache, data, glyphs, mnist
from shrink.classroom.made_of import devices_in

SMALL = {"train": 500, "validation": 500, "test": 500}
FILES = {name: name.encode() * 50 for name in mnist.FILES}
ARCHIVES = {name: gzip.compress(content, mtime=0) for name, content in FILES.items()}


@pytest.fixture(autouse=True)
def empty_cache(request, monkeypatch, tmp_path):
    """Only a test that needs MNIST sees the caller's data; each of the others has a fresh cache."""
    monkeypatch.delenv("SHRINK_DATASET", raising=False)
    if not request.node.get_closest_marker("mnist"):
        monkeypatch.delenv("SHRINK_DATA", raising=False)
        monkeypatch.setenv("SHRINK_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def small_glyphs(monkeypatch):
    monkeypatch.setattr(glyphs, "SIZES", SMALL)


@pytest.fixture
def tiny_mnist(monkeypatch, tmp_path):
    """Four short files take the place of the official ones; returns the folder they lie in."""
    hashes = {
        name: tuple(hashlib.sha256(part).hexdigest() for part in (ARCHIVES[name], content))
        for name, content in FILES.items()
    }
    monkeypatch.setattr(mnist, "FILES", hashes)
    folder = tmp_path / "given" / "mnist"
    put_archives(folder)
    return folder


def put_archives(folder):
    folder.mkdir(parents=True)
    for name, archive in ARCHIVES.items():
        (folder / f"{name}.gz").write_bytes(archive)


def same(one: data.Split, other: data.Split) -> bool:
    return torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels)


# Drawing

FIRST_IMAGE = [12, 84, 23, 0, 20, 110, 18, 0, 0, 23, 145, 0, 0, 80, 58, 0]


def test_drawing_is_repeatable_and_count_takes_the_first_ones():
    images, labels = glyphs.draw("train", count=501)
    again, again_labels = glyphs.draw("train", count=7)
    assert torch.equal(images[:7], again) and torch.equal(labels[:7], again_labels)
    assert images.shape == (501, 28, 28)
    assert not torch.equal(images[:7], glyphs.draw("validation", count=7)[0])


def test_drawing_leaves_the_random_state_alone():
    before = torch.get_rng_state()
    glyphs.draw("test", count=1)
    assert torch.equal(before, torch.get_rng_state())


def test_drawing_reports_progress():
    seen = []
    glyphs.draw("test", progress=lambda done, total: seen.append((done, total)), count=700)
    assert seen == [(500, 700), (700, 700)]


def test_every_face_and_stroke_has_ten_different_digits():
    letters = glyphs.set_letters()
    assert letters.shape == (19, 2, 10, 56, 56)
    assert letters.amin() == 0 and (letters.amax((-1, -2)) > 0.9).all()
    for ten in letters.flatten(0, 1):
        distance = torch.cdist(ten.flatten(1), ten.flatten(1)) + 99 * torch.eye(10)
        assert distance.min() > 5
    assert (letters[..., :7, :] == 0).all() and (letters[..., :7] == 0).all()  # a box of 40 x 40


def test_a_first_image_stays_as_it_is():
    images, _ = glyphs.draw("train", count=1)
    coarse = torch.nn.functional.avg_pool2d(images.float(), 7).flatten().tolist()
    assert coarse == pytest.approx(FIRST_IMAGE, abs=2)  # another font renderer moves it by less


def test_labels_belong_to_their_images():
    """The nearest of the class means of other images is mostly the right one."""
    images, labels = glyphs.draw("train", count=2000)
    means = torch.stack([images[labels == d].float().mean(0).flatten() for d in range(10)])
    test_images, test_labels = glyphs.draw("test", count=500)
    nearest = torch.cdist(test_images.float().flatten(1), means).argmin(1)
    assert (nearest == test_labels).float().mean() > 0.7


def test_unknown_split():
    with pytest.raises(ValueError, match=r"'holdout'.*train, validation, test"):
        glyphs.draw("holdout")


# What load returns


def test_glyphs_in_full(capsys):
    full = data.load("glyphs")
    assert capsys.readouterr().out == (
        "data: glyphs, synthetic digits, drawn from fonts; 12000 train, 2000 validation, "
        "10000 test; for MNIST run `shrink data mnist`\n"
    )
    for part, size in (("train", 12_000), ("validation", 2000), ("test", 10_000)):
        split = getattr(full, part)
        assert split.images.shape == (size, 1, 28, 28) and len(split) == size
        assert split.images.dtype == torch.float32 and split.labels.dtype == torch.int64
        assert split.images.min() == 0 and split.images.max() == 1
        assert split.labels.bincount().tolist() == [size // 10] * 10
        assert 0.05 < (split.labels[1:] == split.labels[:-1]).float().mean() < 0.15  # shuffled
    ink = full.train.images.mean((0, 1))
    assert ink[:2, :2].max() == 0 and ink[0].max() < 0.005 and ink[10:18, 10:18].min() > 0.1
    different = {
        image.tobytes() for part in (full.train, full.test) for image in part.images.numpy()
    }
    assert len(different) == 22_000


def test_second_load_reads_the_cache(small_glyphs, monkeypatch, capsys):
    first = data.load("glyphs")
    assert "drawing glyphs" in capsys.readouterr().err
    monkeypatch.setattr(data, "_draw_glyphs", None)
    assert same(first.test, data.load("glyphs").test)
    monkeypatch.setattr(glyphs, "STRENGTH", 2 * glyphs.STRENGTH)
    with pytest.raises(TypeError):  # another drawing is another file
        data.load("glyphs")


def test_digits_are_stratified_and_split_once():
    digits = data.load("digits", announce=False)
    parts = (digits.train, digits.validation, digits.test)
    assert [len(part) for part in parts] == [1197, 200, 400]
    assert len(torch.cat([part.images for part in parts]).unique(dim=0)) == 1797
    assert same(digits.test, data.load("digits", announce=False).test)
    for part in parts:
        assert part.images.shape[1:] == (1, 28, 28) and part.images.dtype == torch.float32
        assert part.images.min() == 0 and 0.9 < part.images.max() <= 1
        share = part.labels.bincount().float() / len(part)
        assert share.min() > 0.08 and share.max() < 0.12


def test_ten_digits(small_glyphs):
    dataset = data.load("glyphs", announce=False)
    ten = data.ten_digits(dataset)
    assert ten.labels.tolist() == list(range(10)) and ten.images.shape == (10, 1, 28, 28)
    first_seven = dataset.test.labels.tolist().index(7)
    assert torch.equal(ten.images[7], dataset.test.images[first_seven])


def test_to_moves_all_tensors():
    moved = data.load("digits", device="meta", announce=False)
    for part in (moved.train, moved.validation, moved.test):
        assert part.images.device.type == part.labels.device.type == "meta"


def test_the_key_of_images_is_computed_once_and_is_that_of_their_content(monkeypatch):
    split, twin = (
        data.Split(torch.arange(8.0).view(2, 1, 2, 2), torch.tensor([3, 1])) for _ in "ab"
    )
    key, device = data.key_once(split)
    assert data.key_once(twin)[0] == key and device.shape == (0,)
    assert devices_in(device) == devices_in(split)  # or what is kept on the CPU serves CUDA
    split.labels[0] = 4
    assert data.key_once(split)[0] != key
    monkeypatch.setattr(data, "key_of", lambda *_: pytest.fail("computed again"))
    assert data.key_once(twin)[0] == key


def test_announces_in_one_line_or_not_at_all(small_glyphs, capsys):
    data.load("glyphs", announce=False)
    assert capsys.readouterr() == ("", "")
    data.load()
    out = capsys.readouterr().out
    assert out.count("\n") == 1 and "synthetic" in out and "`shrink data mnist`" in out


def test_the_environment_chooses(monkeypatch):
    monkeypatch.setenv("SHRINK_DATASET", "digits")
    assert data.load(announce=False).name == "digits"
    monkeypatch.setenv("SHRINK_DATASET", "cifar")
    with pytest.raises(CourseError, match="SHRINK_DATASET must be mnist, glyphs or digits, not"):
        data.load()


def test_unknown_name():
    with pytest.raises(ValueError, match="no data set named 'MNIST'; there are mnist, glyphs"):
        data.load("MNIST")


# Glyphs: killed processes, and two at once

LOADER = """
import hashlib, os, sys, time
from shrink.classroom import data, glyphs
glyphs.SIZES = {sizes}
def stop(*args, **kwargs):
    print("now", flush=True)
    time.sleep(60)
{breaking}
loaded = data.load("glyphs", announce=False)
print(hashlib.sha256(loaded.train.images.numpy().tobytes()).hexdigest())
"""


def start_loader(breaking: str = "") -> subprocess.Popen:
    code = LOADER.format(sizes=SMALL, breaking=breaking)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    "breaking",
    [
        "draw = glyphs.draw\n"
        "def draw_and_stop(part, progress): return draw(part, progress=stop)\n"
        "glyphs.draw = draw_and_stop",
        "os.replace = stop",
    ],
    ids=["drawing", "renaming"],
)
def test_killed_before_the_file_is_there(small_glyphs, tmp_path, breaking):
    with start_loader(breaking) as process:
        assert process.stdout.readline() == "now\n"
        process.send_signal(signal.SIGKILL)
    assert not list(tmp_path.glob("cache/*.safetensors"))
    expected = data._split(*glyphs.draw("train"))
    assert same(data.load("glyphs", announce=False).train, expected)


def test_a_torn_cache_file_is_drawn_again(small_glyphs, tmp_path):
    first = data.load("glyphs", announce=False)
    (path,) = tmp_path.glob("cache/*")
    os.truncate(path, path.stat().st_size // 2)
    assert same(first.train, data.load("glyphs", announce=False).train)


def test_two_processes_at_once(small_glyphs, tmp_path):
    with start_loader() as one, start_loader() as other:
        results = {one.communicate()[0], other.communicate()[0]}
    images, _ = glyphs.draw("train")
    expected = data._split(images, images).images.numpy().tobytes()
    assert results == {hashlib.sha256(expected).hexdigest() + "\n"}
    assert len(list(tmp_path.glob("cache/*"))) == 1


# MNIST from files


def damage(path, how):
    if how == "missing":
        path.unlink()
    elif how == "truncated":
        path.write_bytes(path.read_bytes()[:-9])
    elif how == "flipped":
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 255
        path.write_bytes(content)
    elif how == "not deflate":
        path.write_bytes(path.read_bytes()[:10] + b"\xff" * 40)
    elif how == "not gzip":
        path.write_bytes(b"<html>please log in to this network</html>")
    else:
        path.write_bytes(gzip.compress(b"another file"))


DAMAGES = ["missing", "truncated", "flipped", "not deflate", "not gzip", "foreign"]


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("name", [None, "mnist"])
def test_damage_in_the_named_folder_is_an_error(tiny_mnist, monkeypatch, how, name):
    monkeypatch.setenv("SHRINK_DATA", str(tiny_mnist.parent))
    assert mnist.at_hand()
    path = tiny_mnist / "t10k-images-idx3-ubyte.gz"
    damage(path, how)
    with pytest.raises(CourseError, match="SHRINK_DATA") as caught:
        data.load(name)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("how", DAMAGES)
def test_damage_in_the_cache_is_mended_by_the_next_fetch(tiny_mnist, mirror, tmp_path, how):
    cached = tmp_path / "cache" / "mnist"
    put_archives(cached)
    assert mnist.at_hand()
    damage(cached / "t10k-labels-idx1-ubyte.gz", how)
    assert not mnist.at_hand()
    with pytest.raises(CourseError, match="`shrink data mnist`"):
        data.load("mnist")
    mnist.fetch(progress=False)
    assert mnist.at_hand()
    assert mirror.asked == ["/t10k-labels-idx1-ubyte.gz"]


def test_an_archive_zipped_again_is_as_good(mirror, tmp_path):
    cached = tmp_path / "cache" / "mnist"
    cached.mkdir(parents=True)
    for name, content in FILES.items():
        (cached / f"{name}.gz").write_bytes(gzip.compress(content, compresslevel=0, mtime=5))
    assert mnist.at_hand()
    mnist.fetch(progress=False)
    assert mirror.asked == []


def test_a_named_folder_without_mnist_is_passed_over(tiny_mnist, monkeypatch, tmp_path):
    monkeypatch.setenv("SHRINK_DATA", str(tmp_path / "elsewhere"))
    assert not mnist.at_hand()
    put_archives(tmp_path / "cache" / "mnist")
    assert mnist.at_hand()


def test_a_named_folder_without_mnist_is_told_where_other_data_stand_in(monkeypatch, capsys):
    monkeypatch.setenv("SHRINK_DATA", "/nowhere")
    data.load("digits")
    assert "`shrink data mnist` (SHRINK_DATA names /nowhere, which " in capsys.readouterr().out
    with pytest.raises(CourseError, match="SHRINK_DATA names /nowhere, which holds no mnist"):
        data.load("mnist")


def test_a_named_folder_may_begin_with_the_users_own(tiny_mnist, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("SHRINK_DATA", f"~/{tiny_mnist.parent.relative_to(tmp_path)}")
    monkeypatch.setenv("SHRINK_CACHE", "~/kept here")
    assert mnist.at_hand() and cache.cache_dir() == tmp_path / "kept here"


def test_mnist_is_split_by_a_fixed_permutation():
    train, validation = data.mnist_indices()
    assert torch.cat([train, validation]).sort().values.equal(torch.arange(60_000))
    assert len(validation) == 5000 and train.equal(data.mnist_indices()[0])
    assert (validation.float().mean() / 30_000).item() == pytest.approx(1, abs=0.03)


@pytest.mark.mnist
def test_mnist_is_the_published_one(capsys):
    mnist = data.load("mnist")
    line = "data: mnist, handwritten digits; 55000 train, 5000 validation, 10000 test\n"
    assert capsys.readouterr().out == line
    assert mnist.train.images.shape == (55_000, 1, 28, 28)
    assert mnist.test.images.dtype == torch.float32 and mnist.test.labels.dtype == torch.int64
    test_counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert mnist.test.labels.bincount().tolist() == test_counts
    labels = torch.cat([mnist.train.labels, mnist.validation.labels])
    train_counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert labels.bincount().tolist() == train_counts
    images = torch.cat([mnist.train.images, mnist.validation.images])
    assert images.mean().item() == pytest.approx(0.1307, abs=1e-4)
    assert images.std().item() == pytest.approx(0.3081, abs=1e-4)
    assert images.min() == 0 and images.max() == 1
    assert mnist.test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]


@pytest.mark.mnist
def test_mnist_is_taken_when_it_is_at_hand():
    assert mnist.at_hand()
    dataset = data.load(announce=False)
    assert dataset.name == "mnist"
    assert data.ten_digits(dataset).labels.tolist() == list(range(10))


# MNIST from a server


class Mirror(BaseHTTPRequestHandler):
    """Serves the short files; `server.answer` may put something else in place of a body."""

    def do_GET(self):
        self.server.asked.append(self.path)
        body = ARCHIVES[self.path.strip("/").removesuffix(".gz")]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(self.server.answer(body))

    def log_message(self, *args):
        pass


@pytest.fixture
def mirror(monkeypatch, tiny_mnist):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
    server.asked, server.answer = [], lambda body: body
    monkeypatch.setattr(mnist, "MIRRORS", (f"http://127.0.0.1:{server.server_port}/",))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_fetch(mirror, tmp_path, capfd, monkeypatch):
    log = io.StringIO()
    monkeypatch.setattr(pooch.get_logger().handlers[0], "stream", log)
    assert mnist.fetch(progress=False) == tmp_path / "cache" / "mnist"
    assert mnist.at_hand()
    assert {path.name for path in (tmp_path / "cache" / "mnist").iterdir()} == {
        f"{name}.gz" for name in FILES
    }
    mnist.fetch(progress=False)
    assert len(mirror.asked) == 4  # what is there is not asked for again
    assert capfd.readouterr() == ("", "") and log.getvalue() == ""


@pytest.mark.parametrize("answer", [lambda body: body[:-9], lambda body: body[:-1] + b"!"])
def test_a_bad_body_is_not_kept(mirror, tmp_path, answer):
    mirror.answer = answer
    with pytest.raises(CourseError, match="could not download train-images") as caught:
        mnist.fetch(progress=False)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "cache" / "mnist").iterdir())
    mirror.answer = lambda body: body
    mnist.fetch(progress=False)
    assert mnist.at_hand()


def test_the_second_mirror_is_tried(mirror, monkeypatch):
    with create_server(("127.0.0.1", 0)) as unused:
        dead = f"http://127.0.0.1:{unused.getsockname()[1]}/"
    monkeypatch.setattr(mnist, "MIRRORS", (dead, *mnist.MIRRORS))
    mnist.fetch(progress=False)
    assert mnist.at_hand()


def test_a_server_that_hangs(tiny_mnist, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setattr(mnist, "MIRRORS", (f"http://127.0.0.1:{port}/",))
        start = time.monotonic()
        with pytest.raises(CourseError, match=f"127.0.0.1:{port}: ReadTimeout"):
            mnist.fetch(timeout=0.3, progress=False)
        assert time.monotonic() - start < 5


def test_load_never_downloads(mirror, small_glyphs):
    assert data.load(announce=False).name == "glyphs"
    with pytest.raises(CourseError, match="MNIST is not at hand"):
        data.load("mnist")
    assert mirror.asked == []
