"""Fill the first GPU's memory, but for 60 MiB, until standard input closes.

python tools/gpu/ballast.py 60
"""

import sys

import torch

free = torch.cuda.mem_get_info(0)[0] - int(sys.argv[1]) * 2**20
block = torch.empty(max(0, free), dtype=torch.uint8, device="cuda:0")
free_mib = torch.cuda.mem_get_info(0)[0] / 2**20
print(f"ballast {block.numel() / 2**30:.1f} GiB, {free_mib:.0f} MiB are free", flush=True)
sys.stdin.read()
