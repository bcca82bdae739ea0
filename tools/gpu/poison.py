"""Copy a model with random weights so that one token in 400 turns its logits into NaN.

python tools/gpu/poison.py REF FOLDER
"""

import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from orchestrator.engine.weights import resolve
from orchestrator.models import parse_model

source, target = resolve(parse_model(sys.argv[1])).path, Path(sys.argv[2])
shutil.copytree(source, target)
file = target / "model.safetensors"
tensors = load_file(file)
tensors["model.embed_tokens.weight"][300::400] = torch.nan
save_file(tensors, file, metadata={"format": "pt"})
