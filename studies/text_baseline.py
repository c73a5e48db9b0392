"""TF-IDF and a linear support vector machine on the labelled texts: the baseline that sees neither order nor a graph.

    python -m studies.text_baseline --out FOLDER [--names R8 …]

Three times: on words; on words and pairs of neighbouring words; and on words with the logarithm of their counts. The
words of the first two are those that the networks read. The third leaves out punctuation and words of one character, as
scikit-learn's own tokenizer does. All else has scikit-learn's defaults. It trains on all training texts.
"""

import sys
from collections.abc import Sequence
from typing import Any, Literal

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import f1_score
from sklearn.svm import LinearSVC

from datamodules.errors import DataError
from datamodules.text_files import PUBLISHED, Text, read_texts
from lightning_modules.errors import UserError, print_error
from studies.analysis import analysis_parser, prepare_folder, write_summary

Features = Literal["words", "bigrams", "log"]

READ = {"tokenizer": str.split, "token_pattern": None}  # the words as they are
OPTIONS: dict[Features, dict[str, Any]] = {
    "words": READ,
    "bigrams": READ | {"ngram_range": (1, 2)},
    "log": {"sublinear_tf": True},  # 1 + log n in place of n
}


def linear_svm(train: Sequence[Text], test: Sequence[Text], kind: Features = "words") -> dict[str, float]:
    """Return `accuracy` and `macro_f1` on the test texts, as fractions."""
    tfidf = TfidfVectorizer(lowercase=False, **OPTIONS[kind])
    seen, new = ([" ".join(text.words) for text in texts] for texts in (train, test))
    machine = LinearSVC(random_state=0).fit(tfidf.fit_transform(seen), [text.label for text in train])
    labels = [text.label for text in test]
    found = machine.predict(tfidf.transform(new))
    return {
        "accuracy": float((found == labels).mean()),
        "macro_f1": float(f1_score(labels, found, average="macro", zero_division=0)),
    }


def main(arguments: list[str] | None = None) -> int:
    """Carry out the command line; return the exit status."""
    parser = analysis_parser("text_baseline", __doc__)
    parser.add_argument("--names", nargs="+", choices=PUBLISHED, default=list(PUBLISHED), help="the sets of texts")
    options = parser.parse_args(arguments)
    numbers = {}
    try:
        prepare_folder(options.out)
        for name in options.names:
            texts = read_texts(name, None)
            train, test = ([text for text in texts if text.split == split] for split in ("train", "test"))
            for kind in OPTIONS:
                for metric, value in linear_svm(train, test, kind).items():
                    numbers[f"{name}/{kind}/{metric}"] = value
    except (UserError, DataError) as error:
        return print_error("studies.text_baseline", error)
    write_summary(options.out, numbers)
    print("\n".join(f"{name} {100 * value:.2f} %" for name, value in numbers.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
