"""The training system of texts: it learns what single words tell, logs macro-F1, and a run goes on exactly."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lightning_modules.run_files import read_metrics
from tests.conftest import refusals

Train = Callable[..., tuple[int, str, str]]
WORDS = ["--config", "text_graph_lstm.yaml", "--data.path", "texts.tsv", "--trainer.accelerator", "cpu"]
WORDS += ["--model.network.embedding_size", "8", "--model.network.hidden_size", "8", "--data.batch_size", "8"]
WORDS += ["--model.network.dropout", "0", "--model.network.word_dropout", "0"]


@pytest.fixture
def texts(own_folder: Path) -> None:
    """Write texts whose first word tells the class, among words that tell nothing."""
    lines = [
        f"{'test' if k % 4 == 0 else 'train'}\t{label}\t{word} {'and so on ' * (k % 5)}\n"
        for k in range(24) for label, word in (("a", "apple"), ("b", "banana"), ("c", "cherry"))
    ]  # fmt: skip
    (own_folder / "texts.tsv").write_text("".join(lines))


@pytest.mark.usefixtures("texts")
def test_it_learns_what_words_tell(train: Train) -> None:
    status, _, err = train(*WORDS, "--trainer.max_epochs", "12", "--model.learning_rate", "0.03", small=False)
    assert (status, err) == (0, "")
    summary = json.loads(Path("runs/text_graph_lstm/version_0/summary.json").read_text())
    assert summary["test/accuracy"] == 1
    assert summary["test/macro_f1"] == 1
    rows = read_metrics(Path("runs/text_graph_lstm/version_0/metrics.csv"))
    rates = [row["learning_rate"] for row in rows if "learning_rate" in row]
    assert rates[0] == pytest.approx(0.03)
    assert rates[-1] < 0.001


@pytest.mark.usefixtures("texts")
def test_without_validation_texts_the_last_weights_are_tested(train: Train) -> None:
    words = [*WORDS, "--data.val_fraction", "0", "--trainer.max_epochs", "12", "--model.learning_rate", "0.03"]
    status, _, err = train(*words, small=False)
    assert (status, err) == (0, "")
    run = Path("runs/text_graph_lstm/version_0")
    assert json.loads((run / "summary.json").read_text())["test/accuracy"] == 1
    assert (run / "last.ckpt").exists()
    assert not (run / "best.ckpt").exists()
    assert (run / "attention.png").exists(), "of training texts"
    assert not any(tag.startswith("val/") for row in read_metrics(run / "metrics.csv") for tag in row)


@pytest.mark.usefixtures("texts")
@refusals(
    {
        "--data.path no.tsv": "no.tsv is missing",
        "--data.name R9": "R9",
        "--data datamodules.node_graphs.Karate": "TextClassification takes a LabelledTextBatch, and Karate makes",
        "--trainer.max_epochs -1": "cosine decay needs the last step",
    }
)
def test_what_is_refused(refused: Callable[..., str], words: list[str], message: str) -> None:
    assert message in refused(*WORDS, *words, small=False)
