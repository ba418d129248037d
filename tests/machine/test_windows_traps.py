"""What breaks on a Windows machine, as far as it can be tried elsewhere: modules, names, consoles, commas."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path, PureWindowsPath

import nibabel
import numpy as np
import pytest
from cli_program import brain_edge, child_command, child_environment, save_phantom, succeed
from tiny_package import make_package

from brain_edge.cli.options import print_json, split_input
from brain_edge.machine.cache_folder import CACHE_PLACES, CACHE_VARIABLE
from brain_edge.machine.user_folder import user_folder

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted([*(ROOT / "brain_edge").rglob("*.py"), *(ROOT / "conversion").rglob("*.py")])
POSIX_MODULES = {"crypt", "curses", "fcntl", "grp", "nis", "ossaudiodev", "posix", "pty", "pwd", "readline", "resource"}
POSIX_MODULES |= {"spwd", "syslog", "termios", "tty"}
POSIX_CALLS = {"chown", "fork", "getegid", "geteuid", "getgid", "getloadavg", "getpgid", "getuid", "killpg", "mkfifo"}
POSIX_CALLS |= {"nice", "sched_getaffinity", "sched_setaffinity", "statvfs", "sysconf", "uname", "wait4"}
LINUX_FILES = ("/proc", "/sys")
"""What only Linux has; who reads there reads ASCII, and returns before where there is none."""

TEXT_CALLS = {"read_text", "write_text"}
BRAIN = "\N{CJK UNIFIED IDEOGRAPH-8166}"
"""The first letter of "brain" in Chinese, which no Western code page has."""


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return make_package(tmp_path_factory.mktemp("tiny") / "tiny")


def child(*arguments: object, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """A run of the program in a process with other variables; what it prints stays bytes."""
    environment = child_environment() | variables
    return subprocess.run(child_command(*arguments), capture_output=True, env=environment, check=False)


def run_arguments(package, head: Path, mask: Path) -> tuple[object, ...]:
    return ("run", package.folder, head, "-o", mask, "--threads", "1")


class TestModules:
    @pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
    def test_nothing_that_only_posix_has_is_imported_by_a_module(self, path):
        """Inside of a function it may be, behind a look at the system."""
        found = {name.partition(".")[0] for name in _imported_at_once(ast.parse(path.read_text(encoding="utf-8")))}
        assert not found & POSIX_MODULES

    def test_every_call_that_only_posix_has_is_behind_a_look_at_the_system(self):
        unguarded = []
        for path in SOURCES:
            text = path.read_text(encoding="utf-8")
            calls = {
                node.attr
                for node in ast.walk(ast.parse(text))
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os"
            }
            looks = "hasattr(os" in text or "sys.platform" in text or any(place in text for place in LINUX_FILES)
            if calls & POSIX_CALLS and not looks:
                unguarded.append((path.name, sorted(calls & POSIX_CALLS)))
        assert unguarded == []

    def test_every_text_file_has_its_encoding_named(self):
        """Without, Windows takes the code page of the country."""
        unnamed = [
            f"{path.relative_to(ROOT)}:{call.lineno}"
            for path in SOURCES
            for call in _text_calls(path)
            if not any(place in path.read_text(encoding="utf-8") for place in LINUX_FILES)
        ]
        assert unnamed == []


def _imported_at_once(tree: ast.AST) -> list[str]:
    """Names of modules that are imported when this one is; bodies of functions are left out."""
    names: list[str] = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
        names += _imported_at_once(node)
    return names


def _text_calls(path: Path) -> list[ast.Call]:
    """Calls that read or write text in whatever encoding the system prefers."""
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    named = [(call, call.func.attr) for call in calls if isinstance(call.func, ast.Attribute)]
    return [call for call, name in named if name in TEXT_CALLS and not _names_encoding(call, name)]


def _names_encoding(call: ast.Call, name: str) -> bool:
    place = 0 if name == "read_text" else 1
    return len(call.args) > place or any(keyword.arg in ("encoding", None) for keyword in call.keywords)


class TestNames:
    @pytest.mark.parametrize("path", [r"C:\data\head.nii.gz", r"\\server\share\Kopf ä.nii.gz", "C:head.nii.gz"])
    def test_the_drive_and_the_backslashes_of_an_input_stay_in_it(self, path):
        assert split_input(path) == (None, Path(path))
        assert split_input(f"T1={path}") == ("T1", Path(path))

    def test_the_cache_of_a_user_whose_name_is_not_ascii(self):
        folder = user_folder(
            "win32", {"LOCALAPPDATA": "/Users/Müller-Lüdenscheidt/AppData/Local"}, CACHE_PLACES, CACHE_VARIABLE
        )
        assert folder == Path("/Users/Müller-Lüdenscheidt/AppData/Local")

    @pytest.mark.skipif(os.name == "nt", reason="these names cannot be made there")
    @pytest.mark.parametrize("name", ["CON", "nul", "COM1", "head.", "a b.", "Kopf ä"])
    def test_a_case_of_any_name_gives_files_that_windows_can_have(self, package, name, tmp_path):
        """`CON.nii.gz` is a device there; `CON_mask.nii.gz` is a file, and no output ends in a point or a space."""
        heads, masks = tmp_path / "heads", tmp_path / "masks"
        heads.mkdir()
        masks.mkdir()
        save_phantom(heads / f"{name}.nii.gz")
        succeed(*run_arguments(package, heads, masks))
        made = [path.relative_to(masks) for path in masks.rglob("*") if path.is_file()]
        assert f"{name}_mask.nii.gz" in {path.name for path in made}
        for path in made:
            assert not PureWindowsPath(path).is_reserved()
            assert not set('<>:"|?*\\') & set(path.name)
            assert path.name == path.name.rstrip(". ")

    @pytest.mark.skipif(os.name == "nt", reason="these names are one there")
    def test_two_cases_that_differ_in_case_only_are_refused(self, package, tmp_path):
        heads, masks = tmp_path / "heads", tmp_path / "masks"
        heads.mkdir()
        masks.mkdir()
        try:
            first, second = (save_phantom(heads / name) for name in ("Head.nii.gz", "head.nii.gz"))
        finally:
            both = len(list(heads.iterdir())) == 2
        if not both:
            pytest.skip("this file system does not tell upper from lower case")
        done = brain_edge(*run_arguments(package, heads, masks))
        assert done.code == 2
        assert f"{first} and {second} would both write" in done.err

    def test_a_name_that_is_too_long_is_said_in_a_sentence(self, package, tmp_path):
        head = save_phantom(tmp_path / "head.nii.gz")
        mask = tmp_path / f"{'m' * 247}.nii.gz"  # 254 letters, one less than most file systems take
        done = brain_edge(*run_arguments(package, head, mask))
        assert (done.code, done.out) == (1, "")
        assert "the name is too long; choose a shorter one" in done.err
        assert sorted(path.name for path in tmp_path.iterdir()) == ["head.nii.gz"]

    def test_a_long_way_of_folders_is_no_obstacle(self, package, tmp_path):
        """More than the 260 letters that Windows takes unless long paths are switched on there."""
        deep = tmp_path.joinpath(*["a folder with a long name, as hospitals have them"] * 6)
        deep.mkdir(parents=True)
        mask = deep / "mask.nii.gz"
        succeed(*run_arguments(package, save_phantom(deep / "head.nii.gz"), mask))
        assert len(str(mask)) > 260
        assert mask.is_file()

    def test_letters_of_any_script_in_the_names_of_package_image_cache_and_mask(self, package, tmp_path):
        place = tmp_path / f"Zoë Müller {BRAIN} \N{BRAIN}"
        shutil.copytree(package.folder, place / "modèle")
        head, mask = save_phantom(place / "Kopf ä.nii.gz"), place / "Maske ö.nii.gz"
        arguments = ("run", place / "modèle", head, "-o", mask, "--threads", "1")
        done = child(*arguments, BRAIN_EDGE_MODEL_CACHE=str(place / "çache"), PYTHONUTF8="1")
        assert done.returncode == 0, done.stderr
        assert "Maske ö.nii.gz" in done.stdout.decode()
        assert list((place / "çache").rglob("*.compiled"))

    @pytest.mark.skipif(sys.platform != "linux", reason="other systems allow no such name")
    def test_a_name_that_is_no_text_is_refused_before_anything_is_computed(self, package, tmp_path):
        """Latin-1 on a disk of another time: it could be read, and no record could name it."""
        head = save_phantom(tmp_path / "head.nii.gz")
        raw = head.rename(os.fsdecode(os.fsencode(tmp_path) + b"/M\xfcller.nii.gz"))
        done = child(*run_arguments(package, raw, tmp_path / "mask.nii.gz"), PYTHONUTF8="1")
        assert done.returncode == 3
        assert rb"M\udcfcller.nii.gz: expected a name in this system's encoding (utf-8)" in done.stderr
        assert list(tmp_path.iterdir()) == [raw]


class TestConsole:
    @pytest.mark.parametrize("encoding", ["cp1252", "cp437"])
    def test_a_name_that_the_console_lacks_is_shown_as_an_escape(self, package, encoding, tmp_path):
        head, mask = save_phantom(tmp_path / "head.nii.gz"), tmp_path / f"{BRAIN}.nii.gz"
        done = child(*run_arguments(package, head, mask), PYTHONIOENCODING=encoding)
        assert (done.returncode, done.stderr) == (0, b"")
        assert rb"\u8166.nii.gz: brain " in done.stdout
        assert mask.is_file()

    def test_json_stays_json_whatever_the_console_lacks(self, package, tmp_path):
        head, mask = save_phantom(tmp_path / "head.nii.gz"), tmp_path / f"{BRAIN}\N{BRAIN}ä.nii.gz"
        done = child(*run_arguments(package, head, mask), "--json", PYTHONIOENCODING="cp1252")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.decode("cp1252"))["mask"] == str(mask)

    def test_json_that_the_console_can_show_keeps_its_letters(self, capsys):
        print_json({"name": f"Müller {BRAIN}"})
        assert f'"Müller {BRAIN}"' in capsys.readouterr().out

    def test_an_error_names_a_file_that_the_console_lacks(self, package, tmp_path):
        done = child(
            *run_arguments(package, tmp_path / f"{BRAIN}.nii.gz", tmp_path / "m.nii.gz"), PYTHONIOENCODING="cp437"
        )
        assert done.returncode == 3
        assert rb"\u8166.nii.gz: there is no such file" in done.stderr


@pytest.fixture(scope="module")
def decimal_comma(tmp_path_factory):
    """Variables of a German locale, compiled for this test alone."""
    if shutil.which("localedef") is None:
        pytest.skip("needs localedef and the sources of locales (Debian package locales)")
    folder = tmp_path_factory.mktemp("locales")
    command = ["localedef", "-i", "de_DE", "-f", "UTF-8", str(folder / "de_DE.UTF-8")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not (folder / "de_DE.UTF-8").is_dir():
        pytest.skip(f"cannot compile a German locale here: {done.stderr.strip()}")
    return {"LOCPATH": str(folder), "LC_ALL": "de_DE.UTF-8"}


IN_GERMAN = """
import locale, sys
locale.setlocale(locale.LC_ALL, "")
assert locale.localeconv()["decimal_point"] == ","
sys.argv[0] = "brain-edge"
from brain_edge.cli import main
main()
"""


class TestDecimalComma:
    """A program around ours, or a C library in it, may set the locale of the whole process: 0.5 becomes 0,5."""

    def test_masks_and_numbers_are_the_same_where_the_decimal_point_is_a_comma(self, package, decimal_comma, tmp_path):
        head = save_phantom(tmp_path / "head.nii.gz")
        record, german = tmp_path / "record.json", tmp_path / "german.json"
        succeed(*run_arguments(package, head, tmp_path / "mask.nii.gz"), "--report", record)
        arguments = (*run_arguments(package, head, tmp_path / "german.nii.gz"), "--report", german)
        environment = child_environment() | decimal_comma
        command = [sys.executable, "-c", IN_GERMAN, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 0, done.stderr
        expected, got = (json.loads(path.read_text(encoding="utf-8")) for path in (record, german))
        assert got["volumes_ml"] == expected["volumes_ml"]
        masks = [nibabel.load(tmp_path / name).get_fdata() for name in ("mask.nii.gz", "german.nii.gz")]
        np.testing.assert_array_equal(*masks)
