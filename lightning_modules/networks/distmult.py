"""DistMult, a bilinear score for links of several relations: Yang et al. 2015, arXiv:1412.6575."""

from torch import Tensor

from lightning_modules.networks.bilinear_decoder import BilinearDecoder


class DistMult(BilinearDecoder):
    """score(h, r, t) = Σ_k h_k r_k t_k."""

    def compose(self, head: Tensor, relation: Tensor) -> Tensor:
        """Return h ⊙ r [B, H]."""
        return head * relation
