"""The GPU baseline: the networks of the benchmark matrix on one device, in the schema of its cells. One file.

    python gpu_baseline.py                       all networks on the first CUDA device
    python gpu_baseline.py brainmage --rounds 20
    python gpu_baseline.py tiny --device cpu     to see that it runs; recorded as what it is, a CPU

Needs Python 3.11, torch and NumPy, and nothing of brain_edge: copy this file to the machine with the GPU, run it, and
copy `results/` back beside the others. `python -m benchmarks report` then shows the device in rows of its own.

Measured are FP32, TF32, AMP in bf16 and fp16, channels-last, torch.compile; and the copies of the input to the device
and of the answer back, as contenders of their own. All in turn, A B C A B C, after each has run warm. Networks, shapes
and batch (1) are those of the CPU cells. Weights come from a fixed seed: speed does not depend on what a network
has learnt. Answers are compared with FP32 on the CPU before anything is timed.

What a data-centre GPU does is no statement about a workstation's GPU: name the device wherever you quote the figure.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SEED = 0
EXIT_NO_DEVICE = 3
GROUP = "gpu"


# --- the networks, layer for layer those of brain_edge_conversion and of MONAI's DynUNet (a test compares) -----------

conv = partial(nn.Conv3d, kernel_size=3, padding=1)
conv1 = partial(nn.Conv3d, kernel_size=1)


def leaky(x: Tensor, slope: float = 0.01) -> Tensor:
    return functional.leaky_relu(x, slope, inplace=True)


class Residual(nn.Module):
    """Twice norm, LeakyReLU, convolution; plus the input."""

    def __init__(self, channels: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.norm1, self.conv1 = norm(channels), conv(channels, channels)
        self.norm2, self.conv2 = norm(channels), conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        made: Tensor = x + self.conv2(leaky(self.norm2(self.conv1(leaky(self.norm1(x))))))
        return made


class BrainMaGe(nn.Module):
    """(1, 1, I, J, K) to (1, 1, I, J, K): sigmoid. Its norms use running statistics, as the published program does.

    As written in its BrainLes chapter: transposed convolutions on the way up, to (1, 2, I, J, K), softmax.
    """

    def __init__(self, width: int = 16, *, as_written: bool = False) -> None:
        super().__init__()
        norm = partial(nn.InstanceNorm3d, affine=True, track_running_stats=True)
        widths = [width * 2**level for level in range(5)]
        self.first = conv(1, width)
        self.blocks = nn.ModuleList(Residual(each, norm) for each in widths)
        self.downs = nn.ModuleList(conv(a, b, stride=2) for a, b in pairwise(widths))
        self.down_norms = nn.ModuleList(norm(each) for each in widths[1:])
        up = partial(nn.ConvTranspose3d, kernel_size=2, stride=2) if as_written else conv1
        self.ups = nn.ModuleList(up(2 * each, each) for each in reversed(widths[:-1]))
        self.merge_norms = nn.ModuleList(norm(2 * each) for each in reversed(widths[:-1]))
        self.merges = nn.ModuleList(conv(2 * each, each) for each in reversed(widths[:-1]))
        self.merged = nn.ModuleList(Residual(each, norm) for each in reversed(widths[:-1]))
        self.last_norm, self.last = norm(width), conv1(width, 2 if as_written else 1)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        skips = [self.blocks[0](self.first(x))]
        for down, norm, block in zip(self.downs, self.down_norms, self.blocks[1:], strict=True):
            skips.append(block(leaky(norm(down(skips[-1])))))
        x = skips.pop()
        for up, norm, merge, block in zip(self.ups, self.merge_norms, self.merges, self.merged, strict=True):
            if not isinstance(up, nn.ConvTranspose3d):
                x = functional.interpolate(x, scale_factor=2, mode="trilinear", align_corners=True)
            x = up(x)
            x = block(merge(leaky(norm(torch.cat((x, skips.pop()), dim=1)))))
        logits: Tensor = self.last(leaky(self.last_norm(x)))
        return torch.softmax(logits, dim=1) if logits.shape[1] > 1 else torch.sigmoid(logits)


class Vox2Vox(nn.Module):
    """The generator: (1, 4, I, J, K) to (1, 4, I, J, K): softmax."""

    def __init__(self, channels: int = 4, classes: int = 4, width: int = 64) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(4)]
        self.downs = nn.ModuleList(
            self._normed(nn.Conv3d(a, b, 4, stride=2, padding=1), nn.LeakyReLU(0.3, inplace=True))
            for a, b in pairwise([channels, *widths])
        )
        deep = widths[-1]
        self.wides = nn.ModuleList(
            self._normed(nn.Conv3d(a, deep, 4), nn.LeakyReLU(0.3, inplace=True)) for a in (deep, *[2 * deep] * 3)
        )
        self.ups = nn.ModuleList(
            self._normed(nn.ConvTranspose3d(a, b, 4, stride=2, padding=1), nn.ReLU(inplace=True))
            for a, b in ((deep, widths[2]), (2 * widths[2], widths[1]), (2 * widths[1], widths[0]))
        )
        self.head = nn.ConvTranspose3d(2 * widths[0], classes, 4, stride=2, padding=1)

    @staticmethod
    def _normed(layer: Any, activation: nn.Module) -> nn.Sequential:
        return nn.Sequential(layer, nn.InstanceNorm3d(layer.out_channels, affine=True), activation)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        skips: list[Tensor] = []
        for down in self.downs:
            x = down(x)
            skips.append(x)
        before = skips.pop()
        x = self._wide(0, before)
        for number in (1, 2, 3):
            x, before = self._wide(number, torch.cat((x, before), dim=1)), x
        x = self.ups[0](x)
        for up in self.ups[1:]:
            x = up(torch.cat((x, skips.pop()), dim=1))
        return torch.softmax(self.head(torch.cat((x, skips.pop()), dim=1)), dim=1)

    def _wide(self, number: int, x: Tensor) -> Tensor:
        """Kernel 4, stride 1, "same": one voxel before, two after."""
        made: Tensor = self.wides[number](functional.pad(x, (1, 2, 1, 2, 1, 2)))
        return made


class HdBet(nn.Module):
    """HD-BET version 1: (1, 1, I, J, K) to (1, 2, I, J, K): softmax. Its norms use the statistics of the input."""

    def __init__(self, width: int = 21) -> None:
        super().__init__()
        norm = partial(nn.InstanceNorm3d, affine=True)
        widths = [width * 2**level for level in range(5)]
        self.first = conv(1, width)
        self.blocks = nn.ModuleList(Residual(each, norm) for each in widths)
        self.down_norms = nn.ModuleList(norm(each) for each in widths[:-1])
        self.downs = nn.ModuleList(conv(a, b, stride=2) for a, b in pairwise(widths))
        self.deep_norm = norm(widths[-1])
        upwards = list(reversed(widths[:-1]))
        self.ups = nn.ModuleList(conv(2 * each, each) for each in upwards)
        self.up_norms = nn.ModuleList(norm(each) for each in upwards)
        self.merges = nn.ModuleList(conv(2 * each, 2 * each) for each in upwards[:-1])
        self.merge_norms = nn.ModuleList(norm(2 * each) for each in upwards[:-1])
        self.halves = nn.ModuleList(conv1(2 * each, each) for each in upwards[:-1])
        self.half_norms = nn.ModuleList(norm(each) for each in upwards[:-1])
        self.end1, self.end1_norm = conv(2 * width, 2 * width), norm(2 * width)
        self.end2, self.end2_norm = conv(2 * width, 2 * width), norm(2 * width)
        self.last = conv1(2 * width, 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        x, skips = self.blocks[0](self.first(x)), []
        for norm, down, block in zip(self.down_norms, self.downs, self.blocks[1:], strict=True):
            skips.append(leaky(norm(x)))
            x = block(down(skips[-1]))
        x = leaky(self.deep_norm(x), 0.1)
        for number, (up, norm) in enumerate(zip(self.ups, self.up_norms, strict=True)):
            x = functional.interpolate(x, scale_factor=2, mode="trilinear", align_corners=True)
            x = torch.cat((skips.pop(), leaky(norm(up(x)))), dim=1)
            if number < len(self.merges):
                x = leaky(self.merge_norms[number](self.merges[number](x)))
                x = leaky(self.half_norms[number](self.halves[number](x)))
        x = leaky(self.end1_norm(self.end1(x)), 0.1)
        x = leaky(self.end2_norm(self.end2(x)), 0.1)
        return torch.softmax(self.last(x), dim=1)


class NnUnet(nn.Module):
    """A U-Net as nnU-Net plans it: (1, 4, I, J, K) to (1, 4, I, J, K): logits."""

    def __init__(
        self, channels: int = 4, classes: int = 4, widths: tuple[int, ...] = (32, 64, 128, 256, 320, 320)
    ) -> None:
        super().__init__()
        self.downs = nn.ModuleList(
            self._block(a, b, 1 if number == 0 else 2) for number, (a, b) in enumerate(pairwise((channels, *widths)))
        )
        upwards = list(pairwise(reversed(widths)))
        self.ups = nn.ModuleList(nn.ConvTranspose3d(a, b, 2, stride=2, bias=False) for a, b in upwards)
        self.merges = nn.ModuleList(self._block(2 * b, b, 1) for _, b in upwards)
        self.last = conv1(widths[0], classes)

    @staticmethod
    def _block(channels_in: int, channels_out: int, stride: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for a, step in ((channels_in, stride), (channels_out, 1)):
            layers.append(conv(a, channels_out, stride=step, bias=False))
            layers.append(nn.InstanceNorm3d(channels_out, affine=True))
            layers.append(nn.LeakyReLU(0.01, inplace=True))
        return nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        skips: list[Tensor] = []
        for down in self.downs:
            x = down(x)
            skips.append(x)
        x = skips.pop()
        for up, merge in zip(self.ups, self.merges, strict=True):
            x = merge(torch.cat((up(x), skips.pop()), dim=1))
        made: Tensor = self.last(x)
        return made


class MeshNet(nn.Sequential):
    """White and grey matter: (1, 1, I, J, K) to (1, 3, I, J, K): logits."""

    def __init__(self, width: int = 5, classes: int = 3) -> None:
        layers: list[nn.Module] = []
        for number, dilation in enumerate((1, 2, 4, 8, 16, 8, 4, 2, 1)):
            layers.append(nn.Conv3d(width if number else 1, width, 3, padding=dilation, dilation=dilation))
            layers.append(nn.ReLU(inplace=True))
        super().__init__(*layers, conv1(width, classes))


class Tiny(nn.Sequential):
    """Two convolutions and a norm: shows in a second that the script runs."""

    def __init__(self) -> None:
        super().__init__(conv(1, 4), nn.InstanceNorm3d(4), nn.ReLU(), conv1(4, 2), nn.Softmax(dim=1))


@dataclass(frozen=True)
class NetworkInput:
    """A network and the input that it is measured on, as in the CPU cells."""

    build: Callable[[], nn.Module]
    channels: int
    sides: tuple[int, int, int]


CASES = {
    "brainmage": NetworkInput(BrainMaGe, 1, (128, 128, 128)),
    "brainmage-as-written": NetworkInput(partial(BrainMaGe, as_written=True), 1, (128, 128, 128)),
    "hd-bet-v1": NetworkInput(HdBet, 1, (128, 160, 128)),
    "vox2vox": NetworkInput(Vox2Vox, 4, (128, 128, 128)),
    "nnunet-style": NetworkInput(NnUnet, 4, (128, 128, 128)),
    "meshnet": NetworkInput(MeshNet, 1, (256, 256, 256)),
    "tiny": NetworkInput(Tiny, 1, (32, 32, 32)),
}


# --- what is compared ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ComputeMode:
    """A way to compute.

    Attributes:
        name: as in the results.
        dtype: of autocast; None for f32 throughout.
        tf32: whether f32 products may be rounded to TF32.
        channels_last: memory layout of input and weights.
        compiled: torch.compile.
        copies: also the input to the device and the answer back.
        least: correlation with FP32 on the CPU below which nothing is timed.
    """

    name: str
    dtype: torch.dtype | None = None
    tf32: bool = False
    channels_last: bool = False
    compiled: bool = False
    copies: bool = False
    least: float = 0.9999


AMP = 0.98
CONTENDERS = (
    ComputeMode("PyTorch FP32"),
    ComputeMode("PyTorch FP32, with copies", copies=True),
    ComputeMode("PyTorch TF32", tf32=True, least=0.999),
    ComputeMode("PyTorch AMP bf16", dtype=torch.bfloat16, least=AMP),
    ComputeMode("PyTorch AMP fp16", dtype=torch.float16, least=AMP),
    ComputeMode("PyTorch AMP fp16, channels-last", dtype=torch.float16, channels_last=True, least=AMP),
    ComputeMode("PyTorch AMP fp16, channels-last, with copies", torch.float16, False, True, False, True, AMP),
    ComputeMode("torch.compile FP32", compiled=True),
    ComputeMode("torch.compile AMP fp16", dtype=torch.float16, compiled=True, least=AMP),
)


@contextlib.contextmanager
def arithmetic(contender: ComputeMode) -> Iterator[None]:
    """Whether products may be TF32; both switches, or convolutions would differ from matrix products."""
    torch.backends.cuda.matmul.allow_tf32 = contender.tf32
    torch.backends.cudnn.allow_tf32 = contender.tf32
    yield


def make_call(contender: ComputeMode, network: nn.Module, given: Tensor, device: torch.device) -> Callable[[], Tensor]:
    """One call computes one answer; without copies it stays on the device."""
    layout = torch.channels_last_3d if contender.channels_last else torch.contiguous_format
    placed: Any = network.to(device)
    placed = placed.to(memory_format=layout)
    run: Any = torch.compile(placed) if contender.compiled else placed
    resident = given.to(device).contiguous(memory_format=layout)
    host = given.pin_memory() if device.type == "cuda" else given

    def call() -> Tensor:
        with torch.no_grad(), torch.autocast(device.type, contender.dtype, enabled=contender.dtype is not None):
            x = host.to(device, non_blocking=True).contiguous(memory_format=layout) if contender.copies else resident
            answer: Tensor = run(x)
            return answer.float().cpu() if contender.copies else answer

    return call


def timed(call: Callable[[], Tensor], contender: ComputeMode, device: torch.device) -> dict[str, Any]:
    """One sample: from before the call until the device has nothing left to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
    start = time.perf_counter()
    with arithmetic(contender):
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    latency_ms = (time.perf_counter() - start) * 1000
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    return {"latency_ms": latency_ms, "device_peak_bytes": peak, "peak_rss_bytes": peak_rss_bytes()}


def measure(name: str, device: torch.device, rounds: int, warm: int) -> dict[str, Any]:
    """All contenders on one network: checked, warmed, then in turn; as a cell of the benchmark matrix."""
    started, case = datetime.now(UTC), CASES[name]
    given = torch.from_numpy(np.random.default_rng(SEED).standard_normal((1, case.channels, *case.sides), np.float32))
    with torch.no_grad():
        expected = built(case)(given).numpy()
    entries: dict[str, dict[str, Any]] = {}
    calls: dict[str, Callable[[], Tensor]] = {}
    for contender in CONTENDERS:
        entry: dict[str, Any] = {"name": contender.name, "precision": words_of(contender)}
        entries[contender.name] = entry
        try:
            call = make_call(contender, built(case), given, device)
            with arithmetic(contender):
                answer = call().float().cpu().numpy()
                for _ in range(warm):
                    call()
        except Exception as error:  # noqa: BLE001 - whatever a device or a compiler does not do is said and left out
            entry |= {"outcome": "not supported", "why": f"{type(error).__name__}: {str(error).strip()[:300]}"}
            continue
        entry |= compared(answer, expected, contender.least)
        if "outcome" not in entry:
            calls[contender.name], entry["samples"] = call, []
    for _ in range(rounds):
        for contender in (each for each in CONTENDERS if each.name in calls):
            entries[contender.name]["samples"].append(timed(calls[contender.name], contender, device))
    return record(name, device, rounds, started, list(entries.values()))


def compared(answer: np.ndarray[Any, Any], expected: np.ndarray[Any, Any], least: float) -> dict[str, Any]:
    """How near an answer is to FP32 on the CPU; with an outcome where it correlates less than it should."""
    correlation = float(np.corrcoef(answer.ravel(), expected.ravel())[0, 1])
    entry = {"correlation": correlation, "largest_error": float(np.abs(answer - expected).max())}
    if correlation >= least:
        return entry
    why = f"its answer correlates with FP32 on the CPU at {correlation:.6f}, expected {least}; not timed"
    return {**entry, "outcome": "failed", "why": why}


def built(case: NetworkInput) -> nn.Module:
    """The network, with the same weights each time."""
    torch.manual_seed(SEED)
    return case.build().eval()


def words_of(contender: ComputeMode) -> str:
    """What it computes in."""
    if contender.dtype is not None:
        return f"autocast {str(contender.dtype).removeprefix('torch.')}"
    return "tf32" if contender.tf32 else "f32"


# --- what it depends on ----------------------------------------------------------------------------------------------


def record(
    name: str, device: torch.device, rounds: int, started: datetime, entries: list[dict[str, Any]]
) -> dict[str, Any]:
    """The cell; `benchmarks.harness.cell_record.CellRun` reads it."""
    return {
        "schema": 1,
        "benchmark": "matrix cell",
        "cell": {
            "id": f"network/{name}/{GROUP}/native/{torch.get_num_threads()}-threads",
            "kind": "network",
            "group": GROUP,
            "subject": name,
            "isa": "native",
            "threads": torch.get_num_threads(),
            "contenders": [contender.name for contender in CONTENDERS],
            "rounds": rounds,
            "optional": [contender.name for contender in CONTENDERS],
        },
        "repetition": 1,
        "started": started.isoformat(),
        "commit": {"id": commit(), "changed": False},
        "machine": machine(),
        "device": device_facts(device),
        "max_disturbance": None,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "cuda": str(torch.version.cuda),
            "cudnn": str(torch.backends.cudnn.version()),  # type: ignore[no-untyped-call]
        },
        "image": [1, CASES[name].channels, *CASES[name].sides],
        "entries": entries,
    }


def device_facts(device: torch.device) -> dict[str, Any]:
    """The device by name; a CPU is called one."""
    if device.type == "cuda":
        seen = torch.cuda.get_device_properties(device)
        return {"name": seen.name, "memory_bytes": seen.total_memory, "driver": f"CUDA {torch.version.cuda}"}
    return {"name": f"CPU, not a GPU: {machine()['cpu']}"}


def machine() -> dict[str, Any]:
    """As `brain_edge.machine.description.this_machine` says it."""
    info, memory = Path("/proc/cpuinfo"), Path("/proc/meminfo")
    lines = info.read_text().split("\n\n")[0].splitlines() if info.is_file() else []
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    cpu = fields.get("model name") or platform.processor() or platform.machine()
    family, model, stepping = (int(fields.get(key, -1)) for key in ("cpu family", "model", "stepping"))
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    words = f"{cpu} family {family} model {model} {processors} processors"
    total = re.search(r"^MemTotal:\s+(\d+) kB", memory.read_text(), re.MULTILINE) if memory.is_file() else None
    return {
        "name": re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-"),
        "cpu": cpu,
        "family": family,
        "model": model,
        "stepping": stepping,
        "processors": processors,
        "flags": sorted(fields.get("flags", "").split()),
        "isa": "native",
        "memory_bytes": int(total.group(1)) * 1024 if total else None,
        "system": f"{platform.system()} {platform.release()}",
    }


def peak_rss_bytes() -> int | None:
    """Greatest resident memory of this process (VmHWM); all contenders share it, so it is an upper bound."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.is_file() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)


def commit() -> str:
    """Of the checkout that this file lies in; it may lie in none."""
    command = ["git", "-C", str(Path(__file__).resolve().parent), "rev-parse", "HEAD"]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return "unknown"


# --- the program -----------------------------------------------------------------------------------------------------


def main() -> int:
    """Measure, write one file a network, print a table."""
    arguments = parse()
    if arguments.device.startswith("cuda") and not torch.cuda.is_available():
        print(
            f"error: expected a CUDA device, PyTorch {torch.__version__} sees none; run this where there is one, with "
            "a CUDA build of PyTorch, or pass --device cpu --smallest to see that it runs",
            file=sys.stderr,
        )
        return EXIT_NO_DEVICE
    device = torch.device(arguments.device)
    unknown = [name for name in arguments.networks if name not in CASES]
    if unknown:
        print(f"error: expected networks of {', '.join(CASES)}, got {unknown[0]!r}", file=sys.stderr)
        return 2
    names = ["tiny"] if arguments.smallest else arguments.networks or [name for name in CASES if name != "tiny"]
    failed = False
    for name in names:
        run = measure(name, device, arguments.rounds, arguments.warm)
        print(f"{name} on {run['device']['name']}: {write(run, arguments.results)}")
        for entry in run["entries"]:
            found = sorted(sample["latency_ms"] for sample in entry.get("samples", []))
            print(f"  {entry['name']:46} {f'{found[len(found) // 2]:9.2f} ms' if found else entry['why']}")
        failed = failed or any(entry.get("outcome") == "failed" for entry in run["entries"])
    return int(failed)


def write(run: dict[str, Any], results: Path) -> Path:
    """One file a run; an existing file is never opened for writing."""
    words = re.sub(r"[^a-z0-9]+", "-", run["cell"]["id"].lower())
    started = datetime.fromisoformat(run["started"])
    path: Path = results / run["machine"]["name"] / f"{started:%Y%m%dT%H%M%SZ}-cell-{words}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("x") as file:
        json.dump(run, file, indent=1)
    return path


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help="[all but tiny]")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, cpu [cuda]")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--warm", type=int, default=3, help="Runs of each before the first round.")
    parser.add_argument("--smallest", action="store_true", help="Only the network called tiny.")
    parser.add_argument("--results", type=Path, default=Path(__file__).resolve().parent / "results")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
