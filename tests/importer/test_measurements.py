"""What only all imported files together show: each row has one fate, and overlaps are found."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.importer.measurements import OVERLAP_S, Window, measurements, overlapping_windows

HEAD = "timestamp,run_id,duration,energy_consumed,gpu_energy,gpu_model\n"
GOOD = st.builds(
    lambda run, minute: f'2024-03-01T10:{minute:02}:00,r{run},60.5,0.001,0.0005,"a ""b"" c"',
    st.integers(0, 5),
    st.integers(0, 9),
)


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    """A row, maybe with a fault of those that crashes, editors and spreadsheets make."""
    text = draw(GOOD)
    place = draw(st.integers(0, len(text)))
    fault = draw(st.sampled_from(["", "", "", "cut", "quote", "zeros", "cell", "word", "byte"]))
    if fault == "cut":
        text = text[: max(1, place)]
    elif fault == "quote":
        text = text[:place] + '"' + text[place:]
    elif fault == "zeros":
        text = text[:place] + "\0" * 5 + text[place:]
    elif fault == "cell":
        text += ",more"
    elif fault == "word":
        text = text.replace("60.5", draw(st.sampled_from(["12 s", "None", "", "-1", "inf"])))
    data = text.encode()
    if fault == "byte":
        data = data[:place] + b"\xff\xc3\xa9\xff" + data[place:]
    return data


@given(st.lists(st.lists(lines(), max_size=12), min_size=1, max_size=3))
def test_every_row_is_read_or_left_out_or_the_same(files: list[list[bytes]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        copies = {}
        for number, content in enumerate(files):
            file = Path(folder, f"emissions_{number}.csv")
            file.write_bytes(HEAD.encode() + b"".join(line + b"\n" for line in content))
            copies[f"pc/m/s/u/{file.name}"] = file
        found = measurements(copies, lambda _: True)
    n_of_file = {name: len(content) for name, content in zip(copies, files, strict=True)}
    for name, n_rows in n_of_file.items():
        n_read = sum(row.execution.startswith(f"imported/{name}#") for row in found.rows)
        assert n_read + len(found.faults[name]) + found.n_same[name] == n_rows
    for row in found.rows:
        assert (row.window_s, row.energy_kwh) == (60.5, 0.001)


windows = st.lists(
    st.builds(
        lambda began, length, run: (began, began + length, f"r{run}"),
        st.integers(0, 30),
        st.integers(0, 10),
        st.integers(0, 3),
    ),
    max_size=12,
).map(lambda found: [Window(*one, place) for place, one in enumerate(found)])


@given(windows)
def test_overlaps_are_those_that_each_pair_shows(found: list[Window]) -> None:
    expected = set()
    for one in found:
        for other in found:
            overlap_s = min(one.ended_s, other.ended_s) - max(one.began_s, other.began_s)
            if one.run != other.run and overlap_s > OVERLAP_S:
                expected.add(one.place)
    assert overlapping_windows(found) == expected
