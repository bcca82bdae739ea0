"""Reading emissions.csv of any version, also after a spreadsheet has saved it."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.dataset.trial_texts import CODECARBON_FIELDS
from orchestrator.importer.emissions_files import NOTHING, NUMBERS, Fault, read_emissions
from tests import builders

numbers = st.floats(min_value=0, max_value=1e12)
cells = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20).filter(
    lambda text: text == text.strip() and text.lower() not in NOTHING
)


@st.composite
def rows(draw: st.DrawFn) -> tuple[list[str], list[dict[str, float | str]]]:
    """Columns in any order, with the needed ones among them, and rows under them."""
    optional = draw(
        st.lists(
            st.sampled_from([*CODECARBON_FIELDS, "codecarbon_version", "water_consumed"]),
            unique=True,
        )
    )
    names = draw(st.permutations(sorted({"duration", "energy_consumed", *optional})))
    values = [
        {name: draw(numbers if name in NUMBERS else cells) for name in names}
        for _ in range(draw(st.integers(min_value=1, max_value=4)))
    ]
    values[0]["duration"] = 0.5  # shows the decimal sign of the file
    return names, values


@given(
    rows(),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.booleans(),
)
def test_round_trip(
    table: tuple[list[str], list[dict[str, float | str]]],
    delimiter: str,
    encoding: str,
    report: bool,
) -> None:
    names, values = table
    spelt = {"run_id": "run-id", "tracking_mode": "Tracking_mode"} if report else {}
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter)
    writer.writerow([spelt.get(name, name) for name in names])
    for row in values:
        written = [repr(value) if isinstance(value, float) else value for value in row.values()]
        writer.writerow(
            [
                cell if delimiter == "," or name not in NUMBERS else cell.replace(".", ",")
                for name, cell in zip(names, written, strict=True)
            ]
        )
    read = read_emissions(out.getvalue().encode(encoding))
    assert read.faults == ()
    assert read.reading.startswith(encoding.replace("utf", "UTF").replace("-sig", " with byte"))
    assert [row.numbers | row.texts for row in read.rows] == values


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_in_a_sentence(data: bytes) -> None:
    try:
        read_emissions(data)
    except ValueError as error:
        assert "\n" not in str(error)


HEADER = "duration,energy_consumed,gpu_model"
CELLS = "has more or fewer cells than there are columns; complete the row or remove it"
QUOTE = "has a quote that isn't closed, or that stands within a cell"


@pytest.mark.parametrize(
    ("row", "reason", "found"),
    [
        ("1,2", CELLS, "2 cells under 3 columns"),
        ("1,2,x,y", CELLS, "4 cells under 3 columns"),
        ("1,,x", "energy_consumed: is empty", ""),
        ("1,-2,x", "energy_consumed: must be 0 or more, and finite", "-2"),
        ("1,nan,x", "energy_consumed: is no number", "nan"),
        ("inf,2,x", "duration: is no number", "inf"),
        ("1e999,2,x", "duration: must be 0 or more, and finite", "1e999"),
        ("1_0,2,x", "duration: is no number", "1_0"),
        ("12 s,2,x", "duration: is no number", "12 s"),
        ('"1,5",2,x', "duration: has no decimal point, as the file's numbers have", "1,5"),
        (
            '"1,500",2,x',
            "duration: may have decimals or thousands; write it without a separator",
            "1,500",
        ),
        ('1,2,"x', QUOTE, ""),
        ("1,2,\0\0", "holds zero bytes, as a crash leaves them", ""),
    ],
)
def test_a_bad_row_is_listed_and_loses_no_other(row: str, reason: str, found: str) -> None:
    read = read_emissions(f"{HEADER}\n1.5,2,a\n{row}\n\n3,4,b\n".encode())
    assert read.faults == (Fault(3, reason, found),)
    assert [(one.number, one.line, one.texts["gpu_model"]) for one in read.rows] == [
        (1, 2, "a"),
        (3, 5, "b"),
    ]
    assert read.n_rows == 3


def test_joined_files_and_old_encodings() -> None:
    read = read_emissions(f"{HEADER}\n1,2,a\n{HEADER}\n3,4,caffè\n".encode("cp1252"))
    assert [row.texts["gpu_model"] for row in read.rows] == ["a", "caffè"]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty"),
        (b"a,b\n1,2\n", "has no column duration and energy_consumed"),
        (b"duration,energy_consumed,duration\n", "has two columns duration"),
        (b"\0\0\0\0", "is empty"),
    ],
)
def test_what_is_no_emissions_csv(data: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read_emissions(data)


def test_codecarbons_own_columns() -> None:
    row = builders.codecarbon(duration=2.5, energy_consumed=1e-6, gpu_model="Tesla T4")
    text = (
        ",".join(row)
        + "\n"
        + ",".join("" if value is None else str(value) for value in row.values())
    )
    (read,) = read_emissions(text.encode()).rows
    assert read.numbers["energy_consumed"] == 1e-6
    assert read.texts["gpu_model"] == "Tesla T4"
