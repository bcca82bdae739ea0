"""README.md of a published data set: the data card, for the Hugging Face Hub and for a person."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator import __version__
from orchestrator.dataset.gross_energy import COVERAGE, NO_ERROR
from orchestrator.dataset.markdown import markdown_table, markdown_text
from orchestrator.dataset.parquet import as_text
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.schema import ExecutionRow
from orchestrator.nouns import columns_of
from orchestrator.packages import repository_url
from orchestrator.publish.card_figures import (
    GROUP,
    TABLES,
    WHERE_THEY_DIFFER,
    Content,
    Group,
)
from orchestrator.publish.conclusions import Conclusions
from orchestrator.publish.publication import Publication

if TYPE_CHECKING:
    from huggingface_hub import DatasetCardData

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
"""The hub's size categories, each with the number of rows below which it applies."""
TRUST = {
    "gpu_energy_counter_j": "measured by the GPU's energy counter (sensor gain within about 5 %)",
    "gpu_energy_integrated_j": "measured: the GPU's power, polled and integrated over time",
    "energy_j": "CodeCarbon's total of CPU and RAM: as good as its worst part, and RAM is always "
    "an estimate",
    "none": "not measured",
}
"""How far an energy can be trusted, by its basis."""
READING = (
    "`orchestrator report` says the same, with charts. Intervals of effects are 95 % intervals. "
    "Answers are the executions that ended with a text, usable or not, and whose measurement is "
    "not in doubt."
)
EXAMPLE = (
    "use_case",
    "prompt_text",
    "max_length",
    "top_p",
    "top_k",
    "temperature",
    "n_new_tokens",
    "window_s",
    "energy_basis",
    "energy_per_token_j",
    "energy_rel_uncertainty",
    "warning_flags",
    "usable",
    "output_text",
)
"""Columns that the example row shows."""
MOST_CHARACTERS = 300
"""Of a prompt or a text that the card shows."""
MOST_PROMPTS = 50
"""That the card shows."""
METERS_HEAD = ("machine", "GPU", "energy basis", "CPU method", "executions", "trust")


def card(publication: Publication, content: Content, conclusions: Conclusions) -> str:
    """The whole file: metadata in YAML, then the text in Markdown."""
    from huggingface_hub import DatasetCard

    whole = DatasetCard.from_template(
        _metadata(publication, content),
        template_str="---\n{{ card_data }}\n---\n{{ text }}",
        text=_text(publication, content, conclusions),
    )
    return str(whole)


def _text(publication: Publication, content: Content, conclusions: Conclusions) -> str:
    """The card without its metadata."""
    return f"""# {markdown_text(publication.title)}
How much energy large language models need to answer prompts, depending on the generation
hyperparameters `max_length`, `top_p`, `top_k` and `temperature`: {content.executions} executions
(one prompt under one configuration, in one measurement window) of {content.trials} trials, with
the generated texts. Measured with {_program(content)}; the newest measurement is from
{content.date}.

## What the data say
{_chart(conclusions)}{_conclusions(conclusions)}
{_example(content)}{_prompts(content)}
## Use it
```python
from datasets import load_dataset

folder = {_folder(publication)}
{_loads(content)}
```
[data-dictionary.md](data-dictionary.md) has the meaning, unit and type of every column, and what
null means there. `trial.json` in each folder `<machine>/<model>/<strategy>/<useCase>/<trial>/`
holds everything about a trial; the tables are made from these files.
`sha256sum -c checksums.sha256` checks a copy.

## What it holds
{_groups(content)}

`discarded` texts were judged unusable by rules or by a person (columns `usable`, `reasons`,
`decided_by`). They stay in executions.parquet, but no sum in summary.parquet counts them. Energies
are sums over ok executions of the column that `energy_basis` names (see below){_gaps(content)}.
They are gross (idle power included); those of different bases are not added.
{COVERAGE}; {NO_ERROR}.
{_imported(content)}
## How it was measured
In this order: tokenize the prompt, wait until the GPU is idle, start the meters, generate, wait
until the GPU is idle, stop the meters, decode. So a measurement window holds nothing but
generation; models are loaded and warmed up before it. `energy_per_token_j` is the energy that
`energy_basis` names, divided by the number of new tokens. What is unknown is null, with the reason
in `notes`; it is never 0.

{markdown_table(METERS_HEAD, _meters(content))}

Flags in these rows: {_flags(content)}.
{_reproduce(content)}
## Limits
- CPU energy is measured only where `cpu_method` is `rapl`; elsewhere CodeCarbon estimates it, as it
  always does for RAM.
- Energies of different machines can be compared only where their `energy_basis` is the same.
- Energy depends mainly on length: compare `energy_per_token_j`, or configurations of equal length.
- Models wrote the texts. They may be false; they were checked for usability only.

## Licence
The measurements: [{publication.licence.name}]({publication.licence.url}). The texts:
{_licences(content)}

## How to cite
```bibtex
{bibtex(publication, content)}
```
`CITATION.cff` says the same. If the data set has a DOI from Zenodo or the hub, cite that.
"""


def _program(content: Content) -> str:
    """The program that measured, with its versions and where its source is."""
    versions = ", ".join(sorted(content.programs)) or __version__
    name = f"llm-energy-orchestrator {markdown_text(versions)}"
    url = repository_url()
    return f"[{name}]({url})" if url else name


def _folder(publication: Publication) -> str:
    """What load_dataset is given, as Python."""
    if publication.hub_name:
        return f'"{publication.hub_name}"  # or "." in a copy of this folder'
    return '"."  # or the data set\'s name on the hub'


def _chart(conclusions: Conclusions) -> str:
    """The picture of a chart and what it says; "" without one."""
    chart = conclusions.chart
    if chart is None:
        return ""
    # the title is the program's own, the sentences name models and machines
    picture = f"![{markdown_text(chart.description)}]({DataSetPaths(Path()).chart})"
    said = f"{chart.title}. {markdown_text(chart.message)}".rstrip()
    return f"{picture}\n\n*{said}*\n\n"


def _example(content: Content) -> str:
    """A row of executions.parquet, a line a column, with what the columns mean."""
    row = content.example
    if row is None:
        return ""
    names = list(EXAMPLE)
    if row["energy_basis"] is not None:
        names.insert(names.index("energy_basis") + 1, row["energy_basis"])
    columns = {name: column for name, _, column in columns_of(ExecutionRow)}
    lines = [(name, _cell(row[name]), columns[name].unit, columns[name].meaning) for name in names]
    table = markdown_table(("column", "value", "unit", "meaning"), lines)
    return f"\n## An example: one of {content.executions} rows\n{table}\n"


def _cell(value: object) -> str:
    """A value of a row, as short as a person reads it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, tuple):
        return as_text(value)
    return _shortened(str(value))


def _shortened(text: str) -> str:
    """The beginning of a long text."""
    if len(text) <= MOST_CHARACTERS:
        return text
    return text[:MOST_CHARACTERS].rstrip() + " ..."


def _prompts(content: Content) -> str:
    """The prompts that were measured, or the first of them."""
    prompts = sorted(content.prompts)
    if not prompts:
        return ""
    shown = [(*place, _shortened(text)) for *place, text in prompts[:MOST_PROMPTS]]
    more = ""
    if len(prompts) > MOST_PROMPTS:
        more = f"\n\nand {len(prompts) - MOST_PROMPTS} more: column `prompt_text`."
    return f"\n## Prompts\n{markdown_table(('use case', 'number', 'prompt'), shown)}{more}\n"


def _reproduce(content: Content) -> str:
    """How to run the same sweeps elsewhere; "" where no plan is there."""
    if not content.plans:
        return ""
    plans = [DataSetPaths(Path()).sweep(plan).as_posix() for plan in content.plans]
    commands = [f"orchestrator tune --plan {plan} --out ../again" for plan in plans]
    lines = "\n".join(commands)
    return f"""
## Reproduce
```bash
{lines}
orchestrator report --compare . ../again
```
runs the same trials (models, prompts, configurations, seeds, order) on another machine, into a data
set of its own, and sets both side by side. Energies are that machine's; texts are the same only on
the same kind of device with the same software: {_software(content)}.
Install {_program(content)}.
"""


def bibtex(publication: Publication, content: Content) -> str:
    """The BibTeX entry of the data set."""
    authors = " and ".join(author.name for author in publication.authors) or "anonymous"
    fields = {
        "title": publication.title,
        "author": authors,
        "year": content.date[:4],
        "version": publication.version(content),
    }
    if publication.url:
        fields["url"] = publication.url
    fields = {name: _tex(value) for name, value in fields.items()}
    lines = [
        f"  {name} = {{{value}}},"
        for name, value in (fields | {"title": "{" + fields["title"] + "}"}).items()
    ]
    return "\n".join([f"@misc{{llm-energy-{content.date},", *lines, "}"])


def _licences(content: Content) -> str:
    """The licences of the models as a table."""
    if not content.licences:
        return "there are none."
    return markdown_table(("model", "terms of its maker"), sorted(content.licences.items()))


def _metadata(publication: Publication, content: Content) -> DatasetCardData:
    """The card's metadata, in the hub's own words."""
    from huggingface_hub import DatasetCardData

    configs = [{"config_name": name, "data_files": f"{name}.parquet"} for name in content.tables]
    size = next((name for limit, name in SIZES if content.executions < limit), "1M<n<10M")
    return DatasetCardData(
        language=sorted(content.languages) or ["und"],
        license=publication.licence.hub,
        size_categories=[size],
        task_categories=["text-generation"],
        pretty_name=publication.title,
        tags=["energy", "llm", "inference", "hyperparameters", "codecarbon", "sustainability"],
        configs=[{**configs[0], "default": True}, *configs[1:]],
    )


def _loads(content: Content) -> str:
    """A line of Python for each table, which loads it."""
    return "\n".join(
        f'{name} = load_dataset(folder, "{name}", split="train")  # {TABLES[name]}'
        for name in content.tables
    )


def _groups(content: Content) -> str:
    """Counts and energies of each group as a table, with a line of totals."""
    shown = [
        i
        for i, name in enumerate(GROUP)
        if name not in WHERE_THEY_DIFFER or len({names[i] for names in content.groups}) > 1
    ]
    head = (
        *(GROUP[i] for i in shown),
        "executions",
        "ok",
        "evaluated",
        "discarded",
        "gross energy",
        "of it on discarded",
    )
    rows: list[Sequence[object]] = [
        (*(names[i] for i in shown), *_figures(group))
        for names, group in sorted(content.groups.items())
    ]
    rows.append(("all", *[""] * (len(shown) - 1), *_figures(content.whole)))
    return markdown_table(head, rows)


def _figures(group: Group) -> tuple[object, ...]:
    """The cells of one group: counts, then energies with what they are of."""
    # without an evaluation nothing can be discarded
    wasted = "not evaluated"
    if group.evaluated:
        wasted = group.wasted.now().text() if group.discarded else "0 J"
    counts = (group.executions, group.ok, group.evaluated, group.discarded)
    return (*counts, group.energies.now().text(), wasted)


def _software(content: Content) -> str:
    """The packages that generated and measured, with their versions."""
    return markdown_text(", ".join(sorted(content.versions)) or "not recorded")


def _meters(content: Content) -> list[Sequence[object]]:
    """Rows (meter columns ..., executions, how far to trust it)."""
    return [(*names, n, TRUST.get(names[2], "")) for names, n in sorted(content.meters.items())]


def _flags(content: Content) -> str:
    """The warning flags that occur, with their counts."""
    return (
        ", ".join(f"`{markdown_text(flag)}` ({n})" for flag, n in sorted(content.flags.items()))
        or "none"
    )


def _gaps(content: Content) -> str:
    """A half-sentence on executions without an energy; "" where there are none."""
    missing = content.whole.energies.now().n_unmeasured
    if not missing:
        return ""
    return f"; {missing} of them were not measured and are in no sum"


def _conclusions(conclusions: Conclusions) -> str:
    """What to know before any number, then the findings, as lists."""
    if not conclusions.findings:
        conclusions = Conclusions(
            conclusions.warnings,
            [("Nothing", ["This program has measured no answer in this data set."])],
        )
    parts = list(conclusions.findings)
    if conclusions.warnings:
        parts.insert(0, ("Before any number", conclusions.warnings))
    lists = []
    for heading, sentences in parts:
        lines = [f"- {markdown_text(sentence)}" for sentence in sentences]
        lists.append("\n".join([f"**{heading}**", *lines]))
    return "\n\n".join([*lists, READING])


def _imported(content: Content) -> str:
    """A paragraph on imported measurements; "" where there are none."""
    if not content.imported:
        return ""
    return (
        f"\nimported.parquet holds {content.imported} more measurements that were made without "
        "this program. What was not recorded then is null, and no figure on this page counts "
        "them. `imported/import.json` says where they come from.\n"
    )


def _tex(text: str) -> str:
    """Untrusted text as the value of a BibTeX field: TeX's special characters have no effect."""
    return "".join(filter(str.isprintable, text)).translate(TEX)


TEX = str.maketrans(
    {
        "\\": " ",
        "{": "(",
        "}": ")",
        "`": "'",
        "&": "\\&",
        "%": "\\%",
        "$": "\\$",
        "#": "\\#",
        "_": "\\_",
    }
)
"""Special character of TeX -> what stands for it in a field."""
