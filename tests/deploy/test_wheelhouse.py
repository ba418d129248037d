"""`brain-edge wheelhouse`: which wheels belong together, and what is refused. pip is the real one, its index a folder.

That a real workstation can be installed from it is tested in `tests/wheel`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from cli_program import brain_edge, refused
from packaging.requirements import Requirement
from packaging.tags import compatible_tags, cpython_tags
from tiny_package import make_package

from brain_edge import __version__
from brain_edge.cli.wheelhouse import PLATFORMS
from brain_edge.deploy.wheelhouse import Platform, Target
from brain_edge.deploy.wheelhouse.make import INSTALLER
from brain_edge.deploy.wheelhouse.target import parse_python, this_platform
from brain_edge.deploy.wheelhouse.wheels import missing, parse_pins, read_wheel, requirements
from brain_edge.errors import InputError, UsageError

ROOT = Path(__file__).resolve().parents[2]
WINDOWS = Target(Platform.WINDOWS, (3, 12))
LINUX = Target(Platform.LINUX, (3, 11))
OWN = "brain-edge"
PINS = parse_pins((ROOT / "constraints.txt").read_text(encoding="utf-8"))
REQUIRES = ("click>=8.1", "nibabel>=5.2", "numpy>=1.26", "matplotlib>=3.8; extra == 'report'")
PEERS = {
    "click": (),
    "nibabel": ("numpy>=1.25", "importlib-resources>=5.12; python_version < '3.12'"),
    "numpy": (),
    "importlib-resources": (),
    "matplotlib": ("numpy>=1.25", "pillow>=9"),
    "pillow": (),
}
"""Wheels of an index: what each one needs. Only names and requirements are like those of the real ones."""


def save_wheel(folder: Path, name: str, version: str, requires=(), tags: str = "py3-none-any") -> Path:
    """Write a wheel that holds nothing but metadata."""
    stem = f"{name.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    lines = ["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}", "License-Expression: MIT"]
    lines += ["Provides-Extra: report", *(f"Requires-Dist: {each}" for each in requires)]
    files = {
        f"{info}/METADATA": "\n".join(lines) + "\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tags}\n",
        f"{info}/RECORD": f"{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n",
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}-{tags}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in files.items():
            archive.writestr(member, text)
    return path


@pytest.fixture
def own(tmp_path) -> Path:
    return save_wheel(tmp_path / "own", OWN, __version__, REQUIRES)


@pytest.fixture
def index(tmp_path, monkeypatch) -> Path:
    """A folder that is all the index that pip has; numpy is there for two systems."""
    return make_index(tmp_path / "index", monkeypatch)


def make_index(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, requires in PEERS.items():
        for tags in ("cp312-cp312-win_amd64", "cp311-cp311-manylinux_2_28_x86_64"):
            save_wheel(folder, name, PINS[name], requires, tags if name == "numpy" else "py3-none-any")
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL", "PIP_CONSTRAINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(folder.parent / "no-settings-of-this-machine"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def make(out: Path, own: Path, *options: object, target: Target = WINDOWS):
    which = ("--platform", target.platform.value, "--python", target.python_version)
    return brain_edge("wheelhouse", out, "--wheel", own, *which, "--quiet", *options)


@pytest.mark.usefixtures("index")
class TestWhatIsMade:
    def test_it_holds_what_is_needed_there_and_not_what_is_needed_here(self, own, tmp_path):
        """importlib-resources is for Python before 3.12, whichever Python runs this."""
        for target, more in ((WINDOWS, set()), (LINUX, {"importlib-resources"})):
            done = make(tmp_path / target.platform.value, own, "--json", target=target)
            assert done.code == 0, done.err
            assert {each["name"] for each in done.json["wheels"]} == {OWN, "click", "nibabel", "numpy"} | more
        (windows,) = (tmp_path / "win_amd64" / "wheels").glob("numpy*")
        assert windows.name.endswith("cp312-cp312-win_amd64.whl")

    @pytest.mark.full  # builds one more folder
    def test_an_extra_brings_what_it_needs(self, own, tmp_path):
        done = make(tmp_path / "out", own, "--with", "report", "--json")
        assert {"matplotlib", "pillow"} <= {each["name"] for each in done.json["wheels"]}

    @pytest.mark.full  # pip in a process of its own; the test of the wheel installs from such a folder
    def test_pip_accepts_every_hash_and_finds_nothing_missing(self, own, tmp_path, monkeypatch):
        out = tmp_path / "out"
        assert make(out, own, target=LINUX).code == 0
        monkeypatch.delenv("PIP_FIND_LINKS")
        links = [
            "--no-index",
            "--find-links",
            out / "wheels",
            "--only-binary=:all:",
            "--platform=manylinux_2_28_x86_64",
        ]
        command = ["download", "--require-hashes", "-r", out / "requirements.txt", "--python-version=3.11", *links]
        done = subprocess.run(
            [sys.executable, "-m", "pip", *map(str, command), "-d", tmp_path / "by-pip"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        brought = {path.name for path in (tmp_path / "by-pip").iterdir()}
        assert brought == {path.name for path in (out / "wheels").iterdir()}

    def test_the_printed_hash_covers_every_file_but_the_list_itself(self, own, tmp_path):
        out, package = tmp_path / "out", make_package(tmp_path / "tiny")
        done = make(out, own, "--package", package.folder)
        assert done.code == 0, done.err
        sums = (out / "SHA256SUMS").read_bytes()
        assert done.out.splitlines()[-1].split() == ["SHA256SUMS", hashlib.sha256(sums).hexdigest()]
        listed = dict(reversed(line.split("  ", 1)) for line in sums.decode().splitlines())
        there = {path.relative_to(out).as_posix(): path for path in out.rglob("*") if path.is_file()}
        assert listed.keys() == there.keys() - {"SHA256SUMS"}
        assert all(hashlib.sha256(there[name].read_bytes()).hexdigest() == sha256 for name, sha256 in listed.items())
        assert {"packages/tiny/manifest.json", "install.py", "README.txt", "LICENCES.txt"} <= listed.keys()
        assert f"package      {package.digest}  tiny" in done.out

    @pytest.mark.full  # builds one more folder
    def test_the_readme_speaks_to_the_system_that_it_is_for(self, own, tmp_path):
        package = make_package(tmp_path / "tiny")
        texts = {}
        for target in (WINDOWS, LINUX):
            out = tmp_path / target.platform.value
            assert make(out, own, "--package", package.folder, target=target).code == 0
            texts[target] = (out / "README.txt").read_text(encoding="utf-8")
        assert "py -3.12 install.py brain-edge-env" in texts[WINDOWS]
        assert r"brain-edge-env\Scripts\brain-edge verify packages\tiny --expect-digest" in texts[WINDOWS]
        assert "python3.11 install.py brain-edge-env" in texts[LINUX]
        assert "sha256sum --check --quiet SHA256SUMS" in texts[LINUX]
        assert all("Not a medical device" in text and package.digest in text for text in texts.values())

    def test_the_licence_of_every_wheel_is_listed(self, own, tmp_path):
        assert make(tmp_path / "out", own).code == 0
        lines = (tmp_path / "out" / "LICENCES.txt").read_text(encoding="utf-8").splitlines()[2:]
        assert [line.split()[0] for line in lines] == [OWN, "click", "nibabel", "numpy"]
        assert {line.split()[2] for line in lines} == {"MIT"}


@pytest.mark.usefixtures("index")
class TestWhatIsRefused:
    """With a sentence, and nothing is left."""

    @pytest.fixture(autouse=True)
    def nothing_is_left(self, tmp_path):
        yield
        assert not (tmp_path / "out").exists()
        assert not list(tmp_path.glob(".partial*"))

    def test_a_wheel_that_the_index_does_not_have_for_the_target(self, own, tmp_path):
        done = make(tmp_path / "out", own, target=Target(Platform.MACOS_ARM, (3, 13)))
        assert done.code == 3
        assert "pip could not download wheels for macosx_arm64, Python 3.13:" in done.err
        assert "numpy" in done.err

    def test_something_that_was_never_tested(self, tmp_path):
        wheel = save_wheel(tmp_path / "odd", OWN, __version__, ["never-heard-of>=1"])
        done = make(tmp_path / "out", wheel)
        assert done.code == 3
        assert f"{wheel.name} needs never-heard-of>=1, which was not tested with this brain-edge" in done.err

    def test_another_version_than_the_tested_one(self, tmp_path):
        wheel = save_wheel(tmp_path / "odd", OWN, __version__, ["click<8"])
        done = make(tmp_path / "out", wheel)
        assert done.code == 3
        assert f"needs click<8, but this brain-edge was tested with {PINS['click']}" in done.err

    def test_the_wheel_of_another_version_or_of_something_else(self, tmp_path):
        for name, version in ((OWN, "99.0"), ("click", "8.5.1")):
            done = make(tmp_path / "out", save_wheel(tmp_path / "odd", name, version))
            assert done.code == 3
            assert f"expected the wheel of brain-edge {__version__}" in done.err
            assert f"got {name} {version}" in done.err

    @pytest.mark.parametrize("content", [b"", b"no zip", None])
    def test_what_is_no_wheel(self, content, tmp_path):
        path = tmp_path / "brain_edge-0.1.0-py3-none-any.whl"
        if content is not None:
            path.write_bytes(content)
        done = make(tmp_path / "out", path)
        assert done.code == 3
        assert f"{path}: expected a wheel (.whl) with metadata, but could not read it" in done.err

    def test_a_damaged_model_package(self, own, tmp_path):
        package = make_package(tmp_path / "tiny")
        (package.folder / "graphs" / "tiny.bin").write_bytes(b"")
        done = make(tmp_path / "out", own, "--package", package.folder)
        assert done.code == 5

    def test_two_packages_of_one_name(self, own, tmp_path):
        packages = [make_package(tmp_path / place / "tiny").folder for place in ("a", "b")]
        done = make(tmp_path / "out", own, *(word for each in packages for word in ("--package", each)))
        assert done.code == 2
        assert "expected packages with different names, got tiny, tiny; rename one" in done.err

    def test_a_python_that_brain_edge_does_not_run_on(self, tmp_path):
        said = refused(2, "wheelhouse", tmp_path / "out", "--python", "3.10")
        assert "expected --python 3.11 or newer, got 3.10" in said
        assert "expected a Python version such as 3.12, got 'three'" in refused(
            2, "wheelhouse", tmp_path / "out", "--python", "three"
        )


@pytest.mark.usefixtures("index")
def test_a_folder_that_exists_is_not_written_to(own, tmp_path):
    (tmp_path / "out").mkdir()
    assert "this folder already exists" in refused(2, "wheelhouse", tmp_path / "out", "--wheel", own)
    assert list((tmp_path / "out").iterdir()) == []


class TestTargets:
    def test_the_choices_of_the_command_are_all_there_are(self):
        assert tuple(Platform) == PLATFORMS

    def test_this_machine_is_one_of_them(self):
        """Where the tests run at all, its markers are those that packaging itself finds."""
        from packaging.markers import default_environment

        here = default_environment()
        target = Target(this_platform(), sys.version_info[:2])
        for name in ("os_name", "sys_platform", "platform_system", "platform_machine", "python_version"):
            assert target.markers()[name] == here[name]
        assert target.markers().keys() == here.keys()

    def test_the_tags_that_pip_is_given_are_tags_of_this_machine(self):
        if this_platform() is not Platform.LINUX:
            pytest.skip("the tags of Linux")
        target = Target(Platform.LINUX, sys.version_info[:2])
        here = {tag.platform for tag in (*cpython_tags(), *compatible_tags())}
        assert set(target.pip_platforms) <= here

    def test_another_machine_has_to_be_named(self):
        with pytest.raises(UsageError, match=r"expected the platform .*, got sunos5 on sparc; name the workst"):
            this_platform("sunos5", "sparc")

    def test_a_version_is_two_numbers(self):
        assert parse_python("3.12") == (3, 12)
        for text in ("3", "3.12.1", "3.x", "", "-3.1"):
            with pytest.raises(UsageError, match=r"expected a Python version such as 3\.12"):
                parse_python(text)


class TestClosure:
    def test_markers_are_those_of_the_target(self, tmp_path):
        marked = ["a; sys_platform == 'win32'", "b; platform_machine == 'x86_64'", "c; extra == 'report'", "d"]
        wheel = read_wheel(save_wheel(tmp_path, "x", "1", marked))
        assert [each.name for each in requirements(wheel, (), WINDOWS)] == ["a", "d"]
        assert [each.name for each in requirements(wheel, ("report",), LINUX)] == ["b", "c", "d"]

    def test_wheels_that_need_each_other_end(self, tmp_path):
        one, two = (read_wheel(save_wheel(tmp_path, name, "1", [other])) for name, other in (("a", "b"), ("b", "a")))
        pins = {"a": "1", "b": "1"}
        assert missing({"a": one}, one, (), LINUX, pins) == {"b": "1"}
        assert missing({"a": one, "b": two}, one, (), LINUX, pins) == {}

    def test_every_requirement_of_the_runtime_has_a_tested_version_that_it_accepts(self):
        import tomllib

        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        extras = project["optional-dependencies"]
        for text in (*project["dependencies"], *extras["report"], *extras["dicom"]):
            needed = Requirement(text)
            assert needed.specifier.contains(PINS[needed.name.lower().replace("_", "-")])

    def test_comments_and_empty_lines_of_constraints_are_no_pins(self):
        assert parse_pins("# a==1\n\nB_c==2  # why\n") == {"b-c": "2"}

    def test_a_wheel_with_two_metadata_is_none(self, tmp_path):
        path = save_wheel(tmp_path, "x", "1")
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("y-1.dist-info/METADATA", "Name: y\nVersion: 1\n")
        with pytest.raises(InputError, match="expected a wheel"):
            read_wheel(path)


class TestInstaller:
    """The script on the workstation, up to the point where it would install; `tests/wheel` goes on from there."""

    @pytest.fixture(scope="class")
    @classmethod
    def made(cls, tmp_path_factory) -> Path:
        folder = tmp_path_factory.mktemp("made")
        with pytest.MonkeyPatch.context() as patch:
            save_wheel(make_index(folder / "index", patch), "numpy", PINS["numpy"])  # for whatever machine this is
            own = save_wheel(folder / "own", OWN, __version__, REQUIRES)
            assert make(folder / "house", own, target=Target(this_platform(), sys.version_info[:2])).code == 0
        return folder / "house"

    @pytest.fixture
    def house(self, made, tmp_path) -> Path:
        """A wheelhouse that is made once, and copied for each test."""
        return Path(shutil.copytree(made, tmp_path / "house"))

    @staticmethod
    def install(code: int, house: Path, *arguments: object) -> str:
        command = [sys.executable, house / "install.py", *arguments]
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
        assert done.returncode == code
        assert "Traceback" not in done.stderr
        return done.stderr

    def test_it_is_copied_as_it_is(self, house):
        assert (house / "install.py").read_bytes() == INSTALLER.read_bytes()

    def test_it_imports_the_standard_library_only(self):
        code = (
            f"import runpy, sys; runpy.run_path({str(INSTALLER)!r}); print(*(n.partition('.')[0] for n in sys.modules))"
        )
        done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
        assert set(done.stdout.split()) <= sys.stdlib_module_names | {"__main__"}

    def test_it_says_how_it_is_called(self, house):
        assert "usage: python install.py FOLDER" in self.install(2, house)
        assert "usage: python install.py FOLDER" in self.install(2, house, "--help")

    def test_another_python_is_refused(self, house, tmp_path):
        made_for = json.loads((house / "wheelhouse.json").read_text(encoding="utf-8"))
        (house / "wheelhouse.json").write_text(json.dumps(made_for | {"python_version": "3.99"}), encoding="utf-8")
        assert "this folder was made for Python 3.99" in self.install(2, house, tmp_path / "new")
        assert not (tmp_path / "new").exists()

    def test_a_missing_and_a_damaged_file_are_refused(self, house, tmp_path):
        readme = house / "README.txt"
        readme.write_text("another text", encoding="utf-8")
        assert f"{readme}: the file was changed or damaged on the way" in self.install(3, house, tmp_path / "new")
        readme.unlink()
        assert f"{readme}: expected a file of this wheelhouse, found" in self.install(3, house, tmp_path / "new")
        assert not (tmp_path / "new").exists()

    @pytest.mark.parametrize("name", ["wheelhouse.json", "SHA256SUMS"])
    @pytest.mark.parametrize("content", [b"", b"\xff", b"{}", b"[" * 100_000, b"no hash\n"], ids=repr)
    def test_a_damaged_list_is_refused(self, name, content, house, tmp_path):
        (house / name).write_bytes(content)
        said = self.install(3, house, tmp_path / "new")
        assert f"{house / name}: the file is missing or damaged" in said or "expected the hash of" in said
        (house / name).unlink()
        assert f"{house / name}: the file is missing or damaged" in self.install(3, house, tmp_path / "new")

    def test_a_list_that_lacks_what_is_installed_is_refused(self, house, tmp_path):
        lines = (house / "SHA256SUMS").read_text().splitlines(keepends=True)
        for name in ("requirements.txt", "wheelhouse.json", *(path.name for path in (house / "wheels").iterdir())):
            (house / "SHA256SUMS").write_text("".join(line for line in lines if name not in line))
            assert f"{name}, got none; copy the folder again" in self.install(3, house, tmp_path / "new")
        assert not (tmp_path / "new").exists()

    def test_a_folder_that_holds_something_is_refused_and_kept(self, house, tmp_path):
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "thesis.txt").write_text("irreplaceable", encoding="utf-8")
        assert "expected a new folder, got an existing one" in self.install(2, house, tmp_path / "mine")
        assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]

    @pytest.mark.full  # eight seconds of venv
    def test_half_an_environment_is_removed(self, house, tmp_path):
        """Our wheel here has no program, so that the last step fails."""
        assert "error: could not start brain-edge" in self.install(1, house, tmp_path / "new")
        assert not (tmp_path / "new").exists()
