"""What a case costs on a machine, from the reader's own prices and powers; ours would be somebody else's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from benchmarks.harness.cell_record import Kind, read_as
from brain_edge.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from benchmarks.harness.cell_record import CellRun

    from .summaries import Figures, OneMachine

MS_PER_HOUR: Final = 3_600_000.0


class DeviceCost(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One device of the reader.

    Attributes:
        name: of the CPU or the GPU, as the results have it.
        price: of the machine, in the reader's currency.
        years: that it is used.
        cases_per_year: that it computes.
        power_w: that the machine draws while it computes, above idle or altogether, as the reader prefers.
    """

    name: str
    price: float
    years: float
    cases_per_year: float
    power_w: float


class Costs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that the reader states; `source` is the name of the file, whatever is in it."""

    source: str = ""
    currency: str
    price_per_kwh: float
    devices: tuple[DeviceCost, ...] = msgspec.field(name="device")

    @property
    def names(self) -> tuple[str, ...]:
        """Of the devices."""
        return tuple(device.name for device in self.devices)


def read_costs(path: Path) -> Costs:
    """The reader's numbers.

    Raises:
        InputError: the file cannot be read, or a number in it makes no sense.
    """
    found = read_as(Costs, path, "prices and powers of devices")
    for device in found.devices:
        if min(device.years, device.cases_per_year) <= 0 or min(device.price, device.power_w) < 0:
            raise InputError(
                f"{path}: {device.name}: expected positive years and cases_per_year, no negative price or power"
            )
    return msgspec.structs.replace(found, source=path.name)


def cost_rows(machine: OneMachine, costs: Costs) -> tuple[tuple[str, ...], list[list[str]]]:
    """Columns and rows: energy and money per case of every contender that was measured on a device that is named."""
    money = costs.currency
    columns = (
        *("what", "contender", "device", "latency (s)", "Wh"),
        *(f"energy ({money})", f"machine ({money})", f"per case ({money})"),
    )
    return columns, list(_rows(machine, costs))


def _rows(machine: OneMachine, costs: Costs) -> Iterator[list[str]]:
    for run in (*machine.last(Kind.PROCESS), *machine.last(Kind.NETWORK), *machine.on_device):
        name = run.device.name if run.device is not None else run.machine.cpu
        device = next((each for each in costs.devices if each.name == name), None)
        if device is not None and run.cell.group in ("published", "engines", "gpu"):
            yield from _rows_of(run, machine.figures(run), device, costs)


def _rows_of(run: CellRun, found: Mapping[str, Figures], device: DeviceCost, costs: Costs) -> Iterator[list[str]]:
    bought = device.price / (device.years * device.cases_per_year)
    for name, each in found.items():
        energy_wh = device.power_w * each.latency_ms / MS_PER_HOUR
        energy = energy_wh / 1000 * costs.price_per_kwh
        yield [
            f"{run.cell.subject} ({run.cell.kind})",
            name,
            device.name,
            f"{each.latency_ms / 1000:.3f}",
            f"{energy_wh:.4f}",
            f"{energy:.6f}",
            f"{bought:.4f}",
            f"{bought + energy:.4f}",
        ]
