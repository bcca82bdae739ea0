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


def test_passwords_as_json_keys(paths: DataSetPaths) -> None:
    (paths.root / "settings.json").write_text(
        json.dumps({"token": "aslkdjf93", "nested": {"api_key": "lkjsdf0934"}})
    )
    assert len(scan(paths, SCANNER)) == 2


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
