"""The report as a whole: on known data, on data that say little, on hostile and on large ones."""

from __future__ import annotations

import html.parser
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from markupsafe import escape

from orchestrator.dataset.parquet import arrow_schema, to_table, write_parquet
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.schema import ExecutionRow
from orchestrator.dataset.tables import rebuild
from orchestrator.errors import UserError
from orchestrator.nouns import columns_of
from orchestrator.report.charts import CHARTS
from orchestrator.report.drawing import program
from orchestrator.report.execution_frame import data_of, read_data
from orchestrator.report.page import page
from orchestrator.report.page_content import (
    MOST_REASONS,
    headline,
    left_out_table,
    tables,
    warnings,
)
from orchestrator.report.trial_rows import trial_rows
from tests import builders
from tests.commandline import exit_code
from tests.report.synthetic import Truth, executions

VOID = {"meta", "img", "input", "br"}
HOSTILE = "<script>alert(1)</script>\u202e'\"&"


def judged(frame: pd.DataFrame, share: float = 0.25) -> pd.DataFrame:
    """The first quarter discarded."""
    n = int(share * len(frame))
    return frame.assign(
        usable=[False] * n + [True] * (len(frame) - n),
        reasons=["gibberish"] * n + [""] * (len(frame) - n),
        quality=np.linspace(0, 1, len(frame)),
        decided_by="rules",
    )


class Balanced(html.parser.HTMLParser):
    """Fails where tags don't match."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.outside: list[str] = []
        self.payload = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        by_name = dict(attrs)
        self.outside += [
            str(by_name[name])
            for name in ("src", "href")
            if name in by_name and not str(by_name[name]).startswith(("data:", "#"))
        ]

        self.in_payload = by_name.get("id") == "data"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script" and self.in_payload:
            self.payload += data

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def payload(text: str) -> Any:
    """What the page's script gets: charts and rows."""
    return json.loads(read(text).payload)


def rows_of(text: str, kind: str) -> list[dict[str, Any]]:
    """The rows of trials or configurations."""
    rows = payload(text)["rows"]
    return [dict(zip(rows["keys"], values, strict=True)) for values in rows[kind]]


def read(text: str) -> Balanced:
    parser = Balanced()
    parser.feed(text)
    assert parser.open == []
    assert parser.outside == [], "it opens offline"
    return parser


def test_a_full_report_has_every_chart_and_nothing_from_outside() -> None:
    frame = judged(executions(Truth(per_token={"temperature": 0.3}), 0))
    text = page(data_of(frame), "measurements")
    charts = payload(text)["charts"]
    assert list(charts) == list(CHARTS)
    descriptions = {spec["description"] for spec in charts.values()}
    assert len(descriptions) == len(CHARTS), "each says what its chart shows"
    for word in (
        "At equal length",
        "J/token",
        "wasted energy",
        "per usable answer",
        "gibberish",
        "measured",
    ):
        assert word in text
    assert page(data_of(frame), "measurements") == text, "the same data give the same bytes"


@pytest.mark.parametrize(
    "frame",
    [
        executions(Truth(), 0).iloc[:0],
        executions(Truth(), 0).iloc[:1],
        executions(
            Truth(),
            0,
            points=12,
            status="failed",
            error_kind="oom",
            n_new_tokens=None,
            finish_reason=None,
        ),
        judged(executions(Truth(), 0, points=12), 1.0),
        executions(Truth(), 0, points=12, synthetic=True),
        executions(Truth(), 0, points=12, energy_basis=None),
        executions(Truth(), 0, points=12, effective_do_sample=False),
    ],
    ids=[
        "empty",
        "one",
        "all failed",
        "all discarded",
        "synthetic",
        "nothing measured",
        "all greedy",
    ],
)
def test_data_that_say_little_make_a_report_that_says_so(frame: pd.DataFrame) -> None:
    data = data_of(frame)
    text = page(data, "x")
    read(text)
    assert warnings(data) or "nothing kept" in text
    text = text.replace(program(), "")
    for _, _, column in columns_of(ExecutionRow):  # that of error_kind explains the kind `nan`
        text = text.replace(str(escape(column.meaning)), "")
    assert "nan" not in text


def test_names_and_reasons_of_a_data_set_cannot_act_in_the_page() -> None:
    frame = judged(
        executions(Truth(), 0, points=12, model=HOSTILE, machine="<img src=x onerror=alert(1)>")
    )
    text = page(data_of(frame), HOSTILE)
    read(text)
    assert "<script>alert" not in text
    assert "<img src=x" not in text


def test_the_figures_of_the_headline_by_hand() -> None:
    """Rows of 100 J, their gain known to 3 % and their edges to 2 %.

    Of n rows of one device root((1.645 * 3)² + (1.96 * 2)² / n) percent.
    """
    frame = judged(executions(Truth(), 0, points=12, prompts=2, use_cases=1), 0.25).assign(
        gpu_energy_counter_j=100.0, n_new_tokens=50
    )
    figures = {name: figure for name, figure, _ in headline(data_of(frame))}
    assert figures == {
        "executions": "24",
        "GPU energy (counter)": "2,400 J ± 5 %",
        "J/token": "2",
        "wasted energy": "600 J ± 5.2 %",
        "per usable answer": "133 J ± 5 %",
    }
    assert ("discarded", "gibberish", "6", "600 J ± 5.2 %") in left_out_table(data_of(frame)).rows


def test_energies_of_different_meters_are_shown_apart() -> None:
    frame = judged(executions(Truth(), 0, points=12, prompts=2, use_cases=1), 0.25).assign(
        gpu_energy_counter_j=100.0, energy_j=30.0, pue=1.5
    )
    frame.loc[::2, "energy_basis"] = "energy_j"
    frame.loc[::2, ["energy_rel_systematic", "energy_rel_statistical"]] = None
    frame.loc[1, "energy_basis"] = None
    data = data_of(frame)
    figures = {name: (figure, what) for name, figure, what in headline(data)}
    assert figures["GPU energy (counter)"][0] == "1,100 J ± 5.1 %"
    model, what = figures["CPU+RAM energy (CodeCarbon's model)"]
    assert model == "240 J ± unknown"
    assert "12 executions" in what
    assert "1 execution not measured" in what
    assert "gross: idle power included" in what
    assert figures["per usable answer"][0] == "n/a"
    assert "They are not added" in "".join(warnings(data))
    mixed = next(card for card in trial_rows(data) if " and " in card.energy_name)
    assert (mixed.energy_per_token_j, mixed.energy_rel_uncertainty) == (None, None)
    assert any("different meters" in line for line in mixed.why)


def test_nothing_measured_is_no_zero() -> None:
    frame = executions(Truth(), 0, points=12).assign(energy_basis=None)
    assert ("energy", "n/a", "no execution was measured") in headline(data_of(frame))


def test_throttled_executions_are_counted_but_in_no_effect() -> None:
    frame = executions(Truth(), 0, points=12)
    frame.loc[:4, "warning_flags"] = "throttled;too_short"
    data = data_of(frame)
    assert len(data.kept) == len(frame) - 5
    assert any(line.startswith("5 executions are throttled") for line in warnings(data))
    assert trial_rows(data)[0].word == "doubtful"


def test_a_card_says_how_far_its_number_goes() -> None:
    frame = executions(Truth(), 0, points=1)
    energies_j = frame.loc[frame["use_case"] == min(frame["use_case"]), "gpu_energy_counter_j"]
    edges = 0.02 * math.hypot(*energies_j) / sum(energies_j)
    (one, *_) = trial_rows(data_of(frame))
    assert (one.word, one.energy_name) == ("measured", "GPU energy (counter)")
    expected = math.hypot(0.95 * math.sqrt(3) * 0.03, 1.96 * edges)
    assert one.energy_rel_uncertainty == pytest.approx(expected)
    (model, *_) = trial_rows(
        data_of(
            executions(Truth(), 0, points=1, energy_basis="energy_j", energy_rel_systematic=None)
        )
    )
    assert (model.word, model.energy_rel_uncertainty) == ("modelled", None)
    assert any("not for publishing" in line for line in model.why)


def test_ten_thousand_executions_stay_below_five_megabytes() -> None:
    frame = judged(executions(Truth(), 0, points=334, prompts=10))
    assert len(frame) > 10_000
    assert len(page(data_of(frame), "x").encode()) < 5e6


def test_tables_are_as_wide_as_their_heads() -> None:
    for table in tables(data_of(judged(executions(Truth(), 0)))):
        assert table.rows or table.note
        assert {len(row) for row in table.rows} <= {len(table.head)}


# --- the verbs ------------------------------------------------------------------------------------


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A data set of one trial."""
    spec = builders.spec()
    paths = DataSetPaths(tmp_path)
    builders.seal_trial(paths, spec, [builders.measured(p.number, of=spec) for p in spec.prompts])
    rebuild(paths)
    return tmp_path


def test_report_writes_the_page_into_the_data_set(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code("report", "--out", str(out)) == 0
    assert "open it in a browser" in capsys.readouterr().out
    assert "SYNTHETIC" in (out / "report.html").read_text()
    read((out / "report.html").read_text())
    assert exit_code("report", "--out", str(out), "--file", str(out / "deeper" / "other.html")) == 0
    # a page elsewhere in the data set has other ways to the texts
    other = (out / "deeper" / "other.html").read_text()
    assert other.replace('"../', '"') == (out / "report.html").read_text()


def test_trials_lead_to_their_texts_where_the_page_lies_in_the_data_set(out: Path) -> None:
    data = read_data(DataSetPaths(out))
    inside, deeper, elsewhere, nowhere = (
        [row["text"] for row in rows_of(page(data, "x", folder), "trials")]
        for folder in (out, out / "a" / "b", out.parent, None)
    )
    (text,) = inside
    assert "Text of prompt 1." in (out / text).read_text()
    assert deeper == [f"../../{text}"]
    assert elsewhere == nowhere == [None]


@pytest.mark.parametrize("name", ["energy-length", "coverage"])
def test_plot_writes_one_chart(out: Path, name: str) -> None:
    assert exit_code("plot", name, "--out", str(out), "--file", str(out / "x.pdf")) == 0
    assert (out / "x.pdf").read_bytes().startswith(b"%PDF")


def test_plot_draws_what_was_chosen_as_wide_as_a_column(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    widths = []
    for width in ("single", "double"):
        options = ("--model", "smollm2", "--machine", "pc", "--use-case", "fantasyWorld")
        target = out / f"{width}.svg"
        where = ("--out", str(out), "--file", str(target))
        assert exit_code("plot", "energy-length", "--width", width, *options, *where) == 0
        said = capsys.readouterr().out.splitlines()
        assert said[:2] == [str(target), "2 J per new token at the median."]
        widths.append(float(target.read_text().partition(' width="')[2].partition("pt")[0]))
    assert widths == pytest.approx([8.5 / 2.54 * 72, 17.5 / 2.54 * 72], rel=0.01)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("plot", "efects", "--file", "x.pdf"), "there is no chart 'efects': did you mean effects"),
        (
            ("plot", "coverage", "--file", "x.pdf", "--model", "smolm2"),
            "--model smolm2: not in this data set: did you mean smollm2?",
        ),
        (
            ("plot", "coverage", "--file", "x.pdf", "--use-case", "story"),
            "--use-case story: not in this data set: Known: fantasyWorld",
        ),
        (("plot", "effects", "--file", "x.gif"), "must end in .pdf, .svg or .png"),
        (("plot", "usable", "--file", "x.pdf"), "the data set has too little for this chart"),
        (("plot", "ratios", "--file", "x.pdf"), "name them with --compare A B"),
        (("plot", "usable", "--compare", "a", "b"), "--compare is for ratios and pairs"),
        (
            ("plot", "pairs", "--file", "x.pdf", "--compare", "a", "b"),
            "--compare names the two data sets to compare; leave out",
        ),
    ],
)
def test_what_cannot_be_plotted_is_told(
    out: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    assert exit_code(*arguments, "--out", str(out)) == 2
    assert message in capsys.readouterr().err


def test_a_table_that_is_missing_or_older_is_told(out: Path) -> None:
    paths = DataSetPaths(out)
    older = to_table(ExecutionRow, []).drop_columns(["quality"])
    write_parquet(paths.executions, older)
    with pytest.raises(UserError, match="lacks the column quality; `orchestrator summarize`"):
        read_data(paths)
    paths.executions.unlink()
    with pytest.raises(UserError, match=r"executions\.parquet: can't be read"):
        read_data(paths)
    assert "output_text" in arrow_schema(ExecutionRow).names


def test_nothing_that_a_terminal_or_the_writing_direction_obeys_is_in_the_page() -> None:
    """Neither in its text nor in what its charts and tables show."""
    evil = "a\x1b]0;title\x07\u202eb"
    frame = judged(executions(Truth(), 0, points=12, prompts=2, use_cases=2)).assign(
        machine=evil, model=evil, warning_flags=evil
    )
    text = page(data_of(frame), evil)
    shown = json.dumps(payload(text), ensure_ascii=False)
    assert not {"\x1b", "\x07", "\u202e"} & {*text.replace(program(), ""), *shown}
    assert "a\\x1b]0;title\\x07\\u202eb" in text


def test_no_end_of_flags_has_an_end_in_the_page() -> None:
    frame = executions(Truth(), 0, points=12, prompts=2, use_cases=1).astype(
        {"warning_flags": object}
    )
    frame.loc[0, "warning_flags"] = ";".join(f"flag{number}" for number in range(100_000))
    frame.loc[:5, "warning_flags"] = frame.loc[:5, "warning_flags"].str.cat(["drift"] * 6, sep=";")
    data = data_of(frame)
    rows = [row for row in left_out_table(data).rows if row[0] == "flagged"]
    assert len(rows) == MOST_REASONS + 1
    assert [row[2] for row in rows if row[1] == "drift"] == ["6"], "the frequent ones stay"
    n_flags = data.all["warning_flags"].explode().nunique()
    assert rows[-1][1] == f"and {n_flags - MOST_REASONS:,} more"
    (first,) = [card for card in trial_rows(data) if any("more flags" in why for why in card.why)]
    assert len(first.why) < 50
