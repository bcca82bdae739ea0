"""Embeddings by a tiny BERT with weights of chance: nothing is fetched."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.errors import ModelUnavailableError
from orchestrator.evaluate.embedding import BATCH, Embedding, load

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "sea", "letter", "storm", "sauce", "oil")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("bert")
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    torch.manual_seed(1)
    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    BertModel(BertConfig(vocab_size=len(WORDS), **sizes)).save_pretrained(folder)
    BertTokenizerFast(vocab={word: i for i, word in enumerate(WORDS)}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> Embedding:
    return load(str(folder))


def test_the_same_text_is_nearest(model: Embedding) -> None:
    same, other = model.similarities([("the sea", "the sea"), ("the sea", "sauce oil oil")])
    assert same == pytest.approx(1, abs=1e-5)
    assert -1 <= other < same


def test_padding_and_batches_change_nothing(model: Embedding) -> None:
    pairs = [("the sea", "letter " * (i + 1)) for i in range(BATCH + 3)]
    together = model.similarities(pairs)
    assert together == pytest.approx([model.similarities([pair])[0] for pair in pairs], abs=1e-5)


@pytest.mark.parametrize(
    "text", ["", "\x00", "世界 🐉", "sea " * 5000], ids=["empty", "NUL", "unknown", "long"]
)
def test_any_text_has_a_similarity(model: Embedding, text: str) -> None:
    assert -1 <= model.similarities([("the sea", text)])[0] <= 1


def test_nothing_to_compare(model: Embedding) -> None:
    assert model.similarities([]) == []


def test_a_folder_is_named_without_its_path(model: Embedding, folder: Path) -> None:
    assert model.name == f"{folder.name}@local"


def test_loading_leaves_no_temporary_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch makes a folder for compiled code as soon as a model's class is imported."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.setenv("ORCHESTRATOR_CACHE", str(folder.parent / "cache"))
    code = "import sys; from orchestrator.evaluate.embedding import load; load(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, check=True)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_a_model_is_told_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailableError, match=r"--embedding .*can't be loaded") as caught:
        load(str(tmp_path))
    assert len(caught.value.lines) == 1


def test_offline_a_name_that_is_not_there_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelUnavailableError, match="staged or can be fetched"):
        load("nobody/no-such-model")
