"""Texts with a class each, and the graph of their words: R8, R52, Ohsumed, MR, or texts of one's own.

Legend: B texts, T words of the longest, V vocabulary, C classes, E edges between words.
"""

import functools
from collections import Counter
from typing import Any, Literal

import numpy as np
import torch
from jsonargparse.typing import NonNegativeInt, OpenUnitInterval, PositiveInt
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from datamodules.batches import LabelledTextBatch
from datamodules.data_folders import DataError
from datamodules.fingerprint import fingerprint
from datamodules.step_stream import EpochStreamDataModule
from datamodules.text_files import Text, read_texts
from datamodules.word_graph import word_graph

UNEQUAL = 0.2  # texts of a batch differ in length by about so much


class LabelledTexts(EpochStreamDataModule):
    """Texts in their published split into those to train on and those to test; of the former a share validates.

    Vocabulary and graph are of the training texts: nothing is known of others before they are read. With `transductive`
    the words of all texts count, though no label does; TextGCN's figures were obtained so.

    Args:
        name: R8 or R52 (Reuters news, 8 or 52 topics), MR (film reviews, good or bad) or Ohsumed (medical abstracts, 23
            diseases), as TextGCN's authors cleaned them; torch: what its functions say of themselves, for a first try.
        download: whether a named set that no data folder has is fetched.
        path: texts of one's own instead, a line each: train or test, the class, the text, with tabs between them.
        transductive: whether the words of the texts to validate and to test count, too.
        val_fraction: share of the training texts that validates.
        min_count: occurrences that make a word one of the vocabulary.
        max_words: of a text; what follows is left out.
        window: words of a window, in which words are neighbours.
        neighbours: edges of a word in the graph, to those with the highest pointwise mutual information.
        batch_size: texts B of a batch, of like lengths.
        seed: seed of the order of the texts; train.py passes seed_everything.
        split_seed: seed of the split, apart from that of the training, so that seeds differ in the training alone.

    Raises:
        DataError: if a file is not there or not what it should be, or a split is empty.
    """

    batch_type = LabelledTextBatch

    def __init__(  # noqa: PLR0913 - its settings, each an option of the command line
        self,
        name: Literal["torch", "R8", "R52", "MR", "Ohsumed"] = "torch",
        download: bool = False,
        path: str | None = None,
        transductive: bool = False,
        val_fraction: OpenUnitInterval = 0.1,
        min_count: PositiveInt = 2,
        max_words: PositiveInt = 400,
        window: PositiveInt = 20,
        neighbours: NonNegativeInt = 30,
        batch_size: PositiveInt = 64,
        seed: int = 42,
        split_seed: NonNegativeInt = 0,
    ) -> None:
        super().__init__(batch_size, seed)
        self.dataset, self.download, self.path = name, download, path
        self.transductive, self.val_fraction = transductive, val_fraction
        self.min_count, self.max_words, self.window, self.neighbours = min_count, max_words, window, neighbours
        self.split_seed = split_seed

    @functools.cached_property
    def texts(self) -> dict[str, list[Text]]:
        """The texts of "train", "val" and "test", those held out in the order of their lengths."""
        texts = read_texts(self.dataset, self.path, self.download)
        train = [text for text in texts if text.split == "train"]
        order = np.random.default_rng(self.split_seed).permutation(len(train))
        held_out = round(self.val_fraction * len(train))
        parts = {
            "train": [train[number] for number in order[held_out:]],
            "val": sorted((train[number] for number in order[:held_out]), key=_length),
            "test": sorted((text for text in texts if text.split == "test"), key=_length),
        }
        for split, part in parts.items():
            if not part:
                raise DataError(
                    f"{self.path or self.dataset} has {len(train)} texts to train on and {len(parts['test'])} to test: "
                    f"with val_fraction {self.val_fraction:g} none is left for {split}"
                )
        return parts

    @property
    def split(self) -> dict[str, Any]:
        """The texts, and how those that validate are drawn."""
        texts = (
            f"{split}\t{text.label}\t{' '.join(text.words)}" for split, part in self.texts.items() for text in part
        )
        drawn = {"val_fraction": self.val_fraction, "split_seed": self.split_seed}
        return {"name": self.path or self.dataset, "content": fingerprint(texts), **drawn}

    @functools.cached_property
    def classes(self) -> list[str]:
        """The names of the classes, those of which there is no text to train on included."""
        return sorted({text.label for texts in self.texts.values() for text in texts})

    @property
    def num_classes(self) -> int:
        """Number C of classes."""
        return len(self.classes)

    @functools.cached_property
    def numbers(self) -> dict[str, int]:
        """The numbers of the words of the vocabulary, from 1 on, in their order."""
        counts = Counter(word for text in self._seen for word in text.words[: self.max_words])
        words = sorted(word for word, count in counts.items() if count >= self.min_count)
        return {word: number for number, word in enumerate(words, 1)}

    @property
    def vocab_size(self) -> int:
        """Size V of the vocabulary, with the number of words that are not in it."""
        return len(self.numbers) + 1

    @property
    def _seen(self) -> list[Text]:
        """The texts of whose words vocabulary and graph are made."""
        return [text for split in (self.texts if self.transductive else ["train"]) for text in self.texts[split]]

    @functools.cached_property
    def _encoded(self) -> dict[str, list[Tensor]]:
        """The numbers of the words of every text, 0 for a text without words."""
        return {
            split: [
                torch.tensor([self.numbers.get(word, 0) for word in text.words[: self.max_words]] or [0])
                for text in texts
            ]
            for split, texts in self.texts.items()
        }  # fmt: skip

    @functools.cached_property
    def _labels(self) -> dict[str, Tensor]:
        places = {label: place for place, label in enumerate(self.classes)}
        return {split: torch.tensor([places[text.label] for text in texts]) for split, texts in self.texts.items()}

    @functools.cached_property
    def edges(self) -> tuple[Tensor, Tensor]:
        """The graph of words: edges [2, E], in both directions, and weights [E]; the same tensors in every batch."""
        known = (
            np.array([self.numbers[word] for word in text.words[: self.max_words] if word in self.numbers], np.int64)
            for text in self._seen
        )
        return word_graph(list(known), self.vocab_size, self.window, self.neighbours)

    def order(self, generator: np.random.Generator) -> Tensor:
        """Return the numbers of the training texts in a drawn order, in which those of a batch are of like lengths."""
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
