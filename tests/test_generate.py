"""generate.py on a small model: what it prints, that it repeats, and what it refuses."""

import io
import json
import math
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import generate
from lightning_modules.networks.language_model import CharacterModel
from lightning_modules.saved_language_model import load_language_model
from tests.conftest import ALPHABET, refusals, save_language_model
from tests.kernels.all_cells import Leaky

ROOT = Path(__file__).resolve().parent.parent
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(language_model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["generate.py", "--ckpt", str(language_model), *words])
        try:
            status = generate.main()
        except SystemExit as stop:
            status = int(stop.code or 0)
        finally:
            torch.set_grad_enabled(True)
        out, err = capsys.readouterr()
        return status, out, err

    return call


def test_text_continues_the_prompt_and_repeats(run: Run) -> None:
    status, out, err = run("--prompt", "abc ", "--length", "30", "--seed", "7", "--temperature", "2")
    assert (status, err) == (0, "tau 2: logits times 2 (most other tools: temperature 0.5); seed 7\n")
    assert out.startswith("abc ")
    assert len(out) == 4 + 30 + 1
    assert run("--prompt", "abc ", "--length", "30", "--seed", "7", "--temperature", "2")[1] == out
    assert run("--prompt", "abc ", "--length", "30", "--seed", "7", "--tau", "2") == (0, out, err)
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
def test_a_slow_dtype_is_warned_of(found: bool, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kernels.processor.computes", lambda dtype, device: found)
    status, _, err = run("--prompt", "abc", "--length", "3", "--seed", "7", "--dtype", "bfloat16")
    assert status == 0
    assert ("--dtype bfloat16 is at best as fast as float32 here" in err) != found
    assert "as fast" not in run("--prompt", "abc", "--length", "3", "--seed", "7")[2]


def test_a_damaged_checkpoint_is_one_line(run: Run, language_model: Path) -> None:
    content = bytearray(language_model.read_bytes())
    content[content.index(b"vocabulary") + 15] ^= 1
    language_model.write_bytes(content)
    status, out, err = run("--prompt", "abc")
    line = "last.ckpt is damaged: its content has changed; use another checkpoint"
    assert (status, out, err) == (2, "", f"generate.py: error: {line}\n")


def test_a_seed_is_drawn_and_printed(run: Run) -> None:
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


def test_greedy_takes_the_likeliest(run: Run, language_model: Path) -> None:
    _, out, err = run("--prompt", "ab", "--greedy", "--length", "5")
    assert err == ""
    network, text = load_language_model(language_model), "ab"
    for _ in range(5):
        logits, _ = network(torch.tensor([[ALPHABET.index(character) for character in text]]))
        text += ALPHABET[int(logits[0, -1].argmax())]
    assert out == text + "\n"


def test_a_cell_of_ones_own(run: Run) -> None:
    save_language_model(CharacterModel(ALPHABET, Leaky, embedding_size=4, hidden_size=6))
    words = ("--prompt", "ab", "--seed", "1", "--length", "20")
    status, out, err = run(*words, "--layer", "leaky_cell.Leaky")
    assert (status, len(out)) == (0, 23), err
    assert run(*words, "--layer", "leaky_cell.Leaky", "--stream")[1] == out
    status, _, err = run(*words)
    assert status == 2
    assert "if the cell is your own, name its class: --layer my_cells.MyCell" in err


def test_streams_are_what_is_printed_at_once(run: Run) -> None:
    words = ("--prompt", "ab", "--seed", "3", "--num-samples", "3", "--length", "20")
    assert run(*words, "--stream")[1] == run(*words)[1]


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
    assert "no prompt: starting after '\\n'" in err


def test_unknown_characters(run: Run) -> None:
    status, out, err = run("--prompt", "aXb’é")
    assert (status, out) == (2, "")
    assert "'X' at 1" in err
    assert "'’' at 3 (similar: \"'\")" in err
    assert "'é' at 4 (similar: 'e')" in err
    assert err.count("\n") == 1
    status, out, err = run("--prompt", "aXb’é", "--unknown", "skip", "--seed", "1")
    assert status == 0
    assert out.startswith("ab")
    assert "skipped in the prompt: 'X' '’' 'é'" in err
    status, _, err = run("--score", "€", "--unknown", "skip")
    assert status == 2
    assert err.endswith("generate.py: error: --score: no known character is left to score\n")


@refusals(
    {
        "--temperature 0": "argument --temperature/--tau: '0' is not a number from 1e-06 to 1e+06",
        "--temperature inf": "'inf' is not a number from 1e-06 to 1e+06",
        "--temperature x": "'x' is not a number from 1e-06 to 1e+06",
        "--top-p 0": "'0' is not a number above 0 and at most 1",
        "--top-p 1.1": "'1.1' is not a number above 0 and at most 1",
        "--top-k 0": "'0' is not a whole number of 1 or more",
        "--length 0": "'0' is not a whole number of 1 or more",
        "--num-samples 0": "'0' is not a whole number of 1 or more",
        "--seed -1": "--seed",
        "--greedy --temperature 1": "--temperature cannot be combined with --greedy",
        "--greedy --top-p 0.5": "--top-p cannot be combined with --greedy",
        "--stream --json": "--json cannot be combined with --stream",
        "--temperature 1e39": "'1e39' is not a number from 1e-06 to 1e+06",
        "--length 99999999999999999999": "is not a whole number",
        "--length 100000 --num-samples 10000": "must be at most 100,000,000",
        "--score ab --greedy": "--greedy cannot be combined with --score",
        "--score ab --num-samples 2": "--num-samples cannot be combined with --score",
        "--score 'ab€'": "does not know these characters of the text: '€' at 2",
        "--device meta": "computes nothing",
        "--prompt a --prompt-file b": "not allowed with argument",
        "--prompt-file none.txt": "cannot read none.txt: No such file",
        "--ckpt none.ckpt": "argument --ckpt: there is no file none.ckpt",
        "--device quantum": "--device quantum",
        "--score ''": "argument --score: the text is empty",
        "--stop ''": "argument --stop: the text is empty",
        "--temprature 1": "unrecognized arguments: --temprature 1",
    }
)
def test_mistakes_are_one_line(run: Run, words: list[str], message: str) -> None:
    status, out, err = run(*words)
    assert (status, out) == (2, "")
    assert message in err
    assert err.startswith("generate.py: error: ")
    assert err.count("\n") == 1


def test_a_closed_pipe_is_no_error_and_lightning_is_not_imported(language_model: Path) -> None:
    command = [
        sys.executable,
        str(ROOT / "generate.py"),
        "--ckpt",
        str(language_model),
        "--prompt",
        "a",
        "--length",
        "50000",
    ]
    with subprocess.Popen([*command, "--stream"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.read(3)
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()
        assert process.wait(timeout=60) == 0
    code = "import sys, generate; sys.argv = ['generate.py', '--ckpt', 'last.ckpt', '--prompt', 'a']; generate.main(); "
    code += "print('pytorch_lightning' in sys.modules, file=sys.stderr)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)})
    assert result.stderr.endswith("False\n"), result.stderr


def test_checkpoints_of_a_diverged_training(run: Run) -> None:
    good = torch.load("last.ckpt")
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
