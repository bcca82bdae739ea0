"""What Ray's processes find in their environment."""

from __future__ import annotations

import os

import pytest

from orchestrator.tune.ray_environment import needed, only_needed

SECRETS = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"),
    *("AZURE_CLIENT_SECRET", "AZURE_STORAGE_CONNECTION_STRING", "GOOGLE_APPLICATION_CREDENTIALS"),
    *("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_TOKEN", "HF_API_TOKEN"),
    *("WANDB_API_KEY", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "COMET_API_KEY"),
    *("OPENAI_API_KEY", "GITHUB_TOKEN", "CODECARBON_API_KEY", "MY_SECRET", "DATABASE_URL"),
    *("HTTPS_PROXY", "RAY_REDIS_PASSWORD", "RAY_AUTH_TOKEN", "SLURM_JWT", "PYTHON_KEYRING_BACKEND"),
    *("TUNE_RESULT_TOKEN", "ORCHESTRATOR_PASSWORD", "slurm_secret", "XDG_SECRET"),
)
NEEDED = (
    *("PATH", "HOME", "LANG", "LC_ALL", "PYTHONPATH", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES"),
    *("NVIDIA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "HF_HOME", "HF_HUB_OFFLINE", "XDG_CACHE_HOME"),
    *("SLURM_JOB_ID", "SLURM_JOB_CPUS_PER_NODE", "RAY_worker_niceness", "RAY_AUTH_TOKEN_PATH"),
    *("TUNE_GLOBAL_CHECKPOINT_S", "ORCHESTRATOR_CACHE", "ORCHESTRATOR_SIMULATED_TOKEN_S"),
    *("TOKENIZERS_PARALLELISM", "CUDA_DEVICE_ORDER", "TQDM_DISABLE"),
)


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_left_out(name: str) -> None:
    assert needed({name: "planted"}) == {}


@pytest.mark.parametrize("name", NEEDED)
def test_what_is_needed_is_kept(name: str) -> None:
    assert needed({name: "value"}) == {name: "value"}


def test_a_user_adds_variables() -> None:
    found = needed({"ORCHESTRATOR_KEEP_ENV": "MY_FLAG, OTHER", "MY_FLAG": "1", "MY_SECRET": "2"})
    assert found == {"ORCHESTRATOR_KEEP_ENV": "MY_FLAG, OTHER", "MY_FLAG": "1"}


def test_the_caller_has_its_variables_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET", "planted")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of a cluster")
    before = dict(os.environ)

    def fails() -> None:
        with only_needed(besides=("RAY_AUTH_TOKEN",)):
            assert "MY_SECRET" not in os.environ
            assert os.environ["RAY_AUTH_TOKEN"] == "of a cluster"
            assert "PATH" in os.environ
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert dict(os.environ) == before
