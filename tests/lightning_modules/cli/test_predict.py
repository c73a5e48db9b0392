"""`--stage predict` for every kind of example: a table of classes and probabilities, and what is refused."""

import csv
import importlib.util
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pytorch_lightning import LightningDataModule

from datamodules.node_graphs import Karate
from lightning_modules.cli.predict import PredictStage, by_class, preview
from lightning_modules.errors import UserError
from lightning_modules.language_model import LanguageModel
from lightning_modules.networks.language_model import CharacterModel
from tests.conftest import refusals

Train = Callable[..., tuple[int, str, str]]
DATA = Path(os.environ.get("RESEARCH_DATA_DIR", ""))
TEXTS = ["--config", "text_graph_lstm.yaml", "--data.path", "texts.tsv", "--trainer.accelerator", "cpu"]
TEXTS += ["--model.network.embedding_size", "8", "--model.network.hidden_size", "8", "--data.batch_size", "8"]
BEST = Path("runs/text_graph_lstm/version_0/best.ckpt")
PREDICT = ["--stage", "predict", "--ckpt_path", str(BEST)]


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def trained(train: Train) -> None:
    """Train on texts whose first word tells the class."""
    lines = [
        f"{'test' if k % 4 == 0 else 'train'}\t{label}\t{word} {'and so on ' * (k % 5)}\n"
        for k in range(24) for label, word in (("a", "apple"), ("b", "banana"), ("c", "cherry"))
    ]  # fmt: skip
    Path("texts.tsv").write_text("".join(lines))
    more = ["--trainer.max_epochs", "12", "--model.learning_rate", "0.03", "--model.network.word_dropout", "0"]
    assert train(*TEXTS, *more, "--model.network.dropout", "0", small=False)[0] == 0


@pytest.mark.usefixtures("trained")
def test_texts(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    assert BEST.with_name("attention.png").stat().st_size > 1000
    status, out, err = train(*TEXTS, *PREDICT, small=False)
    assert (status, err) == (0, "")
    assert "18 predictions: " in out
    rows = table(BEST.with_name("predictions.csv"))
    assert [row["predicted"] for row in rows] == [row["class"] for row in rows]
    assert {float(row["probability"]) for row in rows} == {
        max(float(row[f"p({name})"]) for name in "abc") for row in rows
    }

    # New texts need the checkpoint alone.
    Path("texts.tsv").unlink()
    monkeypatch.delenv("RESEARCH_DATA_DIR", raising=False)
    Path("new.txt").write_text("Cherry, so on\n\n<b> apple\nnever seen\n")
    before = set(Path().rglob("*"))
    status, out, err = train(*TEXTS, *PREDICT, "--examples", "new.txt", "--predictions", "mine.csv", small=False)
    assert (status, err) == (0, "")
    assert [path.name for path in sorted(set(Path().rglob("*")) - before)] == ["mine.csv", "mine.html"]
    rows = table(Path("mine.csv"))
    assert [row["text"] for row in rows] == ["Cherry, so on", "<b> apple", "never seen"]
    assert [row["predicted"] for row in rows[:2]] == ["c", "a"]
    for row in rows:
        assert sum(float(row[f"p({name})"]) for name in "abc") == pytest.approx(1, abs=1e-4)
    page = Path("mine.html").read_text(encoding="utf-8")
    assert page.count("<section>") == 3
    assert "&lt;</span>" in page
    assert "http" not in page, "it needs no other file"


class ThreeTexts(LightningDataModule):
    """Its columns are of three texts."""

    def columns(self) -> dict[str, list[str]]:
        return {"text": ["one", "two", "three"]}


def test_batches_that_the_trainer_leaves_out(own_folder: Path) -> None:
    """With --trainer.limit_predict_batches the table ends early."""
    predicting = PredictStage(own_folder / "best.ckpt", {}, None, None)
    predicting.write([{"probability": torch.tensor([[0.9, 0.1], [0.2, 0.8]])}], ThreeTexts())
    rows = table(own_folder / "predictions.csv")
    assert [(row["text"], row["predicted"]) for row in rows] == [("one", "0"), ("two", "1")]
    with pytest.raises(UserError, match=r"no example was predicted: --trainer\.limit_predict_batches leaves none"):
        predicting.write([], ThreeTexts())


class Reads(LightningDataModule):
    """Looks up what a checkpoint holds, or makes a mistake of its own."""

    def __init__(self, own_mistake: bool = False) -> None:
        super().__init__()
        self.own_mistake = own_mistake

    def read_new(self, path: Path, reader: dict[str, list[str]]) -> None:
        self.words = reader["words"]
        if self.own_mistake:
            {}["another"]


def test_a_record_that_a_checkpoint_lacks_and_a_mistake_of_the_code(own_folder: Path) -> None:
    """The first is the user's, so it is one line; the other stays a traceback."""

    def predicting(state: dict[str, object]) -> PredictStage:
        return PredictStage(own_folder / "best.ckpt", {"Reads": state}, "new.txt", None)

    for state in ({}, {"reader": {}}):
        with pytest.raises(UserError, match=r"best\.ckpt cannot read new examples: it has no record of 'words'"):
            predicting(state).read_examples(Reads())
    with pytest.raises(KeyError, match="another"):
        predicting({"reader": {"words": ["a"]}}).read_examples(Reads(own_mistake=True))


@pytest.mark.usefixtures("trained")
def test_what_is_refused(refused: Callable[..., str]) -> None:
    Path("empty.txt").write_text("\n \n")
    Path("latin.txt").write_bytes("déjà vu\n".encode("latin-1"))
    for words, message in {
        "--examples no.txt": "no.txt is missing",
        "--examples empty.txt": "empty.txt has no text",
        "--examples latin.txt": "latin.txt is not UTF-8",
        "--examples texts.tsv --predictions none/x.csv": "is in no folder: there is no none",
        "--predictions runs": "runs is a folder",
        "--examples texts.tsv --predictions x.html": "--predictions names the table, a CSV file",
        "--stage fit --examples texts.tsv": "--examples belongs to --stage predict",
        "--data datamodules.node_graphs.Karate": "TextClassification takes a LabelledTextBatch",
    }.items():
        assert message in refused(*TEXTS, *PREDICT, *words.split(), small=False)


def test_nodes(train: Train) -> None:
    words = ["--config", "karate_gcn.yaml"]
    assert train(*words, "--trainer.max_epochs", "30", small=False)[0] == 0
    run = Path("runs/karate_gcn/version_0")
    predict = [*words, "--stage", "predict", "--ckpt_path", str(run / "best.ckpt")]
    status, _, err = train(*predict, small=False)
    assert (status, err) == (0, "")
    rows = table(run / "predictions.csv")
    assert len(rows) == 34
    right = [row["predicted"] == row["class"] for row in rows if row["split"] == "test"]
    accuracy = json.loads((run / "summary.json").read_text())["test/accuracy"]
    assert sum(right) / len(right) == pytest.approx(accuracy)
    status, _, err = train(*predict, "--examples", "x.txt", small=False)
    assert (status, err) == (2, "train.py: error: Karate reads no new examples; leave --examples out\n")


def test_sequences(train: Train) -> None:
    assert train("--trainer.max_steps", "2")[0] == 0
    predict = ["--stage", "predict", "--ckpt_path", "runs/palindrome_lstm/version_0/last.ckpt"]
    Path("bits.txt").write_text("01101\n1\n")
    status, _, err = train(*predict, "--examples", "bits.txt")
    assert (status, err) == (0, "")
    rows = table(Path("runs/palindrome_lstm/version_0/predictions.csv"))
    assert [row["sequence"] for row in rows] == ["01101", "1"]
    assert {row["predicted"] for row in rows} <= {"0", "1"}
    Path("bits.txt").write_text("01\n012\n")
    for words, message in (
        ((), "BinaryPalindrome has no test split; give new examples with --examples FILE"),
        (("--examples", "bits.txt"), "bits.txt, line 2: expected 1 to 9 zeros and ones, got '012'"),
    ):
        assert train(*predict, *words)[::2] == (2, f"train.py: error: {message}\n")


@pytest.mark.skipif(not (DATA / "TUDataset/MUTAG/raw").is_dir(), reason="MUTAG's files are not here")
def test_graphs(train: Train) -> None:
    words = ["--config", "molecules.yaml", "--trainer.accelerator", "cpu"]
    assert train(*words, "--trainer.max_epochs", "2", small=False)[0] == 0
    run = Path("runs/molecules/version_0")
    predict = [*words, "--stage", "predict", "--ckpt_path", str(run / "best.ckpt")]
    assert train(*predict, small=False)[0] == 0
    rows = table(run / "predictions.csv")
    assert len(rows) in (18, 19)
    assert {row["property"] for row in rows} == {"0", "1"}
    status, _, err = train(*predict, "--examples", "x.smi", small=False)
    line = "the graphs of MUTAG are not made from SMILES; leave --examples out"
    assert (status, err) == (2, f"train.py: error: {line}\n")


@pytest.mark.skipif(
    importlib.util.find_spec("rdkit") is None or not (DATA / "MoleculeNet/esol/raw").is_dir(),
    reason="ESOL's files are not here, or rdkit is not installed (pip install -c constraints.txt '.[molecules]')",
)
def test_molecules(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["--config", "molecules_solubility.yaml", "--trainer.accelerator", "cpu"]
    assert train(*words, "--trainer.max_epochs", "3", small=False)[0] == 0
    run = Path("runs/molecules_solubility/version_0")
    predict = [*words, "--stage", "predict", "--ckpt_path", str(run / "best.ckpt"), "--examples", "new.smi"]
    Path("new.smi").write_text("CCO ethanol\nCCCCCCCCCCCC\n")
    monkeypatch.delenv("RESEARCH_DATA_DIR")
    assert train(*predict, small=False)[::2] == (0, "")
    rows = table(run / "predictions.csv")
    assert [row["molecule"] for row in rows] == ["CCO", "CCCCCCCCCCCC"]
    assert float(rows[0]["predicted"]) > float(rows[1]["predicted"]), "ethanol is the more soluble one"
    Path("new.smi").write_text("CCO\nhello\n")
    status, _, err = train(*predict, small=False)
    assert (status, err) == (2, "train.py: error: new.smi, line 2: expected a molecule as SMILES, got 'hello'\n")


@refusals({"--stage predict": "--stage predict needs a checkpoint: --ckpt_path runs/…/last.ckpt"})
def test_there_must_be_a_checkpoint(refused: Callable[..., str], words: list[str], message: str) -> None:
    assert message in refused(*words)


def test_a_checkpoint_without_a_reader_is_named(train: Train) -> None:
    assert train("--trainer.max_steps", "1")[0] == 0
    last = "runs/palindrome_lstm/version_0/last.ckpt"
    Path("new.txt").write_text("apple\n")
    status, _, err = train(*TEXTS, "--stage", "predict", "--ckpt_path", last, "--examples", "new.txt", small=False)
    line = f"{last} was not trained on a LabelledTexts; name its own config with --config"
    assert (status, err) == (2, f"train.py: error: {line}\n")


def test_a_system_that_names_nothing_is_refused() -> None:
    model = LanguageModel(CharacterModel("ab", embedding_size=2, hidden_size=2))
    predicting = PredictStage(Path("last.ckpt"), {"language_model": {}}, None, None)
    with pytest.raises(UserError, match=r"LanguageModel has no --stage predict; generate\.py continues texts"):
        predicting.check(model, Karate())


def test_a_table() -> None:
    columns = by_class(torch.tensor([[0.25, 0.75], [1.0, 0.0]]), ("no", "yes"))
    assert columns["predicted"] == ["yes", "no"]
    assert columns["p(yes)"] == ["0.75", "0"]
    assert preview({"text": ["a\tb" * 40, "c"], **columns}) == [
        f" text{' ' * 58}predicted  probability",
        f" {('a b' * 40)[:59]}…  yes        0.75",
        f" c{' ' * 61}no         1",
    ]
