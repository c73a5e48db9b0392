"""Text from a character language model: sampling, streaming and scoring after a prompt. Needs no trainer.

Legend: N samples, T characters.
"""

import math
from collections.abc import Iterator, Sequence
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from kernels import processor
from kernels.decode import Sampling
from lightning_modules.errors import UserError
from lightning_modules.networks.language_model import CharacterModel

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}  # of matrix products


class Sample(TypedDict):
    """A sampled text, and the log-probability of each of its characters at tau = 1."""

    text: str
    log_probabilities: list[float]


class Score(TypedDict):
    """How likely a text is after another: mean negative log-probability, and that of each character in nats."""

    text: str
    after: str
    nats_per_character: float
    bits_per_character: float
    log_probabilities: list[float]


class TextGenerator:
    """Samples and scores text after a prompt.

    Args:
        network: the language model, on the device to compute on; it is set to evaluation without gradients.
        prompt: text of known characters. If it is empty, the text starts after a line feed or, where the model knows
            none, after the first character of its vocabulary.
        dtype: dtype of the matrix products.

    Raises:
        UserError: if the logits are not finite.
    """

    def __init__(self, network: CharacterModel, prompt: str, dtype: torch.dtype = torch.float32) -> None:
        self.network = network.eval().requires_grad_(False)
        self.start = prompt or ("\n" if "\n" in network.vocabulary else network.vocabulary[0])
        self._decoder = network.decoder(dtype)
        _check_finite(self._decoder.read(network.encode(self.start)[:, None]))
        self._after_prompt = self._decoder.state()

    def samples(
        self, number: int, length: int, seed: int, sampling: Sampling, stops: tuple[str, ...] = ()
    ) -> list[Sample]:
        """Return samples, drawn in one batch.

        Args:
            number: number of samples; a sample depends on the seed and its index, not on this number.
            length: largest number of characters of a sample.
            seed: seed of the random numbers.
            sampling: how a character is chosen.
            stops: texts before which a sample ends.
        """
        self._decoder.restore(self._after_prompt)
        self._decoder.repeat(number)
        tokens, log_probs = self._draw(self._uniforms(seed, range(number), length), sampling)
        samples = []
        for n in range(number):
            text = before_stop(self.network.decode(tokens[:, n]), stops)
            samples.append(Sample(text=text, log_probabilities=log_probs[: len(text), n].tolist()))
        return samples

    def stream(
        self, index: int, length: int, seed: int, sampling: Sampling, stops: tuple[str, ...] = ()
    ) -> Iterator[str]:
        """Yield the text of sample `index` in parts, as they are drawn; together they are that sample of `samples`.

        What may be the beginning of a stop is held back until it is clear whether it is one.
        """
        self._decoder.restore(self._after_prompt)
        held = ""
        for uniform in self._uniforms(seed, range(index, index + 1), length).split(1):
            tokens, _ = self._draw(uniform, sampling)
            held += self.network.decode(tokens[:, 0])
            if complete := [stop for stop in stops if held.endswith(stop)]:
                held = held[: -max(map(len, complete))]
                break
            kept = max((k for stop in stops for k in range(1, len(stop)) if held.endswith(stop[:k])), default=0)
            yield held[: len(held) - kept]
            held = held[len(held) - kept :]
        yield held

    def score(self, text: str) -> Score:
        """Return how likely a text is after the prompt."""
        tokens = self.network.encode(self.start + text)
        logits = self._decoder.read(tokens[:-1, None])[-len(text) :, 0]
        log_probs = torch.log_softmax(logits, 1).gather(1, tokens[-len(text) :, None])[:, 0]
        _check_finite(log_probs)
        nats = -float(log_probs.mean())
        return Score(
            text=text,
            after=self.start,
            nats_per_character=nats,
            bits_per_character=nats / math.log(2),
            log_probabilities=log_probs.tolist(),
        )

    def _draw(self, uniforms: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
        """Return tokens and log-probabilities, both [T, N], chosen by random numbers in [0, 1)."""
        tokens, log_probs = self._decoder.sample(uniforms, *sampling)
        _check_finite(log_probs)
        return tokens, log_probs

    def _uniforms(self, seed: int, indices: range, length: int) -> Tensor:
        return uniforms(seed, indices, length).to(self.network.head.weight.device)


@torch.no_grad()
def continuations(
    network: CharacterModel, prompts: Sequence[str], length: int, sampling: Sampling, seed: int = 0
) -> list[str]:
    """Return the text after each of several prompts, drawn in one batch.

    Args:
        network: the language model, in evaluation.
        prompts: texts of known characters, all of one length.
        length: number of characters drawn after each.
        sampling: how a character is chosen.
        seed: seed of the random numbers.
    """
    decoder = network.decoder()
    decoder.read(torch.stack([network.encode(prompt) for prompt in prompts], 1))
    drawn = uniforms(seed, range(len(prompts)), length).to(network.head.weight.device)
    tokens, _ = decoder.sample(drawn, *sampling)
    return [network.decode(column) for column in tokens.unbind(1)]


def uniforms(seed: int, indices: range, length: int) -> Tensor:
    """Return random numbers in [0, 1) for samples of these indices, [T, N]."""
    generators = [np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, n)))) for n in indices]
    columns = np.stack([generator.random(length) for generator in generators], 1)
    return torch.from_numpy(columns).float().clamp_(max=1 - 2**-24)  # float32 may round up to 1


def find_device(name: str) -> torch.device:
    """Return a device that can compute.

    Raises:
        UserError: if there is none of that name.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch.device, and a build of torch without CUDA
        reason = str(error).split(". ")[0].splitlines()[0]
        raise UserError(f"--device {name}: {reason}") from error
    if device.type == "meta":
        raise UserError("--device meta computes nothing; use cpu or cuda")
    return device


def is_slow(dtype: torch.dtype, device: torch.device) -> bool:
    """Return whether a device lacks the instructions for matrix products of a dtype, and so emulates them."""
    return dtype != torch.float32 and not processor.computes(dtype, device.type)


def before_stop(text: str, stops: tuple[str, ...]) -> str:
    """Return a text up to the stop that is complete first; of several that end there, the longest counts."""
    ends = {stop: text.find(stop) + len(stop) for stop in stops if stop in text}
    if not ends:
        return text
    first = min(ends.values())
    return text[: first - max(len(stop) for stop, end in ends.items() if end == first)]


def _check_finite(values: Tensor) -> None:
    if not values.isfinite().all():
        raise UserError("the model's logits are not finite; its training has diverged")
