"""What Ray's processes find in their environment."""

from __future__ import annotations

import os

import pytest

from orchestrator.ray_tune.ray_environment import needed, only_needed

SECRETS = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"),
    *("AZURE_CLIENT_SECRET", "AZURE_STORAGE_CONNECTION_STRING", "GOOGLE_APPLICATION_CREDENTIALS"),
    *("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_TOKEN", "HF_API_TOKEN"),
    *("WANDB_API_KEY", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "COMET_API_KEY"),
    *("OPENAI_API_KEY", "GITHUB_TOKEN", "CODECARBON_API_KEY", "MY_SECRET", "DATABASE_URL"),
    *("RAY_REDIS_PASSWORD", "RAY_AUTH_TOKEN", "SLURM_JWT", "PYTHON_KEYRING_BACKEND"),
    *("TUNE_RESULT_TOKEN", "ORCHESTRATOR_PASSWORD", "slurm_secret", "XDG_SECRET"),
)
NEEDED = (
    *("PATH", "HOME", "LANG", "LC_ALL", "PYTHONPATH", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES"),
    *("NVIDIA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "HF_HOME", "HF_HUB_OFFLINE", "XDG_CACHE_HOME"),
    *("SLURM_JOB_ID", "SLURM_JOB_CPUS_PER_NODE", "RAY_worker_niceness", "RAY_AUTH_TOKEN_PATH"),
    *("TUNE_GLOBAL_CHECKPOINT_S", "ORCHESTRATOR_CACHE", "ORCHESTRATOR_SIMULATED_TOKEN_S"),
    *("TOKENIZERS_PARALLELISM", "CUDA_DEVICE_ORDER", "TQDM_DISABLE"),
    *("HF_ENDPOINT", "HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy", "no_grpc_proxy"),
    *("CODECARBON_LOG_LEVEL", "CODECARBON_PUE"),
)
WITH_SECRETS = {
    "HTTPS_PROXY": "http://ada:planted@proxy.example:3128",
    "http_proxy": "ada:planted@proxy.example:3128",
    "all_proxy": "socks5h://planted@proxy.example",
    "NO_PROXY": "localhost,ada:planted@proxy.example",
    "HF_ENDPOINT": "https://ada:plan/ted@mirror.example",
    "CODECARBON_API_ENDPOINT": "https://ada:planted@carbon.example/api",
    "RAY_REDIS_ADDRESS": "redis://:planted@redis.example:6379",
}
"""Variables whose names are kept, with an address that holds a user or a password."""
ADDRESSES = {
    "HTTPS_PROXY": "http://proxy.example:3128",
    "no_proxy": ".example,10.0.0.0/8,127.0.0.1,[::1]",
    "HF_ENDPOINT": "https://mirror.example/hub",
    "PYTHONPATH": "/opt/python@3.11/lib:/home/ada",
}


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_left_out(name: str) -> None:
    assert needed({name: "planted"}) == {}


@pytest.mark.parametrize("name", NEEDED)
def test_what_is_needed_is_kept(name: str) -> None:
    assert needed({name: "value"}) == {name: "value"}


@pytest.mark.parametrize("name", WITH_SECRETS)
def test_an_address_with_a_user_or_a_password_is_left_out(name: str) -> None:
    assert needed({name: WITH_SECRETS[name]}) == {}
    asked_for = {name: WITH_SECRETS[name], "ORCHESTRATOR_KEEP_ENV": name}
    assert needed(asked_for) == asked_for


@pytest.mark.parametrize("name", ADDRESSES)
def test_another_address_is_kept(name: str) -> None:
    assert needed({name: ADDRESSES[name]}) == {name: ADDRESSES[name]}


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
