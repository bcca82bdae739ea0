"""The environment of Ray's processes: what they need and nothing else, so that no secret is in it.

Ray and Tune write environment variables into logs and answers of their API. So what isn't known to
be needed is left out, whatever its name; ORCHESTRATOR_KEEP_ENV adds names.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping

KEEP = "ORCHESTRATOR_KEEP_ENV"
"""Names of more variables that workers get, separated by commas."""

NAMES = {
    *("HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "PWD", "SHELL", "TMPDIR", "TZ", "USER"),
    *("COLORTERM", "COLUMNS", "FORCE_COLOR", "LINES", "NO_COLOR", "TERM"),
    *("CONDA_PREFIX", "VIRTUAL_ENV", "GLIBC_TUNABLES"),
    *("HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_HUB_DISABLE_PROGRESS_BARS"),
    *("HUGGINGFACE_HUB_CACHE", "TOKENIZERS_PARALLELISM", "TQDM_DISABLE"),
    *("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *("GPU_DEVICE_ORDINAL", "PL_DISABLE_FORK"),
    "RAY_AUTH_MODE",
    "RAY_AUTH_TOKEN_PATH",
    "ORCHESTRATOR_SIMULATED_TOKEN_S",
    # of --log-to
    *("MLFLOW_TRACKING_URI", "MLFLOW_DISABLE_TELEMETRY"),
    *("WANDB_MODE", "WANDB_PROJECT", "WANDB_ENTITY", "WANDB_BASE_URL", "WANDB_ERROR_REPORTING"),
}
"""Variables that are kept whatever words their names have."""

ADDRESSES = {
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "HF_ENDPOINT"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy", "no_grpc_proxy"),
}
"""Variables that are kept where their value has no @: it would follow a user or a password."""

PREFIXES = (
    *("LC_", "LD_", "PYTHON", "XDG_", "MALLOC_", "ORCHESTRATOR_"),
    *("CUDA_", "NVIDIA_", "CUBLAS_", "CUDNN_", "HIP_", "ROCR_", "HSA_"),
    *("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "NUMEXPR_", "BLIS_", "VECLIB_"),
    *("TORCH_", "TORCHINDUCTOR_", "PYTORCH_", "TRITON_", "TRANSFORMERS_"),
    *("BNB_", "BITSANDBYTES_", "ACCELERATE_", "CODECARBON_"),
    *("SLURM_", "RAY_", "TUNE_"),
)
"""Variables that begin so are kept, unless a part of their name says that they hold a secret."""

SECRET_WORDS = ("AUTH", "CREDENTIAL", "JWT", "KEY", "PASS", "PWD", "SECRET", "TOKEN")
"""Parts of names of variables that hold a secret, for example SLURM_JWT, RAY_REDIS_PASSWORD."""

WITH_USER = re.compile(r"://\S*@")
"""An address with a user or a password, which no variable may hold."""

RAY_DEFAULTS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray's own 15 would let everything else on a host run before what is measured
    "RAY_worker_niceness": "0",
    # workers send metrics to an agent on their host, which no proxy for the internet reaches
    "no_grpc_proxy": "127.0.0.1,localhost,::1",
}
"""Variables for each Ray that this program starts, where the user hasn't set them."""

LOOPBACK_ONLY = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Makes Ray bind every port, that of the metrics too, to 127.0.0.1.

Ray does so on systems on which it has no clusters. Elsewhere it replaces a node's address 127.0.0.1
by the host's, and most ports listen on all interfaces.
"""


def needed(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables that Ray's processes need, and those that ORCHESTRATOR_KEEP_ENV names."""
    asked_for = {name.strip() for name in variables.get(KEEP, "").split(",")}
    return {
        name: value
        for name, value in variables.items()
        if name in asked_for or _is_needed(name, value)
    }


def _is_needed(name: str, value: str) -> bool:
    """Whether Ray's processes may need a variable, and neither name nor value show a secret."""
    if WITH_USER.search(value):
        return False
    if name in ADDRESSES:
        return "@" not in value
    if name in NAMES:
        return True
    says_secret = any(word in name.upper() for word in SECRET_WORDS)
    return name.startswith(PREFIXES) and not says_secret


@contextlib.contextmanager
def only_needed(besides: tuple[str, ...] = ()) -> Iterator[None]:
    """Take out of this process's environment what Ray's processes don't need; put it back after.

    They inherit the environment, and Tune hands out some variables of it, secrets among them, to a
    cluster too. `besides`: names of variables that stay all the same.
    """
    kept = needed(os.environ)
    others = {name: os.environ[name] for name in os.environ if name not in (*kept, *besides)}
    for name in others:
        del os.environ[name]
    try:
        yield
    finally:
        for name, value in others.items():
            os.environ.setdefault(name, value)
