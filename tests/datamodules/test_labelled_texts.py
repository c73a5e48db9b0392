"""The data module of texts: splits, vocabulary and graph of the training texts alone, batches of like lengths."""

from pathlib import Path

import pytest
import torch

from datamodules.errors import DataError
from datamodules.labelled_texts import LabelledTexts


@pytest.fixture
def path(own_folder: Path) -> str:
    """Return a file of 50 texts to train on and 10 to test; text k has 1 + k words, of them one of its own, twice."""
    lines = []
    for k in range(60):
        words = [f"own{k}", f"own{k}", *["common"] * k][: k + 1]
        lines.append(f"{'train' if k % 6 else 'test'}\t{'odd' if k % 2 else 'even'}\t{' '.join(words)}\n")
    (own_folder / "texts.tsv").write_text("".join(lines))
    return "texts.tsv"


def test_splits_share_no_text(path: str) -> None:
    data = LabelledTexts(path=path)
    sizes = {split: len(texts) for split, texts in data.texts.items()}
    assert sizes == {"train": 45, "val": 5, "test": 10}
    assert len({" ".join(text.words) for texts in data.texts.values() for text in texts}) == 60
    assert data.texts == LabelledTexts(path=path, seed=1).texts
    assert data.texts != LabelledTexts(path=path, split_seed=1).texts
    assert data.split != LabelledTexts(path=path, split_seed=1).split
    assert data.class_names == ["even", "odd"]


@pytest.mark.parametrize("transductive", [False, True])
def test_words_of_other_texts_are_unknown_unless_transductive(path: str, transductive: bool) -> None:
    data = LabelledTexts(path=path, transductive=transductive)
    assert set(data.numbers.values()) == set(range(1, data.vocab_size))
    foreign = {text.words[0] for text in data.texts["test"] if len(text.words) > 1}
    assert (foreign <= data.numbers.keys()) == transductive
    assert (foreign & data.numbers.keys() == set()) == (not transductive)
    edges, _ = data.edges
    assert int(edges.max()) < data.vocab_size
    assert 0 not in edges


def test_a_batch_has_the_words_and_labels_of_its_texts(path: str) -> None:
    data = LabelledTexts(path=path, max_words=30)
    chosen = torch.tensor([3, 0, 44])
    batch = data.examples("train", chosen)
    for row, number in enumerate(chosen.tolist()):
        text = data.texts["train"][number]
        expected = [data.numbers.get(word, 0) for word in text.words[:30]]
        assert batch.lengths[row] == len(expected)
        assert batch.words[row].tolist() == expected + [0] * (batch.words.shape[1] - len(expected))
        assert data.class_names[batch.labels[row]] == text.label
    assert batch.edge_index is data.examples("test", chosen[:1]).edge_index


@pytest.mark.parametrize("batch_size", [4, 7, 64])
def test_an_epoch_reads_every_text_once_in_batches_of_like_lengths(path: str, batch_size: int) -> None:
    data = LabelledTexts(path=path, batch_size=batch_size)
    batches = list(data.train_dataloader())
    assert len(batches) == data.steps_per_epoch
    found = sorted(length for batch in batches for length in batch.lengths.tolist())
    assert found == sorted(len(text.words) for text in data.texts["train"])
    if batch_size == 4:
        spread = [int(batch.lengths.max() - batch.lengths.min()) for batch in batches]
        assert sum(spread) / len(spread) < 20  # 36 in any order
    other = LabelledTexts(path=path, batch_size=batch_size, seed=1)
    assert [batch.words.tolist() for batch in other.train_dataloader()] != [batch.words.tolist() for batch in batches]


def test_the_edges_stay_on_the_device(path: str) -> None:
    data = LabelledTexts(path=path)
    cpu = torch.device("cpu")
    once, again = (data.transfer_batch_to_device(data.examples("train", torch.tensor([k])), cpu, 0) for k in range(2))
    assert once.edge_index is again.edge_index
    assert once.edge_weight is again.edge_weight
    assert not torch.equal(once.words, again.words)


def test_a_fraction_of_the_labels(path: str) -> None:
    """Known classes are drawn anew for each seed; the other texts still give their words, but train nothing."""
    data, other = (LabelledTexts(path=path, label_fraction=0.4, seed=seed) for seed in (0, 1))
    sizes = {split: len(texts) for split, texts in data.texts.items()}
    assert sizes == {"train": 18, "val": 2, "test": 10, "unlabelled": 30}
    assert data.texts["train"] != other.texts["train"]
    assert data.texts["test"] == other.texts["test"]
    assert data.numbers.keys() >= {text.words[0] for text in data.texts["unlabelled"] if len(text.words) > 1}
    assert data.count("train") == 18


def test_all_texts_can_be_trained_on(path: str) -> None:
    data = LabelledTexts(path=path, val_fraction=0)
    assert {split: len(texts) for split, texts in data.texts.items()} == {"train": 50, "val": 0, "test": 10}
    assert data.val_dataloader() == []


def test_no_graph_and_the_weights_of_words(path: str) -> None:
    data = LabelledTexts(path=path, neighbours=0)
    assert data.edges[0].shape == (2, 0)
    assert data.idf.shape == (data.vocab_size,)
    assert data.idf[0] == 0
    assert data.idf[data.numbers["common"]] == data.idf[1:].min()


def test_too_few_labels_are_named(path: str) -> None:
    with pytest.raises(DataError, match=r"with label_fraction 0 and val_fraction 0\.1 none is left for train"):
        _ = LabelledTexts(path=path, label_fraction=0).texts


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["train\ta\tword", "test\tb\tword"], "few.tsv: no training text has the class 'b' of a test text"),
        (["train\ta\tword"] * 3, "has 3 texts to train on and 0 to test: with val_fraction 0.1 none is left for val"),
        (["train\ta\tword"] * 9, "none is left for test"),
        (["test\ta\tword"], "has 0 texts to train on and 1 to test: .* none is left for train"),
        ([*["train\ta\tword"] * 9, "test\ta\tword"], "few.tsv: all texts have the class 'a'; two are needed"),
    ],
)
def test_texts_that_cannot_be_learned_are_refused(own_folder: Path, lines: list[str], message: str) -> None:
    (own_folder / "few.tsv").write_text("\n".join(lines))
    with pytest.raises(DataError, match=message):
        LabelledTexts(path="few.tsv").vocab_size  # noqa: B018
