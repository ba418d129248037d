"""Below an error stands the word that was meant, what another program's option is called here, or what to make."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from cli_program import child_command, child_environment, make_package, refused, save_phantom, succeed
from test_cli_run import read_terminal

from brain_edge.cli.hints import ELSEWHERE
from brain_edge.cli.run import command as run
from brain_edge.package.find import PACKAGES_VARIABLE

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def packages(tmp_path_factory) -> Path:
    """A folder of packages with one, tiny-int8."""
    return make_package(tmp_path_factory.mktemp("packages") / "tiny-int8").folder.parent


@pytest.fixture
def here(packages, tmp_path, monkeypatch) -> Path:
    """A current folder with a head; the package lies elsewhere and is found by its name."""
    monkeypatch.setenv(PACKAGES_VARIABLE, str(packages))
    monkeypatch.chdir(tmp_path)
    return save_phantom(tmp_path / "head.nii.gz").parent


def hint(code: int, *arguments: object) -> str:
    """The line below the error."""
    last = refused(code, *arguments).splitlines()[-1]
    assert last.startswith("hint: "), last
    return last.removeprefix("hint: ")


@pytest.mark.usefixtures("here")
class TestWords:
    @pytest.mark.parametrize(("typed", "meant"), [("runn", "run"), ("quantise", "quantize"), ("recipe", "recipes")])
    def test_a_command(self, typed, meant):
        assert hint(2, typed, "x") == f"did you mean {meant}?"

    def test_none_for_a_name_that_is_too_long_to_exist(self):
        assert "nowhere: expected a package" in refused(5, "run", "nowhere", f"{'n' * 300}.nii.gz", "-o", "m.nii.gz")

    def test_an_option(self):
        assert "Did you mean '--strict'?" in refused(2, "run", "tiny-int8", "head.nii.gz", "--strickt")

    @pytest.mark.parametrize("typed", ["tiny-int9", "tinyint8", "tyni-int8"])
    def test_a_package(self, typed):
        assert hint(5, "run", typed, "head.nii.gz", "-o", "m.nii.gz") == "did you mean tiny-int8?"

    def test_a_recipe(self):
        assert "did you mean deepbet?" in refused(2, "convert", "deepbt")

    def test_a_command_that_is_left_out(self):
        words = ("-i", "head.nii.gz", "-o", "mask.nii.gz")
        assert hint(2, *words) == f"name a command first: brain-edge run PACKAGE {' '.join(words)}"
        assert hint(2, "head.nii.gz").startswith("name a command first: brain-edge run head.nii.gz")
        assert hint(2, "-i", "head.nii.gz", "run") == "name a command first: brain-edge run PACKAGE -i head.nii.gz"

    def test_package_and_image_exchanged(self):
        said = hint(5, "run", "head.nii.gz", "tiny-int8", "-o", "m.nii.gz")
        assert said == "the package comes before the images: brain-edge run tiny-int8 head.nii.gz"
        assert hint(5, "run", "head.nii.gz", "head.nii.gz", "-o", "m.nii.gz") == "the package comes before the images"

    @pytest.mark.parametrize("name", ["deepbet", "deepbet-int8", "deepbet-fp32"])
    def test_a_recipe_in_place_of_a_package(self, name):
        said = hint(5, "verify", name)
        assert "brain-edge convert deepbet, then brain-edge quantize deepbet-fp32 --max-dice-drop 0.01" in said
        assert hint(5, "run", "head.nii.gz", name, "-o", "m") == "the package comes before the images"

    @pytest.mark.parametrize("name", ["nobody", "../x", "_tumour", "os", "deep.bet"])
    def test_where_nothing_is_near_nothing_is_added(self, name):
        assert refused(5, "verify", name).count("\n") == 1


@pytest.mark.usefixtures("here")
class TestOtherPrograms:
    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (["-i", "head.nii.gz", "-m", "mask.nii.gz"], "the mask is -o OUT"),
            (["-i", "head.nii.gz", "-o", "m.nii.gz", "-device", "cpu"], "every run is on the CPU"),
            (["-i", "head.nii.gz", "-o", "m.nii.gz", "--gpu"], "every run is on the CPU"),
            (["-i", "head.nii.gz", "-o", "m.nii.gz", "--disable_tta"], "the package states its mirrorings"),
            (["-i", "head.nii.gz", "-o", "m.nii.gz", "--model", "x"], "the model is PACKAGE"),
            (["-i", "head.nii.gz", "-o", "m.nii.gz", "-b", "2"], "--border MM"),
        ],
        ids=lambda value: value if isinstance(value, str) else None,
    )
    def test_an_option_is_explained(self, options, words):
        assert words in hint(2, "run", *options)

    def test_none_of_them_is_an_option_of_run(self):
        own = {name for parameter in run.params for name in (*parameter.opts, *parameter.secondary_opts)}
        assert not own & ELSEWHERE.keys()

    def test_the_call_of_hd_bet_runs_with_the_only_package_there_is(self, here):
        done = succeed("run", "-i", "head.nii.gz", "-o", "mask.nii.gz")
        assert done.out.startswith("mask.nii.gz: brain ")
        assert (here / "mask.nii.gz").is_file()


def shown_on_a_terminal(environment: dict[str, str], *arguments: object) -> str:
    pty = pytest.importorskip("pty", reason="a terminal of its own is a POSIX thing")
    leader, follower = pty.openpty()
    environment = {**child_environment(), "TERM": "xterm", **environment}
    with subprocess.Popen(child_command(*arguments), stderr=follower, env=environment) as process:
        os.close(follower)
        return read_terminal(leader) if process.wait() else ""


def test_an_error_has_a_colour_on_a_terminal_unless_no_color_is_set(tmp_path):
    """And no colour where stderr is a file, as everywhere else in these tests."""
    call = ("verify", tmp_path / "nowhere")
    assert "\x1b[31m\x1b[1merror:\x1b[0m " in shown_on_a_terminal({"NO_COLOR": ""}, *call)
    assert "\x1b" not in shown_on_a_terminal({"NO_COLOR": "1"}, *call)
    assert "\x1b" not in refused(5, *call)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("words", "position", "wanted"),
    [("brain-edge ver", 1, "plain,verify"), ("brain-edge run --overw", 2, "plain,--overwrite")],
)
def test_a_shell_can_complete_commands_and_options(words, position, wanted):
    environment = {"_BRAIN_EDGE_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(position)}
    done = subprocess.run(
        child_command(), env={**child_environment(), **environment}, capture_output=True, text=True, check=False
    )
    assert wanted in done.stdout.splitlines()
