"""Looks of groups: legible on paper and on a screen, never twice the same."""

from __future__ import annotations

from orchestrator.report.looks import COLOURS, TEXT, looks, short_names


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.1)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(a * b for a, b in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_colours_stand_out_from_white_and_from_the_dark_ground() -> None:
    for colour in set(COLOURS) - {TEXT}:
        for ground in ("#ffffff", "#16181d"):
            light, dark = sorted((luminance(colour), luminance(ground)), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 3, (colour, ground)


def test_no_two_of_many_groups_have_the_same_look() -> None:
    names = [f"group {i:02d}" for i in range(49)]
    assert len(set(looks(names).values())) == 49
    first = list(looks(names[:7]).values())
    assert len({colour for colour, _ in first}) == len({shape for _, shape in first}) == 7


def test_the_machine_is_named_where_there_are_several() -> None:
    assert short_names(["pc / a / nf4", "pc / b / none"]) == {
        "pc / a / nf4": "a / nf4",
        "pc / b / none": "b / none",
    }
    both = ["pc / a / nf4", "hpc / a / nf4"]
    assert short_names(both) == {name: name for name in both}
