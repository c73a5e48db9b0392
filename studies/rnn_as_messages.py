"""Where a recurrent and a graph network are the same computation: an RNN is message passing along a path.

    python -m studies.rnn_as_messages --out FOLDER

The 64 pixels of a digit, row by row, are the nodes of a path: node t hears from node t − 1 alone.

    h_t ← tanh(W x_t + b + Σ U h_s  over the edges s → t),   all nodes at once, from h = 0

After k rounds the first k nodes have the states of the RNN, after 64 rounds all have. And where they differ: other
numbers for the same nodes permute the states of the messages, but give the RNN another sequence.
Legend: T nodes, F features, H hidden units.
"""

import sys

import torch
from matplotlib.figure import Figure
from torch import Tensor

from datamodules.digits import Digits
from kernels import RNN
from lightning_modules.callbacks.colours import colour
from lightning_modules.errors import UserError, print_error
from studies.analysis import analysis_parser, prepare_folder, write_csv, write_summary

SAME = 1e-12  # largest difference between equal states in float64
HIDDEN = 32


def rounds_of_messages(rnn: RNN, x: Tensor, edge_index: Tensor, rounds: int) -> list[Tensor]:
    """Return the states of all nodes after each round of messages [T, H], with the weights of an RNN.

    Args:
        rnn: its weights are W, U and b.
        x: features of the nodes [T, F].
        edge_index: edges from row 0 to row 1 [2, E].
        rounds: number of rounds.
    """
    weights = rnn.state_dict()
    W, U, b = weights["weight_ih_l0"], weights["weight_hh_l0"], weights["bias_ih_l0"] + weights["bias_hh_l0"]
    inputs = x @ W.T + b
    states = [torch.zeros_like(inputs)]
    for _ in range(rounds):
        messages = torch.zeros_like(inputs).index_add(0, edge_index[1], states[-1][edge_index[0]] @ U.T)
        states.append(torch.tanh(inputs + messages))
    return states[1:]


def largest(difference: Tensor) -> float:
    """Return the largest absolute value."""
    return float(difference.abs().max())


def compare(seed: int = 0) -> tuple[dict[str, float], list[int]]:
    """Return the numbers of the analysis, and how many nodes have the RNN's state after each round."""
    torch.manual_seed(seed)
    data = Digits(graph="chain")
    image = data.examples("test", torch.tensor([0]))
    x, path = image.x.double(), image.edge_index
    T = len(x)
    rnn = RNN(x.shape[1], HIDDEN, dtype=torch.float64)
    # An orthogonal U keeps the norm of a message. Otherwise the messages of the first nodes would be rounded away.
    torch.nn.init.orthogonal_(rnn.state_dict()["weight_hh_l0"])
    renumbered = torch.randperm(T)  # the new number of each node
    with torch.no_grad():
        states = rnn(x[:, None])[0][:, 0]  # [T, H]
        after = rounds_of_messages(rnn, x, path, T)
        equal = [int(((h - states).abs().amax(1) < SAME).sum()) for h in after]
        x_new = torch.empty_like(x).index_copy_(0, renumbered, x)
        messages_new = rounds_of_messages(rnn, x_new, renumbered[path], T)[-1]
        rnn_new = rnn(x_new[:, None])[0][:, 0]
    numbers = {
        "difference_after_all_rounds": largest(after[-1] - states),
        "rounds_until_equal": 1 + equal.index(T),
        "messages_change_by_renumbering": largest(messages_new[renumbered] - after[-1]),
        "rnn_change_by_renumbering": largest(rnn_new[renumbered] - states),
    }
    return numbers, equal


def draw(equal: list[int]) -> Figure:
    """Draw how many nodes have the RNN's state after each round."""
    figure = Figure(figsize=(4.6, 3.2), layout="constrained")
    plot = figure.add_subplot()
    plot.plot(range(1, len(equal) + 1), equal, color=colour(0))
    plot.set(xlabel="rounds of messages along the path", ylabel="nodes with the RNN's state", ylim=(0, None))
    return figure


def main(arguments: list[str] | None = None) -> int:
    """Carry out the command line; return the exit status."""
    options = analysis_parser("rnn_as_messages", __doc__).parse_args(arguments)
    try:
        prepare_folder(options.out)
    except UserError as error:
        return print_error("studies.rnn_as_messages", error)
    numbers, equal = compare()
    write_csv(options.out / "rnn_as_messages.csv", {"round": range(1, len(equal) + 1), "nodes": equal})
    draw(equal).savefig(options.out / "rnn_as_messages.png", dpi=120)
    write_summary(options.out, numbers)
    print("\n".join(f"{name} {value:g}" for name, value in numbers.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
