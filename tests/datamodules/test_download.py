"""Named data sets are fetched by request only, from a server on loopback here: whole and checked, or not at all."""

import gzip
import hashlib
import io
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from datamodules.download import fetch, find_files, is_published
from datamodules.errors import DataError
from datamodules.molecule_files import SOURCES, is_table
from datamodules.node_graphs import find_planetoid
from datamodules.published import PUBLISHED_SETS, PublishedSet
from datamodules.social_graphs import find_facebook
from datamodules.text_source import BOOKS, find_book

ROOT = Path(__file__).resolve().parents[2]
Served = dict[str, bytes | Callable[[BaseHTTPRequestHandler], None]]
CONTENT = b"one\ntwo\n" * 5000
LINES = b"one\ntwo"


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def toy(mirror: Served, monkeypatch: pytest.MonkeyPatch) -> Served:
    """Publish a set of two files."""
    files: dict[str, str | None] = {"a.txt": digest(CONTENT), "deep/b.txt": digest(b"b")}
    monkeypatch.setitem(PUBLISHED_SETS, "toy", PublishedSet("toys/raw", "https://host/dir", "host/page", "4 B", files))
    mirror |= {"host/dir/a.txt": CONTENT, "host/dir/deep/b.txt": b"b"}
    return mirror


@pytest.fixture
def packed(mirror: Served, monkeypatch: pytest.MonkeyPatch) -> Served:
    """Publish a set in a zip archive and a file packed by gzip."""
    text = f"text:{digest(LINES)}"
    zipped = PublishedSet("toys", "https://host/toys.zip", "host/page", "4 B", {"a.txt": text, "b.txt": digest(b"b")})
    monkeypatch.setitem(PUBLISHED_SETS, "zipped", zipped)
    single = PublishedSet("toys", "https://host/c.txt.gz", "host/page", "4 B", {"c.txt": digest(b"c")})
    monkeypatch.setitem(PUBLISHED_SETS, "packed", single)
    mirror |= {"host/toys.zip": make_zip({"toys/a.txt": b"one \r\ntwo\r\n", "toys/b.txt": b"b"})}
    mirror |= {"host/c.txt.gz": gzip.compress(b"c")}
    return mirror


def make_zip(files: dict[str, bytes]) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as made:
        for name, content in files.items():
            made.writestr(name, content)
    return archive.getvalue()


def cut_short(request: BaseHTTPRequestHandler) -> None:
    """Promise the file, send half of it, and close the connection."""
    send_half(request, len(CONTENT))


def send_half(request: BaseHTTPRequestHandler, length: int | None) -> None:
    request.send_response(200)
    if length is not None:
        request.send_header("Content-Length", str(length))
    request.end_headers()
    request.wfile.write(CONTENT[: len(CONTENT) // 2])
    request.wfile.flush()


def stall(request: BaseHTTPRequestHandler) -> None:
    """Send half of the file, and no more until the other side goes."""
    cut_short(request)
    try:
        while True:
            time.sleep(0.05)
            request.wfile.write(b"")
            if not request.connection.recv(1):
                return
    except OSError:
        return


def all_files() -> list[str]:
    return sorted(str(path) for path in Path(".").rglob("*") if path.is_file())


@pytest.mark.parametrize("name", PUBLISHED_SETS)
def test_without_the_option_one_line_names_it(name: str, mirror: Served) -> None:
    folder = PUBLISHED_SETS[name].folder
    line = rf"^{name} is not in data/{folder}; add --data\.download true to fetch it \([\w. ]+ [kM]B from 127[\d.:]+\)$"
    with pytest.raises(DataError, match=line):
        find_book(name) if name in BOOKS else find_files(name)
    assert all_files() == []


def test_the_table() -> None:
    for published in PUBLISHED_SETS.values():
        assert all(address.startswith("https://") for address in published.addresses.values())
        for known in published.files.values():
            kind, _, number = (known or "").rpartition(":")
            assert known is None or len(bytes.fromhex(number)) == (20 if kind == "git" else 32)


def test_a_set_is_fetched_once(toy: Served, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [Path("data/toys/raw/a.txt"), Path("data/toys/raw/deep/b.txt")]
    assert find_files("toy", download=True) == paths
    assert [path.read_bytes() for path in paths] == [CONTENT, b"b"]
    host = os.environ["RESEARCH_DATA_MIRROR"].removeprefix("http://")
    assert capsys.readouterr() == (f"fetching toy from {host} to data/toys/raw: 4 B\n", "")
    toy.clear()
    assert find_files("toy", download=True) == find_files("toy") == paths
    assert all_files() == [str(path) for path in paths]


def test_what_is_missing_is_fetched_to_data_alone(toy: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("given/toys/raw").mkdir(parents=True)
    Path("given/toys/raw/a.txt").write_bytes(CONTENT)
    monkeypatch.setenv("RESEARCH_DATA_DIR", "given")
    with pytest.raises(DataError, match=r"^given/toys/raw lacks deep/b\.txt of toy; add"):
        find_files("toy")
    assert find_files("toy", download=True) == [Path("data/toys/raw/a.txt"), Path("data/toys/raw/deep/b.txt")]
    assert all_files() == ["data/toys/raw/a.txt", "data/toys/raw/deep/b.txt", "given/toys/raw/a.txt"]


def test_archives_are_unpacked(packed: Served) -> None:
    assert [path.read_bytes() for path in fetch("zipped")] == [b"one \r\ntwo\r\n", b"b"]
    assert [path.read_bytes() for path in fetch("packed")] == [b"c"]
    Path("data/toys/c.txt").unlink()
    packed["host/c.txt.gz"] = b"c"  # by a server that takes .gz for an encoding
    assert [path.read_bytes() for path in fetch("packed")] == [b"c"]
    assert all_files() == [f"data/toys/{name}.txt" for name in "abc"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (None, r"b\.txt returned 404 Not Found"),
        (cut_short, r"b\.txt cannot be reached, or the connection broke"),
        (lambda request: send_half(request, None), r"b\.txt does not have the published content of deep/b\.txt"),
        (lambda request: request.connection.close(), r"b\.txt cannot be reached, or the connection broke"),
        (b"B", r"b\.txt does not have the published content of deep/b\.txt"),
        (b"", r"b\.txt does not have the published content of deep/b\.txt"),
    ],
    ids=["404", "cut off", "short without a length", "closed", "another content", "empty"],
)
def test_a_failure_is_one_line_and_leaves_nothing(
    toy: Served, answer: bytes | Callable[[BaseHTTPRequestHandler], None] | None, reason: str
) -> None:
    if answer is None:
        del toy["host/dir/deep/b.txt"]
    else:
        toy["host/dir/deep/b.txt"] = answer
    line = (
        rf"^cannot fetch toy: http://127.0.0.1:\d+/host/dir/deep/{reason}; to do it by hand, put a\.txt, deep/b\.txt "
    )
    with pytest.raises(DataError, match=line + r"from host/page into data/toys/raw$"):
        find_files("toy", download=True)
    assert not Path("data").exists()
    toy["host/dir/deep/b.txt"] = b"b"
    assert len(find_files("toy", download=True)) == 2


@pytest.mark.parametrize(
    ("name", "address", "answer", "reason"),
    [
        ("zipped", "host/toys.zip", b"no archive", r"toys\.zip is not a complete zip archive"),
        ("zipped", "host/toys.zip", make_zip({"toys/a.txt": b"one\ntwo"}), r"toys\.zip lacks b\.txt"),
        (
            "zipped",
            "host/toys.zip",
            make_zip({"a.txt": b"one", "b.txt": b"b"}),
            "not have the published content of a.txt",
        ),
        ("packed", "host/c.txt.gz", gzip.compress(b"c")[:-9], r"c\.txt\.gz is not a complete gzip file"),
    ],
)
def test_archives_that_are_refused(packed: Served, name: str, address: str, answer: bytes, reason: str) -> None:
    packed[address] = answer
    with pytest.raises(DataError, match=reason):
        fetch(name)
    assert not Path("data").exists()


@pytest.mark.parametrize(
    ("mirror_address", "reason"),
    [
        ("http://127.0.0.1:9", "cannot be reached"),
        ("127.0.0.1:9", r"127.0.0.1:9/host/dir/a\.txt cannot be read \(No connection adapters"),
    ],
)
def test_no_server(toy: Served, monkeypatch: pytest.MonkeyPatch, mirror_address: str, reason: str) -> None:
    monkeypatch.setenv("RESEARCH_DATA_MIRROR", mirror_address)
    with pytest.raises(DataError, match=reason):
        fetch("toy")
    assert not Path("data").exists()


@pytest.mark.parametrize(
    "config", ["book_lstm.yaml", "cora_gcn.yaml", "knowledge_graph.yaml", "friends.yaml", "molecules.yaml"]
)
def test_a_run_tries_once(config: str, train: Callable[..., tuple[int, str, str]], mirror: Served) -> None:
    status, out, err = train("--config", config, "--data.download", "true", small=False)
    assert (status, out.count("\n"), err.count("\n")) == (2, 1, 1)
    assert out.startswith("fetching ")
    assert "returned 404 Not Found; to do it by hand, put " in err
    assert all_files() == []


def test_a_file_in_the_place_of_the_folder(toy: Served) -> None:
    Path("data").write_text("")
    with pytest.raises(DataError, match="cannot write toy to data/toys/raw: File exists"):
        fetch("toy")
    Path("data").unlink()
    Path("data").mkdir()
    Path("data/toys").write_text("")
    with pytest.raises(DataError, match="cannot write toy to data/toys/raw: Not a directory"):
        fetch("toy")
    assert all_files() == ["data/toys"]


def test_a_folder_that_may_not_be_written(toy: Served, own_folder: Path) -> None:
    own_folder.chmod(0o755)
    Path("data").mkdir(mode=0o555)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)  # root may write anywhere
    try:
        with pytest.raises(DataError, match="cannot write toy to data/toys/raw: Permission denied"):
            fetch("toy")
    finally:
        os.seteuid(user)
    assert list(Path("data").iterdir()) == []


def test_a_disk_that_takes_no_more(toy: Served) -> None:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(CONTENT) // 2, hard))
    try:
        with pytest.raises(DataError, match="cannot write toy to data/toys/raw: File too large"):
            fetch("toy")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not Path("data").exists()


def test_ctrl_c_during_a_download(toy: Served) -> None:
    def interrupt(request: BaseHTTPRequestHandler) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        stall(request)

    toy["host/dir/deep/b.txt"] = interrupt
    with pytest.raises(KeyboardInterrupt):
        fetch("toy")
    assert not Path("data").exists()
    toy["host/dir/deep/b.txt"] = b"b"
    assert len(fetch("toy")) == 2


@pytest.fixture
def start_fetch() -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Return a function that starts a process that fetches Nations; none outlives the test."""
    code = "from datamodules.download import find_files; find_files('Nations', download=True)"
    begun: list[subprocess.Popen[str]] = []

    def begin() -> subprocess.Popen[str]:
        words, environment = [sys.executable, "-c", code], os.environ | {"PYTHONPATH": str(ROOT)}
        begun.append(subprocess.Popen(words, stdout=-1, stderr=-1, text=True, env=environment))
        return begun[-1]

    yield begin
    for process in begun:
        process.kill()
        process.communicate()


def wait_for(pattern: str) -> None:
    deadline = time.monotonic() + 120
    while not list(Path(".").glob(pattern)) and time.monotonic() < deadline:
        time.sleep(0.1)


@pytest.mark.slow
def test_ctrl_c_of_a_run_that_fetches(
    mirror: Served, published: Callable[[str], None], start: Callable[..., subprocess.Popen[str]]
) -> None:
    published("Nations")
    mirror[list(mirror)[1]] = stall
    process = start("--config", "knowledge_graph.yaml", "--data.download", "true", small=False)
    wait_for("data/.download-*/1")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err.strip()) == (130, "stopped")
    assert out.startswith("fetching Nations from 127.0.0.1")
    assert list(Path(".").iterdir()) == []


def test_a_process_that_is_killed_leaves_nothing_that_is_read(
    mirror: Served, published: Callable[[str], None], start_fetch: Callable[[], subprocess.Popen[str]]
) -> None:
    published("Nations")
    address, content = list(mirror.items())[-1]
    mirror[address] = stall
    process = start_fetch()
    wait_for("data/.download-*/1")
    process.kill()
    process.wait()
    assert list(Path("data").glob(".download-*"))
    with pytest.raises(DataError, match="Nations is not in data/KG/nations; add"):
        find_files("Nations")
    mirror[address] = content
    find_files("Nations", download=True)
    assert all_files() == [f"data/KG/nations/{part}.txt" for part in ("test", "train", "valid")]


def test_processes_that_start_at_once_fetch_once(
    mirror: Served, published: Callable[[str], None], start_fetch: Callable[[], subprocess.Popen[str]]
) -> None:
    published("Nations")
    asked: list[str] = []

    def counted(address: str, content: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
        def answer(request: BaseHTTPRequestHandler) -> None:
            asked.append(address)
            time.sleep(0.2)
            request.send_response(200)
            request.end_headers()
            request.wfile.write(content)

        return answer

    for address, content in list(mirror.items()):
        assert isinstance(content, bytes)
        mirror[address] = counted(address, content)
    processes = [start_fetch() for _ in range(4)]
    assert [(process.communicate(timeout=120)[1], process.returncode) for process in processes] == [("", 0)] * 4
    assert sorted(asked) == sorted(mirror)
    assert all_files() == [f"data/KG/nations/{part}.txt" for part in ("test", "train", "valid")]


@pytest.mark.parametrize("name", PUBLISHED_SETS)
def test_the_published_files(name: str, mirror: Served, published: Callable[[str], None]) -> None:
    published(name)
    transfer = sum(len(content) for content in mirror.values() if isinstance(content, bytes))
    number, unit = PUBLISHED_SETS[name].size.removeprefix("about ").split()
    one = {"kB": 1e3, "MB": 1e6}[unit]
    assert float(number) * one == pytest.approx(transfer, rel=0.1, abs=0.06 * one)  # it is rounded
    if name in BOOKS:
        find_book(name, download=True)
    elif name in ("Cora", "CiteSeer"):
        find_planetoid(name, download=True)
    elif name == "ego-Facebook":
        find_facebook(download=True)
    elif name in SOURCES:
        find_files(name, True, lambda path: is_table(path, SOURCES[name]))
    else:
        find_files(name, download=True)
    assert all_files() == sorted(f"data/{PUBLISHED_SETS[name].folder}/{file}" for file in PUBLISHED_SETS[name].files)


def test_hashes(own_folder: Path) -> None:
    Path("a").write_bytes(b"hello\n")
    assert is_published(Path("a"), "git:ce013625030ba8dba906f756967f9e9ca394464a")
    assert is_published(Path("a"), digest(b"hello\n"))
    assert not is_published(Path("a"), "git:ce013625030ba8dba906f756967f9e9ca394464b")
    assert not is_published(Path("a"), digest(b"hello"))
    assert is_published(Path("a"), f"text:{digest(b'hello')}")


@pytest.mark.parametrize(
    "rows", ["smiles,expt\nC,1\n", "smiles\nC\nC\n", "", "smiles,expt\n\xe4,1\nC,1\n"], ids=["short", "column", "", "é"]
)
def test_a_table_that_is_not_the_published_one(rows: str, own_folder: Path) -> None:
    Path("t.csv").write_bytes(rows.encode("latin-1"))
    assert not is_table(Path("t.csv"), SOURCES["FreeSolv"]._replace(graphs=2))
    Path("t.csv").write_text("smiles,expt\nC,1\nCC,2\n")
    assert is_table(Path("t.csv"), SOURCES["FreeSolv"]._replace(graphs=2))
