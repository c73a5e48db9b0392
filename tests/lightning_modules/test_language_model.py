"""Language models: held-out text as one stream, streams that go on exactly, samples, and the file that suffices."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy

from lightning_modules.callbacks.samples import write_section
from lightning_modules.language_model import LanguageModel
from lightning_modules.networks.language_model import CharacterModel
from lightning_modules.run_files import read_metrics
from lightning_modules.saved_language_model import load_language_model

Train = Callable[..., tuple[int, str, str]]
Start = Callable[..., subprocess.Popen[str]]
RUN = Path("runs/book_lstm/version_0")
WORDS = ["--config", "book_lstm.yaml", "--data.path", "text.txt", "--data.book", "null", "--data.batch_size", "3"]
WORDS += ["--data.length", "7", "--model.network.hidden_size", "6", "--model.network.embedding_size", "4"]
WORDS += ["--trainer.accelerator", "cpu", "--trainer.val_check_interval", "1000", "--trainer.max_steps", "30"]


@pytest.fixture(autouse=True)
def text(own_folder: Path) -> str:
    content = "".join(chr(97 + (k * k * 7 + k // 3) % 11) for k in range(900))
    Path("text.txt").write_text(content)
    return content


def test_a_run_tests_the_whole_held_out_text(train: Train, text: str) -> None:
    status, out, err = train(*WORDS, "--data.test_fraction", "0.2", small=False)
    assert (status, err) == (0, "")
    network = load_language_model(RUN / "last.ckpt")
    tokens = torch.tensor([network.vocabulary.index(character) for character in text[720:]])
    logits, _ = network(tokens[None, :-1])
    loss = cross_entropy(logits[0], tokens[1:]).item()
    assert f"test/loss                {loss:.4f}" in out


@pytest.mark.parametrize("cell", ["kernels.LSTM", "kernels.GRU", "kernels.PeepholeLSTM"])
def test_streams_go_on_exactly(train: Train, cell: str) -> None:
    words = [*WORDS, "--model.network.layer", cell, "--model.schedule", "constant", "--model.warmup", "0"]
    train(*words, "--trainer.default_root_dir", "whole", small=False)
    whole = (Path("whole") / RUN / "metrics.csv").read_text()
    for more in (["--trainer.max_steps", "13"], ["--ckpt_path", "last"]):
        status, _, err = train(*words, *more, small=False)
        assert (status, err) == (0, "")
    assert (RUN / "metrics.csv").read_text() == whole
    assert len(read_metrics(RUN / "metrics.csv")) == 30


STREAMS = [*WORDS, "--data.feed", "streams", "--model.schedule", "constant", "--model.warmup", "0"]


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["kernels.LSTM", "kernels.GRU"])
def test_every_process_carries_its_own_state_on(start: Start, cell: str) -> None:
    words = [*STREAMS, "--model.network.layer", cell, "--trainer.devices", "2", "--trainer.strategy", "ddp"]
    for more in (["--trainer.default_root_dir", "whole"], ["--trainer.max_steps", "13"], ["--ckpt_path", "last"]):
        process = start(*words, *more, small=False)
        out, err = process.communicate(timeout=180)
        assert process.returncode == 0, out + err
    whole = (Path("whole") / RUN / "metrics.csv").read_text()
    assert (RUN / "metrics.csv").read_text() == whole


def test_other_streams_are_refused_and_leave_nothing(train: Train) -> None:
    train(*STREAMS, "--trainer.max_steps", "3", small=False)
    for more, line in (
        (("--data.batch_size", "4"), "--data.batch_size 3, here 4"),
        (("--data.length", "6"), "--data.length 7, here 6"),
        (("--trainer.devices", "2", "--trainer.strategy", "ddp"), "processes 1, here 2"),
    ):
        status, _, err = train(*STREAMS, *more, "--ckpt_path", str(RUN / "last.ckpt"), small=False)
        assert status == 2
        assert f"holds states of text streams and was trained with {line}; keep that number" in err
        assert err.count("\n") == 1
        assert [path.name for path in RUN.parent.iterdir()] == ["version_0"]
    status, _, err = train(
        *STREAMS, "--data.feed", "windows", "--data.batch_size", "4", "--ckpt_path", str(RUN / "last.ckpt"), small=False
    )
    assert (status, err) == (0, ""), "windows carry nothing on"


@pytest.mark.parametrize(("before", "after"), [("bf16-mixed", "32-true"), ("32-true", "bf16-mixed")])
def test_streams_go_on_in_another_precision(train: Train, before: str, after: str) -> None:
    train(*STREAMS, "--trainer.max_steps", "3", "--trainer.precision", before, small=False)
    words = ("--trainer.max_steps", "6", "--trainer.precision", after, "--ckpt_path", str(RUN / "last.ckpt"))
    status, _, err = train(*STREAMS, *words, small=False)
    errors = [line for line in err.splitlines() if "at best as fast" not in line]  # of bf16 without its instructions
    assert (status, errors) == (0, [])
    assert [row["step"] for row in read_metrics(RUN.parent / "version_1" / "metrics.csv")] == [3, 4, 5]


def test_a_carried_state_comes_to_the_networks_device() -> None:
    model = LanguageModel(CharacterModel("ab", hidden_size=3, embedding_size=2))
    states = (torch.ones(2, 2, 1, 3, dtype=torch.bfloat16), torch.zeros(2, 2, 1, 3, dtype=torch.bfloat16))
    model.on_load_checkpoint({"carried_states": states})
    for value in model.to("meta")._carried("train"):
        assert (value.device.type, value.dtype, value.shape) == ("meta", torch.float32, (2, 1, 3))


def test_a_checkpoint_suffices(train: Train) -> None:
    for cell, options in (("PeepholeLSTM", {"peephole": "diagonal"}), ("RNN", {"nonlinearity": "relu"})):
        words = [*WORDS, "--trainer.max_steps", "2", "--model.network.layer", f"kernels.{cell}"]
        words += [word for key, value in options.items() for word in (f"--model.network.layer.{key}", value)]
        status, _, err = train(*words, "--trainer.default_root_dir", cell, small=False)
        assert (status, err) == (0, "")
        network = load_language_model(Path(cell) / RUN / "last.ckpt")
        assert type(network.layer).__name__ == cell
        assert {key: getattr(network.layer, key) for key in options} == options


def test_a_schedule_needs_an_end(train: Train) -> None:
    status, _, err = train(*WORDS, "--trainer.max_steps", "-1", "--trainer.max_epochs", "-1", small=False)
    assert status == 2
    assert err == "train.py: error: warm-up and schedule need the last step; give --trainer.max_steps\n"
    assert not RUN.exists()


def test_a_path_goes_before_a_book(train: Train) -> None:
    words = [word for word in WORDS if word not in ("--data.book", "null")]
    status, _, err = train(*words, "--trainer.max_steps", "2", small=False)
    assert (status, err) == (0, "")


def test_a_checkpoint_of_another_text_is_refused(train: Train, text: str) -> None:
    train(*WORDS, "--trainer.max_steps", "2", small=False)
    Path("text.txt").write_text(text.translate({code: code + 3 for code in range(97, 123)}))
    for more in (["--ckpt_path", "last"], ["--stage", "test", "--ckpt_path", str(RUN / "last.ckpt")]):
        status, _, err = train(*WORDS, *more, "--trainer.max_steps", "4", small=False)
        assert status == 2
        assert "belongs to another text: its characters are not those of this one" in err


def test_a_cell_of_ones_own_has_samples_and_a_checkpoint(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(".")
    Path("own_cell.py").write_text("import kernels\n\n\nclass Own(kernels.LSTM):\n    pass\n")
    words = [*WORDS, "--trainer.max_steps", "3", "--model.network.layer"]
    status, out, err = train(*words, "own_cell.Own", small=False)
    assert (status, err) == (0, "")
    assert f"samples                  {RUN / 'samples.md'}\n" in out
    assert type(load_language_model(RUN / "last.ckpt", "own_cell.Own").layer).__name__ == "Own"
    for layer, line in {
        "torch.nn.LSTM": "CharacterModel needs a layer of kernels, time first (no batch_first)",
        "kernels.LSTM --model.network.layer.bidirectional true": "a language model cannot be bidirectional: it "
        "would read the characters it has to predict",
        "kernels.LSTM --model.network.bidirectional true": "unknown key model.network.bidirectional; did you mean "
        "model.network.layer.bidirectional?",
    }.items():
        status, _, err = train(*words, *layer.split(), small=False)
        assert status == 2
        assert err.endswith(f": error: {line}\n")
        assert err.count("\n") == 1


def test_samples_are_written_thrice(train: Train) -> None:
    _, out, _ = train(*WORDS, small=False)
    assert f"samples                  {RUN / 'samples.md'}\n" in out
    content = (RUN / "samples.md").read_text()
    assert [line for line in content.splitlines() if line.startswith("## ")] == [
        f"## After {step} steps" for step in (10, 20, 30)
    ]
    assert content.count("τ = 2:") == 3


def test_the_weights_are_saved_with_the_samples(train: Train) -> None:
    train(*WORDS, small=False)
    assert {path.name for path in RUN.glob("step_*.ckpt")} == {"step_10.ckpt", "step_20.ckpt", "step_30.ckpt"}
    last, third, first = (
        load_language_model(RUN / name).state_dict() for name in ("last.ckpt", "step_30.ckpt", "step_10.ckpt")
    )
    assert all(torch.equal(third[name], weight) for name, weight in last.items())
    assert not all(torch.equal(first[name], weight) for name, weight in last.items())


def test_samples_of_a_continued_run_are_cut_back(own_folder: Path) -> None:
    path = Path("samples.md")
    for step in (1, 2, 3, 2):
        write_section(path, step, f"text {step}")
    assert path.read_text() == "# Samples\n\n## After 1 steps\n\ntext 1\n\n## After 2 steps\n\ntext 2\n"


def test_the_learning_rate_rises_and_falls() -> None:
    model = LanguageModel(CharacterModel("ab", hidden_size=3, embedding_size=2), warmup=0.1)
    rates = [model._rate(step, 100) for step in range(101)]
    assert rates[0] == pytest.approx(0.1, rel=0.01)
    assert max(rates) == pytest.approx(rates[9], rel=0.03)
    assert rates[-1] == pytest.approx(0.05)
    assert rates[10:] == sorted(rates[10:], reverse=True)
