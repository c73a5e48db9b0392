"""The LSTM with layer normalisation: the layer."""

from torch import nn

from kernels.cell import Cell, Given
from kernels.cells.layer_norm_lstm.reference import layer_norm_lstm_step
from kernels.cells.layer_norm_lstm.scripted import SCRIPTED, ZONEOUT
from kernels.layer import RecurrentLayer, Shapes
from kernels.operator import Results


def _triton(given: Given) -> Results:
    from kernels.cells.layer_norm_lstm.triton import TRITON, ZONEOUT

    return (ZONEOUT if given.zoneout else TRITON).run(given)


LAYER_NORM_CELL = Cell(
    name="layer_norm_lstm",
    weights=("weight_ih", "weight_hh", "bias_ih", "gain_ih", "gain_hh", "gain_c", "bias", "bias_c"),
    step=layer_norm_lstm_step,
    scripted=SCRIPTED,
    triton=_triton,
    triton_checked=False,
    serial_gates=4,
    whole_rows=True,
    zoneout=ZONEOUT,
)


class LayerNormLSTM(RecurrentLayer):
    """LSTM whose two products and whose cell are normalised (Ba et al. 2016); equations in `reference.py`.

    Parameters: `weight_ih_l0` [4H, I] and `weight_hh_l0` [4H, H], their gains `gain_ih_l0` and `gain_hh_l0` [4H], the
    cell's `gain_c_l0` [H]; with `bias` also `bias_l0` [4H] and the cell's `bias_c_l0` [H]. Gates i, f, g, o.

    Arguments and errors are those of `RecurrentLayer`.
    """

    num_states = 2
    cell = LAYER_NORM_CELL

    def shapes(self, input_size: int) -> Shapes:
        """Return the LSTM's weights, the gains and the biases."""
        G, H = 4 * self.hidden_size, self.hidden_size
        shapes: Shapes = {"weight_ih": (G, input_size), "weight_hh": (G, H)}
        shapes |= {"gain_ih": (G,), "gain_hh": (G,), "gain_c": (H,)}
        return shapes | ({"bias": (G,), "bias_c": (H,)} if self.bias else {})

    def reset_parameters(self) -> None:
        """Draw the weights uniformly from ±1/√H, as torch.nn does; set gains to 1 and biases to 0 (Ba et al.)."""
        super().reset_parameters()
        for name, parameter in self.named_parameters():
            if not name.startswith("weight"):
                nn.init.constant_(parameter, float(name.startswith("gain")))
