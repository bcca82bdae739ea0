"""What the older power query means, by architecture and chip, not by the name of the board."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from orchestrator.gpu.architectures import power_semantics


class NVMLError(Exception):
    pass


def nvml(
    board: str, architecture: int | None, capability: tuple[int, int] | None
) -> SimpleNamespace:
    """An NVML that knows only what is given."""

    def answer(value: object) -> object:
        if value is None:
            raise NVMLError
        return value

    return SimpleNamespace(
        NVMLError=NVMLError,
        nvmlDeviceGetName=lambda _handle: board,
        nvmlDeviceGetArchitecture=lambda _handle: answer(architecture),
        nvmlDeviceGetCudaComputeCapability=lambda _handle: answer(capability and list(capability)),
    )


@pytest.mark.parametrize(
    ("board", "architecture", "capability", "semantics"),
    [
        ("Tesla V100", 5, (7, 0), "instant"),
        ("Tesla T4", 6, (7, 5), "instant"),
        ("NVIDIA A100-SXM-64GB", 7, (8, 0), "instant"),
        ("NVIDIA A800", 7, (8, 0), "instant"),
        ("NVIDIA A30", 7, (8, 0), "instant"),
        ("NVIDIA RTX A3000", 7, (8, 6), "average_1s"),
        ("NVIDIA RTX A6000", 7, (8, 6), "average_1s"),
        ("NVIDIA L4", 8, (8, 9), "average_1s"),
        ("NVIDIA H100", 9, (9, 0), "average_1s"),
        ("NVIDIA B200", 10, (10, 0), "average_1s"),
        ("an Ampere that hides its capability", 7, None, "unknown"),
        ("one that is newer than this program", 13, (12, 0), "unknown"),
        ("one that tells nothing", None, None, "unknown"),
    ],
)
def test_what_power_means(
    board: str, architecture: int | None, capability: tuple[int, int] | None, semantics: str
) -> None:
    assert power_semantics(nvml(board, architecture, capability), 0) == semantics
