"""Decoding in one loop against the layers called on the whole text again and again."""

import pytest
import torch
from torch import Tensor, nn

from kernels import RNN, processor, unscripted
from kernels.decode import Decoder, Sampling, choose
from kernels.layer import RecurrentLayer
from tests.kernels.all_cells import CELLS

V = 7


def make(cell: str, **options: object) -> tuple[RecurrentLayer, Tensor, nn.Linear, Decoder]:
    torch.manual_seed(0)
    layer = CELLS[cell](3, 5, dtype=torch.float64, **options)
    embedding, head = torch.randn(V, 3, dtype=torch.float64), nn.Linear(layer.state_widths[0], V, dtype=torch.float64)
    with torch.no_grad():
        head.weight.mul_(8)
    return layer, embedding, head, Decoder(layer, embedding, head.weight.detach(), head.bias.detach())


@torch.no_grad()
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
def test_equals_the_layers_on_the_whole_text(cell: str, num_layers: int, bias: bool) -> None:
    layer, embedding, head, decoder = make(cell, num_layers=num_layers, bias=bias)
    text = torch.randint(0, V, (4, 3))
    logits = decoder.read(text)
    torch.testing.assert_close(logits, head(layer.forward_ids(text, embedding)[0]))
    uniforms = torch.rand(9, 3, dtype=torch.float64)
    parts = [decoder.sample(uniforms[:5]), decoder.sample(uniforms[5:])]
    tokens, log_probs = (torch.cat(each) for each in zip(*parts, strict=True))
    for t in range(9):
        logits = head(layer.forward_ids(text, embedding)[0][-1])
        p = logits.softmax(1)
        for n in range(3):
            expected = int((p[n].cumsum(0) <= uniforms[t, n]).sum())
            assert tokens[t, n] == expected
            torch.testing.assert_close(log_probs[t, n], p[n, expected].log())
        text = torch.cat([text, tokens[t : t + 1]])


@torch.no_grad()
def test_a_long_text_is_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, _, decoder = make("lstm", num_layers=2)
    text = torch.randint(0, V, (11, 2))
    whole, state = decoder.read(text), decoder.state()
    monkeypatch.setattr("kernels.decode.PART", 4)
    torch.testing.assert_close(decoder.read(text), whole)
    torch.testing.assert_close(decoder.state(), state)


@torch.no_grad()
def test_greedy_and_unscripted() -> None:
    layer, embedding, head, decoder = make("lstm", num_layers=2)
    text = torch.randint(0, V, (4, 2))
    decoder.read(text)
    tokens, _ = decoder.sample(torch.zeros(6, 2, dtype=torch.float64), greedy=True)
    for t in range(6):
        chosen = head(layer.forward_ids(text, embedding)[0][-1]).argmax(1)
        assert torch.equal(tokens[t], chosen)
        text = torch.cat([text, chosen[None]])
    decoder.read(text[:4])
    with unscripted():
        assert torch.equal(decoder.sample(torch.zeros(6, 2, dtype=torch.float64), greedy=True)[0], tokens)


@torch.no_grad()
@pytest.mark.parametrize("cell", CELLS)
def test_products_in_sixteen_bits(cell: str) -> None:
    layer, embedding, head, exact = make(cell, num_layers=2)
    low = Decoder(layer, embedding, head.weight.detach(), head.bias.detach(), torch.bfloat16)
    text, uniforms = torch.randint(0, V, (4, 2)), torch.rand(1, 2, dtype=torch.float64)
    for decoder in (exact, low):
        decoder.read(text)
        decoder.sample(uniforms, temperature=100.0)
    assert low.logits.dtype == torch.float64
    for state, is_low in zip(low.steps[0].even.before, low.layer.cell.scripted.low_states, strict=True):
        assert state.dtype == (torch.bfloat16 if is_low else torch.float64)
    assert 0 < (low.logits - exact.logits).abs().max() < 0.1


@torch.no_grad()
def test_a_cpu_that_emulates_16_bits_multiplies_in_the_dtype_of_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, embedding, head, exact = make("lstm")
    monkeypatch.setattr(processor, "computes", lambda dtype, device: False)
    low = Decoder(layer, embedding, head.weight.detach(), head.bias.detach(), torch.bfloat16)
    text = torch.randint(0, V, (4, 2))
    assert torch.equal(low.read(text), exact.read(text))


def test_choice() -> None:
    logits = torch.tensor([0.1, 0.2, 0.3, 0.4]).log()[None]

    def chosen(uniform: float, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> int:
        return int(choose(logits, Sampling(temperature, False, top_k, top_p), torch.tensor([uniform])))

    assert [chosen(u) for u in (0.0, 0.09, 0.11, 0.29, 0.31, 0.59, 0.61, 0.999)] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert [chosen(u, temperature=2) for u in (0.02, 0.1, 0.4, 0.5)] == [0, 1, 2, 3]  # 1, 4, 9, 16 of 30
    assert [chosen(u, top_k=2) for u in (0.0, 0.42, 0.44)] == [2, 2, 3]
    assert [chosen(u, top_p=0.5) for u in (0.0, 0.42, 0.44)] == [2, 2, 3]
    assert chosen(0.0, top_p=0.4) == 3
    assert chosen(0.0, top_p=1e-9) == 3, "one symbol at least"


def test_what_cannot_be_decoded() -> None:
    with pytest.raises(ValueError, match="two directions"):
        make("lstm", bidirectional=True)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [None, torch.bfloat16], ids=str)
def test_a_cell_with_equations_alone_is_decoded(dtype: torch.dtype | None) -> None:
    class Own(RecurrentLayer):
        def shapes(self, input_size: int) -> dict[str, tuple[int, ...]]:
            H = self.hidden_size
            return {"weight_ih": (H, input_size), "weight_hh": (H, H)}

        def step(self, weights: dict, projected: Tensor, state: tuple) -> tuple:
            return (torch.tanh(projected + state[0] @ weights["weight_hh"].T),)

    torch.manual_seed(0)
    own, rnn = Own(3, 5, 2), RNN(3, 5, 2, bias=False)
    rnn.load_state_dict(own.state_dict())
    head = torch.randn(V, 3), torch.randn(V, 5), torch.randn(V)
    text, uniforms = torch.randint(0, V, (4, 2)), torch.rand(9, 2)
    results = []
    for layer in (own, rnn):
        decoder = Decoder(layer, *head, dtype)
        results.append([decoder.read(text), *decoder.sample(uniforms)])
    torch.testing.assert_close(*results, rtol=1e-4 if dtype is None else 0.05, atol=1e-4 if dtype is None else 0.05)
