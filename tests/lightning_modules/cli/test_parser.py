"""One line for what a person mistyped: the key, what is wrong, what would be right."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lightning_modules.cli.parser import CONFIGS, config_first, find_config
from lightning_modules.errors import UserError, did_you_mean

Train = Callable[..., tuple[int, str, str]]


def test_nearest_name() -> None:
    assert did_you_mean("lenght", ["length", "batch_size"]) == "; did you mean 'length'?"
    assert did_you_mean("xyz", ["length"]) == ""


def test_config_is_moved_to_the_front() -> None:
    path = str(CONFIGS / "palindrome_lstm.yaml")
    for words in (
        ["--config", "palindrome_lstm.yaml"],
        ["--config=palindrome_lstm.yaml"],
        ["-c", "palindrome_lstm.yaml"],
    ):
        assert config_first(["--data.length", "3", *words, "--x=1"]) == [
            "--config",
            path,
            "--data.length",
            "3",
            "--x=1",
        ]


def test_a_path_comes_before_configs(tmp_path: Path) -> None:
    (tmp_path / "palindrome_lstm.yaml").write_text("seed_everything: 1\n")
    assert find_config("palindrome_lstm.yaml") == Path("palindrome_lstm.yaml")


def test_option_wins_wherever_it_stands(train: Train) -> None:
    for words in (
        ("--data.length", "7", "--config", "palindrome_lstm.yaml"),
        ("--config", "palindrome_lstm.yaml", "--data.length", "7"),
    ):
        status, out, _ = train(*words, "--print_config", small=False)
        assert status == 0
        assert "length: 7" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--config", "palindrome_lst.yaml"],
            "no 'palindrome_lst.yaml'; did you mean 'palindrome_lstm.yaml'? configs/ has",
        ),
        (["--config", "nosuch.yaml"], "there is no 'nosuch.yaml'; configs/ has"),
        (["--config"], "configs/ has baum_sweet_lstm.yaml, book_gru.yaml"),
        ([], "name a config, such as --config palindrome_lstm.yaml"),
    ],
)
def test_missing_configs(train: Train, words: list[str], message: str) -> None:
    status, _, err = train(*words, small=False)
    assert status == 2
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data.lenght", "20"], "unknown key data.lenght; did you mean 'length'?"),
        (["--trainer.max_step", "20"], "unknown key trainer.max_step; did you mean 'max_steps'?"),
        (["--model.network.hidden_sizes=20"], "unknown key model.network.hidden_sizes; did you mean 'hidden_size'?"),
        (["--bogus"], "unknown key bogus"),
        (["--max_steps=3"], "unknown key max_steps; did you mean trainer.max_steps?"),
        (["--learning_rate", "3"], "unknown key learning_rate; did you mean model.learning_rate?"),
        (["--model.hidden_size", "3"], "unknown key model.hidden_size; did you mean model.network.hidden_size?"),
        (["--model.network.backend", "reference"], "network.backend; did you mean model.network.layer.backend?"),
        (["--data.length", "0"], "data.length: Not of type PositiveInt: 0 does not conform to restriction v>0"),
        (
            ["--data.length", "many"],
            "data.length: Not of type PositiveInt: invalid literal for int() with base 10: ",
        ),
        (["--data.batch_size", "0"], "data.batch_size: Not of type PositiveInt: 0 does not conform"),
        (
            ["--data", "datamodules.toy_tasks.BaumSweet", "--data.length", "19"],
            "data.length: Not of type BaumSweetLen",
        ),
        (["--trainer.max_steps", "many"], "trainer.max_steps: Expected a int. Got value: many"),
        (["--trainer.gradient_clip_val", "much"], "Expected a int; Expected a float; Given value: much"),
        (["--trainer.accelerator", "abacus"], "abacus"),
        (["--seed_everything", "-1"], "seed_everything: Not of type Seed: -1 does not conform to restriction v>=0"),
        (["--seed_everything", "4294967296"], "and v<4294967296"),
        (["--stage", "train"], "stage: Expected a Literal['fit', 'test', 'predict']. Got value: train"),
        (["--model.network.layer", "kernels.LTSM"], "layer: module 'kernels' has no attribute 'LTSM'. Got value: kern"),
        (["--model.network.layer", "kernels.LTSM"], "; did you mean 'LSTM'?"),
        (["--model.network.layer", "lstm"], "Expected a dot import path string: lstm, such as kernels.LSTM"),
        (["--data", "BinaryPalindromes"], "string: BinaryPalindromes, such as datamodules.toy_tasks.BinaryPalindrome"),
        (["--model.network.layer", "kernel.LSTM"], "model.network.layer: No module named 'kernel'"),
        (["--model.network.layer.backend", "cudnn"], "backend: Expected a Literal['auto', 'reference', 'torchscript',"),
        (["--model.learning_rate", "-1"], "model.learning_rate: Not of type PositiveFloat: -1 does not conform to"),
        (
            ["--model.network.dropout", "2"],
            "dropout: Not of type ClosedUnitInterval: 2 does not conform to",
        ),
        (["--model.network.dropout"], "error: --model.network.dropout needs a value"),
        (["--data.length", "--data.batch_size", "2"], "error: --data.length needs a value"),
        (["--data.length=2", "--trainer.max_steps"], "error: --trainer.max_steps needs a value"),
    ],
)
def test_bad_words_are_one_line_and_status_2(train: Train, words: list[str], message: str, tmp_path: Path) -> None:
    status, _, err = train(*words)
    assert status == 2
    assert message in err
    assert err.count("\n") == 1, err
    assert not any(tmp_path.iterdir()), "nothing is left behind"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--data.split", "banana"],
            "Expected a Literal['random', 'scaffold', 'folds']; Given value: banana",
        ),
        (
            ["--data.split_number", "-1"],
            "split_number: Not of type NonNegativeInt: does not conform to restriction v>=0; Given",
        ),
        (["--data.split_number", "first"], "NonNegativeInt: invalid literal for int() with base 10: 'first'"),
    ],
)
def test_values_of_options_that_may_be_left_out(train: Train, words: list[str], message: str) -> None:
    status, _, err = train("--config", "molecules.yaml", *words, small=False)
    assert (status, err.count("\n")) == (2, 1)
    assert message in err


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("max_steps", "max_stepz", "unknown key trainer.max_stepz; did you mean 'max_steps'?"),
        ("length:", "lengthz:", "unknown key data.lengthz; did you mean 'length'?"),
        ("layer:", "layr:", "unknown key model.network.layr; did you mean 'layer'?"),
        ("BinaryPalindrome", "BinaryPalindrom", "no attribute 'BinaryPalindrom'; did you mean 'BinaryPalindrome'?"),
        ("RecurrentClassifier", "RecurentClassifier", "did you mean 'RecurrentClassifier'?"),
        ("kernels.LSTM", "kernels.LTSM", "model.network.layer: module 'kernels' has no attribute 'LTSM'"),
        ("class_path: datamodules", "class_paht: datamodules", "a dict with class_path entry"),
        ("max_steps: 3000", "max_steps: [", "is not valid YAML"),
    ],
)
def test_bad_configs_are_one_line_and_status_2(train: Train, old: str, new: str, message: str, tmp_path: Path) -> None:
    network = "class_path: lightning_modules.networks.recurrent_classifier.RecurrentClassifier\n"
    text = (CONFIGS / "palindrome_lstm.yaml").read_text(encoding="utf-8")
    text = text.replace(network, f"{network}      init_args: {{layer: kernels.LSTM}}\n") + "  init_args: {length: 10}\n"
    assert old in text
    (tmp_path / "mine.yaml").write_text(text.replace(old, new), encoding="utf-8")
    status, _, err = train("--config", "mine.yaml", small=False)
    assert status == 2
    assert message in err
    assert err.count("\n") == 1, err


@pytest.mark.parametrize("value", ["{" * 5000, "{" * 5000 + "}" * 5000])
def test_a_value_that_is_nested_too_deeply(train: Train, value: str) -> None:
    status, _, err = train("--data", value)
    assert (status, err.count("\n")) == (2, 1)
    assert "nested more than 50 levels deep" in err


def test_a_config_of_other_characters_than_the_locale_has(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (CONFIGS / "palindrome_lstm.yaml").read_text(encoding="utf-8")
    Path("mine.yaml").write_text(f"# τ\n{text}", encoding="utf-8")
    read_text = Path.read_text

    def in_ascii(path: Path, encoding: str = "ascii") -> str:
        return read_text(path, encoding)

    monkeypatch.setattr(Path, "read_text", in_ascii)
    with pytest.raises(UserError, match=r"mine.yaml is not valid YAML: 'ascii' codec .*; set PYTHONUTF8=1"):
        find_config("mine.yaml")


def test_a_config_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="is not valid YAML"):
        find_config("mine.yaml")
