"""The sLSTM: the layer."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from kernels import checks
from kernels.cell import Cell, Given, Results
from kernels.cells.slstm.reference import slstm_step
from kernels.cells.slstm.scripted import SCRIPTED, SCRIPTED_EXPONENTIAL
from kernels.layer import RecurrentLayer, Shapes


def _triton(given: Given) -> Results:
    from kernels.cells.slstm.triton import TRITON, full_matrix

    weight_ih, weight_hh, bias = given.weights
    forget_gate, _ = given.options
    return TRITON.run(given._replace(weights=(weight_ih, full_matrix(weight_hh), bias), options=(forget_gate, 1)))


SLSTM_CELL = Cell(
    name="slstm",
    weights=("weight_ih", "weight_hh", "bias"),
    step=slstm_step,
    scripted=SCRIPTED,
    triton=_triton,
    triton_checked=False,
    serial_gates=4,
)
EXPONENTIAL_CELL = SLSTM_CELL._replace(name="exponential_slstm", scripted=SCRIPTED_EXPONENTIAL)


class SLSTM(RecurrentLayer):
    """The sLSTM of xLSTM (Beck et al. 2024, arXiv:2405.04517); equations in `reference.py`.

    Its parameters are `weight_ih_l0` [4H, I], `weight_hh_l0` [4H, H/N] and `bias_l0` [4H], gates i, f, z, o. A head has
    H/N neighbouring units; it sees their states only. States are (h, c, n, m) [L·D, B, H]; n is not negative, and zeros
    are the state before the first step. Under autocast c, n and m are float32, since exp(m) needs its digits.

    Args:
        input_size: width I of an input vector.
        hidden_size: width H of the state.
        *arguments: as in `RecurrentLayer`.
        num_heads: number N of heads; it divides H. With one, R is a full matrix.
        forget_gate: "sigmoid" or "exp".
        **options: as in `RecurrentLayer`.

    Raises:
        TypeError: as in `RecurrentLayer`, and if `num_heads` is no whole number.
        ValueError: as in `RecurrentLayer`, if the heads do not divide H, or `forget_gate` is unknown.
    """

    num_states = 4

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *arguments: Any,
        num_heads: int = 1,
        forget_gate: Literal["sigmoid", "exp"] = "sigmoid",
        **options: Any,
    ) -> None:
        checks.check_sizes("SLSTM", {"hidden_size": hidden_size, "num_heads": num_heads}, 0.0)
        if hidden_size % num_heads:
            raise ValueError(f"SLSTM: hidden_size must be divisible by num_heads, got {hidden_size} and {num_heads}")
        if forget_gate not in ("sigmoid", "exp"):
            raise ValueError(f"SLSTM: forget_gate must be 'sigmoid' or 'exp', got {forget_gate!r}")
        self.num_heads = num_heads
        self.forget_gate = forget_gate
        self.cell_options = (forget_gate, num_heads)
        super().__init__(input_size, hidden_size, *arguments, **options)

    @property
    def cell(self) -> Cell:  # type: ignore[override]  # elsewhere an attribute of the class
        """The cell, with either forget gate."""
        return SLSTM_CELL if self.forget_gate == "sigmoid" else EXPONENTIAL_CELL

    def shapes(self, input_size: int) -> Shapes:
        """Return the parameters of one layer and direction."""
        H = self.hidden_size
        bias: Shapes = {"bias": (4 * H,)} if self.bias else {}
        return {"weight_ih": (4 * H, input_size), "weight_hh": (4 * H, H // self.num_heads), **bias}

    def state_dtypes(self, dtype: torch.dtype) -> tuple[torch.dtype, ...]:
        """Return the dtypes of the last states."""
        return (dtype, *(self._stored.dtype,) * 3)

    def extra_repr(self) -> str:
        """Return the arguments that differ from the defaults."""
        words = [super().extra_repr()]
        words += [f"num_heads={self.num_heads}"] * (self.num_heads > 1)
        words += [f"forget_gate={self.forget_gate!r}"] * (self.forget_gate != "sigmoid")
        return ", ".join(words)

    @torch.no_grad()
    def load_xlstm(self, state_dict: Mapping[str, Tensor], suffix: str = "_l0") -> None:
        """Copy the weights of an `sLSTMCell` of the package `xlstm`, of either of its backends.

        Such a cell takes W x as its input, so `weight_ih` is not part of it; its output is h before any normalisation.

        Args:
            state_dict: that of the cell: `_recurrent_kernel_` and `_bias_`.
            suffix: of the parameters to fill, such as "_l0" or "_l1_reverse".

        Raises:
            KeyError: if one of the two is missing.
            ValueError: if their shapes do not fit the layer, or it has no bias or an exponential forget gate.
        """
        kernel, bias, N, H = state_dict["_recurrent_kernel_"], state_dict["_bias_"], self.num_heads, self.hidden_size
        D = H // N
        if list(kernel.shape) not in ([N, 4 * D, D], [N, D, 4 * D]) or list(bias.shape) != [4 * H]:
            raise ValueError(
                f"SLSTM: a cell of {N} head(s) of {D} units has a recurrent kernel {[N, 4 * D, D]} or {[N, D, 4 * D]} "
                f"and a bias {[4 * H]}, got {list(kernel.shape)} and {list(bias.shape)}"
            )
        weight_hh, own_bias = self._xlstm_weights(suffix)
        if kernel.shape[1] == D:  # of the CUDA backend
            kernel, bias = kernel.mT, bias.view(N, 4, D).transpose(0, 1).flatten()
        weight_hh.copy_(kernel.reshape(N, 4, D, D).transpose(0, 1).reshape(-1, D))
        own_bias.copy_(bias)

    @torch.no_grad()
    def xlstm_state_dict(
        self, suffix: str = "_l0", backend: Literal["vanilla", "cuda"] = "vanilla"
    ) -> dict[str, Tensor]:
        """Return the state dict of the `sLSTMCell` with the weights of one layer and direction: undo `load_xlstm`.

        Raises:
            ValueError: if the layer has no bias or an exponential forget gate.
        """
        weight_hh, bias = self._xlstm_weights(suffix)
        N, D = self.num_heads, weight_hh.shape[1]
        kernel = weight_hh.view(4, N, D, D).transpose(0, 1).reshape(N, 4 * D, D)
        if backend == "cuda":
            kernel, bias = kernel.mT.contiguous(), bias.view(4, N, D).transpose(0, 1).flatten()
        return {"_recurrent_kernel_": kernel.clone(), "_bias_": bias.clone()}

    def _xlstm_weights(self, suffix: str) -> tuple[Tensor, Tensor]:
        if not self.bias or self.forget_gate != "sigmoid":
            raise ValueError("SLSTM: a cell of xlstm has a bias and forget_gate='sigmoid'")
        weights = self.weights(suffix)
        return weights["weight_hh"], weights["bias"]
