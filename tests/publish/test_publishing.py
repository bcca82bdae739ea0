"""A published data set can be loaded, validated and verified elsewhere.

Publishing again changes no byte, and measured files are never changed.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from huggingface_hub import DatasetCard
from ruamel.yaml import YAML

from orchestrator.check.hub import hub_findings
from orchestrator.check.validation import validate
from orchestrator.cli.publish_command import ACCEPTABLE, SPDX
from orchestrator.dataset.gross_energy import BasisEnergy
from orchestrator.dataset.lock import held
from orchestrator.dataset.markdown import markdown_text
from orchestrator.dataset.paths import DataSetPaths, execution_id
from orchestrator.dataset.tables import rebuild
from orchestrator.dataset.verdicts import write_verdicts
from orchestrator.models import KNOWN
from orchestrator.publish.authors import Author
from orchestrator.publish.card import bibtex, card
from orchestrator.publish.card_figures import Content, Group, content_of
from orchestrator.publish.conclusions import Conclusions
from orchestrator.publish.licences import LICENCES, TERMS, UNKNOWN, licence_of_texts
from orchestrator.publish.publication import Publication
from orchestrator.publish.publishing import citation
from orchestrator.publish.scan import COLUMN_RULES, RULES
from tests import builders
from tests.check.test_plausibility import verdict
from tests.commandline import Outcome, caller
from tests.golden_files import golden

WRITTEN = {
    *("README.md", "chart.png", "data-dictionary.md", "croissant.json"),
    *("CITATION.cff", "LICENSE.md", "checksums.sha256"),
}
LLAMA2 = TERMS["Llama 2 Community License"]
AUTHOR = ("--author", "Ada Lovelace <0000-0002-1825-0097>")


@pytest.fixture
def paths(tmp_path: Path) -> DataSetPaths:
    """A data set of a machine without a GPU and one with; one of five texts is unusable."""
    paths = DataSetPaths(tmp_path / "data set")
    cpu = builders.spec(prompts=builders.prompts(builders.PROMPTS[:2]))
    builders.seal_trial(
        paths,
        cpu,
        [builders.measured(1, of=cpu), builders.measured(2, of=cpu, output_text="word word")],
    )
    gpu = builders.spec(setup=builders.setup(model="llama2"), model_ref="llama2")
    on = [
        builders.measured(1, of=gpu, **builders.ON_GPU),
        builders.measured(2, of=gpu, **builders.FAILED, started_at="2026-01-02T03:04:30+00:00"),
    ]
    started = builders.measured(
        3, of=gpu, **builders.ON_GPU, started_at="2026-01-02T03:05:00+00:00"
    )
    origin = builders.origin(
        gpu,
        machine="colab",
        gpu_uuid="GPU-1",
        gpu_name="Tesla T4 <b>|</b>",
        synthetic=False,
        attention="sdpa without cudnn",
    )
    builders.seal_trial(paths, gpu, [*on, started], origin)
    rebuild(paths)
    write_verdicts(
        paths,
        [
            verdict(execution_id("pc", cpu, 2), "word word").model_copy(
                update={"usable": False, "reasons": ("repetition",)}
            )
        ],
    )
    rebuild(paths)
    return paths


@pytest.fixture
def call(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Outcome]:
    monkeypatch.setattr("orchestrator.publish.scan.names_here", lambda _: ())
    return caller(capsys)


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_publishing_adds_its_files_and_twice_is_once(
    paths: DataSetPaths, call: Callable[..., Outcome]
) -> None:
    measured = tree(paths.root)
    done = call("publish", "--out", str(paths.root), *AUTHOR)
    assert (done.code, done.err) == (0, "")
    assert f"hf upload ORG/NAME '{paths.root}' . --repo-type dataset" in done.out
    published = tree(paths.root)
    assert published.keys() - measured.keys() == WRITTEN
    assert published | measured == published
    assert call("publish", "--out", str(paths.root), *AUTHOR).code == 0
    assert tree(paths.root) == published
    assert (
        call("validate", "--out", str(paths.root))
        .out.splitlines()[-1]
        .endswith(": 0 errors, 1 warning")
    )


def test_a_report_raises_no_alarm(paths: DataSetPaths, call: Callable[..., Outcome]) -> None:
    assert call("report", "--out", str(paths.root)).code == 0
    assert "report.html" not in call("publish", "--out", str(paths.root), "--check").out


def test_check_writes_nothing(paths: DataSetPaths, call: Callable[..., Outcome]) -> None:
    before = tree(paths.root)
    assert call("publish", "--out", str(paths.root), "--check").code == 0
    assert tree(paths.root) == before


def test_sha256sum_agrees(paths: DataSetPaths, call: Callable[..., Outcome]) -> None:
    call("publish", "--out", str(paths.root))
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "checksums.sha256"],
        cwd=paths.root,
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(done.stdout.splitlines()) == len(tree(paths.root)) - 1


def test_it_loads_with_datasets(
    paths: DataSetPaths,
    call: Callable[..., Outcome],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    import datasets

    call("publish", "--out", str(paths.root))
    folder, cache = str(paths.root), str(tmp_path / "datasets")
    executions = datasets.load_dataset(folder, "executions", split="train", cache_dir=cache)
    assert executions.num_rows == 5
    assert sorted(str(usable) for usable in executions["usable"]) == [
        "False",
        "None",
        "None",
        "None",
        "None",
    ]
    assert datasets.load_dataset(folder, "summary", split="train", cache_dir=cache).num_rows == 2
    assert datasets.load_dataset(folder, split="train", cache_dir=cache).num_rows == 5, (
        "executions are the default"
    )


def test_croissant_is_valid_and_its_records_can_be_read(
    paths: DataSetPaths, call: Callable[..., Outcome]
) -> None:
    import mlcroissant

    call("publish", "--out", str(paths.root), *AUTHOR)
    described = mlcroissant.Dataset(jsonld=str(paths.croissant))
    assert not described.metadata.issues.errors
    assert not described.metadata.issues.warnings
    records = list(described.records("executions"))
    assert len(records) == 5
    assert records[0]["executions/output_text"] is not None
    assert {record["summary/n_ok"] for record in described.records("summary")} == {2}
    assert [record["verdicts/reasons"] for record in described.records("verdicts")] == [
        b"repetition"
    ]
    moved = paths.root.with_name("elsewhere")
    shutil.copytree(paths.root, moved)
    assert (
        len(list(mlcroissant.Dataset(jsonld=str(moved / "croissant.json")).records("summary"))) == 2
    )


def test_the_card(paths: DataSetPaths, call: Callable[..., Outcome]) -> None:
    call(
        "publish",
        "--out",
        str(paths.root),
        *AUTHOR,
        "--title",
        "Mine: <script> | 100 % {x}",
        "--licence",
        "CC0-1.0",
    )
    text = paths.readme.read_text()
    front = yaml.safe_load(text.split("---\n")[1])
    assert (front["pretty_name"], front["license"], front["size_categories"]) == (
        "Mine: <script> | 100 % {x}",
        "cc0-1.0",
        ["n<1K"],
    )
    assert [config["config_name"] for config in front["configs"]] == [
        "executions",
        "summary",
        "verdicts",
    ]
    body = text.split("---\n", 2)[2]
    assert "# Mine: &lt;script&gt; \\| 100 % {x}" in body
    assert "Tesla T4 &lt;b&gt;\\|&lt;/b&gt;" in body
    assert "<b>" not in body
    # 2 x 20 J + 2 x 100 J; 20 J
    model = "CPU+RAM energy (CodeCarbon's model)"
    both = f"{model} 40 J ± unknown and GPU energy (counter) 200 J ± 5.5 %"
    assert f"| all |  |  |  |  | 5 | 4 | 1 | 1 | {both} | {model} 20 J ± unknown |" in body
    assert "| colab | Tesla T4" in body
    assert f"| llama2 | {LLAMA2} |" in body
    assert "[data-dictionary.md](data-dictionary.md)" in body
    dictionary = paths.dictionary.read_text()
    assert dictionary.startswith("# Data dictionary\n")
    assert "| `energy_j` | double | J |" in dictionary


def what_the_data_say(text: str) -> str:
    """The section of a card that tells the report's findings."""
    return text.split("## What the data say\n")[1].split("\n## ", maxsplit=1)[0]


def test_the_card_says_what_the_report_says(
    paths: DataSetPaths, call: Callable[..., Outcome]
) -> None:
    call("publish", "--out", str(paths.root))
    said = what_the_data_say(paths.readme.read_text())
    printed = json.loads(call("report", "--out", str(paths.root), "--json").out)
    for finding in printed["findings"]:
        assert markdown_text(finding["text"]) in said
    assert "Can't be told: no hyperparameter" in said, (
        "two configurations tell nothing of what to set"
    )


def test_the_card_shows_a_chart_a_row_and_the_prompts(
    paths: DataSetPaths, call: Callable[..., Outcome]
) -> None:
    call("publish", "--out", str(paths.root))
    card = DatasetCard(paths.readme.read_text())
    ((words, target),) = re.findall(r"!\[(.*)\]\((.*)\)", card.text)
    assert (paths.root / target).read_bytes().startswith(b"\x89PNG")
    assert "energy of" in words
    assert "## An example: one of 5 rows\n" in card.text
    assert f"| prompt_text | {builders.PROMPTS[0]} |  | the prompt |" in card.text
    assert "| gpu_energy_counter_j | 100 | J |" in card.text
    for number, prompt in enumerate(builders.PROMPTS, 1):
        assert f" | {number} | {prompt} |" in card.text


def test_long_texts_and_many_prompts_are_cut_short() -> None:
    content = Content(date="2026-01-02", tables=["executions"])
    content.prompts = {("a", number, f"{number} " + "x" * 1000) for number in range(1, 60)}
    text = card(PUBLICATION, content, Conclusions())
    shown = [line for line in text.splitlines() if line.startswith("| a | ")]
    assert len(shown) == 50
    assert all(line.endswith("x ... |") and len(line) < 330 for line in shown)
    assert "\nand 9 more: column `prompt_text`.\n" in text


PUBLICATION = Publication("x", (), "CC0-1.0", LICENCES["CC0-1.0"])


def test_the_card_tells_groups_apart_that_differ_in_their_setup() -> None:
    """By engine, type and batch size only where there are several: the table is wide enough."""
    one = ("pc", "llama2", "nf4", "transformers", "bfloat16", "1", "sobol", "fantasyWorld")
    other = (*one[:3], "compiled", *one[4:])
    for groups, head in (
        ((one,), "| machine | model | quantization | strategy | use_case | executions |"),
        ((one, other), "| machine | model | quantization | engine | strategy | use_case |"),
    ):
        counted = {names: Group(executions=1) for names in groups}
        content = Content(groups=counted, tables=["executions"], date="2026-01-02")
        assert head in card(PUBLICATION, content, Conclusions())


def test_the_card_says_how_to_measure_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    content = Content(date="2026-01-02", tables=["executions"], plans=["lhs-1", "grid-2"])
    content.versions, content.programs = {"torch 2.13.0", "python 3.11.7"}, {"0.1.0"}
    text = card(PUBLICATION, content, Conclusions())
    commands = re.findall(r"^orchestrator .*", text.split("## Reproduce\n")[1], re.MULTILINE)
    assert commands == [
        "orchestrator tune --plan sweeps/lhs-1.json --out ../again",
        "orchestrator tune --plan sweeps/grid-2.json --out ../again",
        "orchestrator report --compare . ../again",
    ]
    assert "the same software: python 3.11.7, torch 2.13.0.\n" in text
    assert "## Reproduce" not in card(PUBLICATION, replace(content, plans=[]), Conclusions())
    for url, name in (
        (None, "Install llm-energy-orchestrator 0.1.0.\n"),
        ("https://x.example/y", "[llm-energy-orchestrator 0.1.0](https://x.example/y).\n"),
    ):
        monkeypatch.setattr("orchestrator.publish.card.repository_url", lambda url=url: url)
        assert name in card(PUBLICATION, content, Conclusions())


def test_the_page_of_the_data_set_stands_where_readers_look(
    paths: DataSetPaths, call: Callable[..., Outcome]
) -> None:
    url = "https://huggingface.co/datasets/ada/energy"
    call("publish", "--out", str(paths.root), "--url", url)
    described = json.loads(paths.croissant.read_text())
    assert described["url"] == url
    assert described["creator"] == [{"@type": "sc:Person", "name": "anonymous"}]
    assert yaml.safe_load(paths.citation.read_text())["url"] == url
    text = paths.readme.read_text()
    assert 'folder = "ada/energy"' in text
    assert f"url = {{{url}}}" in text
    call("publish", "--out", str(paths.root), "--url", "https://zenodo.org/records/1")
    assert 'folder = "."' in paths.readme.read_text()
    call("publish", "--out", str(paths.root))
    assert "url" not in json.loads(paths.croissant.read_text())


def test_the_viewer_shows_what_was_published(
    paths: DataSetPaths, call: Callable[..., Outcome]
) -> None:
    call("publish", "--out", str(paths.root))
    assert list(hub_findings(paths)) == []
    paths.readme.write_text(paths.readme.read_text().replace("configs:", "configs"))
    assert (
        "README.md: its metadata can't be read: line"
        in call("validate", "--out", str(paths.root)).out
    )


def conclusions_of_a_card(conclusions: Conclusions) -> str:
    """How a card tells conclusions."""
    content = Content(date="2026-01-02", tables=["executions"])
    return what_the_data_say(card(PUBLICATION, content, conclusions))


def test_conclusions_stand_in_lists_as_mere_text() -> None:
    evil = "<script>\n# [x](y) `z`"
    findings = [("What it costs", [evil, "2 J a token."]), ("What to set", ["Can't be told."])]
    said = conclusions_of_a_card(Conclusions([evil, "One session."], findings))
    golden("card-conclusions.md", said)
    assert "<script>" not in said


def test_a_card_without_an_answer_says_so() -> None:
    said = conclusions_of_a_card(Conclusions())
    assert said.startswith("**Nothing**\n- This program has measured no answer")


def test_citation_and_licence(paths: DataSetPaths, call: Callable[..., Outcome]) -> None:
    call("publish", "--out", str(paths.root), *AUTHOR)
    citation = yaml.safe_load(paths.citation.read_text())
    assert citation["authors"] == [
        {
            "given-names": "Ada",
            "family-names": "Lovelace",
            "orcid": "https://orcid.org/0000-0002-1825-0097",
        }
    ]
    assert (citation["cff-version"], citation["type"], citation["license"]) == (
        "1.2.0",
        "dataset",
        "CC-BY-4.0",
    )
    assert LLAMA2 in paths.licence.read_text()


@pytest.mark.parametrize("word", ["No", "yes", "1:30", "2026-01-02", "0150", "null", "~"])
def test_words_stay_words_to_readers_of_yaml_1_1_and_1_2(word: str) -> None:
    author = Author(given=word, family=word)
    publication = Publication(word, (author,), "CC0-1.0", LICENCES["CC0-1.0"])
    content = Content(date="2026-01-02", tables=["executions"])
    text = card(publication, content, Conclusions())
    front = text.split("---\n")[1]
    for written in (citation(publication, content), front):
        for fields in (yaml.safe_load(written), YAML(typ="safe", pure=True).load(written)):
            assert (fields.get("title") or fields["pretty_name"]) == word
            assert fields.get("authors", [{"family-names": word}])[0]["family-names"] == word
    assert DatasetCard(text).data.pretty_name == word


def test_what_is_found_stops_it(paths: DataSetPaths, call: Callable[..., Outcome]) -> None:
    (paths.root / "NOTES.md").write_text("from /home/ada/data")
    before = tree(paths.root)
    done = call("publish", "--out", str(paths.root))
    assert done.code == 3
    assert "error: NOTES.md: holds a path in somebody's home folder (home_path)" in done.out
    assert tree(paths.root) == before
    assert call("publish", "--out", str(paths.root), "--accept", "home_path").code == 0
    paths.summary.unlink()
    refused = json.loads(
        call("publish", "--out", str(paths.root), "--accept", "home_path", "--json").out
    )
    assert not refused["written"]
    assert [f["where"] for f in refused["findings"] if f["severity"] == "error"] == [
        "summary.parquet"
    ]


def test_what_was_changed_by_hand_is_kept(
    paths: DataSetPaths, call: Callable[..., Outcome]
) -> None:
    paths.readme.write_text("My own words.")
    done = call("publish", "--out", str(paths.root))
    assert (done.code, "README.md: was written or edited by hand" in done.err) == (2, True)
    paths.readme.write_text(
        "Data sets go here (`--out` names another folder). "
        "Everything else in this folder is ignored by git.\n"
    )
    assert call("publish", "--out", str(paths.root)).code == 0
    assert call("publish", "--out", str(paths.root), "--title", "Another").code == 0, (
        "what we wrote we may change"
    )
    paths.citation.write_text(paths.citation.read_text() + "doi: 10.5281/zenodo.1\n")
    assert call("publish", "--out", str(paths.root)).code == 2


def test_a_data_set_that_grew_is_published_again(
    paths: DataSetPaths, call: Callable[..., Outcome]
) -> None:
    call("publish", "--out", str(paths.root))
    spec = builders.spec(config_index=7)
    builders.seal_trial(
        paths, spec, [builders.measured(1, of=spec, started_at="2026-01-03T00:00:00+00:00")]
    )
    rebuild(paths)
    assert "checksums.sha256" in call("validate", "--out", str(paths.root)).out
    assert call("publish", "--out", str(paths.root)).code == 0
    assert "checksums.sha256" not in call("validate", "--out", str(paths.root)).out


def test_user_errors(paths: DataSetPaths, call: Callable[..., Outcome], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for arguments in (
        ("--out", str(tmp_path / "empty")),
        ("--title", "a\nb"),
        ("--author", "Ada <1>"),
        ("--licence", "mine"),
        ("--license", "mine"),
        ("--url", "huggingface.co/datasets/a/b"),
        ("--url", "https://x.example/a b"),
    ):
        done = call("publish", "--out", str(paths.root), *arguments)
        assert (done.code, done.err.count("\n")) == (2, 1), arguments
    with held(paths.root, print):
        assert "runs a sweep there; wait for it" in call("publish", "--out", str(paths.root)).err
        checked = call("publish", "--out", str(paths.root), "--check")
        assert "runs a sweep there; publish when it is done" in checked.err


def test_licences_of_texts() -> None:
    def of(ref: str, *, synthetic: bool = False) -> str:
        return licence_of_texts(builders.record(builders.spec(model_ref=ref), synthetic=synthetic))

    assert of("llama2") == of("meta-llama/Llama-2-7b-chat-hf@main") == LLAMA2
    assert of("someone/llama2") == of("./llama2") == UNKNOWN
    assert of("llama2", synthetic=True).startswith("none")
    assert UNKNOWN not in {of(ref) for ref in KNOWN}


def test_tables_of_the_command_line_are_the_modules() -> None:
    assert tuple(LICENCES) == SPDX
    assert set(ACCEPTABLE) <= RULES.keys() | COLUMN_RULES.keys() | {"own_name", "path"}


def test_bibtex_holds_any_title() -> None:
    publication = Publication(
        "A & B_{x} \\ %", (Author(given="Ada", family="Lovelace"),), "CC0-1.0", LICENCES["CC0-1.0"]
    )
    entry = bibtex(publication, Content(date="2026-01-02"))
    assert "title = {{A \\& B\\_(x)   \\%}}," in entry
    assert entry.count("{") == entry.count("}")


def test_content_counts(paths: DataSetPaths) -> None:
    content = content_of(paths, validate(paths.root)[0])
    assert (content.executions, content.trials) == (5, 2)
    whole = content.whole
    assert (whole.ok, whole.evaluated, whole.discarded) == (4, 1, 1)
    model, gpu = whole.energies.now().of_basis
    assert (model.counted_energy_j, gpu.counted_energy_j) == (40.0, 200.0)
    assert whole.wasted.now().only == BasisEnergy("energy_j", 20.0, None, 1)
