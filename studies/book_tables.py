"""Tables 2 to 4 of the report: text of the study's language model; and how repetitive it is, as numbers.

    python -m studies.book_tables --out FOLDER --runs runs/book_lstm_study/version_0

τ multiplies the logits: softmax(τ · logits). Most other tools divide by their temperature, so that τ = 2 is their 0.5.
"""

import sys

from kernels.decode import Sampling
from lightning_modules.errors import UserError, print_error
from lightning_modules.files import write_whole
from lightning_modules.networks.language_model import CharacterModel
from lightning_modules.options import whole_number
from lightning_modules.prompt import known_part
from lightning_modules.text_generation import continuations
from studies.analysis import analysis_parser, markdown_table, prepare_folder, write_summary
from studies.book_run import BookRun, read_book_run
from studies.text_measures import distinct, known_words, repetition

LENGTHS = (20, 30, 60)  # characters of the greedy texts of table 2
TEXTS_PER_LENGTH = 5  # of table 2, at each step
TAUS = (0.5, 1.0, 2.0)
SAMPLES, LENGTH = 3, 100  # texts of table 3 for each τ, and their characters
PROMPT = "Secretary of States"  # of table 4, continued to LENGTH characters
COMPLETIONS = 50  # of the prompt by each decoding; the first is printed
DECODINGS = {"greedy": Sampling(greedy=True)} | {f"tau{tau:g}": Sampling(tau) for tau in reversed(TAUS)}
Numbers = dict[str, float]


def main(arguments: list[str] | None = None) -> int:
    """Carry out the command line; return the exit status."""
    parser = analysis_parser("book_tables", __doc__, reads_runs=True)
    add = parser.add_argument
    add("--length", type=whole_number(2), default=1000, help="characters of a text that is measured (default: 1000)")
    options = parser.parse_args(arguments)
    try:
        run = read_book_run(options.runs)
        networks = {step: run.network(step) for step in run.checkpoints}
        network = networks[max(networks)]
        completions, numbers = table_4(network, run.book.part("train"))
        measured, more = measures(networks, run, options.length)
        parts = [
            "**Table 2.** Greedy text after thirds of the training, each text from another first character. "
            "⏎ is the end of a line.",
            table_2(networks),
            f"**Table 3.** Samples of {LENGTH} characters after all {max(networks):,} iterations.",
            table_3(network),
            f'**Table 4.** Completions of "{PROMPT}" to {LENGTH} characters; each row has the first of {COMPLETIONS}. '
            "Known words: the share of the words of all of them that occur in the training text.",
            completions,
            f"**Repetition.** {len(first_letters(network))} texts of {options.length} characters for each row, one "
            "from each first letter; the last row is as many pieces of the held-out text. Repetition is the share of "
            "4-grams of words that occurred in the same text before. Distinct-n is the number of different n-grams of "
            "words in all texts together, divided by their number.",
            measured,
        ]
        prepare_folder(options.out)
        write_whole(options.out / "book_tables.md", "\n\n".join(parts) + "\n")
        write_summary(options.out, numbers | more)
    except UserError as error:
        return print_error("studies.book_tables", error)
    return 0


def table_2(networks: dict[int, CharacterModel]) -> str:
    """Return greedy texts of three lengths at each step."""
    rows: list[dict[str, object]] = []
    for step, network in networks.items():
        letters = iter(first_letters(network))
        columns = []
        for length in LENGTHS:
            starts = [next(letters) for _ in range(TEXTS_PER_LENGTH)]
            columns.append(texts_of(network, starts, length, DECODINGS["greedy"]))
        for row in zip(*columns, strict=True):
            rows.append({"iterations": step} | {f"{len(text)} characters": shown(text) for text in row})
    return markdown_table(rows)


def table_3(network: CharacterModel) -> str:
    """Return three samples for each τ."""
    starts = first_letters(network)[:SAMPLES]
    return markdown_table(
        [
            {"τ": f"{tau:g}", "sample": shown(text)}
            for tau in TAUS
            for text in texts_of(network, starts, LENGTH, DECODINGS[f"tau{tau:g}"])
        ]
    )


def table_4(network: CharacterModel, train: str) -> tuple[str, Numbers]:
    """Return the first completion of the prompt by each decoding, with the share of known words in all of them.

    Args:
        network: the network at the end of its training.
        train: the text that it was trained on.

    Raises:
        UserError: if the network knows no character of the prompt.
    """
    prompt = known_part(PROMPT, network.vocabulary, skip=True, what="the prompt")
    if not prompt:
        raise UserError(f"the model knows no character of {PROMPT!r}")
    numbers: Numbers = {}
    rows: list[dict[str, object]] = []
    for name, sampling in DECODINGS.items():
        drawn = continuations(network, [prompt] * COMPLETIONS, LENGTH - len(prompt), sampling)
        numbers[f"completion_words_{name}"] = share = known_words(drawn, train)
        rows.append(
            {"text": title(name), "completion": shown(prompt + drawn[0]), "known words, %": f"{100 * share:.1f}"}
        )
    return markdown_table(rows), numbers


def measures(networks: dict[int, CharacterModel], run: BookRun, length: int) -> tuple[str, Numbers]:
    """Return the table of repetition, and its numbers as <measure>_<decoding>.

    The numbers have the repetition of greedy text after each third of the training as well.

    Args:
        networks: the networks by their step.
        run: their run.
        length: characters of each text.
    """
    network, train = networks[max(networks)], run.book.part("train")
    letters = first_letters(network)
    held_out = run.book.part("val")
    pieces = [held_out[start : start + length] for start in range(0, len(held_out) - length + 1, length)]
    groups = {name: texts_of(network, letters, length, sampling) for name, sampling in DECODINGS.items()}
    groups["book"] = pieces[: len(letters)] or [held_out]
    numbers: Numbers = {}
    rows: list[dict[str, object]] = []
    for name, texts in groups.items():
        repeated, known = repetition(texts), known_words(texts, train)
        different = {n: distinct(texts, n) for n in (1, 2, 3)}
        numbers |= {f"repetition_{name}": repeated, f"known_words_{name}": known}
        numbers |= {f"distinct_{n}_{name}": value for n, value in different.items()}
        row: dict[str, object] = {"text": title(name), "repetition, %": f"{100 * repeated:.1f}"}
        row |= {f"distinct-{n}": f"{value:.3f}" for n, value in different.items()}
        rows.append(row | {"known words, %": f"{100 * known:.1f}"})
    for number, (_, text_model) in enumerate(sorted(networks.items()), start=1):
        greedy = texts_of(text_model, letters, length, DECODINGS["greedy"])
        numbers[f"repetition_greedy_third_{number}"] = repetition(greedy)
    return markdown_table(rows), numbers


def texts_of(network: CharacterModel, starts: list[str], length: int, sampling: Sampling) -> list[str]:
    """Return texts of `length` characters, one from each start; the starts have one length, below that of the texts."""
    drawn = continuations(network, starts, length - len(starts[0]), sampling)
    return [start + text for start, text in zip(starts, drawn, strict=True)]


def first_letters(network: CharacterModel) -> list[str]:
    """Return the letters A–Z and a–z that the network knows, or characters of its vocabulary if they are too few."""
    letters = [letter for letter in network.vocabulary if letter.isascii() and letter.isalpha()]
    enough = TEXTS_PER_LENGTH * len(LENGTHS)
    return letters if len(letters) >= enough else list((network.vocabulary * enough)[:enough])


def title(name: str) -> str:
    """Return how a table calls a decoding, or the book."""
    return {"greedy": "greedy", "book": "held-out text"}.get(name, name.replace("tau", "τ = "))


def shown(text: str) -> str:
    """Return a text as code in a cell of a Markdown table."""
    return f"`` {text} ``".replace("\n", "⏎").replace("|", r"\|")


if __name__ == "__main__":
    sys.exit(main())
