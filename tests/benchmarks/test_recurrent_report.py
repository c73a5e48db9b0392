"""The tables and the picture of docs/recurrent-speed.md, from a file of results."""

from pathlib import Path

from benchmarks import recurrent_report

RESULTS = """\
cell,shape,precision,implementation,both_ms,memory_mb
gru,book,float32,"kernels, auto",20.0,14.4
gru,book,float32,"kernels, recompute",22.0,10.1
gru,book,float32,torch.nn,25.0,30.0
gru,book,float32,GEMMs alone,16.0,
lstm,book,float32,"kernels, auto",,
"""


def test_times_become_ratios(tmp_path: Path) -> None:
    (tmp_path / "recurrent.csv").write_text(RESULTS)
    times = recurrent_report.read(tmp_path / "recurrent.csv")
    *_, row = recurrent_report.table(times, "float32").splitlines()
    assert row == "| vectors (64, 30, 256, 256) | GRU | 20 | 0.80 | – | – | 1.25 | 14 | 10 |"
    recurrent_report.draw(times, tmp_path / "recurrent.png")
    assert (tmp_path / "recurrent.png").stat().st_size > 1000
