"""The figures of a source text that was counted by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.code_figures import HEADER, Figures, figures_of, main

SOURCE = """\
'''Two functions and one inside the other. # this is no comment'''
import os  # noqa: one comment

# another comment

@decorated
def outer(a, b, *rest):
    '''A function with another inside.'''
    if a and b or rest:
        return [x for x in rest if x]
    elif a:
        with open(a) as stream:
            return stream

    def inner(c):
        for d in c:
            assert d
        return 1 if c else 2

    try:
        return inner(b)
    except OSError:
        return None


async def other(c):
    while c:
        match c:
            case 1: return
            case _: c -= 1

LONG = 'a line of more than one hundred characters'
CHOICE = 1 if LONG else 2
""".replace("one hundred", "one hundred " * 10)
OUTER_LINES, INNER_LINES, OTHER_LINES = 17, 4, 5

OUTER = 1 + 1 + 2 + 1 + 1 + 1 + 1 + 1
"""The function, `if`, `and` and `or`, `for` and `if` in the list, `elif`, `with`, `except`."""
INNER = 1 + 1 + 1 + 1
"""The function, `for`, `assert`, the conditional expression."""
OTHER = 1 + 1 + 2
"""The function, `while`, two `case`s."""


def of_text(source: str) -> Figures:
    figures = Figures()
    figures.add(source)
    return figures


def test_lines_of_functions_are_counted_from_def_with_docstring_and_blank_lines() -> None:
    figures = of_text(SOURCE)
    assert sorted(figures.function_lines) == [INNER_LINES, OTHER_LINES, OUTER_LINES]
    assert figures.median_lines == OTHER_LINES


def test_nested_functions_count_on_their_own_and_in_the_function_around_them() -> None:
    figures = of_text(SOURCE)
    assert figures.n_branches == OUTER + (INNER - 1) + INNER + OTHER
    lines = OUTER_LINES + INNER_LINES + OTHER_LINES
    assert figures.branches_per_100_lines == pytest.approx(100 * figures.n_branches / lines)


def test_shares_are_of_the_lines_that_are_not_blank() -> None:
    figures = of_text(SOURCE)
    assert (figures.n_lines, figures.n_long_lines, figures.n_comments) == (26, 1, 2)
    assert figures.long_lines_percent == pytest.approx(100 / 26)
    assert figures.comments_per_100_lines == pytest.approx(200 / 26)
    assert figures.conditional_expressions_per_100_functions == pytest.approx(200 / 3)


@pytest.mark.parametrize(("n", "p90"), [(1, 1), (9, 9), (10, 10), (11, 10), (20, 19)])
def test_nine_tenths_of_the_functions_are_at_most_as_long_as_p90(n: int, p90: int) -> None:
    assert Figures(function_lines=list(range(n, 0, -1))).p90_lines == p90


def test_folders_of_tests_are_left_out(tmp_path: Path) -> None:
    package = tmp_path / "tests" / "package"  # a folder above the package may have any name
    for name in ("one.py", "inside/two.py", "tests/test_one.py", "inside/notes.txt"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text("def f(): pass\n")
    assert figures_of(package).n_files == 2


def test_each_folder_is_a_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "one.py").write_text(SOURCE)
    main([str(tmp_path), str(tmp_path)])
    head, line, *rows = capsys.readouterr().out.splitlines()
    assert f"{head}\n{line}" == HEADER
    assert rows == [f"| {tmp_path} | 1 | 3 | 5 / 17 / 17 | 76.9 | 3.8 % | 67 | 7.7 |"] * 2
    assert {text.count("|") for text in (head, line, *rows)} == {9}


def test_a_folder_without_functions_has_no_figures(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"no function in any \.py file there"):
        main([str(tmp_path)])
