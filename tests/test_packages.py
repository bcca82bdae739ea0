"""What the metadata of installed packages say."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.packages import THIS_PACKAGE, package_versions, repository_url


def install(folder: Path, *more: str) -> None:
    """Lay the metadata of this program into a folder, with some more lines."""
    name = THIS_PACKAGE.replace("-", "_")
    place = folder / f"{name}-9.9.dist-info"
    place.mkdir()
    lines = ["Metadata-Version: 2.4", f"Name: {THIS_PACKAGE}", "Version: 9.9", *more]
    (place / "METADATA").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ((), None),
        (("Project-URL: Documentation, https://a.org/docs",), None),
        (
            (
                "Project-URL: Documentation, https://a.org/docs",
                "Project-URL: Repository, https://a.org/b, c",
            ),
            "https://a.org/b, c",
        ),
    ],
)
def test_the_repository_is_the_one_of_the_metadata(
    lines: tuple[str, ...],
    expected: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(tmp_path, *lines)
    monkeypatch.syspath_prepend(tmp_path)
    assert package_versions([THIS_PACKAGE]) == {THIS_PACKAGE: "9.9"}
    assert repository_url() == expected


def test_a_program_that_is_not_installed_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", [])
    assert repository_url() is None
    assert package_versions([THIS_PACKAGE]) == {}
