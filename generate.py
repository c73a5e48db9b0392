"""Let a character language model continue a prompt, or score a text.

    python generate.py --ckpt runs/book_lstm/version_0/last.ckpt --prompt "Secretary of States" --temperature 2
    python generate.py --ckpt … --prompt-file - --num-samples 3 --length 400 --top-p 0.95 --seed 7 --stream
    python generate.py --ckpt … --score "The Union of the States" --json

The text is written to stdout, everything else to stderr.
"""

import argparse
import json
import os
import secrets
import sys
from typing import TYPE_CHECKING

from lightning_modules.errors import UserError, print_error
from lightning_modules.options import LineParser, existing_file, number, some_text, whole_number
from lightning_modules.prompt import known_part, read_prompt_file
from lightning_modules.signals import Stopped, leave_on_signals, signals

if TYPE_CHECKING:  # imports torch, which takes a second
    from lightning_modules.text_generation import TextGenerator

MOST_CHARACTERS = 100_000_000
NOT_WITH_GREEDY = ("temperature", "top_k", "top_p")
NOT_WITH_SCORE = (*NOT_WITH_GREEDY, "greedy", "stop", "stream", "length", "num_samples", "seed", "no_echo")


def main() -> int:
    """Carry out the command line; return the exit status: 2 for a mistake in it."""
    try:
        options = parse(sys.argv[1:])
        prompt = read_prompt_file(options.prompt_file) if options.prompt_file is not None else options.prompt or ""
        if sys.stdout is None:
            raise UserError("there is no stdout to write the text to")
        sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]  # whatever the encoding of the terminal
        import lightning_modules.text_generation  # noqa: F401  # before signals are handled: it takes a second

        with signals.handled():
            run(options, prompt)
            sys.stdout.flush()
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        return print_error("generate.py", "torch is not installed here; first: source .venv/bin/activate")
    except UserError as error:
        return print_error("generate.py", error)
    except MemoryError:
        return print_error("generate.py", "not enough memory for so many characters")
    except Stopped as stopped:
        log("stopped")
        return 128 + stopped.signum
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes stdout once more at its end
        if not isinstance(error, BrokenPipeError):
            return print_error("generate.py", f"cannot write the text: {error.strerror}")
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """Return the options, checked as far as is possible without the checkpoint."""
    parser = LineParser("generate.py", __doc__, usage="generate.py --ckpt CHECKPOINT [options]")
    add = parser.add_argument
    add("--ckpt", type=existing_file, required=True, help="checkpoint of a language model")
    prompts = parser.add_mutually_exclusive_group()
    prompts.add_argument("--prompt", help="text to continue; without it the model starts a new line")
    prompts.add_argument("--prompt-file", metavar="FILE", help="UTF-8 file with the prompt; - for standard input")
    add("--length", type=whole_number(1), default=200, help="number of new characters (default: 200)")
    add("--num-samples", type=whole_number(1), default=1, help="number of samples, drawn in one batch (default: 1)")
    add("--temperature", "--tau", type=number(1e-6, 1e6), metavar="TAU",
        help="multiplies the logits: 2 is sharper, 0.5 flatter. Most other tools divide by their temperature, so that "
        "their 0.5 is 2 here (default: 1)")  # fmt: skip
    add("--greedy", action="store_true", help="take the most likely character each time")
    add("--top-k", type=whole_number(1), help="choose from the TOP_K most likely characters")
    add("--top-p", type=number(0, 1, above=True), help="choose from the fewest characters with total probability TOP_P")
    add("--seed", type=whole_number(0), help="makes the samples repeatable; without it a seed is drawn and printed")
    add("--stop", type=some_text, action="append", default=[], metavar="TEXT", help="end before TEXT; may be repeated")
    add("--stream", action="store_true", help="print each character at once, one sample after the other")
    add("--json", action="store_true", help="print one JSON object with texts, log-probabilities (tau 1) and settings")
    add("--score", type=some_text, metavar="TEXT", help="print how likely TEXT is after the prompt; sample nothing")
    add("--unknown", choices=("error", "skip"), default="error", help="what to do about unknown characters")
    add("--layer", metavar="CLASS", help="import path of the recurrent layer, if the cell is your own")
    add("--device", default="cpu", help="cpu, cuda, … (default: cpu)")
    add("--dtype", choices=("float32", "bfloat16"), default="float32", help="precision of products (default: float32)")
    add("--no-echo", action="store_true", help="leave the prompt out of the output")
    options = parser.parse_args(arguments)
    given = {name for name, value in vars(options).items() if value != parser.get_default(name)}
    for one, others in (("greedy", NOT_WITH_GREEDY), ("score", NOT_WITH_SCORE), ("stream", ("json",))):
        for other in others:
            if {one, other} <= given:
                raise UserError(f"--{other.replace('_', '-')} cannot be combined with --{one}")
    if options.length * options.num_samples > MOST_CHARACTERS:
        raise UserError(f"--length times --num-samples must be at most {MOST_CHARACTERS:,}")
    return options


def run(options: argparse.Namespace, prompt: str) -> None:
    """Load the model and print samples, or the score of a text."""
    from lightning_modules import text_generation
    from lightning_modules.saved_language_model import load_language_model

    device, dtype = text_generation.find_device(options.device), text_generation.DTYPES[options.dtype]
    network = load_language_model(options.ckpt, options.layer).to(device)
    if text_generation.is_slow(dtype, device):
        log(f"--dtype {options.dtype} is at best as fast as float32 here: no instructions for it on this {device}")
    skip = options.unknown == "skip"
    prompt = known_part(prompt, network.vocabulary, skip, "the prompt")
    text = known_part(options.score or "", network.vocabulary, skip, "the text")
    if options.score and not text:
        raise UserError("--score: no known character is left to score")
    generator = text_generation.TextGenerator(network, prompt, dtype)
    if not prompt:
        log(f"no prompt: starting after {generator.start!r}")
    if not text:
        print_samples(generator, prompt, options)
        return
    score = generator.score(text)
    if options.json:
        print(json.dumps({**score, "checkpoint": str(options.ckpt)}, ensure_ascii=False))
    else:
        nats, bits = score["nats_per_character"], score["bits_per_character"]
        print(f"{nats:.4f} nats, {bits:.4f} bits per character, {len(text)} characters")


def print_samples(generator: "TextGenerator", prompt: str, options: argparse.Namespace) -> None:
    """Draw samples and print them, at the end or as they come."""
    from kernels.decode import Sampling

    seed = secrets.randbelow(2**32) if options.seed is None else options.seed
    tau = options.temperature or 1.0
    sampling = Sampling(tau, options.greedy, options.top_k or 0, options.top_p or 1.0)
    if not options.greedy:
        log(f"tau {tau:g}: logits times {tau:g} (most other tools: temperature {1 / tau:g}); seed {seed}")
    echo = "" if options.no_echo else prompt
    if options.stream:
        for n in range(options.num_samples):
            print("---\n" * (n > 0) + echo, end="")
            for part in generator.stream(n, options.length, seed, sampling, tuple(options.stop)):
                print(part, end="", flush=True)
            print()
        return
    samples = generator.samples(options.num_samples, options.length, seed, sampling, tuple(options.stop))
    if options.json:
        facts = {"prompt": prompt, "samples": samples, "tau": None if options.greedy else tau, "seed": seed}
        facts |= {name: getattr(options, name) for name in ("greedy", "top_k", "top_p", "length", "stop", "dtype")}
        print(json.dumps({**facts, "checkpoint": str(options.ckpt)}, ensure_ascii=False))
    else:
        print("\n---\n".join(echo + sample["text"] for sample in samples))


def log(line: str) -> None:
    """Print a line to stderr."""
    print(line, file=sys.stderr)


if __name__ == "__main__":
    leave_on_signals()
    sys.exit(main())
