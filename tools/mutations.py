"""Break the measurement on purpose, one way at a time: does a test notice?

    python -m tools.mutations [NAME ...]

Copies the checkout's package and tests to a temporary folder, writes one mutation of
`tools/mutation_table.py` at a time into the copy, runs the tests that must fail then, and prints a
table of which one did. The checkout itself is never written.

Exit status 3: a mutation survived, or the table is out of date (the text that a mutation replaces
isn't in its file exactly once, or its tests are missing or fail already without it).
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tools.mutation_table import MUTATIONS, Mutation

ROOT = Path(__file__).parents[1]
COPIED = ("orchestrator", "tests", "search_spaces", "prompts", "clusters", "tools")
TEST_S = 60
"""A test that takes longer has failed: a mutation may make one wait for ever."""
RUN = """
import sys
from pathlib import Path
import orchestrator, pytest
assert Path(orchestrator.__file__).is_relative_to(Path.cwd()), "another package would be tested"
sys.exit(pytest.main(sys.argv[1:]))
"""
FAILED = re.compile(r"^FAILED tests/(.+?)(?: - .*)?$", re.MULTILINE)


def copy_to(folder: Path) -> None:
    """Copy all that the tests need."""
    for name in COPIED:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)


def out_of_date(mutation: Mutation) -> str | None:
    """What of a mutation the checkout no longer has, in words; None: all is there."""
    n_found = (ROOT / mutation.file).read_text(encoding="utf-8").count(mutation.old)
    if n_found != 1:
        return f"{mutation.name}: its text stands {n_found} times in {mutation.file}, not once"
    for test in mutation.tests:
        file, _, name = test.partition("::")
        path, function = ROOT / file, name.partition("[")[0]
        if not path.is_file() or f"def {function}(" not in path.read_text(encoding="utf-8"):
            return f"{mutation.name}: there is no {test}"
    return None


def run_tests(folder: Path, tests: Sequence[str]) -> tuple[int, str]:
    """Run tests on a copy until one fails. Gives pytest's exit status and what it printed."""
    options = ("-x", "-q", "-n", "0", "-rf", "--tb=line", f"--timeout={TEST_S}")
    done = subprocess.run(
        [sys.executable, "-c", RUN, *options, "-p", "no:cacheprovider", *tests],
        cwd=folder,
        # tests start processes of their own, which must find the copy, too; bytecode of a file
        # that was changed within a second would be taken for that of the new one
        env=os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def caught_by(folder: Path, mutation: Mutation) -> str | None:
    """The first test that fails on a mutated copy; None: the mutation survives.

    Raises:
        SystemExit: The tests couldn't run.
    """
    path = folder / mutation.file
    original = path.read_text(encoding="utf-8")
    path.write_text(original.replace(mutation.old, mutation.new), encoding="utf-8")
    try:
        status, printed = run_tests(folder, mutation.tests)
    finally:
        path.write_text(original, encoding="utf-8")
    failed = FAILED.search(printed)
    if status == 1 and failed:
        return failed[1]
    if status == 0:
        return None
    print(f"{mutation.name}: the tests can't run (pytest: {status})\n{printed}")
    raise SystemExit(3)


def check(mutations: Sequence[Mutation]) -> None:
    """Print a table of mutations and what caught them.

    Raises:
        SystemExit: 3 where one survives or the table is out of date.
    """
    if faults := [fault for one in mutations if (fault := out_of_date(one))]:
        print("\n".join(faults))
        raise SystemExit(3)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary).resolve()
        copy_to(folder)
        status, printed = run_tests(folder, sorted({t for one in mutations for t in one.tests}))
        if status != 0:
            print(f"without any mutation these tests must pass:\n{printed}")
            raise SystemExit(3)
        print("| mutation | what must hold | caught by | s |\n|---|---|---|---|")
        survivors = 0
        for mutation in mutations:
            began_s = time.perf_counter()
            test = caught_by(folder, mutation)
            took_s = time.perf_counter() - began_s
            survivors += test is None
            row = (mutation.name, mutation.rule, test or "**SURVIVED**", f"{took_s:.0f}")
            print(f"| {' | '.join(row)} |", flush=True)
    print(f"\n{len(mutations) - survivors} of {len(mutations)} mutations are caught.")
    if survivors:
        raise SystemExit(3)


def main(arguments: Sequence[str] | None = None) -> None:
    """Check the mutations that are named, or all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    names = [mutation.name for mutation in MUTATIONS]
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"of: {', '.join(names)}")
    named = parser.parse_args(arguments).names
    if unknown := sorted(set(named) - set(names)):
        parser.error(f"there is no mutation {unknown[0]}; there are: {', '.join(names)}")
    check([mutation for mutation in MUTATIONS if not named or mutation.name in named])


if __name__ == "__main__":
    main()
