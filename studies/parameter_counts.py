"""Numbers of parameters of the recurrent layers, by formula and by counting.

    python -m studies.parameter_counts --out FOLDER [--input-size 64] [--hidden-size 256]

For input width d and n units, without the embedding and the output layer:

    LSTM, one bias per gate         4 (n d + n² + n)            the practical's equations
    LSTM, two biases per gate       4 (n d + n² + 2n)           torch.nn.LSTM: the second bias adds nothing but 4n
    peephole LSTM, full matrices    4 n d + 3 n² + 4 n          the study's: the candidate sees no state
    peephole LSTM, diagonal         4 (n d + n² + 2n) + 3 n     Gers, Schraudolph & Schmidhuber 2002, two biases
    RNN                             n d + n² + 2 n              torch.nn.RNN, two biases
    GRU                             3 (n d + n² + 2n)           torch.nn.GRU, two biases
"""

import sys

from kernels import GRU, LSTM, RNN, PeepholeLSTM
from lightning_modules.errors import UserError, print_error
from lightning_modules.files import write_whole
from lightning_modules.options import whole_number
from studies.analysis import analysis_parser, markdown_table, prepare_folder, write_summary

TITLES = {
    "lstm_one_bias": "LSTM, one bias per gate",
    "lstm": "LSTM",
    "peephole": "peephole LSTM, full matrices",
    "peephole_diagonal": "peephole LSTM, diagonal",
    "rnn": "RNN",
    "gru": "GRU",
}


def by_formula(d: int, n: int) -> dict[str, int]:
    """Return the number of parameters of each layer by the formulas above, for input width d and n units."""
    return {
        "lstm_one_bias": 4 * (n * d + n**2 + n),
        "lstm": 4 * (n * d + n**2 + 2 * n),
        "peephole": 4 * n * d + 3 * n**2 + 4 * n,
        "peephole_diagonal": 4 * (n * d + n**2 + 2 * n) + 3 * n,
        "rnn": n * d + n**2 + 2 * n,
        "gru": 3 * (n * d + n**2 + 2 * n),
    }


def by_counting(d: int, n: int) -> dict[str, int]:
    """Return the number of elements of each layer's weights, for input width d and n units."""
    lstm = LSTM(d, n)
    layers = {
        "lstm": lstm,
        "peephole": PeepholeLSTM(d, n),
        "peephole_diagonal": PeepholeLSTM(d, n, peephole="diagonal"),
        "rnn": RNN(d, n),
        "gru": GRU(d, n),
    }
    counts = {name: sum(weight.numel() for weight in layer.parameters()) for name, layer in layers.items()}
    return {"lstm_one_bias": counts["lstm"] - lstm.weights("_l0")["bias_hh"].numel(), **counts}


def main(arguments: list[str] | None = None) -> int:
    """Carry out the command line; return the exit status."""
    parser = analysis_parser("parameter_counts", __doc__)
    parser.add_argument("--input-size", type=whole_number(1), default=64, help="width d of an input (default: 64)")
    parser.add_argument("--hidden-size", type=whole_number(1), default=256, help="number n of units (default: 256)")
    options = parser.parse_args(arguments)
    formula = by_formula(options.input_size, options.hidden_size)
    counted = by_counting(options.input_size, options.hidden_size)
    rows = [
        {"layer": title, "by formula": f"{formula[name]:,}", "counted": f"{counted[name]:,}"}
        for name, title in TITLES.items()
    ]
    try:
        prepare_folder(options.out)
        write_whole(options.out / "parameter_counts.md", markdown_table(rows) + "\n")
        differences = sum(formula[name] != counted[name] for name in formula)
        write_summary(options.out, {**counted, "differences": differences})
    except UserError as error:
        return print_error("studies.parameter_counts", error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
