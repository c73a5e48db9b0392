"""DistMult (Yang et al. 2015) for links of several relations."""

from torch import Tensor

from lightning_modules.networks.bilinear_decoder import BilinearDecoder


class DistMult(BilinearDecoder):
    """Yang et al. (2015): Σ_k h_k r_k t_k."""

    def compose(self, head: Tensor, relation: Tensor) -> Tensor:
        """Return h ⊙ r."""
        return head * relation
