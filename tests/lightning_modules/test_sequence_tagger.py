"""Classes of the steps of a sequence: only labelled steps count, and resets part the sequences of a row."""

from functools import partial

import pytest
import torch

from datamodules.batches import NO_LABEL, JoinedSequenceBatch
from datamodules.joined_palindromes import JoinedPalindromes
from kernels import GRU, LSTM, PeepholeLSTM
from lightning_modules.networks.recurrent_tagger import RecurrentTagger
from lightning_modules.sequence_tagger import SequenceTagger


@pytest.mark.parametrize("layer", [GRU, PeepholeLSTM])
def test_a_sequence_does_not_see_the_ones_before_it(layer: type) -> None:
    torch.manual_seed(0)
    tokens, starts, _ = JoinedPalindromes(batch_size=3).batch_of_step(0, 0)
    for resets in (True, False):
        network = RecurrentTagger(2, 2, layer=layer, resets=resets)
        changed = tokens.clone()
        changed[:, 0] = 1 - changed[:, 0]
        same = (network(tokens, starts) == network(changed, starts)).all(2)
        for row in range(3):
            second = int(starts[row].nonzero()[1])
            assert same[row, second:].all() == resets
            assert not same[row, 0]


def test_the_head_is_as_wide_as_a_projected_state() -> None:
    network = RecurrentTagger(2, 3, layer=partial(LSTM, bidirectional=True, proj_size=5))
    assert network(torch.zeros(4, 6, dtype=torch.int64), torch.zeros(4, 6, dtype=torch.bool)).shape == (4, 6, 3)


def test_the_loss_is_of_labelled_steps_alone() -> None:
    system = SequenceTagger(RecurrentTagger(2, 3))
    tokens, starts = torch.tensor([[0, 1, 1]]), torch.tensor([[True, False, False]])
    labels = torch.tensor([[NO_LABEL, 2, NO_LABEL]])
    expected = -system(tokens, starts)[0, 1].log_softmax(0)[2]
    torch.testing.assert_close(system.step(JoinedSequenceBatch(tokens, starts, labels), "train"), expected)
