"""What the tests share: a small run of train.py, inside the test's process or as a process of its own."""

import gzip
import io
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

if TYPE_CHECKING:
    from lightning_modules.networks.language_model import CharacterModel
    from studies.runs import StudyRun

# Triton's kernels are interpreted, on the CPU; TRITON_INTERPRET=0 compiles them, for the tests marked gpu.
os.environ.setdefault("TRITON_INTERPRET", "1")

# In the background a shell lets its commands ignore Ctrl-C, and theirs; here it is sent on purpose.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent
DATA = os.environ.get("RESEARCH_DATA_DIR", "")
SMALL = [
    "--config",
    "palindrome_lstm.yaml",
    "--data.batch_size",
    "8",
    "--data.length",
    "2",
    "--trainer.accelerator",
    "cpu",
]
SMALL += ["--model.network.hidden_size", "8", "--model.network.embedding_size", "4"]
BOOK = """The Project Gutenberg EBook of {title}

Title: {title}, Volume 1 (of 2)

*** START OF THIS PROJECT GUTENBERG EBOOK A BOOK ***


Chapter one.

Chapter two.


{closing}*** END OF {the} PROJECT GUTENBERG EBOOK A BOOK ***

The licence.
"""
ALPHABET = "\n abcdefgh'"  # of a small language model
SUMMARY = {"steps": 2, "primary_metric": "accuracy", "accuracy": 0.75, "solved_at": None, "steps_per_second": 10.0}


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name bytes by their argument: gzip writes the time into its files, but pytest-xdist needs equal test names."""
    return argname if isinstance(val, bytes) else None


def save_language_model(network: "CharacterModel") -> Path:
    """Save what generate.py reads of a checkpoint; return its path."""
    import torch

    weights = {f"network.{name}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": weights, "language_model": network.description()}, "last.ckpt")
    return Path("last.ckpt")


def refusals(lines: dict[str, str]) -> pytest.MarkDecorator:
    """Run a test for each command line, its words split as by a shell, with a part of the error line it leads to."""
    cases = [(shlex.split(words), message) for words, message in lines.items()]
    return pytest.mark.parametrize(("words", "message"), cases, ids=list(lines))


def finish(run: "StudyRun", version: int = 0, summary: str = json.dumps(SUMMARY)) -> Path:
    """Make and return the folder of a run of a study as if it had finished with this summary.json."""
    folder = run.folder / f"version_{version}"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(run.settings))
    (folder / "metrics.csv").write_text("step,train/accuracy\n0,0.5\n1,1.0\n")
    (folder / "summary.json").write_text(summary)
    return folder


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let every test work in an empty folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def train(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Return a function that runs train.py's command line here on a small network: (status, stdout, stderr)."""
    from lightning_modules.cli.main import main

    def run(*words: str, small: bool = True) -> tuple[int, str, str]:
        try:
            status = main([*(SMALL if small else []), *words])
        except SystemExit as stop:
            status = int(stop.code or 0)
        out, err = capsys.readouterr()
        return status, out, err

    return run


@pytest.fixture
def refused(train: Callable[..., tuple[int, str, str]], tmp_path: Path) -> Callable[..., str]:
    """Return a function that runs train.py's command line and returns the one line by which it is refused."""

    def run(*words: str, small: bool = True) -> str:
        before = set(tmp_path.rglob("*"))
        status, _, err = train(*words, small=small)
        assert (status, err.count("\n")) == (2, 1), err
        assert set(tmp_path.rglob("*")) == before, "nothing is left behind"
        return err

    return run


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Give a function that starts a root script, by default train.py on a small network, as a process.

    What still runs after the test, as when one has failed, is killed with all that it has started.
    """
    started: list[subprocess.Popen[str]] = []

    def run(
        *words: str, script: str = "train.py", small: bool = True, prefix: tuple[str, ...] = ()
    ) -> subprocess.Popen[str]:
        command = [*prefix, sys.executable, str(ROOT / script), *(SMALL if small else []), *words]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment,
            start_new_session=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


@pytest.fixture
def language_model(own_folder: Path) -> Path:
    """Make a checkpoint of a small language model; return its path."""
    import torch

    from lightning_modules.networks.language_model import CharacterModel

    torch.manual_seed(0)
    network = CharacterModel(ALPHABET, embedding_size=4, hidden_size=6)
    with torch.no_grad():
        network.head.weight.mul_(10)
    return save_language_model(network)


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes | Callable[[BaseHTTPRequestHandler], None]]]:
    """Serve these contents on loopback, by HOST/PATH, to all that is fetched; no data folder but data/ is looked up.

    A function in the place of a content answers the request itself.
    """
    served: dict[str, bytes | Callable[[BaseHTTPRequestHandler], None]] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = served.get(self.path.lstrip("/"))
            if callable(content):
                content(self)
                return
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_: object) -> None:
            """Keep the terminal free."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        monkeypatch.delenv("RESEARCH_DATA_DIR", raising=False)
        monkeypatch.setenv("RESEARCH_DATA_MIRROR", f"http://127.0.0.1:{server.server_port}")
        yield served
        server.shutdown()
        thread.join()


@pytest.fixture
def published(mirror: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that lets the mirror serve a named set of RESEARCH_DATA_DIR as its authors do."""
    from datamodules.download import find_files
    from datamodules.errors import DataError
    from datamodules.published import PUBLISHED_SETS
    from datamodules.text_source import BOOKS, find_book

    def publish(name: str) -> None:
        chosen = PUBLISHED_SETS[name]
        with monkeypatch.context() as original:
            original.setenv("RESEARCH_DATA_DIR", DATA)
            try:
                paths = [find_book(name)] if name in BOOKS else find_files(name)
            except DataError:
                pytest.skip(f"{name} is not in RESEARCH_DATA_DIR")
        contents = [gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes() for path in paths]
        for file, content in zip(chosen.files, contents, strict=True):
            address = chosen.addresses[file].removeprefix("https://")
            mirror[address] = gzip.compress(content) if address.endswith(".gz") else content
        if address.endswith(".zip"):
            archive = io.BytesIO()
            with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as made:
                for file, content in zip(chosen.files, contents, strict=True):
                    made.writestr(f"{name}/{file}", content)
            mirror[address] = archive.getvalue()

    return publish
