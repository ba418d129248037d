"""A package is PyTorch's function at every size that its steps give, or is refused with the sizes and a way out."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from test_convert import CARD, LICENCE
from torch import nn
from torch.nn import functional

from brain_edge.engine.segmenter import Segmenter
from brain_edge.errors import ParityError, WeightsError
from brain_edge.image.geometry import Geometry
from brain_edge.image.phantom import Phantom, make_study
from brain_edge.image.resample import Interpolation
from brain_edge.jobs.verify import verify
from brain_edge.machine.options import RuntimeOptions
from brain_edge.package import open_package
from brain_edge.spec import Activation, Label, ModelSpec, Network, Sequence, Stage, Task, WholeVolume
from brain_edge.spec.steps import Argmax, Orient, PadToMultiple, Restore, ZScore
from brain_edge_conversion.convert.convert import ConvertOptions, convert
from brain_edge_conversion.convert.parity import TorchSession
from brain_edge_conversion.convert.self_test import like
from brain_edge_conversion.convert.sizes import LARGE, Seen, judged, sizes_of
from brain_edge_conversion.convert.taken import least_multiple
from brain_edge_conversion.recipe import GraphSource, ModelSource

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from brain_edge.image.geometry import Shape

pytestmark = pytest.mark.filterwarnings("ignore")


class Plain(nn.Module):
    """A U-Net of two levels."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv3d(1, 4, 3, padding=1), nn.Conv3d(4, 8, 3, padding=1)
        self.up, self.head = nn.ConvTranspose3d(8, 4, 2, 2), nn.Conv3d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        fine = functional.relu(self.a(x))
        coarse = self.up(functional.relu(self.b(functional.max_pool3d(fine, 2))))
        return self.head(torch.cat([self.joined(coarse, fine), fine], 1))

    def joined(self, coarse: torch.Tensor, _fine: torch.Tensor) -> torch.Tensor:
        return coarse


class PadInside(Plain):
    """Pads to multiples of 4 where needed, as many community networks do."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        sides = x.shape[2:]
        missing = [-side % 4 for side in sides]
        if sum(missing):
            x = functional.pad(x, (0, missing[2], 0, missing[1], 0, missing[0]))
        return super().forward(x)[:, :, : sides[0], : sides[1], : sides[2]]


class PadSkip(Plain):
    """Pads what is joined where a halving lost a voxel, as MONAI's BasicUNet does."""

    def joined(self, coarse: torch.Tensor, fine: torch.Tensor) -> torch.Tensor:
        missing = [fine.shape[axis] - coarse.shape[axis] for axis in (4, 3, 2)]
        return (
            functional.pad(coarse, [number for each in missing for number in (0, each)], "replicate")
            if any(missing)
            else coarse
        )


class CropSkip(Plain):
    """Resizes where sides differ, through Python numbers."""

    def joined(self, coarse: torch.Tensor, fine: torch.Tensor) -> torch.Tensor:
        if coarse.shape != fine.shape:
            return functional.interpolate(coarse, size=[int(side) for side in fine.shape[2:]])
        return coarse


class Small(Plain):
    """Another way for small volumes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) if min(x.shape[2:]) >= 40 else self.head(torch.cat([self.a(x), self.a(x)], 1))


class Odd(Plain):
    """Another way for odd volumes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (
            super().forward(x)
            if all(side % 2 == 0 for side in x.shape[2:])
            else self.head(self.a(x).repeat(1, 2, 1, 1, 1))
        )


class Blocks(Plain):
    """As many passes as there are blocks of 32 slices."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.a(x)
        for _ in range(int(x.shape[2]) // 32):
            y = functional.relu(y) + y
        return self.head(torch.cat([y, y], 1))


class Scaled(Plain):
    """Divides by the number of voxels, as a Python number."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * (1e5 / float(np.prod(x.shape[2:])))


class Position(Plain):
    """A ramp that is made on the way, of the size of the input."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ramp = torch.from_numpy(np.linspace(0, 1, int(x.shape[2]), dtype=np.float32)).reshape(1, 1, -1, 1, 1)
        return super().forward(x + ramp)


def basic_unet() -> nn.Module:
    from monai.networks.nets import BasicUNet

    return BasicUNet(3, 1, 2, features=(4, 4, 8, 8, 16, 4))


KINDS: dict[str, Callable[[], nn.Module]] = {
    "pads inside": PadInside,
    "pads what it joins": PadSkip,
    "BasicUNet of MONAI": basic_unet,
    "resizes what it joins": CropSkip,
    "another way for small volumes": Small,
    "another way for odd volumes": Odd,
    "as many passes as blocks": Blocks,
    "the number of voxels": Scaled,
    "a ramp": Position,
}
IN_CI = ("pads what it joins", "as many passes as blocks")
"""Padding inside is refused and healed below."""


def spec(*, multiple: int | None = None, activation: Activation = Activation.SOFTMAX) -> ModelSpec:
    pad = () if multiple is None else (PadToMultiple(multiple_of=multiple),)
    network = Network(graphs=("net",), channels_in=1, channels_out=2, activation=activation, execution=WholeVolume())
    after = (Argmax(), Restore(interpolation=Interpolation.NEAREST))
    stage = Stage(name="s", before=(Orient(axes="RAS"), ZScore(), *pad), network=network, after=after)
    labels, inputs = (Label(value=1, name="tumour"),), (Sequence(name="T1"),)
    return ModelSpec(name="small", task=Task.TUMOUR, inputs=inputs, stages=(stage,), labels=labels)


def head(i: int, j: int, k: int) -> Any:
    return make_study(Phantom(shape=(i, j, k), spacing_mm=200 / i), ["T1"])


def converted(network: nn.Module, of: ModelSpec, folder: Path, sides: Shape, **of_graph: Any) -> Any:
    graph = GraphSource("net", lambda _weights: network, None, (64, 64, 64), **of_graph)
    return convert(ModelSource(of, (graph,), CARD, LICENCE), {"net": None}, head(*sides), folder, ConvertOptions())


def built(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return make().eval()


@pytest.mark.parametrize("kind", IN_CI)
def test_a_decision_by_the_size_is_refused_with_the_sizes(kind: str, tmp_path: Path):
    with pytest.raises(ParityError, match=r"OpenVINO differs from PyTorch on .*\. The graph has frozen a decision"):
        converted(built(KINDS[kind]), spec(), tmp_path / "p", (36, 40, 44))
    assert not (tmp_path / "p").exists()


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_decision_gives_pytorchs_mask_or_is_refused(kind: str, tmp_path: Path):
    network, study = built(KINDS[kind]), head(37, 41, 35)
    with suppress(ParityError, WeightsError):
        package = converted(network, spec(), tmp_path / "p", (36, 40, 44))
        wanted = Segmenter(spec(), {"net": TorchSession(network)})(study).mask.labels
        np.testing.assert_array_equal(Segmenter.open(package)(study).mask.labels, wanted)


@pytest.mark.full  # five seconds; in CI the step is named
def test_the_step_that_is_named_heals_it(tmp_path: Path):
    network = built(PadInside)
    with pytest.raises(ParityError, match=r"add pad_to_multiple \(right here: 4\)"):
        converted(network, spec(), tmp_path / "p", (36, 40, 44))
    package = converted(network, spec(multiple=4), tmp_path / "p", (37, 41, 35))
    assert verify(package, RuntimeOptions()).dice == 1.0


def test_a_network_without_decisions_is_taken_and_every_size_runs(tmp_path: Path):
    package = converted(built(lambda: nn.Conv3d(1, 2, 3, padding=1)), spec(), tmp_path / "p", (37, 41, 35))
    assert Segmenter.open(package)(head(36, 33, 35)).mask.labels.shape == (36, 33, 35)


def test_a_size_that_the_network_does_not_take_is_refused_with_the_step_that_is_missing(tmp_path: Path):
    with pytest.raises(WeightsError, match=r"does not take 37 x 41 x 35, .* add pad_to_multiple \(tried: 2\)"):
        converted(built(Plain), spec(), tmp_path / "p", (37, 41, 35))


def test_the_phantom_is_of_the_heads_size_where_its_own_does_not_suit(tmp_path: Path):
    class Cubes(Plain):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(functional.max_pool3d(x, 1).reshape(1, 1, x.shape[2], x.shape[2], x.shape[2]))

    package = converted(built(Cubes), spec(), tmp_path / "p", (64, 64, 64))
    assert open_package(package.folder).manifest.self_test.phantom.shape == (64, 64, 64)
    assert verify(package, RuntimeOptions()).dice == 1.0


def test_a_phantom_like_a_head_has_its_sides_in_the_order_of_ras():
    affine = np.array([[0, 0, 3.0, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    phantom = like(Geometry((20, 30, 40), affine))
    assert phantom.shape == (40, 20, 30)
    assert phantom.spacing_mm == pytest.approx(3 ** (1 / 3))


def test_sizes_are_those_that_the_steps_can_give():
    assert LARGE in sizes_of(spec().stages[0], large=True)
    assert LARGE not in sizes_of(spec().stages[0], large=False)
    assert all(side % 16 == 0 for sides in sizes_of(spec(multiple=16).stages[0], large=True) for side in sides)


def test_the_multiple_is_the_least():
    assert least_multiple(built(lambda: nn.Sequential(nn.PixelUnshuffle(1), Plain())), (1, 1, 37, 41, 35)) == 2
    assert least_multiple(built(lambda: nn.Conv3d(2, 1, 1)), (1, 1, 37, 41, 35)) is None


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        ({(1, 1, 37, 41, 35): 0.5, (1, 1, 36, 44, 52): 0.0}, "add pad_to_multiple (right here: 2)"),
        ({(1, 1, 37, 41, 35): 0.0, (1, 1, 64, 32, 96): 0.5}, "or steps that fix the size"),
        ({(1, 1, 37, 41, 35): float("nan")}, "37 x 41 x 35 (it fails)"),
        ({(1, 1, 37, 41, 35): 4e-4}, ""),
    ],
)
def test_what_is_wrong_is_said_with_its_sizes(errors: dict[tuple[int, ...], float], words: str):
    said = judged([Seen(*each) for each in errors.items()], 5e-4)
    assert words in said
    assert bool(said) is bool(words)


@pytest.mark.parametrize(
    ("error", "own", "is_right"),
    [(7e-4, 3e-4, True), (7e-4, 3e-5, False), (9e-2, 5e-2, False), (7e-4, float("nan"), False), (4e-4, 0.0, True)],
)
def test_a_network_that_amplifies_rounding_may_be_off_by_as_much_as_rounding_does(
    error: float, own: float, is_right: bool
):
    assert Seen((1, 1, 128, 128, 128), error, own).is_right(5e-4) is is_right
    assert bool(judged([Seen((1, 1, 128, 128, 128), error, own)], 5e-4)) is not is_right


class Amplifies(nn.Module):
    """Turns the last digits of numbers that noise has and heads have not into large differences."""

    def __init__(self, *, frozen: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv3d(1, 1, 3, padding=1, bias=False)
        self.frozen = frozen
        with torch.no_grad():
            self.conv.weight.copy_(0.05 * torch.randn_like(self.conv.weight))
            self.conv.weight[0, 0, 1, 1, 1] = 1.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        near = self.conv(x)
        if self.frozen:
            near = near * (1 + 0.001 * (int(x.shape[2]) % 4))
        far = 300 * torch.sin(2000 * functional.relu(near - 7))
        return torch.cat([near, near.square() - far], 1)


def test_a_network_that_amplifies_rounding_is_taken(tmp_path: Path):
    torch.manual_seed(0)
    converted(Amplifies().eval(), spec(), tmp_path / "p", (36, 40, 44))


def test_such_a_network_with_a_frozen_decision_is_refused(tmp_path: Path):
    torch.manual_seed(0)
    with pytest.raises(ParityError, match="has frozen a decision"):
        converted(Amplifies(frozen=True).eval(), spec(), tmp_path / "p", (36, 40, 44))


class Probabilities(Plain):
    """Ends in a softmax, cut to the size of the input."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).softmax(1)[:, :, : x.shape[2]]


@pytest.mark.full  # six seconds: three more conversions
def test_an_activation_of_an_activation_is_refused_unless_the_program_does_that(tmp_path: Path):
    network = built(Probabilities)
    with pytest.raises(WeightsError, match=r"ends in a softmax itself, .* Set `activation` to none"):
        converted(network, spec(), tmp_path / "p", (32, 32, 32))
    once = converted(network, spec(activation=Activation.NONE), tmp_path / "once", (32, 32, 32))
    assert verify(once, RuntimeOptions()).dice == 1.0
    twice = converted(network, spec(), tmp_path / "twice", (32, 32, 32), activates_twice=True)
    assert verify(twice, RuntimeOptions()).dice == 1.0
