"""The data module of molecules: its facts, parts and orders."""

import os
from pathlib import Path

import pytest

from datamodules.errors import DataError
from datamodules.molecules import Molecules

pytestmark = pytest.mark.skipif(
    not (Path(os.environ.get("RESEARCH_DATA_DIR", "")) / "TUDataset" / "MUTAG" / "raw").is_dir(),
    reason="MUTAG's files are not here",
)


def test_facts_and_parts() -> None:
    data = Molecules("MUTAG", seed=42)
    assert (data.num_features, data.num_edge_features, data.num_outputs) == (7, 4, 2)
    assert sorted(number for part in data.parts.values() for number in part) == list(range(188))
    assert data.parts == Molecules("MUTAG", split_number=2).parts != Molecules("MUTAG", seed=43).parts
    loaders = {"train": data.train_dataloader(), "val": data.val_dataloader(), "test": data.test_dataloader()}
    for part, loader in loaders.items():
        assert sum(batch.num_graphs for batch in loader) == len(data.parts[part])
    with pytest.raises(DataError, match=r"split_number must be 0\.\.9 \(MUTAG, folds\), got 10"):
        Molecules("MUTAG", split_number=10).parts  # noqa: B018
