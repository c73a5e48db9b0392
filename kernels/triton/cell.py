"""What the cells of the Triton backend share as operators."""

from kernels.cell import Results
from kernels.fused import FusedCell
from kernels.operator import Named


class TritonCell(FusedCell):
    """A cell whose kernels return all values of every state; a row whose sequence has ended keeps its states."""

    def count_results(self) -> int:
        """Count outputs, last states and all values of the other states."""
        return 2 * len(self.states)

    def fake(self, tensors: Named, options: Named) -> Results:
        """Return empty tensors like the results."""
        T, initial = len(tensors["inputs"]), [tensors[name] for name in self.states]
        whole = [state.new_empty(T, *state.shape) for state in initial]
        return whole[0], *(state.new_empty(state.shape) for state in initial), *whole[1:]
