"""generate.py on a small model: what it prints, that it repeats, and what it refuses."""

import argparse
import io
import json
import math
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import generate
from lightning_modules.errors import UserError
from lightning_modules.networks.language_model import CharacterModel, load_model

ALPHABET = "\n abcdefgh'"
ROOT = Path(__file__).resolve().parent.parent
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ckpt(own_folder: Path) -> Path:
    torch.manual_seed(0)
    network = CharacterModel(ALPHABET, embedding_size=4, hidden_size=6)
    with torch.no_grad():
        network.head.weight.mul_(10)
    weights = {f"network.{name}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": weights, "language_model": network.description()}, "last.ckpt")
    return Path("last.ckpt")


@pytest.fixture
def run(ckpt: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["generate.py", "--ckpt", str(ckpt), *words])
        try:
            status = generate.main()
        except SystemExit as stop:
            status = int(stop.code or 0)
        finally:
            torch.set_grad_enabled(True)
        out, err = capsys.readouterr()
        return status, out, err

    return call


def test_text_goes_on_from_the_prompt_and_repeats(run: Run) -> None:
    status, out, err = run("--prompt", "abc ", "--length", "30", "--seed", "7", "--temperature", "2")
    assert (status, err) == (0, "τ 2 (what other tools call temperature 0.5), seed 7\n")
    assert out.startswith("abc ")
    assert len(out) == 4 + 30 + 1
    assert run("--prompt", "abc ", "--length", "30", "--seed", "7", "--temperature", "2")[1] == out
    assert run("--prompt", "abc ", "--length", "30", "--seed", "8", "--temperature", "2")[1] != out
    assert run("--prompt", "abc ", "--length", "30", "--seed", "7", "--temperature", "2", "--no-echo")[1] == out[4:]
    assert run("--prompt", "abc ", "--length", "30", "--seed", "7", "--temperature", "2", "--stream")[1] == out


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_in_one_line(signum: int, status: int, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object) -> None:
        signal.raise_signal(signum)

    monkeypatch.setattr("kernels.decode.Decoder.read", read)
    assert run("--prompt", "abc ") == (status, "", "stopped\n")


@pytest.mark.parametrize("found", [True, False])
def test_a_slow_dtype_is_told(found: bool, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kernels.processor.computes", lambda dtype, device: found)
    status, _, err = run("--prompt", "abc", "--length", "3", "--seed", "7", "--dtype", "bfloat16")
    assert status == 0
    assert ("--dtype bfloat16 is many times slower than float32 here" in err) != found
    assert "slower" not in run("--prompt", "abc", "--length", "3", "--seed", "7")[2]


def test_a_damaged_checkpoint_is_one_line(run: Run, ckpt: Path) -> None:
    content = bytearray(ckpt.read_bytes())
    content[content.index(b"vocabulary") + 15] ^= 1
    ckpt.write_bytes(content)
    status, out, err = run("--prompt", "abc")
    line = "last.ckpt is damaged: it is not as it was written; take another checkpoint"
    assert (status, out, err) == (2, "", f"generate.py: error: {line}\n")


def test_a_seed_is_drawn_and_told(run: Run) -> None:
    _, out, err = run("--prompt", "ab")
    seed = err.rsplit(" ", 1)[1].strip()
    assert run("--prompt", "ab", "--seed", seed)[1] == out


def test_a_sample_does_not_depend_on_their_number(run: Run) -> None:
    alone = json.loads(run("--prompt", "ab", "--seed", "0", "--num-samples", "2", "--json")[1])["samples"]
    more = json.loads(run("--prompt", "ab", "--seed", "0", "--num-samples", "5", "--json")[1])["samples"]
    assert [sample["text"] for sample in more[:2]] == [sample["text"] for sample in alone]
    assert len({sample["text"] for sample in more}) == 5
    longer = json.loads(run("--prompt", "ab", "--seed", "0", "--length", "300", "--json")[1])["samples"][0]["text"]
    assert longer.startswith(alone[0]["text"])


def test_json_and_score_agree(run: Run) -> None:
    facts = json.loads(run("--prompt", "ab", "--seed", "3", "--length", "20", "--json", "--temperature", "0.7")[1])
    assert (facts["prompt"], facts["seed"], facts["tau"], facts["checkpoint"]) == ("ab", 3, 0.7, "last.ckpt")
    (sample,) = facts["samples"]
    scored = json.loads(run("--prompt", "ab", "--score", sample["text"], "--json")[1])
    assert scored["log_probabilities"] == pytest.approx(sample["log_probabilities"], abs=1e-4)
    nats = -sum(sample["log_probabilities"]) / 20
    assert scored["nats_per_character"] == pytest.approx(nats, abs=1e-4)
    assert scored["bits_per_character"] == pytest.approx(nats / math.log(2), abs=1e-4)
    status, out, _ = run("--prompt", "ab", "--score", sample["text"])
    bits = scored["bits_per_character"]
    line = f"{scored['nats_per_character']:.4f} nats, {bits:.4f} bits per character, 20 characters"
    assert (status, out) == (0, line + "\n")


def test_greedy_takes_the_likeliest(run: Run, ckpt: Path) -> None:
    _, out, err = run("--prompt", "ab", "--greedy", "--length", "5")
    assert err == ""
    network, text = load_model(ckpt), "ab"
    for _ in range(5):
        logits, _ = network(torch.tensor([[ALPHABET.index(character) for character in text]]))
        text += ALPHABET[int(logits[0, -1].argmax())]
    assert out == text + "\n"


def test_streams_are_what_is_printed_at_once(run: Run) -> None:
    words = ("--prompt", "ab", "--seed", "3", "--num-samples", "3", "--length", "20")
    assert run(*words, "--stream")[1] == run(*words)[1]


def test_the_stop_that_is_complete_first() -> None:
    stops = ["cde", "bc", "abc", "x"]
    assert generate.until("zabcde", stops) == "z"
    assert generate.until("zbcde", stops) == "z"
    assert generate.until("zcde", stops) == "z"
    assert generate.until("zz", stops) == "zz"


def test_stops(run: Run) -> None:
    words = ("--prompt", "ab", "--seed", "1", "--no-echo", "--length", "60")
    whole = run(*words)[1][:-1]
    stop = whole[20:23]
    for more in ((), ("--stream",)):
        assert run(*words, "--stop", stop, *more)[1] == whole[: whole.index(stop)] + "\n"


def test_prompts_from_a_file_and_none(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("prompt.txt").write_text("ab\ncd")
    assert run("--prompt-file", "prompt.txt", "--seed", "1")[1].startswith("ab\ncd")
    Path("prompt.txt").write_bytes(b"\xef\xbb\xbfab\r\ncd")  # as some editors save it
    assert run("--prompt-file", "prompt.txt", "--seed", "1")[1].startswith("ab\ncd")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"fed")))
    assert run("--prompt-file", "-", "--seed", "1")[1].startswith("fed")
    status, out, err = run("--seed", "1", "--length", "9")
    assert (status, len(out)) == (0, 10)
    assert "no prompt: beginning after '\\n'" in err


def test_unknown_characters(run: Run) -> None:
    status, out, err = run("--prompt", "aXb’é")
    assert (status, out) == (2, "")
    assert "'X' at 1" in err
    assert "'’' at 3 (nearest: \"'\")" in err
    assert "'é' at 4 (nearest: 'e')" in err
    assert err.count("\n") == 1
    status, out, err = run("--prompt", "aXb’é", "--unknown", "skip", "--seed", "1")
    assert status == 0
    assert out.startswith("ab")
    assert "skipped in the prompt: 'X' '’' 'é'" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--temperature", "0"), "τ must be a number above 0, from 1e-06 to 1e+06, got '0'"),
        (("--temperature", "inf"), "τ must be a number above 0, from 1e-06 to 1e+06, got 'inf'"),
        (("--temperature", "x"), "τ must be a number above 0, from 1e-06 to 1e+06, got 'x'"),
        (("--top-p", "0"), "'0' is not in (0, 1]"),
        (("--top-p", "1.1"), "'1.1' is not in (0, 1]"),
        (("--top-k", "0"), "'0' is not a whole number of 1 or more"),
        (("--length", "0"), "'0' is not a whole number of 1 or more"),
        (("--num-samples", "0"), "'0' is not a whole number of 1 or more"),
        (("--seed", "-1"), "--seed"),
        (("--greedy", "--temperature", "1"), "--temperature has no say in it"),
        (("--greedy", "--top-p", "0.5"), "--top-p has no say in it"),
        (("--stream", "--json"), "choose one"),
        (("--temperature", "1e39"), "from 1e-06 to 1e+06, got '1e39'"),
        (("--length", "99999999999999999999"), "is not a whole number"),
        (("--length", "100000", "--num-samples", "10000"), "must be at most 100,000,000"),
        (("--score", "ab", "--greedy"), "--greedy has no say in it"),
        (("--score", "ab", "--num-samples", "2"), "--num-samples has no say in it"),
        (("--score", "ab€"), "does not know these characters of the text: '€' at 2"),
        (("--device", "meta"), "computes nothing"),
        (("--prompt", "a", "--prompt-file", "b"), "not allowed with argument"),
        (("--prompt-file", "none.txt"), "cannot read none.txt: No such file"),
        (("--ckpt", "none.ckpt"), "there is no checkpoint none.ckpt"),
        (("--device", "quantum"), "--device quantum"),
        (("--temprature", "1"), "unrecognized arguments: --temprature 1"),
    ],
)
def test_mistakes_are_one_line(run: Run, words: tuple[str, ...], message: str) -> None:
    status, out, err = run(*words)
    assert (status, out) == (2, "")
    assert message in err
    assert err.startswith("generate.py: error: ")
    assert err.count("\n") == 1


def test_checkpoints_that_will_not_do(run: Run) -> None:
    good = torch.load("last.ckpt")
    description = good["language_model"]
    for change, message in (
        ({"language_model": None}, "it has no vocabulary"),
        ({"language_model": {**description, "cell": "os.system"}}, "has the cell 'os.system'"),
        ({"language_model": {**description, "hidden_size": 7}}, "is damaged: its model cannot be made"),
        ({"language_model": {**description, "cell_options": 3}}, "is damaged: its model cannot be made"),
        ({"language_model": {**description, "vocabulary": "a" * len(ALPHABET)}}, "has every character once"),
        ({"state_dict": {}}, "is damaged: its model cannot be made"),
    ):
        torch.save({**good, **change}, "last.ckpt")
        status, out, err = run("--prompt", "a")
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert message in err
    good["state_dict"]["network.head.bias"][0] = math.nan
    torch.save(good, "last.ckpt")
    status, _, err = run("--prompt", "a")
    assert status == 2
    assert "logits are not finite" in err
    good["state_dict"]["network.head.bias"][0] = 0.0
    good["state_dict"]["network.embedding.weight"][1] = math.nan  # of one character, after which nothing is finite
    torch.save(good, "last.ckpt")
    for words in (["--length", "200"], ["--length", "200", "--stream"], ["--score", f"a{ALPHABET[1]}a"]):
        status, _, err = run("--prompt", "a", *words)
        assert status == 2, words
        assert "logits are not finite" in err
    Path("last.ckpt").write_bytes(b"nothing")
    assert "last.ckpt is not a checkpoint" in run("--prompt", "a")[2]


def test_a_closed_pipe_is_no_error_and_lightning_is_not_imported(ckpt: Path) -> None:
    command = [sys.executable, str(ROOT / "generate.py"), "--ckpt", str(ckpt), "--prompt", "a", "--length", "50000"]
    with subprocess.Popen([*command, "--stream"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.read(3)
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()
        assert process.wait(timeout=60) == 0
    code = "import sys, generate; sys.argv = ['generate.py', '--ckpt', 'last.ckpt', '--prompt', 'a']; generate.main(); "
    code += "print('pytorch_lightning' in sys.modules, file=sys.stderr)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)})
    assert result.stderr.endswith("False\n"), result.stderr


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a\0b", "no file has a zero character in its name: 'a\\x00b'"),
        ("", "cannot read : No such file or directory"),
        ("x" * 5000, "File name too long"),
        ("a\nb", "cannot read a\\nb: No such file or directory"),
        (".", "Is a directory"),
    ],
)
def test_prompt_files_that_are_none(name: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        generate.read_prompt(argparse.Namespace(prompt_file=name, prompt=None))


def test_a_prompt_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("generate.MOST_CHARACTERS", 1000)
    with pytest.raises(UserError, match="/dev/zero has more than 1,000 bytes"):
        generate.read_prompt(argparse.Namespace(prompt_file="/dev/zero", prompt=None))
