"""What the program says of itself: one source, compared with `tests/help/` at a fixed width.

After a change that is meant: `python tests/cli/test_cli_help.py` writes those files again; look at the difference.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cli_program import brain_edge, child, child_environment

from brain_edge import __version__
from brain_edge.cli.main import COMMANDS

FOLDER = Path(__file__).parents[1] / "help"
WIDTH = "100"
COHORT_CALLS = ("create", "check", "fetch", "synthesize")
SPEC_CALLS = ("new", "check", "schema")
CALLS = [
    (),
    *((name,) for name in COMMANDS),
    *(("cohort", name) for name in COHORT_CALLS),
    *(("spec", name) for name in SPEC_CALLS),
]
HEAVY = ("numpy", "scipy", "nibabel", "openvino", "msgspec", "torch", "nncf", "matplotlib", "brain_edge_conversion")


def help_of(call: tuple[str, ...]) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", WIDTH)
        done = brain_edge(*call, "--help")
    assert (done.code, done.err) == (0, "")
    return done.out


def golden(call: tuple[str, ...]) -> Path:
    return FOLDER / f"{'-'.join(('brain-edge', *call))}.txt"


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_help_is_what_was_agreed_on(call):
    assert help_of(call).splitlines() == golden(call).read_text(encoding="utf-8").splitlines()


def test_there_is_no_help_file_of_a_command_that_is_gone():
    assert {path.name for path in FOLDER.iterdir()} == {golden(call).name for call in CALLS}


def test_help_imports_nothing_heavy():
    """So that `--help` and a mistyped option answer at once, on a machine without the build side too."""
    program = f"""
import sys
from brain_edge.cli import main
for call in {CALLS!r}:
    sys.argv = ["brain-edge", *call, "--help"]
    try:
        main()
    except SystemExit as ended:
        assert ended.code == 0, call
print(*sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=child_environment(), check=True
    )
    assert done.stderr.split() == []


def test_short_help_is_help():
    assert brain_edge("-h").out == brain_edge("--help").out
    assert brain_edge("run", "-h").out == brain_edge("run", "--help").out


def test_the_module_is_the_same_program():
    """`python -m brain_edge` for where the script is not on the path, even by name in its help."""
    done = child("run", "--help")
    assert done.code == 0
    assert done.out.startswith("Usage: brain-edge run ")


def test_version():
    done = brain_edge("--version")
    assert (done.code, done.out) == (0, f"brain-edge, version {__version__}\n")


def test_without_a_command_there_is_help_and_the_exit_code_of_wrong_usage():
    done = brain_edge()
    assert (done.code, done.out) == (2, "")
    assert "Commands:" in done.err


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for asked in CALLS:
        golden(asked).write_text(help_of(asked), encoding="utf-8")
