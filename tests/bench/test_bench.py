"""bench says how fast a package is on a machine, where the time goes, and refuses what cannot be compared."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec
import pytest
from cli_program import refused, save_phantom, succeed
from tiny_package import make_package

from brain_edge.bench import profile as profiling
from brain_edge.bench.advice import advice, recommended
from brain_edge.bench.measure import BenchOptions, bench, configurations
from brain_edge.bench.profile import LayerTime, measured_peaks, package_layers
from brain_edge.bench.record import BenchRecord, Configuration, Profile, Sample, peak_share, read_record, sums
from brain_edge.bench.table import as_text, compared
from brain_edge.errors import InputError
from brain_edge.machine.description import differences, this_machine
from brain_edge.machine.options import RuntimeOptions
from brain_edge.package import NumberFormat, Precision

if TYPE_CHECKING:
    from pathlib import Path

    from brain_edge.package import ModelPackage

ONE_THREAD = RuntimeOptions(threads=1)
SMALL_PEAK = ((16, 8),)
VOXELS = 44 * 52 * 52
"""Of the phantom, padded to a multiple of 4."""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return make_package(tmp_path_factory.mktemp("package") / "tiny")


@pytest.fixture(scope="module")
def record(package: ModelPackage) -> BenchRecord:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(profiling, "PEAK_LAYERS", SMALL_PEAK)
        return bench(package, {}, BenchOptions(threads=1, rounds=2, profile=True))


def profile_of(record: BenchRecord) -> Profile:
    """The profile that `record` was asked for."""
    assert record.profile is not None
    return record.profile


def test_each_configuration_has_a_sample_a_round(record: BenchRecord, package: ModelPackage):
    assert {configuration.threads for configuration in record.configurations} == {1}
    assert record.configurations[0].precision == package.manifest.precision
    assert [len(configuration.samples) for configuration in record.configurations] == [2] * len(record.configurations)
    assert all(sample.cold_ms > sample.first_ms for each in record.configurations for sample in each.samples)


def test_operations_are_those_of_the_network_on_the_grid_that_it_sees(record: BenchRecord):
    """3^3 weights from one channel to two, counted by hand."""
    layers = profile_of(record).layers
    assert sum(layer.multiply_adds for layer in layers) == VOXELS * 27 * 2
    (convolution,) = (layer for layer in layers if layer.multiply_adds)
    assert (convolution.times, convolution.numbers, convolution.fell_back) == (1, "f32", False)


def test_bytes_are_those_of_what_goes_in_and_out(record: BenchRecord):
    """f32 in, two channels out, and the weights."""
    (convolution,) = (layer for layer in profile_of(record).layers if layer.multiply_adds)
    weights_and_bias = 4 * (2 * 27 + 2)
    assert 3 * 4 * VOXELS <= convolution.moved_bytes <= 3 * 4 * VOXELS + 2 * weights_and_bias


def test_times_are_added_up_over_the_runs_of_a_case(package: ModelPackage):
    once, thrice = (package_layers(package, ONE_THREAD, "tiny", (1, 1, 8, 8, 8), times) for times in (1, 3))
    assert [3 * layer.multiply_adds for layer in once] == [layer.multiply_adds for layer in thrice]
    assert [3 * layer.moved_bytes for layer in once] == [layer.moved_bytes for layer in thrice]


def test_a_peak_is_measured_for_numbers_that_have_kernels_here(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(profiling, "PEAK_LAYERS", SMALL_PEAK)
    peaks = measured_peaks(ONE_THREAD, ["f32", "i8", "f64"])
    assert set(peaks) == {"f32", "i8"}
    assert all(peak > 1e6 for peak in peaks.values())


def test_a_record_is_read_back(record: BenchRecord, tmp_path: Path):
    path = tmp_path / "record.json"
    path.write_bytes(msgspec.json.encode(record))
    done = succeed("bench", "--compare", path, path)
    assert "1.00" in done.out
    assert msgspec.json.decode(path.read_bytes(), type=BenchRecord) == record


def test_what_became_slower_is_said_where_no_repetition_explains_it(record: BenchRecord):
    """Five processes each, half as fast; with one process nothing can be said."""
    sample = record.configurations[0].samples[0]

    def of(factor: float, starts: int) -> BenchRecord:
        samples = tuple(
            msgspec.structs.replace(sample, cold_ms=factor * (1000.0 + number), warm_ms=100.0)
            for number in range(starts)
        )
        return msgspec.structs.replace(
            record, configurations=(msgspec.structs.replace(record.configurations[0], samples=samples),)
        )

    assert compared(of(1.0, 5), of(2.0, 5)).count(" SLOWER ") == 2  # in the table, and in the words below it
    assert " faster " in compared(of(2.0, 5), of(1.0, 5)).rpartition("Geometric")[0]
    assert " noise " in compared(of(1.0, 5), of(1.0, 5))
    assert " too few starts " in compared(of(1.0, 1), of(2.0, 1))


def test_the_table_names_kernels_and_what_fell_back(record: BenchRecord):
    text = as_text(record)
    assert "0 quantised layer(s) fell back to floating point" in text
    profile = profile_of(record)
    layer = msgspec.structs.replace(profile.layers[0], fell_back=True, kernel="ref_any_f32", is_reference=True)
    changed = msgspec.structs.replace(record, profile=msgspec.structs.replace(profile, layers=(layer,)))
    assert "fell back to float, reference kernel" in as_text(changed)


def test_the_table_states_the_bytes_that_each_step_writes_and_their_sum(record: BenchRecord):
    """Three sides of the padded phantom in f32 are one array."""
    written = profile_of(record).written
    by_step = {each.step: each.written_bytes for each in written}
    assert by_step["pad_to_multiple"] == pytest.approx(4 * VOXELS, abs=2000)
    text = " ".join(as_text(record).split())
    assert f"| tiny: brain | pad_to_multiple | {4 * VOXELS / 2**20:.1f} | 1.04 |" in text
    assert f"| all | | {sum(each.written_bytes for each in written) / 2**20:.1f} |" in text
    before = msgspec.structs.replace(record, profile=msgspec.structs.replace(profile_of(record), written=()))
    assert "MiB written" not in as_text(before)


@pytest.mark.parametrize(
    ("field", "value"), [("model", 999), ("stepping", 99), ("processors", 64), ("isa", "SSE41"), ("memory_bytes", 1)]
)
def test_records_of_different_machines_are_not_compared(record: BenchRecord, field: str, value: object):
    other = msgspec.structs.replace(record, machine=msgspec.structs.replace(record.machine, **{field: value}))
    with pytest.raises(InputError, match=rf"expected records of one machine, got different machines: {field} "):
        compared(record, other)


def test_another_flag_of_the_cpu_is_another_machine():
    here = this_machine()
    assert differences(here, here) == ()
    assert differences(here, msgspec.structs.replace(here, flags=here.flags[1:])) == ("1 flags of the CPU",)


def test_records_of_different_images_are_not_compared(record: BenchRecord):
    with pytest.raises(InputError, match="got different images; measure both with the same --data"):
        compared(record, msgspec.structs.replace(record, images=("0" * 64,)))


def test_records_without_a_common_configuration_are_not_compared(record: BenchRecord):
    other = msgspec.structs.replace(record.configurations[0], threads=7)
    with pytest.raises(InputError, match="no configuration in common"):
        compared(record, msgspec.structs.replace(record, configurations=(other,)))


def test_bf16_is_measured_only_where_the_cpu_has_it(package: ModelPackage):
    assert configurations(package, 1, ["FP32"]) == ((1, Precision.F32),)
    assert configurations(package, 1, ["FP32", "BF16"]) == ((1, Precision.F32), (1, Precision.BF16))
    in_bf16 = package.in_precision(Precision.BF16)
    assert configurations(in_bf16, 1, ["FP32"]) == ((1, Precision.F32),)
    assert configurations(in_bf16, 1, ["FP32", "BF16"]) == ((1, Precision.BF16), (1, Precision.F32))


def test_an_int8_package_is_measured_as_it_is_pinned(tmp_path: Path):
    pinned = make_package(tmp_path / "int8", number_format=NumberFormat.INT8)
    assert configurations(pinned, 2, ["FP32", "BF16"]) == ((2, Precision.F32),)


def layer(numbers: str, operations: int, time_ms: float) -> LayerTime:
    return LayerTime(
        graph="g",
        name="n",
        kind="Convolution",
        kernel=f"jit_avx2_{numbers}",
        numbers=numbers,
        times=1,
        multiply_adds=operations,
        time_ms=time_ms,
        moved_bytes=10,
        fell_back=False,
        is_reference=False,
    )


def test_the_share_of_the_peak_is_a_rate_over_a_rate():
    """A billion in 100 ms are 10 G/s; half of them at 20 G/s."""
    assert peak_share([layer("f32", 10**9, 100.0)], {"f32": 20e9}) == pytest.approx(0.5)
    assert peak_share([layer("f32", 0, 100.0)], {"f32": 20e9}) is None
    assert peak_share([layer("i8", 10**9, 100.0)], {"f32": 20e9}) is None


def test_sums_are_by_numbers_and_time_without_weights_does_not_lower_the_share():
    layers = (layer("f32", 10**9, 100.0), layer("f32", 0, 900.0), layer("i8", 10**9, 50.0))
    first, second = sums(layers, {"f32": 20e9, "i8": 20e9})
    assert (first.numbers, first.time_ms, first.peak_share) == ("f32", 1000.0, pytest.approx(0.5))
    assert (second.numbers, second.multiply_adds, second.peak_share) == ("i8", 10**9, pytest.approx(1.0))


def test_against_itself_every_second_round_is_compared_with_the_others():
    samples = tuple(
        Sample(cold_ms=value, first_ms=1.0, warm_ms=1.0, peak_rss_bytes=None) for value in (10.0, 20.0, 10.0, 20.0)
    )
    each = Configuration(threads=1, precision="f32", samples=samples)
    assert (each.median("cold_ms"), each.spread("cold_ms"), each.against_itself("cold_ms")) == (15.0, 2.0, 0.5)
    assert each.against_itself("peak_rss_bytes") == 1.0


def test_the_command_prints_one_record_as_json_for_a_head_of_the_users(package: ModelPackage, tmp_path: Path):
    head = save_phantom(tmp_path / "Smith.nii.gz")
    words = ("bench", package.folder, "--data", head, "--threads", 1, "--rounds", 1, "--json", "--quiet")
    said = succeed(*words).out
    assert "Smith" not in said
    assert json.loads(said)["shape"] == [44, 52, 50]
    assert len(json.loads(said)["images"]) == 1


def test_refusals(package: ModelPackage, tmp_path: Path):
    (tmp_path / "a.json").write_text('{"schema": 2}', encoding="utf-8")
    assert "takes two records only" in refused(2, "bench", package.folder, "--compare", "a", "b")
    assert "cannot be read" in refused(3, "bench", "--compare", tmp_path / "none.json", tmp_path / "a.json")
    assert "expected a record of" in refused(3, "bench", "--compare", tmp_path / "a.json", tmp_path / "a.json")


def advised(*configurations: tuple[int, str, list[float]]) -> BenchRecord:
    """A record with these threads, precisions and warm latencies."""
    kept = tuple(
        Configuration(
            threads=threads,
            precision=precision,
            samples=tuple(Sample(cold_ms=2 * ms, first_ms=ms, warm_ms=ms, peak_rss_bytes=1) for ms in warm_ms),
        )
        for threads, precision, warm_ms in configurations
    )
    return BenchRecord(
        model="m",
        digest="0" * 64,
        number_format="fp32",
        weights_status="trained",
        images=(),
        shape=(1, 1, 1),
        spacing_mm=(1.0, 1.0, 1.0),
        machine=this_machine(),
        versions={"openvino": "1"},
        configurations=kept,
    )


def test_the_fastest_configuration_is_recommended_and_its_precision_must_be_converted():
    record = advised((1, "f32", [1000, 1010]), (2, "f32", [500, 505]), (2, "bf16", [250, 252]))
    assert (recommended(record).threads, recommended(record).precision) == (2, "bf16")
    assert "Fastest on this machine: --threads 2 in bf16, 0.25 s per case when warm, 0.50 s cold" in advice(record)
    assert "convert the model again with --precision bf16" in advice(record)


def test_threads_that_gain_nothing_are_not_recommended():
    assert recommended(advised((2, "f32", [500, 505]), (4, "f32", [498, 503]))).threads == 2
    assert "pins" not in advice(advised((2, "f32", [500, 505])))


@pytest.mark.parametrize("figure", ["cold_ms", "first_ms", "warm_ms"])
@pytest.mark.parametrize("value", [0, -1, 1e300, 5e-324])
def test_a_record_of_times_that_no_process_takes_is_refused(figure: str, value: float, tmp_path: Path):
    record = json.loads(msgspec.json.encode(advised((1, "f32", [1000, 1010]))))
    record["configurations"][0]["samples"][0][figure] = value
    (tmp_path / "record.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=rf"record\.json: expected a record of .*{figure}"):
        read_record(tmp_path / "record.json")


def test_a_record_without_a_process_is_refused(tmp_path: Path):
    record = json.loads(msgspec.json.encode(advised((1, "f32", []))))
    (tmp_path / "record.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"record\.json: expected a record of .*samples"):
        read_record(tmp_path / "record.json")
