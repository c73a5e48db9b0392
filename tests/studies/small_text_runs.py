"""Folders that look like finished runs of the text classifiers, for the tests of their analyses."""

import json
from pathlib import Path
from typing import Any

import yaml

NETWORKS: dict[str, dict[str, Any]] = {
    "BiLSTM": {"graph_layers": 0},
    "graph": {"hidden_size": 0, "pooling": "mean"},
    "hybrid": {},
    "hybrid without attention": {"pooling": "mean"},
}


def text_run(folder: Path, network: str, seed: int, accuracy: float, **data: Any) -> Path:
    """Make the files of a run of a network of NETWORKS, or of a "bag of words", that the analyses read."""
    name, options = "graph_lstm.GraphLSTM", {"graph_layers": 1, "hidden_size": 32, "pooling": "attention"}
    options |= NETWORKS.get(network, {})
    if network == "bag of words":
        name, options = "bag_of_words.BagOfWords", {"hidden_size": 1024}
    made = {"class_path": f"lightning_modules.networks.{name}", "init_args": options}
    settings = {
        "seed_everything": seed,
        "model": {"class_path": "…", "init_args": {"network": made}},
        "data": {
            "class_path": "datamodules.labelled_texts.LabelledTexts",
            "init_args": {"name": "R8", "transductive": False, "label_fraction": 1.0} | data,
        },
    }
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    summary = {"test/accuracy": accuracy, "steps_per_second": 1.0}
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder
