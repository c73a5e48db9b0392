"""Texts with a class each, and the graph of their words: R8, R52, Ohsumed, MR, docstrings of PyTorch, or your own.

Legend: B texts, T words of the longest, V vocabulary, C classes, E edges between words.
"""

import functools
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jsonargparse.typing import ClosedUnitInterval, NonNegativeInt, PositiveInt
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from datamodules.batches import LabelledTextBatch
from datamodules.errors import DataError
from datamodules.fingerprint import fingerprint
from datamodules.step_stream import EpochStreamDataModule
from datamodules.text_files import Text, read_lines, read_texts
from datamodules.word_graph import word_graph

UNEQUAL = 0.1  # the relative difference between the lengths of a batch is about as large


class LabelledTexts(EpochStreamDataModule):
    """Texts in their published training and test splits; a fraction of the training texts validates.

    The vocabulary and the graph of words come from the training texts. With `transductive` they come from the words of
    all texts, without labels, as in TextGCN (Yao, Mao & Luo 2019, arXiv:1809.05679).

    Args:
        name: R8 or R52 (Reuters news, 8 or 52 topics), MR (film reviews, good or bad) or Ohsumed (medical abstracts, 23
            diseases), as cleaned by the authors of TextGCN; torch: docstrings of PyTorch, for a first try.
        download: whether to fetch a named set if no data folder has it.
        path: a file of your own instead, one text per line: train or test, the class, the text, separated by tabs.
        transductive: whether validation and test texts contribute to vocabulary and graph.
        label_fraction: fraction of the training texts whose classes are known, drawn anew for each `seed`. The others
            still contribute to vocabulary and graph.
        val_fraction: fraction of the training texts with known classes that validates; 0 for none, so that the network
            is trained on all of them, and its last weights are tested.
        min_count: occurrences from which a word is in the vocabulary.
        max_words: words of a text that are read.
        window: words of a window in which words are neighbours.
        neighbours: edges of a word in the graph, to the words with the highest pointwise mutual information; 0 for
            networks that read no graph.
        batch_size: texts B of a batch, of similar lengths.
        seed: seed of the order of the texts; train.py passes seed_everything.
        split_seed: seed of the split; it is separate, so that runs with other seeds have the same split.

    Raises:
        DataError: if a file is missing or invalid, a split is empty, a class has test texts only, or all texts have
            one class.
    """

    batch_type = LabelledTextBatch

    def __init__(  # noqa: PLR0913 - its settings, each an option of the command line
        self,
        name: Literal["torch", "R8", "R52", "MR", "Ohsumed"] = "torch",
        download: bool = False,
        path: str | None = None,
        transductive: bool = False,
        label_fraction: ClosedUnitInterval = 1.0,
        val_fraction: ClosedUnitInterval = 0.1,
        min_count: PositiveInt = 2,
        max_words: PositiveInt = 200,
        window: PositiveInt = 20,
        neighbours: NonNegativeInt = 30,
        batch_size: PositiveInt = 64,
        seed: int = 42,
        split_seed: NonNegativeInt = 0,
    ) -> None:
        super().__init__(batch_size, seed)
        self.dataset, self.download, self.path = name, download, path
        self.transductive, self.label_fraction, self.val_fraction = transductive, label_fraction, val_fraction
        self.min_count, self.max_words, self.window, self.neighbours = min_count, max_words, window, neighbours
        self.split_seed = split_seed

    @functools.cached_property
    def texts(self) -> dict[str, list[Text]]:
        """The texts of "train", "val" and "test", and "unlabelled" ones; held-out texts are sorted by length."""
        texts = read_texts(self.dataset, self.path, self.download)
        train = [text for text in texts if text.split == "train"]
        test = sorted((text for text in texts if text.split == "test"), key=_length)
        if train and (new := sorted({text.label for text in test} - {text.label for text in train})):
            raise DataError(f"{self.path or self.dataset}: no training text has the class {new[0]!r} of a test text")
        unlabelled = []
        if self.label_fraction < 1:
            drawn = np.random.default_rng((self.split_seed, self.seed)).permutation(len(train))
            known = round(self.label_fraction * len(train))
            train, unlabelled = [train[k] for k in drawn[:known]], [train[k] for k in drawn[known:]]
        order = np.random.default_rng(self.split_seed).permutation(len(train))
        held_out = round(self.val_fraction * len(train))
        parts = {
            "train": [train[number] for number in order[held_out:]],
            "val": sorted((train[number] for number in order[:held_out]), key=_length),
            "test": test,
        }
        for split, part in parts.items():
            if not part and (split != "val" or self.val_fraction):
                labels = f"label_fraction {self.label_fraction:g} and " if self.label_fraction < 1 else ""
                raise DataError(
                    f"{self.path or self.dataset} has {len(train) + len(unlabelled)} texts to train on and {len(test)} "
                    f"to test: with {labels}val_fraction {self.val_fraction:g} none is left for {split}"
                )
        if len(found := {text.label for text in texts}) == 1:
            raise DataError(f"{self.path or self.dataset}: all texts have the class {found.pop()!r}; two are needed")
        return parts | ({"unlabelled": unlabelled} if unlabelled else {})

    @property
    def split(self) -> dict[str, Any]:
        """The texts, and the settings by which the validation texts are drawn."""
        texts = (
            f"{split}\t{text.label}\t{' '.join(text.words)}" for split, part in self.texts.items() for text in part
        )
        drawn = {
            "label_fraction": self.label_fraction, "val_fraction": self.val_fraction, "split_seed": self.split_seed
        }  # fmt: skip
        return {"name": self.path or self.dataset, "content": fingerprint(texts), **drawn}

    @functools.cached_property
    def class_names(self) -> list[str]:
        """The names of the classes; a label is an index into them."""
        return sorted({text.label for texts in self.texts.values() for text in texts})

    @property
    def num_classes(self) -> int:
        """Number C of classes."""
        return len(self.class_names)

    @functools.cached_property
    def numbers(self) -> dict[str, int]:
        """The number of each word of the vocabulary, from 1 on, in alphabetical order."""
        counts = Counter(word for text in self._seen for word in text.words[: self.max_words])
        words = sorted(word for word, count in counts.items() if count >= self.min_count)
        return {word: number for number, word in enumerate(words, 1)}

    @property
    def vocab_size(self) -> int:
        """Size V of the vocabulary, including number 0 for all other words."""
        return len(self.numbers) + 1

    @property
    def _seen(self) -> list[Text]:
        """The texts from which vocabulary and graph are made."""
        parts = self.texts if self.transductive else ("train", "unlabelled")
        return [text for part in parts for text in self.texts.get(part, [])]

    @functools.cached_property
    def _encoded(self) -> dict[str, list[Tensor]]:
        """The numbers of the words of every text; a text without words is [0]."""
        return {
            split: [
                torch.tensor([self.numbers.get(word, 0) for word in text.words[: self.max_words]] or [0])
                for text in texts
            ]
            for split, texts in self.texts.items()
        }  # fmt: skip

    @functools.cached_property
    def _labels(self) -> dict[str, Tensor]:
        places = {label: place for place, label in enumerate(self.class_names)} | {"": 0}  # "": no class is known
        return {split: torch.tensor([places[text.label] for text in texts]) for split, texts in self.texts.items()}

    @functools.cached_property
    def edges(self) -> tuple[Tensor, Tensor]:
        """The graph of words: edges [2, E], in both directions, and weights [E]; the same tensors in every batch."""
        if not self.neighbours:
            return torch.empty(2, 0, dtype=torch.int64), torch.empty(0)
        known = (
            np.array([self.numbers[word] for word in text.words[: self.max_words] if word in self.numbers], np.int64)
            for text in self._seen
        )
        return word_graph(list(known), self.vocab_size, self.window, self.neighbours)

    @functools.cached_property
    def idf(self) -> Tensor:
        """Inverse document frequency of the words [V]: log((1 + N) / (1 + n)) + 1, for n of N texts; 0 for word 0."""
        texts = [{self.numbers.get(word, 0) for word in text.words[: self.max_words]} for text in self._seen]
        frequency = np.bincount([word for text in texts for word in text], minlength=self.vocab_size)
        idf = np.log((1 + len(texts)) / (1 + frequency)) + 1
        idf[0] = 0
        return torch.from_numpy(idf).float()

    def order(self, generator: np.random.Generator) -> Tensor:
        """Return the numbers of the training texts in random order, with texts of similar lengths in each batch."""
        lengths = np.array([len(words) for words in self._encoded["train"]])
        alike = np.argsort(lengths * generator.uniform(1 - UNEQUAL, 1 + UNEQUAL, len(lengths)))
        batches = self.steps_per_epoch * self._ranks
        order, first = np.empty_like(alike), 0
        for batch in generator.permutation(batches):
            own = order[batch::batches]
            own[:] = alike[first : first + len(own)]
            first += len(own)
        return torch.from_numpy(order)

    def count(self, split: str) -> int:
        """Return the number of texts of a split."""
        return len(self.texts[split])

    def examples(self, split: str, chosen: Tensor) -> LabelledTextBatch:
        """Return a batch of the texts of a split, by their numbers [B]."""
        own = [self._encoded[split][number] for number in chosen.tolist()]
        lengths = torch.tensor([len(words) for words in own])
        return LabelledTextBatch(pad_sequence(own, batch_first=True), lengths, *self.edges, self._labels[split][chosen])

    def reader(self) -> dict[str, Any]:
        """Return the words of the vocabulary, the classes, the graph, and the number of words that are read."""
        edge_index, edge_weight = self.edges
        graph = {"edge_index": edge_index.int(), "edge_weight": edge_weight}
        return {"words": list(self.numbers), "classes": self.class_names, "max_words": int(self.max_words), **graph}

    def read_new(self, path: Path, reader: dict[str, Any]) -> None:
        """Read a file with a text in each line."""
        self.texts, self.predicted = {"new": read_lines(path)}, "new"
        self.numbers = {word: number for number, word in enumerate(reader["words"], 1)}
        self.class_names, self.max_words = reader["classes"], reader["max_words"]
        self.edges = reader["edge_index"].long(), reader["edge_weight"]

    def read_words(self, split: str) -> list[list[str]]:
        """Return the words of each text of a split that the network reads; those outside the vocabulary as well."""
        return [text.words[: self.max_words] for text in self.texts[split]]

    def columns(self) -> dict[str, list[str]]:
        """Return each text that is predicted and, if they are known, the classes."""
        texts = self.texts[self.predicted]
        classes = {"class": [text.label for text in texts]} if self.predicted != "new" else {}
        return {"text": [text.line or " ".join(text.words) for text in texts], **classes}

    @property
    def eval_batch_size(self) -> int:
        """Number of texts of a batch in an evaluation."""
        return 256

    @property
    def shared_tensors(self) -> tuple[Tensor, ...]:
        """The graph of words."""
        return self.edges


def _length(text: Text) -> int:
    return len(text.words)
