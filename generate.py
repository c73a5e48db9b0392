"""Let a character language model go on from a prompt, or tell how likely it finds a text.

python generate.py --ckpt runs/book_lstm/version_0/last.ckpt --prompt "Secretary of States" --temperature 2
python generate.py --ckpt … --prompt-file - --num-samples 3 --length 400 --top-p 0.95 --seed 7 --stream
python generate.py --ckpt … --score "The Union of the States" --json

Text goes to stdout, everything else to stderr.
"""

import argparse
import contextlib
import json
import math
import os
import secrets
import sys
from pathlib import Path
from typing import Any

from lightning_modules.errors import LineParser, UserError
from lightning_modules.signals import Stopped, leave_on_signals, signals

MOST_CHARACTERS = 100_000_000
LEAST_TAU, MOST_TAU = 1e-6, 1e6
SAMPLING = ("temperature", "greedy", "top_k", "top_p", "stop", "stream", "length", "num_samples", "seed", "no_echo")
NOT_FINITE = "the model's logits are not finite; its training has diverged"


def main() -> int:
    """Carry out the command line; return the exit status: 2 for a mistake in it."""
    try:
        options = parse(sys.argv[1:])
        prompt = read_prompt(options)
        if sys.stdout is None:
            raise UserError("there is no stdout to write the text to")
        sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]  # the text's, whatever the terminal's is
        import kernels.decode  # noqa: F401 - torch with it: slow, and until then there is nothing to clean up

        with signals.handled():
            run(options, prompt)
            sys.stdout.flush()
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        print("generate.py: error: torch is not installed here; first: source .venv/bin/activate", file=sys.stderr)
        return 2
    except UserError as error:
        print(f"generate.py: error: {error}", file=sys.stderr)
        return error.status
    except BrokenPipeError:  # whoever reads has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Stopped as stopped:
        say("stopped")
        return 128 + stopped.signum
    except OSError as error:
        print(f"generate.py: error: cannot write the text: {error.strerror}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    except MemoryError:
        print("generate.py: error: not enough memory for so many characters", file=sys.stderr)
        return 2
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """Return the options, checked as far as they can be without the checkpoint."""
    usage = "generate.py --ckpt CHECKPOINT [options]"
    parser = LineParser(
        "generate.py", usage=usage, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--ckpt", type=Path, required=True, help="checkpoint of a language model")
    prompts = parser.add_mutually_exclusive_group()
    prompts.add_argument("--prompt", help="text to go on from; without it a new line is begun")
    prompts.add_argument("--prompt-file", help="UTF-8 file that holds it, to its last line feed; - for standard input")
    add("--length", type=_whole(1), default=200, help="new characters (default: 200)")
    add("--num-samples", type=_whole(1), default=1, help="samples, drawn in one batch (default: 1)")
    add(
        "--temperature",
        type=_temperature,
        help="τ > 0, multiplies the logits: 2 is sharper, as 0.5 is in most other tools (default: 1)",
    )
    add("--greedy", action="store_true", help="take the likeliest character every time")
    add("--top-k", type=_whole(1), help="choose from so many of the likeliest characters")
    add("--top-p", type=_share, help="choose from the fewest characters with so much of the probability, in (0, 1]")
    add("--seed", type=_whole(0), help="makes the samples repeatable; without it one is drawn, and told")
    add("--stop", action="append", default=[], metavar="TEXT", help="end a sample before this text; may be given again")
    add("--stream", action="store_true", help="show every character as it comes, one sample after the other")
    add("--json", action="store_true", help="one JSON object with texts, log-probabilities at τ = 1, and settings")
    add("--score", metavar="TEXT", help="tell how likely TEXT is after the prompt, and sample nothing")
    add("--unknown", choices=("error", "skip"), default="error", help="what to do with characters the model never saw")
    add("--device", default="cpu", help="cpu, cuda, … (default: cpu)")
    add("--dtype", choices=("float32", "bfloat16"), default="float32", help="of the products; float32 by default")
    add("--no-echo", action="store_true", help="leave the prompt out of the output")
    options = parser.parse_args(arguments)
    if options.greedy:
        for name in ("temperature", "top_k", "top_p"):
            if getattr(options, name) is not None:
                raise UserError(f"--greedy takes the likeliest character; --{name.replace('_', '-')} has no say in it")
    if options.stream and options.json:
        raise UserError("--stream shows text as it comes, --json one object at the end; choose one")
    if options.length * options.num_samples > MOST_CHARACTERS:
        raise UserError(f"--length times --num-samples must be at most {MOST_CHARACTERS:,}")
    if options.score is not None:
        for name in SAMPLING:
            if getattr(options, name) != parser.get_default(name):
                raise UserError(f"--score samples nothing; --{name.replace('_', '-')} has no say in it")
    if any(not stop for stop in options.stop):
        raise UserError("--stop needs a text")
    if options.score == "":
        raise UserError("--score needs a text")
    if not os.path.isfile(options.ckpt):  # False, too, for a name that no file can have
        raise UserError(f"--ckpt: there is no checkpoint {options.ckpt}")
    return options


def read_prompt(options: argparse.Namespace) -> str:
    """Return the prompt's text.

    Raises:
        UserError: if its file cannot be read, or is not UTF-8.
    """
    name = options.prompt_file
    if name is None:
        return options.prompt or ""
    if "\0" in name:
        raise UserError(f"--prompt-file: no file has a zero character in its name: {name!r}")
    try:
        with contextlib.nullcontext(sys.stdin.buffer) if name == "-" else open(name, "rb") as file:
            content = file.read(MOST_CHARACTERS + 1)
        if len(content) > MOST_CHARACTERS:
            raise UserError(f"--prompt-file: {name} has more than {MOST_CHARACTERS:,} bytes")
        return content.decode("utf-8-sig").replace("\r\n", "\n")  # as training texts are read
    except OSError as error:
        raise UserError(f"--prompt-file: cannot read {options.prompt_file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"--prompt-file: not UTF-8 at byte {error.start}") from error


def run(options: argparse.Namespace, prompt: str) -> None:
    """Load the model, read the prompt, and sample or score."""
    import torch

    from kernels.decode import Decoder
    from kernels.processor import computes
    from lightning_modules.networks.language_model import load_model

    try:
        device = torch.device(options.device)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split(". ")[0].splitlines()[0]
        raise UserError(f"--device {options.device}: {reason}") from error
    if device.type == "meta":
        raise UserError("--device meta computes nothing; try cpu or cuda")
    network = load_model(options.ckpt).to(device).eval().requires_grad_(False)
    dtype = getattr(torch, options.dtype)
    if dtype != torch.float32 and not computes(dtype, device.type):
        say(f"--dtype {options.dtype} is many times slower than float32 here: no instructions for it on this {device}")
    decoder = Decoder(network.layer, network.embedding.weight, network.head.weight, network.head.bias, dtype)
    alphabet = network.vocabulary
    prompt = known(prompt, alphabet, options.unknown, "the prompt")
    if options.score is not None:
        options.score = known(options.score, alphabet, options.unknown, "the text")
        if not options.score:
            raise UserError("--score: no known character is left to score")
    start = prompt
    if not prompt:
        start = "\n" if "\n" in alphabet else alphabet[0]
        say(f"no prompt: beginning after {start!r}")
    logits = decoder.read(encode(start, alphabet).to(device)[:, None])
    if not torch.isfinite(logits).all():
        raise UserError(NOT_FINITE)
    if options.score is not None:
        score(options, decoder, alphabet, start)
        return
    seed = secrets.randbelow(2**32) if options.seed is None else options.seed
    tau = options.temperature or 1.0
    if not options.greedy:
        say(f"τ {tau:g} (what other tools call temperature {1 / tau:g}), seed {seed}")
    generate(options, decoder, alphabet, prompt, seed, tau)


def generate(options: Any, decoder: Any, alphabet: str, prompt: str, seed: int, tau: float) -> None:
    """Draw the samples and print them."""
    N, device = options.num_samples, decoder.logits.device
    uniforms = random_numbers(seed, N, options.length).to(device)
    settings = (tau, options.greedy, options.top_k or 0, options.top_p or 1.0)
    echo = "" if options.no_echo else prompt
    if options.stream:
        start = decoder.state()
        for n in range(N):
            decoder.restore(start)
            sys.stdout.write(("---\n" if n else "") + echo)
            stream(decoder, alphabet, uniforms[:, n : n + 1], settings, options.stop)
        return
    decoder.repeat(N)
    tokens, log_probs = decoder.sample(uniforms, *settings)
    if not log_probs.isfinite().all():
        raise UserError(NOT_FINITE)
    samples = []
    for n in range(N):
        text = "".join(alphabet[token] for token in tokens[:, n].tolist())
        text = until(text, options.stop)
        samples.append({"text": text, "log_probabilities": log_probs[: len(text), n].tolist()})
    if options.json:
        facts = {"prompt": prompt, "samples": samples, "tau": None if options.greedy else tau, "seed": seed,
                 "greedy": options.greedy, "top_k": options.top_k, "top_p": options.top_p, "length": options.length,
                 "stop": options.stop, "dtype": options.dtype, "checkpoint": str(options.ckpt)}  # fmt: skip
        print(json.dumps(facts, ensure_ascii=False))
        return
    print("\n---\n".join(echo + sample["text"] for sample in samples))


def stream(decoder: Any, alphabet: str, uniforms: Any, settings: tuple[Any, ...], stops: list[str]) -> None:
    """Print one sample's characters as they come; hold back what may be the beginning of a stop."""
    held = ""
    for t in range(len(uniforms)):
        tokens, log_probs = decoder.sample(uniforms[t : t + 1], *settings)
        if not log_probs.isfinite().all():
            raise UserError(NOT_FINITE)
        held += alphabet[int(tokens[0, 0])]
        if any(held.endswith(stop) for stop in stops):
            held = held[: -max(len(stop) for stop in stops if held.endswith(stop))]
            break
        keep = max((k for stop in stops for k in range(1, len(stop)) if held.endswith(stop[:k])), default=0)
        sys.stdout.write(held[: len(held) - keep])
        sys.stdout.flush()
        held = held[len(held) - keep :]
    sys.stdout.write(held + "\n")


def until(text: str, stops: list[str]) -> str:
    """Return a text up to the stop that is complete first; of several at that place, up to the longest."""
    ends = {stop: text.find(stop) + len(stop) for stop in stops if stop in text}
    if not ends:
        return text
    first = min(ends.values())
    return text[: first - max(len(stop) for stop, end in ends.items() if end == first)]


def score(options: Any, decoder: Any, alphabet: str, start: str) -> None:
    """Print how likely a text is after the prompt: nats and bits per character."""
    import torch

    text = options.score
    tokens = encode(start + text, alphabet).to(decoder.logits.device)
    logits = decoder.read(tokens[:-1, None])[len(start) - 1 :, 0]
    log_probs = torch.log_softmax(logits, 1).gather(1, tokens[len(start) :, None])[:, 0]
    nats = -float(log_probs.mean())
    if not math.isfinite(nats):
        raise UserError(NOT_FINITE)
    if options.json:
        facts = {"text": text, "after": start, "nats_per_character": nats, "bits_per_character": nats / math.log(2),
                 "log_probabilities": log_probs.tolist(), "checkpoint": str(options.ckpt)}  # fmt: skip
        print(json.dumps(facts, ensure_ascii=False))
    else:
        print(f"{nats:.4f} nats, {nats / math.log(2):.4f} bits per character, {len(text)} characters")


def known(text: str, alphabet: str, unknown: str, what: str) -> str:
    """Return a text of known characters only.

    Raises:
        UserError: if there are others and they are not to be skipped; it names them, their places and the nearest.
    """
    strange: dict[str, list[int]] = {}
    for place, character in enumerate(text):
        if character not in alphabet:
            strange.setdefault(character, []).append(place)
    if not strange:
        return text
    if unknown == "skip":
        say(f"skipped in {what}: {' '.join(map(repr, strange))}")
        return "".join(character for character in text if character in alphabet)
    listed = []
    for character, places in list(strange.items())[:5]:
        near = nearest(character, alphabet)
        where = ", ".join(map(str, places[:5])) + (" …" if len(places) > 5 else "")
        listed.append(f"{character!r} at {where}" + (f" (nearest: {near!r})" if near else ""))
    names = ", ".join(listed) + (" …" if len(strange) > 5 else "")
    raise UserError(f"the model does not know these characters of {what}: {names}; --unknown skip drops them")


def nearest(character: str, alphabet: str) -> str:
    """Return a known character like an unknown one: without its accent, in the other case, the plain quote or dash."""
    import unicodedata

    plain = {"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-", "…": ".", "\t": " ", "\r": "\n", "\u00a0": " "}
    base = unicodedata.normalize("NFKD", character)[0]
    for candidate in (plain.get(character, ""), base, base.swapcase(), character.swapcase()):
        if candidate and candidate in alphabet:
            return candidate
    return ""


def encode(text: str, alphabet: str) -> Any:
    """Return a text's tokens [T]."""
    import torch

    index = {character: token for token, character in enumerate(alphabet)}
    return torch.tensor([index[character] for character in text])


def random_numbers(seed: int, N: int, length: int) -> Any:
    """Return the numbers in [0, 1) that decide, [length, N]; a sample's depend on the seed and its number alone."""
    import numpy as np
    import torch

    generators = [np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, n)))) for n in range(N)]
    columns = [generator.random(length) for generator in generators]
    return torch.from_numpy(np.stack(columns, 1)).float().clamp_(max=1 - 2**-24)


def say(line: str) -> None:
    """Tell the person something, beside the text."""
    print(line, file=sys.stderr)


def _whole(least: int) -> Any:
    def parse(word: str) -> int:
        if not word.isdecimal() or not least <= int(word) < 1 << 63:
            raise argparse.ArgumentTypeError(f"{word!r} is not a whole number of {least} or more")
        return int(word)

    return parse


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return math.nan


def _temperature(word: str) -> float:
    if not LEAST_TAU <= _number(word) <= MOST_TAU:
        limits = f"from {LEAST_TAU:g} to {MOST_TAU:g}"
        raise argparse.ArgumentTypeError(f"τ must be a number above 0, {limits}, got {word!r}; see also --greedy")
    return float(word)


def _share(word: str) -> float:
    if not 0 < _number(word) <= 1:
        raise argparse.ArgumentTypeError(f"{word!r} is not in (0, 1]")
    return float(word)


if __name__ == "__main__":
    leave_on_signals()
    sys.exit(main())
