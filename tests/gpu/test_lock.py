"""One sweep a GPU, whoever starts it and whatever data set it writes."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from orchestrator.errors import UserError
from orchestrator.gpu.lock import hold_gpu, holder_of_gpu, lock_file
from tests.processes import processes

UUID = "GPU-of-a-test"

HOLDS = f"""
import sys, tempfile, time
tempfile.tempdir = sys.argv[1]
from orchestrator.gpu.lock import hold_gpu
lock = hold_gpu("{UUID}", "sweep lhs-1")
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_a_second_sweep_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    with processes(HOLDS) as start:
        other = start(str(tmp_path))
        assert other.stdout is not None
        assert other.stdout.readline().strip() in ("held", b"held")
        holder = f"sweep lhs-1, process {other.pid} of "
        assert (holder_of_gpu(UUID) or "").startswith(holder)
        with pytest.raises(UserError, match=f"{UUID} is in use by {holder}"):
            hold_gpu(UUID, "sweep lhs-2")
        assert hold_gpu("GPU-another", "sweep lhs-2") is not None
        other.kill()
        other.wait()
        lock = hold_gpu(UUID, "sweep lhs-2")
        assert lock is not None, "a lock ends with its process"
        lock.release()


def test_it_is_let_go() -> None:
    lock = hold_gpu(UUID, "sweep")
    assert lock is not None
    lock.release()
    lock.release()
    assert holder_of_gpu(UUID) is None


def test_all_users_can_open_its_file() -> None:
    before = os.umask(0o077)
    try:
        lock = hold_gpu(UUID, "sweep")
    finally:
        os.umask(before)
    assert lock is not None
    assert lock_file(UUID).stat().st_mode & 0o777 == 0o666
    lock.release()


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    lock_file(UUID).symlink_to(tmp_path / "precious")
    assert hold_gpu(UUID, "sweep") is None
    assert (tmp_path / "precious").read_text() == "mine"
