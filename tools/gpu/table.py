"""Print each GPU execution's meters side by side; fail where two differ by more than 5 %.

The two are CodeCarbon and NVML's energy counter.

python tools/gpu/table.py measurements
"""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow.parquet as pq


def main(out: Path) -> int:
    """Print the table; exit code 1 where a row is off."""
    rows = pq.read_table(out / "executions.parquet").to_pylist()
    print(
        "quant  dtype     prompt/new tokens  window s  tokens/s  counter J  CodeCarbon J  differ  "
        "integrated J  differ  J/token  flags"
    )
    worst = 0.0
    for row in rows:
        counter, codecarbon, integrated = (
            row[f"gpu_energy_{name}_j"] for name in ("counter", "cc", "integrated")
        )
        off = codecarbon / counter - 1
        worst = max(worst, abs(off))
        second = (
            f"{integrated:12.1f}  {integrated / counter - 1:+6.1%}"
            if integrated is not None
            else "         n/a     n/a"
        )
        print(
            f"{row['quantization']:<6} {row['compute_dtype']:<9} "
            f"{row['n_prompt_tokens']:>6} / {row['n_new_tokens']:<9} "
            f"{row['window_s']:8.2f}  {row['tokens_per_s']:8.1f}  {counter:9.1f}  "
            f"{codecarbon:12.1f}  {off:+6.2%}  {second}  "
            f"{row['energy_per_token_j']:7.2f}  {row['warning_flags']}"
        )
    print(f"{len(rows)} executions; CodeCarbon against the counter: at most {worst:.2%} apart")
    return 0 if rows and worst <= 0.05 else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
