"""The report of a conversion: it names the layer that goes wrong, and says what could not be compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
import torch
from test_convert import (
    STUDY,
    random_weights,
    rewritable_source,
    small_network,
    source,
    spec,
    trapped_network,
)
from torch import nn

from brain_edge.errors import ParityError, UsageError
from brain_edge_conversion.convert.convert import ConvertOptions, convert
from brain_edge_conversion.convert.divergence import find_divergence
from brain_edge_conversion.convert.report import ConversionReport, require_report_place
from brain_edge_conversion.convert.trace import trace_network

if TYPE_CHECKING:
    from pathlib import Path


def report_of(path: Path) -> ConversionReport:
    return msgspec.json.decode(path.read_bytes(), type=ConversionReport)


@pytest.mark.full  # the naive conversion of test_convert is the same in CI
def test_a_refused_conversion_names_the_first_layer_that_differs(tmp_path: Path):
    """The norm trap: OpenVINO takes running statistics that PyTorch does not use, from the first norm on."""
    model = source()
    options = ConvertOptions(rewrites=False, account=tmp_path / "report")
    with pytest.raises(ParityError):
        convert(model, random_weights(model), STUDY, tmp_path / "package", options)
    assert not (tmp_path / "package").exists()
    report = report_of(tmp_path / "report/conversion.json")
    assert not report.passed
    assert "OpenVINO differs from PyTorch" in report.failure
    assert report.mask_dice is None
    (divergence,) = report.divergences
    assert divergence.first == "context1.bn_1"
    assert divergence.compared[-1].kind == "InstanceNorm3d"
    assert all(layer.relative_error < 1e-5 for layer in divergence.compared[:-1])
    page = (tmp_path / "report/conversion.html").read_text(encoding="utf-8")
    assert "The first layer that differs is context1.bn_1." in page
    assert "<img" not in page


def test_a_conversion_that_passes_is_accounted_for(tmp_path: Path):
    model = rewritable_source()
    package = convert(model, random_weights(model), STUDY, tmp_path / "p", ConvertOptions(account=tmp_path / "r.json"))
    report = report_of(tmp_path / "r.json")
    assert (report.passed, report.failure, report.divergences) == (True, "", ())
    assert report.rewrites == package.manifest.rewrites
    parity = package.manifest.parity
    assert parity is not None
    assert (report.graphs, report.mask_dice, report.input_sha256) == (
        parity.graphs,
        parity.mask_dice,
        parity.input_sha256,
    )
    assert report.operators["net"]["Convolution"] >= 3
    assert not (tmp_path / "conversion.html").exists()


@pytest.mark.full  # a second conversion of the same network
def test_a_page_alone_can_be_asked_for(tmp_path: Path):
    model = source(small_network)
    convert(model, random_weights(model), STUDY, tmp_path / "p", ConvertOptions(account=tmp_path / "r.html"))
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "reproduces the published network" in page
    assert "unused running statistics removed from 1 norm layers" in page


def test_another_kind_of_file_is_refused(tmp_path: Path):
    with pytest.raises(UsageError, match=r"report\.pdf: expected a folder for --report, or a file that ends in"):
        require_report_place(tmp_path / "report.pdf")


def test_layers_without_names_in_the_graph_are_counted_as_not_mapped():
    module = torch.jit.trace(nn.Conv3d(1, 2, 3, padding=1).eval(), torch.zeros(1, 1, 8, 8, 8))
    network = spec("net").stages[0].network
    model = trace_network(module, network, (8, 8, 8))
    noise = np.random.default_rng(0).standard_normal((1, 1, 8, 8, 8), np.float32)
    found = find_divergence("net", module, model, (noise, noise), 1e-4)
    assert (found.mapped, found.compared, found.first) == (0, (), None)


def test_a_layer_with_other_weights_is_found_in_the_middle():
    """The same topology with one layer changed after tracing: that layer, and none before it."""
    module = trapped_network().eval()
    network = spec("net").stages[0].network
    model = trace_network(module, network, (16, 16, 16))
    with torch.no_grad():
        module.get_parameter("context3.conv1.weight").mul_(1.5)
    noise = np.random.default_rng(0).standard_normal((1, 1, 16, 16, 16), np.float32)
    found = find_divergence("net", module, model, (noise, noise), 1e-3)
    assert found.first == "context3.conv1"
    assert found.mapped > len(found.compared) > 8
