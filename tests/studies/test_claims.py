"""The claims: the file is valid, each run is accepted by train.py, and a mistake is one line that names the claim."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from lightning_modules.errors import UserError
from studies.claims import PARTS, Claim, load, option_words

RUNS = {"config": "palindrome_lstm.yaml", "seeds": [1, 2]}
CLAIM = {
    "id": "a", "part": "palindromes", "claim": "It holds.", "runs": RUNS, "metric": "accuracy", "unit": "%",
    "holds": {"at_least": 99.5}, "minutes": 3, "shown": "README.md",
}  # fmt: skip
ANALYSIS = {name: value for name, value in CLAIM.items() if name != "runs"} | {"id": "b"}


def written(*entries: Any) -> Path:
    Path("claims.yaml").write_text(yaml.safe_dump(list(entries)))
    return Path("claims.yaml")


def claim(**values: Any) -> Claim:
    return load(written(CLAIM | values))[0]


def test_settings_of_a_claim_are_written_as_train_reads_them() -> None:
    settings = {"a": "kernels.GRU", "b": "1e-3", "c": 0.5, "d": True, "e": None, "f": [1, 2]}
    assert option_words(settings) == [
        "--a", "kernels.GRU", "--b", "1e-3", "--c", "0.5", "--d", "true", "--e", "null", "--f", "[1, 2]",
    ]  # fmt: skip


def test_the_claims_of_the_study_are_valid_and_sorted_by_part() -> None:
    claims = load()
    parts = [claim.part for claim in claims]
    assert parts == sorted(parts, key=PARTS.index)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"part": "other"}, r"part: 'other' is not one of recurrent, palindromes, book, graphs, texts"),
        ({"minute": 3}, r"unknown key 'minute'; did you mean 'minutes'\?"),
        ({"minutes": "3"}, r"minutes: '3' is not a number"),
        ({"minutes": 0}, r"minutes is 0; it must be above 0"),
        ({"claim": 3}, r"claim: 3 is not a text"),
        ({"holds": {}}, r"holds takes one of at_least, at_most, between"),
        ({"holds": {"at_least": 1, "at_most": 2}}, r"holds takes one of at_least, at_most, between"),
        ({"holds": {"between": [1]}}, r"holds: between: \[1\] is not a list of 2 numbers"),
        ({"holds": {"at_least": True}}, r"holds: at_least: True is not a number"),
        ({"runs": {"config": "x.yaml"}}, r"runs: seeds is missing"),
        ({"runs": {"config": "x.yaml", "seeds": [1, 1]}}, r"seeds must be a list of different seeds"),
        ({"runs": "x.yaml"}, r"runs: 'x.yaml' is not `key: value` lines"),
        ({"published": {"value": 1}}, r"published: source is missing"),
        ({"analysis": {"module": "studies.x"}}, r"give either runs or analysis"),
        ({"holds": {"between": [2, 1]}}, r"holds cannot be met: 2 is not at most 1"),
        ({"holds": {"at_least": float("nan")}}, r"holds cannot be met: nan is not at most inf"),
        ({"minutes": float("nan")}, r"minutes is nan; it must be above 0"),
        ({"id": "a/b"}, r"an id is a file name without spaces"),
        ({"id": "book"}, r"an id cannot be the name of a part"),
        ({"quick": ["--steps"]}, r"quick must be settings by their keys, since the claim has runs"),
    ],
)
def test_a_mistake_is_one_line(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"claims.yaml: .*{message}$"):
        claim(**changed)


def test_mistakes_between_claims_and_of_the_file() -> None:
    with pytest.raises(UserError, match=r"two claims have the id a$"):
        load(written(CLAIM, CLAIM))
    unknown = ANALYSIS | {"analysis": {"module": "studies.x", "needs": ["aa"]}}
    with pytest.raises(UserError, match=r"b: needs names 'aa', which is no claim with runs; did you mean 'a'\?$"):
        load(written(CLAIM, unknown))
    with pytest.raises(UserError, match=r"b: quick must be a list of arguments, since the claim has an analysis$"):
        load(written(ANALYSIS | {"analysis": {"module": "studies.x"}, "quick": {"trainer.max_steps": 2}}))
    Path("claims.yaml").write_text("a: 1\na: 2\n")
    with pytest.raises(UserError, match=r"claims.yaml: line 2: the key 'a' is given twice"):
        load(Path("claims.yaml"))
    with pytest.raises(UserError, match=r"cannot read nothing.yaml: No such file"):
        load(Path("nothing.yaml"))


def test_a_claim_holds_within_its_bounds() -> None:
    assert claim().value({"accuracy": 0.5}) == 50
    assert claim(unit="").value({"accuracy": 0.5}) == 0.5
    assert claim().value({"accuracy": None}) is claim().value({}) is None
    assert claim().judge([99.0, 100.0])
    assert not claim().judge([99.4, 99.5])
    assert claim(holds={"at_most": 2}).judge([2.0])
    assert not claim(holds={"between": [1, 2]}).judge([2.1])
    shown = [
        str(claim(holds=bounds).holds)
        for bounds in ({"at_least": 99.5}, {"at_most": 2}, {"between": [1, 2.5]}, {"between": [4, 4]})
    ]
    assert shown == ["≥ 99.5", "≤ 2", "1 to 2.5", "= 4"]
