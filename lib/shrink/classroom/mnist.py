"""MNIST's four files: found in a folder that a person names or in the cache, verified, fetched.

`$SHRINK_DATA/mnist` is only read. Nothing here downloads but `fetch`, for `shrink data mnist`.
"""

import gzip
import hashlib
import zlib
from pathlib import Path
from urllib.parse import urlsplit

import pooch

from shrink.classroom import CourseError
from shrink.classroom.cache import cache_dir, named_folder

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
# SHA-256 of each official archive, for the download, and of what is in it, for every reading:
# an archive that was zipped again is as good.
FILES = {
    "train-images-idx3-ubyte": (
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    "train-labels-idx1-ubyte": (
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    "t10k-images-idx3-ubyte": (
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    "t10k-labels-idx1-ubyte": (
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
}


def at_hand() -> bool:
    """Whether MNIST can be loaded; takes half a second, as all four files are verified.

    Raises `CourseError` when a file in `$SHRINK_DATA` is damaged, as `content` does.
    """
    return content() is not None


def fetch(timeout: float = 30, progress: bool = True) -> Path:
    """Download what is missing of MNIST (11 MB) into the cache, and return its folder.

    `timeout` is in seconds and holds for each wait for the server. A download is verified before
    it takes its name, so one that is killed leaves nothing that looks right. Raises `CourseError`
    when no mirror delivers, or the cache cannot be written.
    """
    pooch.get_logger().setLevel("ERROR")
    folder = cache_dir() / "mnist"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _no_room(folder, error) from None
    for name, (archive_hash, _) in FILES.items():
        if _official_content(folder, name) is None:
            _download(f"{name}.gz", archive_hash, folder, timeout, progress)
    return folder


def _download(file: str, archive_hash: str, folder: Path, timeout: float, progress: bool) -> None:
    downloader = pooch.HTTPDownloader(progressbar=progress, timeout=timeout)
    reasons = []
    for mirror in MIRRORS:
        try:
            pooch.retrieve(mirror + file, archive_hash, file, folder, downloader=downloader)
            return
        except (OSError, ValueError) as error:  # of requests, of the disk; of pooch, for the hash
            if _is_of_the_disk(error):
                raise _no_room(folder, error) from None
            reason = "wrong content" if isinstance(error, ValueError) else type(error).__name__
            reasons.append(f"{urlsplit(mirror).netloc}: {reason}")
    raise CourseError(
        f"could not download {file} ({'; '.join(reasons)}); try `shrink data mnist` again with a "
        "network, or go on with glyphs, which need none"
    )


def _is_of_the_disk(error: Exception) -> bool:
    """Whether the system refused a file: what requests raises has no number of the system's."""
    network = isinstance(error, ConnectionError | TimeoutError)
    return isinstance(error, OSError) and error.errno is not None and not network


def _no_room(folder: Path, error: OSError) -> CourseError:
    return CourseError(
        f"MNIST cannot be kept in {folder} ({error.strerror or error}): make room there, or name "
        "another folder by SHRINK_CACHE; glyphs need neither"
    )


def _official_content(folder: Path, name: str) -> bytes | None:
    """The unzipped official file, or None when it is missing, damaged or another one."""
    try:
        content = gzip.decompress((folder / f"{name}.gz").read_bytes())
    except (OSError, EOFError, zlib.error):
        return None
    return content if hashlib.sha256(content).hexdigest() == FILES[name][1] else None


def content() -> dict[str, bytes] | None:
    """The four unzipped files by name, from `$SHRINK_DATA/mnist` or else the cache, or None.

    Raises `CourseError` when a file in `$SHRINK_DATA` is missing or damaged.
    """
    if (given := named_folder("SHRINK_DATA")) and _holds_some(given):
        return {name: _named_content(given / "mnist", name) for name in FILES}
    contents = {name: _official_content(cache_dir() / "mnist", name) for name in FILES}
    return None if None in contents.values() else contents


def how_to_get() -> str:
    """What to run to have MNIST, and whether `$SHRINK_DATA` names a folder without it."""
    command, given = "run `shrink data mnist`", named_folder("SHRINK_DATA")
    if given is None or _holds_some(given):
        return command
    return f"{command} (SHRINK_DATA names {given}, which holds no mnist/*.gz)"


def _holds_some(folder: Path) -> bool:
    return any((folder / "mnist" / f"{name}.gz").exists() for name in FILES)


def _named_content(folder: Path, name: str) -> bytes:
    content = _official_content(folder, name)
    if content is None:
        raise CourseError(
            f"{folder / name}.gz is missing, damaged or not the official MNIST file (its content "
            "has another SHA-256); copy it again, or unset SHRINK_DATA"
        )
    return content
