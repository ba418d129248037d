"""A package: every byte is accounted for, nothing in it is executed, and nobody's name is in it."""

from __future__ import annotations

import shutil

import msgspec
import numpy as np
import pytest
from evidences import accuracy_case, evidence
from present import present
from tiny_package import (
    CASCADE,
    PHANTOM,
    RESTORE,
    SPEC,
    STAGE,
    edit_manifest,
    make_package,
    tiny_manifest,
    write_manifest,
)

from brain_edge.engine.segmenter import Segmenter
from brain_edge.errors import BrainEdgeError, PackageError
from brain_edge.evaluation.evidence import evidence_in, spelt
from brain_edge.image.phantom import make_volume
from brain_edge.jobs.verify import verify
from brain_edge.machine.options import RuntimeOptions
from brain_edge.package import Manifest, NumberFormat, Precision, WeightsStatus, graph_path, open_package
from brain_edge.package.digest import sha256_of
from brain_edge.package.manifest import GraphParity, Licence, Parity
from brain_edge.spec import Task, canonical_json
from brain_edge.spec.steps import Threshold
from brain_edge_conversion.sealing.card import model_card
from brain_edge_conversion.sealing.licence import licence_text
from brain_edge_conversion.sealing.writer import seal

replace = msgspec.structs.replace

FILES = ("LICENSE.txt", "README.md", "graphs/tiny.bin", "graphs/tiny.xml", "selftest/mask.nii.gz")
"""What the manifest of a one-graph package lists."""

PARITY = Parity(
    input_sha256=("ab" * 32,),
    graphs=(GraphParity(graph="tiny", max_error=2e-6, relative_error=3e-7, same_label_share=0.99999),),
    mask_dice=0.99995,
)
EVIDENCE = evidence(
    statement="Measured on one head; no statement about others.",
    worst_mean_drop=0.0021,
    int8_share=0.97,
    demonstration=True,
    cases=(
        accuracy_case(1, dice_baseline=0.981, dice_candidate=0.979, drop=0.002, agreement=0.996),
        accuracy_case(2, agreement=0.997),
    ),
)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A whole package; copy it before you change it."""
    return make_package(tmp_path_factory.mktemp("packages") / "tiny")


@pytest.fixture
def folder(original, tmp_path):
    """A copy of the package, to be damaged."""
    return shutil.copytree(original.folder, tmp_path / "tiny")


def files_of(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


class TestContent:
    def test_is_what_the_documentation_lists_and_no_code(self, original):
        names = [path.relative_to(original.folder).as_posix() for path in files_of(original.folder)]
        assert names == [
            "DIGEST",
            "LICENSE.txt",
            "README.md",
            "graphs/tiny.bin",
            "graphs/tiny.xml",
            "manifest.json",
            "selftest/mask.nii.gz",
        ]
        assert set(original.manifest.files) == set(names) - {"manifest.json", "DIGEST"}

    def test_every_hash_and_size_is_that_of_the_file(self, original):
        for name, record in original.manifest.files.items():
            path = original.folder / name
            assert (sha256_of(path), path.stat().st_size) == (record.sha256, record.size_bytes)
        assert original.size_bytes == sum((original.folder / name).stat().st_size for name in FILES)

    def test_graphs_carry_the_spec_and_the_labels(self, original):
        """Where OpenVINO's Model API looks for labels, and where we look for the spec."""
        import openvino

        model = openvino.Core().read_model(original.graph_file("tiny"))
        assert model.get_rt_info(["brain_edge", "spec"]).astype(str) == canonical_json(SPEC).decode()
        assert model.get_rt_info(["model_info", "labels"]).astype(str) == "brain"

    def test_holds_no_name_of_the_folder_in_which_it_was_made(self, tmp_path):
        """The folder of a cohort is called after a patient more often than not."""
        package = make_package(tmp_path / "MUSTERMANN_ERIKA" / "tiny")
        for path in files_of(package.folder):
            assert b"MUSTERMANN" not in path.read_bytes()
            assert str(tmp_path).encode() not in path.read_bytes()


class TestDigest:
    def test_is_the_hash_of_the_manifest_and_what_lies_beside_it(self, original):
        assert (original.folder / "manifest.json").read_bytes() == canonical_json(original.manifest)
        assert original.digest == sha256_of(original.folder / "manifest.json")
        assert (original.folder / "DIGEST").read_bytes() == f"{original.digest}\n".encode()
        assert open_package(original.folder).digest == original.digest

    def test_is_of_what_a_reader_reads(self, folder):
        """A Dice of 1 that was given as a whole number is read as 1.0."""
        sealed = seal(folder, tiny_manifest(self_test=replace(tiny_manifest().self_test, minimum_dice=1)))
        assert open_package(folder) == sealed
        assert open_package(folder).digest == sealed.digest

    def test_is_the_same_for_the_same_package_made_twice(self, original, tmp_path):
        again = make_package(tmp_path / "elsewhere" / "another name")
        assert again.digest == original.digest
        for path in files_of(original.folder):
            assert (again.folder / path.relative_to(original.folder)).read_bytes() == path.read_bytes()

    def test_sealing_again_changes_nothing(self, folder, original):
        assert seal(folder, open_package(folder).manifest).digest == original.digest

    @pytest.mark.parametrize("name", ["graphs/tiny.bin", "graphs/tiny.xml", "selftest/mask.nii.gz"])
    def test_changes_with_any_file(self, folder, original, name):
        with (folder / name).open("ab") as file:
            file.write(b"\n")
        assert seal(folder, original.manifest).digest != original.digest

    def test_changes_with_any_field(self, original):
        manifest = original.manifest
        others = [
            replace(manifest, precision=Precision.BF16),
            replace(manifest, weights_status=WeightsStatus.RANDOM),
            replace(manifest, rewrites=("one",)),
            replace(manifest, parity=PARITY),
            replace(manifest, spec=replace(SPEC, name="other")),
        ]
        assert len({other.digest for other in (manifest, *others)}) == 1 + len(others)

    def test_an_expected_one_is_checked(self, folder, original):
        assert open_package(folder, original.digest.upper()).digest == original.digest
        sentence = rf"expected a package with the digest 0{{64}}, got {original.digest}; do not use this package"
        with pytest.raises(PackageError, match=sentence):
            open_package(folder, "0" * 64)

    def test_an_expected_one_catches_who_changed_file_and_manifest_together(self, folder, original):
        (folder / "graphs/tiny.bin").write_bytes((folder / "graphs/tiny.bin").read_bytes()[::-1])
        seal(folder, original.manifest)
        assert open_package(folder)
        with pytest.raises(PackageError, match="do not use this package until you know the reason"):
            open_package(folder, original.digest)


class TestDamage:
    @pytest.mark.parametrize("name", FILES)
    @pytest.mark.parametrize("place", [0, 0.5, -1])
    def test_one_byte_changed_in_a_file(self, folder, name, place):
        path = folder / name
        content = bytearray(path.read_bytes())
        content[place if isinstance(place, int) else int(place * len(content))] ^= 1
        path.write_bytes(content)
        with pytest.raises(PackageError, match=r"expected the file of the manifest .* is damaged, copy it"):
            open_package(folder)

    @pytest.mark.parametrize("name", ["manifest.json", "DIGEST"])
    def test_one_bit_changed_anywhere_in_the_manifest_or_its_hash(self, folder, name):
        """Of 1,500 bits that were drawn 187 once passed, with another value each."""
        path = folder / name
        content = path.read_bytes()
        for bit in np.random.default_rng(21).permutation(8 * len(content))[:1500].tolist():
            damaged = bytearray(content)
            damaged[bit // 8] ^= 1 << bit % 8
            path.write_bytes(damaged)
            with pytest.raises(PackageError, match=r"DIGEST: .*of manifest\.json, .* is damaged, copy the package"):
                open_package(folder)

    def test_random_weights_do_not_become_trained(self, folder, original):
        seal(folder, replace(original.manifest, weights_status=WeightsStatus.RANDOM))
        path = folder / "manifest.json"
        path.write_bytes(path.read_bytes().replace(b'"weights_status":"random"', b'"weights_status":"trained"'))
        with pytest.raises(PackageError, match=rf"DIGEST: expected {sha256_of(path)}, the SHA-256 of manifest\.json"):
            open_package(folder)

    @pytest.mark.parametrize("told", ["", "{}", "{}\n\n", "{}\r\n", " {}\n", "{}  manifest.json\n", "\x80" * 10**6])
    def test_a_hash_in_another_spelling(self, folder, original, told):
        (folder / "DIGEST").write_text(told.format(original.digest), encoding="latin-1", newline="")
        with pytest.raises(PackageError, match=r"DIGEST: .*one of these two files is damaged") as refused:
            open_package(folder)
        assert len(str(refused.value)) < 1000

    def test_no_hash(self, folder):
        (folder / "DIGEST").unlink()
        with pytest.raises(
            PackageError, match=r"DIGEST: expected this file with the SHA-256 of manifest\.json, found none"
        ):
            open_package(folder)

    @pytest.mark.parametrize("name", FILES)
    def test_a_missing_file(self, folder, name):
        (folder / name).unlink()
        with pytest.raises(PackageError, match=rf"{name}: this file of the package is missing; copy the whole package"):
            open_package(folder)

    def test_a_truncated_file(self, folder):
        path = folder / "graphs/tiny.bin"
        path.write_bytes(path.read_bytes()[:-4])
        with pytest.raises(
            PackageError, match=r"\(224 bytes, SHA-256 [0-9a-f]{12}\.\.\.\), got another one \(220 bytes\)"
        ):
            open_package(folder)

    def test_no_package_at_all(self, tmp_path):
        with pytest.raises(PackageError, match=r"expected a package, a folder with a manifest\.json, found none"):
            open_package(tmp_path)
        with pytest.raises(PackageError, match="found none"):
            open_package(tmp_path / "nowhere")

    @pytest.mark.parametrize("text", [b"", b"{", b"[]", b"{}", b"\xff\xfe", b'{"format_version":2,"a":' + b"[" * 10**5])
    def test_a_manifest_that_is_none(self, folder, text):
        write_manifest(folder, text)
        with pytest.raises(PackageError, match=r"manifest\.json: expected the manifest of a package"):
            open_package(folder)

    def test_a_text_that_is_no_utf_8(self, folder, original):
        write_manifest(folder, canonical_json(original.manifest).replace(b"written by hand", b"written by h\xe4nd"))
        with pytest.raises(PackageError, match=r"manifest\.json: .* the manifest.*: .*'utf-8' codec can't decode"):
            open_package(folder)

    def test_a_manifest_as_large_as_a_network(self, folder):
        with (folder / "manifest.json").open("ab") as file:
            file.truncate(33 * 2**20)
        with pytest.raises(PackageError, match="manifest of over 33554432 bytes"):
            open_package(folder)


class TestOtherVersions:
    def test_newer_format_is_named_before_its_unknown_fields(self, folder):
        edit_manifest(folder, lambda plain: plain.update(format_version=3, quantum=True))
        with pytest.raises(PackageError, match="expected package format 2, got 3; install a newer brain-edge"):
            open_package(folder)

    def test_older_format(self, folder):
        edit_manifest(folder, lambda plain: plain.update(format_version=1))
        with pytest.raises(PackageError, match="expected package format 2, got 1; convert the model again"):
            open_package(folder)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda plain: plain.update(quantum=True), "quantum: unknown field"),
            (lambda plain: plain["card"].update(quantum=True), r"card\.quantum: unknown field"),
            (lambda plain: plain["spec"]["stages"][0]["before"][0].update(op="sharpen"), 'got "sharpen"'),
            (lambda plain: plain["self_test"]["phantom"].update(generator=2), "phantom.generator: expected 1, got 2"),
            (lambda plain: plain.update(precision="f8"), 'precision: expected one of f32, bf16, got "f8"'),
            (lambda plain: plain.pop("licence"), "licence: expected this field, got none"),
            (lambda plain: plain["spec"]["stages"][0].update(after=[]), "does not end with labels"),
        ],
    )
    def test_fields_that_this_version_does_not_know(self, folder, change, words):
        edit_manifest(folder, change)
        with pytest.raises(PackageError, match=rf"this version of brain-edge cannot read the manifest: .*{words}"):
            open_package(folder)


class TestSpelling:
    @pytest.mark.parametrize(
        ("known", "other"),
        [
            (b'"precision":"f32"', b'"precision":"bf16","precision":"f32"'),
            (b'"minimum_dice":0.98', b'"minimum_dice":0.1,"minimum_dice":0.98'),
            (b'"int8_share":0.97', b'"int8_share":0.2,"int8_share":0.97'),
            (b'"precision":"f32"', b'"precision": "f32"'),
            (b'"precision":"f32"', b'"precision":"\\u006632"'),
            (b'"minimum_dice":0.98', b'"minimum_dice":98e-2'),
            (b'"converted_from":null,', b""),
            (b"}", b"}\n"),
        ],
    )
    def test_another_one_is_refused_with_its_own_hash_too(self, folder, known, other):
        """A field that stands twice, white space, escapes, other numbers, a default left out, a last line feed."""
        text = canonical_json(seal(folder, tiny_manifest(evidence=spelt(EVIDENCE))).manifest)
        place = text.rindex(known)
        write_manifest(folder, text[:place] + other + text[place + len(known) :])
        with pytest.raises(
            PackageError, match=r"manifest\.json: expected canonical JSON \(each field once, in order, "
        ):
            open_package(folder)


OUT_OF_RANGE = [
    ("size_bytes", -1, lambda plain: plain["files"]["graphs/tiny.bin"]),
    ("sha256", "AB" * 32, lambda plain: plain["files"]["graphs/tiny.bin"]),
    ("sha256", "ab" * 32 + "\n", lambda plain: plain["weights"][0]),
    ("graph", "a graph\n", lambda plain: plain["weights"][0]),
    ("minimum_dice", 1.5, lambda plain: plain["self_test"]),
    ("minimum_dice", -0.1, lambda plain: plain["self_test"]),
    ("minimum_dice", None, lambda plain: plain["self_test"]),
    ("mask", "selftest/mask.nii.gz\n", lambda plain: plain["self_test"]),
    ("mask_dice", 1.1, lambda plain: plain["parity"]),
    ("max_error", -1e-6, lambda plain: plain["parity"]["graphs"][0]),
    ("relative_error", -1e-6, lambda plain: plain["parity"]["graphs"][0]),
    ("same_label_share", 1.1, lambda plain: plain["parity"]["graphs"][0]),
    ("graph", "../tiny", lambda plain: plain["parity"]["graphs"][0]),
    ("converted_from", "ab", lambda plain: plain),
    ("fitted_on", 0, lambda plain: plain),
    ("weights_status", "Trained", lambda plain: plain),
    ("intended_use", "Diagnosis.", lambda plain: plain),
    ("change", "improved", lambda plain: plain["evidence"]),
    ("demonstration", 0, lambda plain: plain["evidence"]),
]


class TestRanges:
    @pytest.mark.parametrize(("field", "value", "place"), OUT_OF_RANGE)
    def test_a_value_that_cannot_be_is_refused_with_its_own_hash_too(self, folder, field, value, place):
        seal(folder, tiny_manifest(parity=PARITY, evidence=spelt(EVIDENCE)))
        assert open_package(folder)
        edit_manifest(folder, lambda plain: place(plain).update({field: value}))
        with pytest.raises(PackageError, match=rf"this version of brain-edge cannot read the manifest: .*{field}"):
            open_package(folder)

    def test_a_number_that_is_none_cannot_be_spelt(self, folder, original):
        text = canonical_json(original.manifest)
        for number in (b"NaN", b"Infinity", b"1e999"):
            write_manifest(folder, text.replace(b'"minimum_dice":0.98', b'"minimum_dice":' + number))
            with pytest.raises(PackageError, match=r"manifest\.json: (expected|.* cannot read) the manifest"):
                open_package(folder)

    @pytest.mark.parametrize("dice", [1.5, -0.1, float("nan"), float("inf")])
    def test_nothing_out_of_its_range_is_sealed(self, folder, dice):
        with pytest.raises(msgspec.ValidationError, match=r"\$\.self_test\.minimum_dice"):
            seal(folder, tiny_manifest(self_test=replace(tiny_manifest().self_test, minimum_dice=dice)))


class TestMalice:
    @pytest.mark.parametrize(
        "name",
        ["../evil", "graphs/../../evil", "/etc/passwd", "..", "C:\\evil", "graphs\\evil", "~/evil", ".hidden", ""],
    )
    def test_a_path_that_leads_outside_is_refused(self, folder, original, name):
        record = {"sha256": "0" * 64, "size_bytes": 1}
        edit_manifest(folder, lambda plain: plain["files"].update({name: record}))
        with pytest.raises(PackageError, match="expected a text matching regex"):
            open_package(folder)
        write_manifest(folder, (original.folder / "manifest.json").read_bytes())
        edit_manifest(folder, lambda plain: plain["self_test"].update(mask=name))
        with pytest.raises(PackageError, match="expected a text matching regex"):
            open_package(folder)

    def test_a_graph_without_a_hash_is_refused(self, folder):
        edit_manifest(folder, lambda plain: plain["files"].pop("graphs/tiny.bin"))
        with pytest.raises(PackageError, match=r"no hash of graphs/tiny\.bin in the manifest"):
            open_package(folder)

    def test_a_self_test_without_a_hash_is_refused(self, folder):
        edit_manifest(folder, lambda plain: plain["files"].pop("selftest/mask.nii.gz"))
        with pytest.raises(PackageError, match=r"no hash of selftest/mask\.nii\.gz in the manifest"):
            open_package(folder)

    def test_a_graph_made_for_other_steps_is_refused_when_it_is_loaded(self, folder, original):
        """Manifest and hashes agree, but the steps are not those that the graph was made with."""
        before = tuple(step for step in STAGE.before if step is not STAGE.before[1])
        other = replace(SPEC, stages=(replace(STAGE, before=before),))
        seal(folder, replace(original.manifest, spec=other))
        segmenter = Segmenter.open(open_package(folder))
        sentence = "expected a graph with the model specification of the manifest, got another specification"
        with pytest.raises(PackageError, match=sentence):
            segmenter(make_volume(PHANTOM))

    def test_a_graph_whose_specification_is_no_text_is_refused_when_it_is_loaded(self, folder, original):
        graph = folder / graph_path("tiny")
        content = graph.read_bytes()
        start = content.index(b"<brain_edge>")
        place = content.index(b"tiny", start)
        graph.write_bytes(content[:place] + b"\xff" + content[place + 1 :])
        seal(folder, replace(original.manifest, files={}))
        segmenter = Segmenter.open(open_package(folder))
        with pytest.raises(PackageError, match="expected a graph"):
            segmenter(make_volume(PHANTOM))


class TestSelfTest:
    def test_passes_where_it_was_made(self, original):
        result = verify(open_package(original.folder), RuntimeOptions(threads=1))
        assert result.dice > 0.999
        assert result.files == len(FILES)
        assert result.digest == original.digest
        assert "FP32" in result.cpu_capabilities

    def test_fails_where_another_mask_comes_out(self, folder, original):
        from brain_edge.image.volume import Mask
        from brain_edge.io.nifti import write_mask

        volume = make_volume(PHANTOM)
        half = np.zeros(PHANTOM.shape, dtype=np.uint8)
        half[:, :20] = 1
        write_mask(Mask(half, volume.geometry), volume, folder / "selftest/mask.nii.gz")
        package = seal(folder, original.manifest)
        sentence = r"the self-test expected Dice of at least 0\.98 with the shipped mask, got 0\.\d+"
        with pytest.raises(BrainEdgeError, match=sentence):
            verify(package, RuntimeOptions(threads=1))

    def test_of_a_model_that_rightly_finds_nothing_in_a_phantom_passes(self, tmp_path):
        """A lesion network on a healthy phantom: the shipped mask is empty, and that is no broken image."""
        stage = replace(STAGE, after=(Threshold(channel=1, above=2.0), RESTORE))
        package = make_package(tmp_path / "lesion", replace(SPEC, task=Task.LESION, stages=(stage,)))
        assert verify(package, RuntimeOptions(threads=1)).dice == 1.0

    def test_of_a_cascade(self, tmp_path):
        assert verify(make_package(tmp_path / "cascade", CASCADE), RuntimeOptions(threads=1)).dice > 0.999


class TestModelCard:
    def test_says_what_a_reader_must_know(self, original):
        card = (original.folder / "README.md").read_text(encoding="utf-8")
        for words in (
            "# tiny (fp32)",
            "**Research use only. Not a medical device; not for diagnosis or treatment.**",
            "- Task: skull-stripping. Inputs: T1 (T1w).",
            "- Labels: 1 brain.",
            "Layers that are not INT8 run in f32.",
            "- Licence of the weights: Apache-2.0, the authors of brain_edge. nothing was trained",
            "- Limits: finds a phantom only",
            f"- tiny: `written by hand`, SHA-256 `{original.manifest.weights[0].sha256}`",
        ):
            assert words in card
        assert "random" not in card
        assert card == model_card(original.manifest)

    def test_random_weights_are_marked_at_the_top(self):
        lines = model_card(tiny_manifest(weights_status=WeightsStatus.RANDOM)).splitlines()
        assert lines[4] == (
            "**The weights are random. The masks of this package are meaningless; use it only to measure speed.**"
        )

    def test_parity_and_accuracy_are_tables_with_numbers_instead_of_names(self):
        card = model_card(tiny_manifest(parity=PARITY, evidence=spelt(EVIDENCE), number_format=NumberFormat.INT8))
        assert "| tiny | 2e-06 | 3e-07 | 99.9990% |" in card
        assert "Final masks, PyTorch against OpenVINO: Dice 0.99995." in card
        assert "These figures are those of the FP32 package" not in card
        made_of = model_card(tiny_manifest(parity=PARITY, converted_from="ab" * 32, number_format=NumberFormat.INT8))
        assert "These figures are those of the FP32 package `abababababababab...`, from which this" in made_of
        nothing = model_card(tiny_manifest(parity=msgspec.structs.replace(PARITY, mask_dice=None)))
        assert "PyTorch against OpenVINO: both masks were empty on the compared volume" in nothing
        assert "Measured on one head; no statement about others." in card
        assert "| 1 | test | 1 | 0.98100 | 0.97900 | 0.99600 |" in card
        assert "| 2 | test | 1 | no reference | no reference | 0.99700 |" in card


def test_manifest_comes_back_from_json_as_it_was():
    manifest = tiny_manifest(parity=PARITY, evidence=spelt(EVIDENCE))
    assert msgspec.json.decode(canonical_json(manifest), type=Manifest) == manifest


class TestFindings:
    def test_are_held_as_they_were_written_and_read_with_their_types(self):
        again = msgspec.json.decode(canonical_json(tiny_manifest(evidence=spelt(EVIDENCE))), type=Manifest)
        assert evidence_in(again) == EVIDENCE
        assert canonical_json(EVIDENCE) in canonical_json(again), "the digest is that of the record with its types"
        found = present(again.found)
        assert (found.change, found.changes, found.statement) == (EVIDENCE.change, EVIDENCE.changes, EVIDENCE.statement)
        assert [each.demonstration for each in found.chain] == [each.demonstration for each in EVIDENCE.chain]

    @pytest.mark.parametrize("found", [{}, {"change": "", "changes": [], "statement": 1}])
    def test_without_words_are_refused_with_the_manifest(self, found):
        text = canonical_json(tiny_manifest()).replace(b'"evidence":null', b'"evidence":' + msgspec.json.encode(found))
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(text, type=Manifest)

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("searched_on", "training"),
            ("basis", "luck"),
            ("int8_share", 1.1),
            ("worst_mean_drop", -1.1),
            ("worst_mean_disagreement", -0.1),
            ("operations_baseline", -1.0),
            ("cohort_sha256", "none"),
            ("subjects", 0),
            ("earlier_looks", [{"candidate": "none", "limits": {}, "met": True}]),
            ("threads", 0),
            ("kernels", {"jit": 1.1}),
            ("cost_factors", {"Convolution": -1.0}),
            ("limits", {"max_dice_drop": 1.0, "max_case_drop": 0.5}),
            ("isas", [{"isa": "any", "verified": False}]),
            ("cases", [spelt(EVIDENCE)["cases"][0] | {"split": "train"}]),
            ("cases", [spelt(EVIDENCE)["cases"][0] | {"agreement": 2.0}]),
            ("cases", [spelt(EVIDENCE)["cases"][0] | {"volume_baseline_ml": -1.0}]),
            ("cases", [spelt(EVIDENCE)["cases"][0] | {"label": 0}]),
        ],
    )
    def test_out_of_their_range_are_neither_read_nor_sealed(self, folder, field, value):
        manifest = tiny_manifest(evidence={**spelt(EVIDENCE), field: value})
        with pytest.raises(
            PackageError, match=rf"expected evidence in the format of this version.*\$\.{field}.*make the package again"
        ):
            evidence_in(manifest)
        with pytest.raises(PackageError, match=rf"\$\.{field}"):
            seal(folder, manifest)

    def test_of_another_version_are_refused_where_they_are_looked_at(self):
        manifest = tiny_manifest(evidence={**spelt(EVIDENCE), "mood": "good"})
        with pytest.raises(PackageError, match=r"expected evidence in the format of this version.*mood"):
            evidence_in(manifest)


class TestLicence:
    def test_travels_in_full_where_its_text_is_at_hand(self, original):
        text = (original.folder / "LICENSE.txt").read_text(encoding="utf-8")
        assert text.startswith("The weights in this package: Copyright the authors of brain_edge. Licence: Apache-2.0.")
        assert "TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION" in text

    def test_unknown_says_whom_to_ask(self):
        text = licence_text(Licence(name="not stated", holder="somebody"))
        assert "ask the holder before you pass the weights on" in text
