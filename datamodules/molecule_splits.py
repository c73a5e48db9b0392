"""Stored splits of molecules into training, validation and test, in datamodules/splits/.

They were made by

    python -m datamodules.molecule_splits

A file holds several splits, each with the numbers of its validation and its test graphs. The others train.
"""

import json
import random
import sys
from collections import defaultdict
from pathlib import Path
from typing import Literal

from torch_geometric.data import Data

from datamodules.errors import DataError
from datamodules.molecule_files import read_graphs, split_fingerprint

FOLDER = Path(__file__).resolve().parent / "splits"
COMMAND = "python -m datamodules.molecule_splits"
Kind = Literal["random", "scaffold", "folds"]
KINDS: dict[str, tuple[Kind, ...]] = {  # the first is the default
    "ESOL": ("random", "scaffold"),
    "FreeSolv": ("random", "scaffold"),
    "MUTAG": ("folds",),
    "PROTEINS": ("folds",),
}
SEEDS = range(3)  # of the random and the scaffold splits
FOLDS = 10
Split = dict[str, list[int]]  # "val" and "test": numbers of graphs


def random_split(count: int, seed: int) -> Split:
    """Return a split of 80, 10 and 10 % of graphs 0..count − 1."""
    order = random.Random(seed).sample(range(count), count)
    tenth = count // 10
    return {"val": sorted(order[:tenth]), "test": sorted(order[tenth : 2 * tenth])}


def scaffold_split(scaffolds: list[str], seed: int) -> Split:
    """Return a split of about 80, 10 and 10 % that keeps the molecules of a scaffold together.

    Scaffolds of more than 5 % of the molecules train; the others are assigned in random order.

    Args:
        scaffolds: scaffold of each molecule.
        seed: seed of the order.
    """
    groups = defaultdict(list)
    for number, scaffold in enumerate(scaffolds):
        groups[scaffold].append(number)
    tenth = len(scaffolds) // 10
    small = [group for group in groups.values() if len(group) <= tenth // 2]
    random.Random(seed).shuffle(small)
    split: Split = {"val": [], "test": []}
    for group in small:
        for part in split.values():
            if len(part) + len(group) <= tenth:
                part += group
                break
    return {name: sorted(part) for name, part in split.items()}


def bemis_murcko(smiles: str) -> str:
    """Return the rings of a molecule and their linkers as SMILES, "" without rings.

    Paper: Bemis & Murcko (1996), doi:10.1021/jm9602928.
    """
    from rdkit.Chem.Scaffolds.MurckoScaffold import MurckoScaffoldSmiles  # an extra, see setup.cfg

    return MurckoScaffoldSmiles(smiles=smiles, includeChirality=False)


def nested_folds(classes: list[int], seed: int) -> list[Split]:
    """Return ten splits that test each graph once; the next fold validates. Folds are stratified by class."""
    generator = random.Random(seed)
    order = []
    for label in sorted(set(classes)):
        members = [number for number, own in enumerate(classes) if own == label]
        generator.shuffle(members)
        order += members
    folds = [order[k::FOLDS] for k in range(FOLDS)]
    return [{"val": sorted(folds[(k + 1) % FOLDS]), "test": sorted(folds[k])} for k in range(FOLDS)]


def make_splits(graphs: list[Data], kind: Kind) -> list[Split]:
    """Return the splits of a kind."""
    if kind == "random":
        return [random_split(len(graphs), seed) for seed in SEEDS]
    if kind == "scaffold":
        scaffolds = [bemis_murcko(graph.smiles) for graph in graphs]
        return [scaffold_split(scaffolds, seed) for seed in SEEDS]
    return nested_folds([int(graph.y) for graph in graphs], seed=0)


def read_splits(name: str, kind: Kind, graphs: list[Data]) -> list[Split]:
    """Return the stored splits.

    Raises:
        DataError: if there are none of this kind, or they were made for other graphs.
    """
    if kind not in KINDS[name]:
        raise DataError(f"{name} has no {kind} split; it has {', '.join(KINDS[name])}")
    path = FOLDER / f"{name}_{kind}.json"
    try:
        content = json.loads(path.read_text())
        made_for, splits = content["fingerprint"], content["splits"]
        numbers = [number for split in splits for part in ("val", "test") for number in split[part]]
        known = all(0 <= number < len(graphs) for number in numbers)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error!r}); made by: {COMMAND}") from error
    if made_for != split_fingerprint(graphs) or not known:
        raise DataError(f"{path} does not fit the graphs of {name}: they are other graphs, or in another order")
    return splits


def write_splits(path: Path, kind: Kind, graphs: list[Data]) -> None:
    """Write the splits of a kind, one list of numbers per line."""
    seeds = "fold order by seed 0" if kind == "folds" else f"seeds {', '.join(map(str, SEEDS))}"
    made_for = split_fingerprint(graphs)
    head = {"made by": COMMAND, "kind": kind, "seeds": seeds, "graphs": len(graphs), "fingerprint": made_for}
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
    splits = [
        f'    {{"val": {json.dumps(split["val"])},\n     "test": {json.dumps(split["test"])}}}'
        for split in make_splits(graphs, kind)
    ]
    path.write_text("\n".join(["{", *lines, '  "splits": [', ",\n".join(splits), "  ]", "}", ""]))


def main() -> int:
    """Write all splits; return the exit status. Missing data print one line and return 2."""
    try:
        for name, kinds in KINDS.items():
            graphs = read_graphs(name)
            for kind in kinds:
                write_splits(FOLDER / f"{name}_{kind}.json", kind, graphs)
    except DataError as error:
        print(f"molecule_splits: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
