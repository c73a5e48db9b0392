"""Ranks known by hand, and compared with a loop over targets and nodes."""

import pytest
import torch

from lightning_modules.ranking import mid_ranks, rank_metrics
from lightning_modules.training_system import Mean

NONE = torch.empty(0, dtype=torch.int64)


def ranks_by_a_loop(
    scores: torch.Tensor, asked: list[tuple[int, int]], known: list[tuple[int, int]]
) -> tuple[list[float], list[float]]:
    filtered, listed = [], []
    for row, target in asked:
        ranks = []
        for left_out in (known + asked, known):
            rank = 1.0
            for node in range(scores.shape[1]):
                if node != target and (row, node) not in left_out:
                    rank += 1.0 * bool(scores[row, node] > scores[row, target])
                    rank += 0.5 * bool(scores[row, node] == scores[row, target])
            ranks.append(rank)
        filtered.append(ranks[0])
        listed.append(ranks[1])
    return filtered, listed


def test_known_ranks() -> None:
    scores = torch.tensor([[5.0, 4.0, 3.0, 3.0, 2.0], [0.0, 0.0, 1.0, 0.0, 0.0]])
    # Query 0 seeks nodes 1 and 3, query 1 node 0; node 0 is known of query 0.
    rows, targets = torch.tensor([0, 0, 1]), torch.tensor([1, 3, 0])
    filtered, listed = mid_ranks(scores, rows, targets, torch.tensor([0]), torch.tensor([0]))
    assert filtered.tolist() == [1, 1.5, 3.5]
    assert listed.tolist() == [1, 2.5, 3.5]


@pytest.mark.parametrize(
    ("own", "others", "rank"),
    [
        (torch.nan, 0.0, 3),
        (torch.nan, torch.nan, 3),
        (-torch.inf, 0.0, 3),
        (-torch.inf, -torch.inf, 2),
        (torch.inf, torch.inf, 2),
        (0.0, torch.nan, 3),
    ],
)
def test_scores_that_are_no_numbers(own: float, others: float, rank: float) -> None:
    """Three nodes take part: the target is last, or in the middle where all are alike."""
    scores = torch.full((1, 5), others)
    scores[0, 0] = own
    known_rows, known = torch.tensor([0, 0]), torch.tensor([3, 4])
    filtered, listed = mid_ranks(scores, torch.tensor([0]), torch.tensor([0]), known_rows, known)
    assert filtered.tolist() == listed.tolist() == [rank]


@pytest.mark.parametrize("levels", [1, 3, 1000])
def test_a_loop_agrees(levels: int) -> None:
    torch.manual_seed(levels)
    B, N = 7, 11
    scores = torch.randint(levels, (B, N)).float()
    pairs = torch.cartesian_prod(torch.arange(B), torch.arange(N))[torch.randperm(B * N)]
    asked, known = pairs[:20], pairs[15:40]  # some are both
    filtered, listed = mid_ranks(scores, *asked.T, *known.T)
    other_known = [tuple(pair) for pair in known.tolist() if pair not in asked.tolist()]
    expected = ranks_by_a_loop(scores, [tuple(pair) for pair in asked.tolist()], other_known)
    assert (filtered.tolist(), listed.tolist()) == expected


def test_a_constant_gets_the_middle_and_no_number_the_end() -> None:
    rows, targets = torch.tensor([0, 0]), torch.tensor([2, 5])
    filtered, _ = mid_ranks(torch.zeros(1, 101), rows, targets, torch.tensor([0]), torch.tensor([7]))
    assert filtered.tolist() == [50, 50]  # 98 wrong ones: the middle of 99 places
    scores = torch.full((1, 101), float("nan"))
    assert (mid_ranks(scores, rows, targets, NONE, NONE)[0] >= 99).all()


def test_many_targets_are_ranked_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, rows = torch.randn(4, 50), torch.arange(4).repeat_interleave(10)
    targets = torch.cat([torch.randperm(50)[:10] for _ in range(4)])
    whole = mid_ranks(scores, rows, targets, NONE, NONE)
    monkeypatch.setattr("lightning_modules.ranking.CHUNK", 7)
    for part, other in zip(mid_ranks(scores, rows, targets, NONE, NONE), whole, strict=True):
        assert torch.equal(part, other)


def update(means: dict[str, Mean], *ranks: torch.Tensor, hits_at: list[int], recall_at: list[int]) -> None:
    for name, (values, weights) in rank_metrics(*ranks, hits_at, recall_at).items():
        means.setdefault(name, Mean()).update(values, weights)


def test_metrics_of_ranks() -> None:
    means: dict[str, Mean] = {}
    for _ in range(2):  # the second time after a reset
        first = torch.tensor([1.0, 4.0]), torch.tensor([1.0, 5.0]), torch.tensor([0, 0])
        second = torch.tensor([2.0]), torch.tensor([2.0]), torch.tensor([0])
        for ranks in (first, second):
            update(means, *ranks, hits_at=[1, 3], recall_at=[2])
        values = {name: float(mean.compute()) for name, mean in means.items()}
        assert values == pytest.approx({"mrr": 1.75 / 3, "hits@1": 1 / 3, "hits@3": 2 / 3, "recall@2": 0.75})
        for mean in means.values():
            mean.reset()


def test_ranks_are_exact_in_a_16_bit_training() -> None:
    """Lightning makes 16 bits the default dtype there."""
    torch.set_default_dtype(torch.bfloat16)
    try:
        means: dict[str, Mean] = {}
        scores = torch.arange(1001, dtype=torch.float32)[None]
        ranks = mid_ranks(scores, torch.tensor([0]), torch.tensor([0]), NONE, NONE)
        update(means, *ranks, torch.tensor([0]), hits_at=[1], recall_at=[5])
        update(means, torch.ones(2), torch.ones(2), torch.tensor([0, 0]), hits_at=[1], recall_at=[5])
        mrr = means["mrr"].compute().item()
    finally:
        torch.set_default_dtype(torch.float32)
    assert [rank.item() for rank in ranks] == [1001, 1001]
    assert mrr == pytest.approx((2 + 1 / 1001) / 3, rel=1e-6)


def test_an_evaluation_apart_comes_before_a_training() -> None:
    """Lightning's `validate` runs in inference mode, and a training's validation need not."""
    mean, one = Mean(), torch.ones(1)
    with torch.inference_mode():
        mean.update(one)
        mean.compute()
        mean.reset()
    mean.update(one)
    assert mean.compute() == 1
