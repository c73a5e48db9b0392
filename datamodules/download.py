"""The files of named data sets: found in the data folders or, with --data.download true, fetched.

Files are fetched to data/ in the current folder, never to RESEARCH_DATA_DIR. If RESEARCH_DATA_MIRROR names a server,
https://HOST/PATH is read as MIRROR/HOST/PATH, the layout of `wget -x`, for machines without the internet.
"""

import contextlib
import gzip
import hashlib
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import pooch
import requests
from filelock import FileLock
from tqdm import tqdm

from datamodules.data_folders import data_folders
from datamodules.errors import DataError
from datamodules.published import PUBLISHED_SETS, PublishedSet

ROOT = Path("data")  # where fetched files go
TIMEOUT = 30  # seconds without a byte
AGENT = {"User-Agent": "peephole (one data set, by request)"}
Check = Callable[[Path], bool]


class NotFetched(Exception):
    """A file could not be fetched; the message has its address and the reason."""


def find_files(name: str, download: bool = False, check: Check | None = None) -> list[Path]:
    """Return the paths of the files of a named set, in the order of the table, from the first data folder that has all.

    Args:
        name: a key of PUBLISHED_SETS.
        download: whether to fetch the set if no data folder has it.
        check: returns whether a fetched file is the published one; used for files without a hash in the table.

    Raises:
        DataError: if no data folder has them, and they are not to be fetched or cannot be.
    """
    published = PUBLISHED_SETS[name]
    for folder in data_folders():
        paths = _present(folder / published.folder, published)
        if len(paths) == len(published.files):
            return paths
    if not download:
        raise absent(name)
    return fetch(name, check)


def absent(name: str) -> DataError:
    """Return the error for a named set that no data folder has: one line that ends with the option to fetch it."""
    published = PUBLISHED_SETS[name]
    folders = [folder / published.folder for folder in data_folders()]
    what = f"{name} is not in {' or '.join(map(str, folders))}"
    for folder in folders:
        missing = [file for file in published.files if not _present(folder, published, file)]
        if len(missing) < len(published.files):
            what = f"{folder} lacks {missing[0]} of {name}"
            break
    host = urlsplit(_mirrored(published.address)).netloc
    return DataError(f"{what}; add --data.download true to fetch it ({published.size} from {host})")


def fetch(name: str, check: Check | None = None) -> list[Path]:
    """Fetch a named set to data/ and return the paths of its files. A failure leaves nothing behind.

    Raises:
        DataError: if a file cannot be fetched or written, or is not the published one.
    """
    published = PUBLISHED_SETS[name]
    target = ROOT / published.folder
    try:
        with _workplace() as folder:
            if len(paths := _present(target, published)) == len(published.files):  # another process was faster
                if check is None or check(paths[0]):
                    return paths
                raise DataError(f"{paths[0]} is not {name} as published; remove it to fetch it again")
            host = urlsplit(_mirrored(published.address)).netloc
            print(f"fetching {name} from {host} to {target}: {published.size}", flush=True)
            for file, path in _download(published, folder, check).items():
                (target / file).parent.mkdir(parents=True, exist_ok=True)
                path.replace(target / file)
    except NotFetched as error:
        names = list(published.files)
        files = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        raise DataError(
            f"cannot fetch {name}: {error}; to do it by hand, put {files} from {published.page} into {target}"
        ) from error
    except OSError as error:
        raise DataError(f"cannot write {name} to {target}: {error.strerror}") from error
    return [target / file for file in published.files]


def is_published(path: Path, known: str) -> bool:
    """Return whether the content of a file has a hash of the table."""
    kind, _, digest = known.rpartition(":")
    content = path.read_bytes()
    if kind == "git":
        return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest() == digest
    if kind == "text":
        content = b"\n".join(line.strip() for line in content.splitlines())
    return hashlib.sha256(content).hexdigest() == digest


def _present(folder: Path, published: PublishedSet, *files: str) -> list[Path]:
    """Return the paths of those files, by default all of a set, that a folder has, compressed by gzip or not."""
    either = [(folder / file, folder / f"{file}.gz") for file in files or published.files]
    return [plain if plain.is_file() else packed for plain, packed in either if plain.is_file() or packed.is_file()]


@contextlib.contextmanager
def _workplace() -> Iterator[Path]:
    """Provide an empty folder in data/ to one process at a time, and remove it afterwards."""
    ROOT.mkdir(exist_ok=True)
    lock = ROOT / ".download.lock"
    try:
        with FileLock(lock):
            try:
                for left in ROOT.glob(".download-*"):  # of a process that was killed
                    shutil.rmtree(left, ignore_errors=True)
                with tempfile.TemporaryDirectory(prefix=".download-", dir=ROOT) as folder:
                    yield Path(folder)
            finally:
                with contextlib.suppress(OSError):  # Windows keeps what is open
                    lock.unlink()  # while it is held: waiting processes then make a new one
    finally:
        with contextlib.suppress(OSError):  # it stays unless empty
            ROOT.rmdir()


def _download(published: PublishedSet, folder: Path, check: Check | None) -> dict[str, Path]:
    """Fetch the files of a set into `folder` and check them; return the path of each."""
    paths = {file: folder / str(number) for number, file in enumerate(published.files)}
    if published.address.endswith(".zip"):
        _get(published.address, folder / "zip")
        _unzip(published.address, folder / "zip", paths)
    for file, path in paths.items():
        address = published.addresses[file]
        if not address.endswith(".zip"):
            _get(address, path)
        if address.endswith(".gz"):
            _unpack(address, path)
        known = published.files[file]
        if not (is_published(path, known) if known else check is None or check(path)):
            raise NotFetched(f"{_mirrored(address)} does not have the published content of {file}")
    return paths


def _get(address: str, path: Path) -> None:
    """Fetch one file."""
    address = _mirrored(address)
    name = PurePosixPath(urlsplit(address).path).name
    bar = tqdm(desc=name, total=1, unit="B", unit_scale=True, leave=False, disable=None)  # on a terminal only
    fetch_file = pooch.HTTPDownloader(progressbar=bar, timeout=TIMEOUT, headers=AGENT)
    try:
        fetch_file(address, str(path), None)
    except requests.HTTPError as error:
        answer: object = error
        if error.response is not None:
            answer = f"{error.response.status_code} {error.response.reason}"
            error.response.close()  # pooch leaves the connection open
        raise NotFetched(f"{address} returned {answer}") from error
    except requests.Timeout as error:
        raise NotFetched(f"{address} does not answer within {TIMEOUT} s") from error
    except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
        raise NotFetched(f"{address} cannot be reached, or the connection broke") from error
    except requests.RequestException as error:
        raise NotFetched(f"{address} cannot be read ({error})") from error
    finally:
        bar.close()


def _unzip(address: str, archive: Path, paths: dict[str, Path]) -> None:
    """Write the files of a zip archive, in whatever folder of it they are."""
    try:
        with zipfile.ZipFile(archive) as content:
            members = {PurePosixPath(member).name: member for member in content.namelist()}
            for file, path in paths.items():
                path.write_bytes(content.read(members[file]))
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise NotFetched(f"{_mirrored(address)} is not a complete zip archive") from error
    except KeyError as error:
        raise NotFetched(f"{_mirrored(address)} lacks {error.args[0]}") from error


def _unpack(address: str, path: Path) -> None:
    """Decompress a gzip file, unless the transfer has done so: some servers send .gz as an encoding."""
    content = path.read_bytes()
    if content.startswith(b"\x1f\x8b"):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise NotFetched(f"{_mirrored(address)} is not a complete gzip file") from error
        path.write_bytes(content)


def _mirrored(address: str) -> str:
    """Return an address, or that of its copy on the mirror."""
    mirror = os.environ.get("RESEARCH_DATA_MIRROR")
    return f"{mirror.rstrip('/')}/{address.removeprefix('https://')}" if mirror else address
