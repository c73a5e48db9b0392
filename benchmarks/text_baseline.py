"""Accuracy of a linear classifier on word counts for the labelled texts. It sees neither word order nor a graph.

    python -m benchmarks.text_baseline

TF-IDF and a linear support vector machine with scikit-learn's defaults. It trains on all training texts, including
those that train.py holds out for validation, and prints test accuracy and macro-F1 in %.
"""

import sys

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import f1_score
from sklearn.svm import LinearSVC

from benchmarks.named_data import make_parser, run
from datamodules.text_files import PUBLISHED, read_texts


def main() -> int:
    """Print one line per data set."""
    parser = make_parser(__doc__)
    parser.add_argument("--names", nargs="+", choices=PUBLISHED, default=list(PUBLISHED))
    options = parser.parse_args()
    for name in options.names:
        texts = read_texts(name, None, options.download)
        train, test = ([text for text in texts if text.split == split] for split in ("train", "test"))
        tfidf = TfidfVectorizer(analyzer=lambda text: text.words)
        machine = LinearSVC().fit(tfidf.fit_transform(train), [text.label for text in train])
        found, labels = machine.predict(tfidf.transform(test)), [text.label for text in test]
        f1 = f1_score(labels, found, average="macro")
        print(f"{name}: accuracy {100 * (found == labels).mean():.2f}, macro-F1 {100 * f1:.2f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
