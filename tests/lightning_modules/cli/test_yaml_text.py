"""YAML that no parser should be given: too deep, too large, without an end, or with a key twice."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from lightning_modules.cli.parser import CONFIGS
from lightning_modules.cli.yaml_text import LARGEST, check_yaml, load_checked
from lightning_modules.errors import UserError

Train = Callable[..., tuple[int, str, str]]

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]\n" for k in range(1, 10)
)
BAD = {
    "itself": ("&a [*a]", "which has no end"),
    "itself below": ("model: &a\n  x: {y: *a}\n", "line 2: *a stands inside of what it stands for"),
    "deep list": ("model: " + "[" * 10_000 + "]" * 10_000, "nested more than 50 levels deep"),
    "deep mapping": ("model: " + "{a: " * 10_000 + "1" + "}" * 10_000, "nested more than 50 levels deep"),
    "deep block": ("\n".join(" " * k + "a:" for k in range(1000)), "nested more than 50 levels deep"),
    "never closed": ("[" * 100_000, "nested more than 50 levels deep"),
    "billion laughs": (LAUGHS, "a config has at most 10,000 values"),
    "a key twice": ("a: 1\nb: 2\na: 3\n", "line 3: the key 'a' is given twice"),
    "a key twice below": ("a:\n  b: 1\n  c: [1, {d: 1, d: 2}]\n", "line 3: the key 'd' is given twice"),
    "a block twice": ("trainer:\n  x: 1\nmodel: 3\ntrainer:\n  y: 1\n", "line 4: the key 'trainer' is given twice"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_refused(name: str) -> None:
    text, message = BAD[name]
    with pytest.raises(UserError) as refused:
        check_yaml(text)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    "text",
    ["", "a: 1", "- a\n- a", "a: {b: 1}\nc: {b: 1}", "a: &x [1, 2]\nb: *x\nc: *x", "a: a\nb: a", "{a: [a, a], b: a}",
     "<<: {a: 1}\na: 2", f"[{'1, ' * (LARGEST - 10)}1]", "a: &x {b: 1}\nc:\n  <<: *x\n  b: 2"],
)  # fmt: skip
def test_what_is_fine(text: str) -> None:
    assert load_checked(text) == (yaml.safe_load(text) if text else None)


def test_every_config_passes() -> None:
    for path in CONFIGS.glob("*.yaml"):
        check_yaml(path.read_text())


def test_a_number_of_thousands_of_digits() -> None:
    with pytest.raises(UserError, match="4300 digits"):
        load_checked("a: " + "9" * 5000)


@pytest.mark.parametrize("name", BAD)
def test_in_a_config_or_on_the_command_line_it_is_one_line(train: Train, name: str, tmp_path: Path) -> None:
    text, message = BAD[name]
    Path("mine.yaml").write_text(text)
    Path("data.yaml").write_text(f"class_path: datamodules.toy_tasks.BaumSweet\ninit_args:\n{_indented(text)}\n")
    message = message.partition(": ")[2] or message  # in another place the line has another number
    commands = [("--config", "mine.yaml"), ("--config", "palindrome_lstm.yaml", "--data", "data.yaml")]
    if "\n" not in text:
        commands.append(("--config", "palindrome_lstm.yaml", "--trainer.callbacks", text[:50_000]))
    for words in commands:
        status, _, err = train(*words, small=False)
        assert (status, err.count("\n")) == (2, 1), err[-500:]
        assert message in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.yaml", "mine.yaml"]


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
