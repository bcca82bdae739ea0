"""Fill the first GPU's memory but for so many MiB, until its standard input closes: python tools/gpu/ballast.py 60."""

import sys

import torch

free = torch.cuda.mem_get_info(0)[0] - int(sys.argv[1]) * 2**20
block = torch.empty(max(0, free), dtype=torch.uint8, device="cuda:0")
print(
    f"ballast {block.numel() / 2**30:.1f} GiB, {torch.cuda.mem_get_info(0)[0] / 2**20:.0f} MiB are free",
    flush=True,
)
sys.stdin.read()
