"""`python -m orchestrator` and `orchestrator`: the command line in a process of its own."""

from __future__ import annotations

import sys

from orchestrator import process_end


def run() -> None:
    """Run the command line and end the process with its exit code."""
    # before the modules are imported, which takes a moment
    if sys.argv[1:2] == ["tune"]:
        process_end.at_first_signal()
    code: object = 0
    try:
        from orchestrator.cli import main

        main()
    except SystemExit as ended:
        code = ended.code
    except KeyboardInterrupt:
        code = process_end.INTERRUPTED
    process_end.end(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    run()
