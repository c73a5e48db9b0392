"""How far gradients reach back: norms that equal products of Jacobians, scaled spectra, and the files."""

import json
import sys
from pathlib import Path

import pytest
import torch

from datamodules.step_stream import step_generator
from datamodules.toy_tasks import BinaryPalindrome
from kernels import RNN, PeepholeLSTM
from studies.closed_form_gradients import states
from studies.recurrent_gradients import (
    draw,
    gradient_norms,
    layer_of,
    main,
    make_network,
    recurrent_matrices,
    spectral_radius,
)


def test_the_norms_are_those_of_products_of_jacobians() -> None:
    network = make_network(RNN, 10, radius=1.5)
    tokens, labels = BinaryPalindrome(2, 1).make_batch(step_generator(1, 0, 0))
    norms = gradient_norms(network, tokens, labels)["h"]
    with torch.no_grad():
        h, W_hh = states(network, tokens[0]), layer_of(network).weights("_l0")["weight_hh"]
        gradient = torch.softmax(network.head(h[-1]), dim=0)
        gradient[labels[0]] -= 1
        gradient = network.head.weight.T @ gradient
        expected = []
        for state in h.flip(0)[:-1]:  # h(T) … h(1)
            expected.append(float(gradient.norm()))
            gradient = ((1 - state**2)[:, None] * W_hh).T @ gradient
    assert norms == pytest.approx(expected, rel=1e-12)


def test_every_gate_gets_the_spectral_radius() -> None:
    network = make_network(PeepholeLSTM, 6, radius=0.5)
    matrices = recurrent_matrices(layer_of(network))
    assert len(matrices) == 3
    assert [spectral_radius(matrix) for matrix in matrices] == pytest.approx([0.5] * 3)


def test_there_may_be_more_radii_than_colours() -> None:
    curves = {str(n): {"h": [1.0, 0.5]} for n in range(9)}
    figure = draw({"rnn": curves, "lstm": curves})
    assert [len(axes.lines) for axes in figure.axes] == [9, 9]


def test_its_files_and_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["x", "--out", "made", "--length", "4", "--hidden-size", "16"])
    assert main() == 0
    summary = json.loads(Path("made/summary.json").read_text())
    assert summary["rnn_0.5_h"] < 1e-3 < 1 < summary["rnn_4_h"]
    assert summary["peephole_1_h"] == 0 < summary["peephole_1_c"]
    head, *rows = Path("made/recurrent_gradients.csv").read_text().splitlines()
    assert head.startswith("steps_back,rnn_0.5_h,rnn_1_h,rnn_4_h,rnn_start_h,lstm_0.5_h,lstm_0.5_c")
    assert len(rows) == 17
    assert Path("made/recurrent_gradients.png").read_bytes().startswith(b"\x89PNG")
