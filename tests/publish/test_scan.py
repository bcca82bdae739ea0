"""The scan names what mustn't be published: an error, or a warning in a model's text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.dataset.paths import DataSetPaths
from orchestrator.publish.scan import RULES, Scanner, names_here, scan
from tests import builders

SECRETS = {
    "hf_token": "hf_" + "aB3" * 12,
    "aws_key": "AKIA" + "ABCD1234" * 2,
    "github_token": "ghp_" + "a1B2" * 9,
    "private_key": "-----BEGIN OPENSSH PRIVATE KEY-----",
    "password": "password: hunter2000",
    "e_mail": "ada.lovelace@example.org",
    "home_path": "/home/ada/models",
    "ip_address": "192.168.1.17",
    "own_name": "on ada-laptop",
}
SCANNER = Scanner(names=("ada-laptop",))


@pytest.fixture
def paths(tmp_path: Path) -> DataSetPaths:
    return DataSetPaths(tmp_path)


def test_every_rule_is_tried() -> None:
    assert SECRETS.keys() == RULES.keys() | {"own_name"}


@pytest.mark.parametrize("rule", SECRETS)
def test_in_fields_of_the_program_it_is_an_error(paths: DataSetPaths, rule: str) -> None:
    secret = SECRETS[rule]
    spec = builders.spec()
    builders.seal_trial(
        paths,
        spec,
        [builders.measured(1, of=spec)],
        builders.origin(spec, environment={"platform": f"it is {secret} here"}),
    )
    (finding,) = scan(paths, SCANNER)
    assert (finding.severity, finding.where.rpartition("/")[2]) == ("error", "trial.json")
    assert finding.what.startswith("platform: holds ")
    assert finding.what.endswith(f"({rule})")
    assert secret not in finding.line()


@pytest.mark.parametrize("rule", SECRETS)
def test_in_what_a_model_wrote_it_is_a_warning(paths: DataSetPaths, rule: str) -> None:
    spec = builders.spec()
    builders.seal_trial(
        paths,
        spec,
        [builders.measured(1, of=spec, output_text=f"The dragon said {SECRETS[rule]} twice")],
    )
    (finding,) = scan(paths, SCANNER)
    assert (finding.severity, finding.what.startswith("output_text: ")) == ("warning", True)


@pytest.mark.parametrize("rule", SECRETS)
def test_in_other_files(paths: DataSetPaths, rule: str) -> None:
    (paths.root / "NOTES.md").write_text(f"a\n{SECRETS[rule]}\n")
    (paths.root / "reviews.jsonl").write_text(json.dumps({"note": SECRETS[rule]}) + "\n")
    (paths.root / ".hidden").write_text(SECRETS[rule])
    assert [(f.severity, f.where) for f in scan(paths, SCANNER)] == [
        ("error", "NOTES.md"),
        ("error", "reviews.jsonl"),
    ]
    accepting = Scanner(SCANNER.names, frozenset({rule}))
    assert {f.severity for f in scan(paths, accepting)} == {"warning"}


@pytest.mark.parametrize("name", ["NOTES.txt", "mine.csv"])
def test_in_utf_16(paths: DataSetPaths, name: str) -> None:
    (paths.root / name).write_bytes("a,b\n1,/home/ada/x\n".encode("utf-16"))
    assert {f.what.rpartition("(")[2] for f in scan(paths, SCANNER)} >= {"home_path)"}


def test_passwords_as_json_keys(paths: DataSetPaths) -> None:
    (paths.root / "settings.json").write_text(
        json.dumps({"token": "aslkdjf93", "nested": {"api_key": "lkjsdf0934"}})
    )
    assert len(scan(paths, SCANNER)) == 2


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("longitude", 9.18951, "coordinates"),
        ("lat", "45.46", "coordinates"),
        ("hostname", "ada-pc", "host_name"),
        ("username", "lovelace", "user_name"),
    ],
)
def test_names_and_places_in_json_and_in_any_table(
    paths: DataSetPaths, key: str, value: object, rule: str
) -> None:
    (paths.root / "settings.json").write_text(json.dumps({"nested": [{key: value}]}))
    (paths.root / "mine.csv").write_text(f"a,{key.upper()}\n1,{value}\n")
    assert [(f.where, f.what.partition(":")[0]) for f in scan(paths, SCANNER)] == [
        ("mine.csv", key.upper()),
        ("settings.json", key),
    ]
    assert {f.what.rpartition("(")[2] for f in scan(paths, SCANNER)} == {f"{rule})"}


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("longitude", "9"),
        ("longitude", "-9.0"),
        ("latitude", "None"),
        ("latitude", ""),
        ("host", "abcdef012345"),
        ("hostname", "localhost"),
        ("slurm_node", "whole"),
        ("gpu_model", "2 x A100/PCIe"),
        ("os", "/"),
        ("note", "https://example.org/a/b"),
        ("user", "removed-user_name"),
    ],
)
def test_cells_that_tell_nothing(paths: DataSetPaths, column: str, cell: str) -> None:
    (paths.root / "mine.csv").write_text(f"a,{column}\n1,{cell}\n")
    assert scan(paths, SCANNER) == []


@pytest.mark.parametrize(
    "path", ["/data/ada/x", "D:\\ada\\x", "\\\\server\\ada\\x", "/scratch/a b/x"]
)
def test_paths_in_tables(paths: DataSetPaths, path: str) -> None:
    (paths.root / "mine.csv").write_text(f"a,note\n1,{path}\n")
    assert [f.what for f in scan(paths, SCANNER)] == ["note: holds a path (path)"]


@pytest.mark.parametrize(
    "text",
    [
        "n_new_tokens: 100000",
        "tokens = 100000",
        "driver 580.105.08",
        "127.0.0.1",
        "version v1.2.3.4",
        "999.1.1.1",
        "at 5 @ home",
        "hf_home",
        "/homeland/x",
        "/root",
        "ada-laptops",
    ],
)
def test_what_looks_like_one_and_is_none(paths: DataSetPaths, text: str) -> None:
    (paths.root / "NOTES.md").write_text(text)
    assert scan(paths, SCANNER) == []


def test_names_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "ada")
    monkeypatch.setattr("socket.gethostname", lambda: "pavilion.example.org")
    assert names_here(set()) == ("ada", "pavilion", "pavilion.example.org")
    assert names_here({"Pavilion"}) == ("ada", "pavilion.example.org"), (
        "as a machine's folder is called"
    )
    monkeypatch.setattr("getpass.getuser", lambda: "root")
    monkeypatch.setattr("socket.gethostname", lambda: "pc")
    assert names_here(set()) == ()
