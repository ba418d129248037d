"""OpenVINO is ready for several threads as soon as it is imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

FIRST_ARRAYS = """
import os, sys, threading
from pathlib import Path
import numpy as np
from brain_edge.runtime.library import import_openvino, operations, read_model

sys.setswitchinterval(1e-6)
models = [read_model(Path(path)) for path in sys.argv[1:]]
constants = [next(node for node in model.get_ops() if node.get_type_name() == "Constant") for model in models]
together = threading.Barrier(len(constants))


def first_array(constant):
    together.wait()
    constant.get_data()


threads = [threading.Thread(target=first_array, args=(constant,), daemon=True) for constant in constants]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join(10)
os._exit(any(thread.is_alive() for thread in threads))
"""


@pytest.fixture(scope="module")
def graphs(tmp_path_factory) -> list[str]:
    """Two graphs with constants."""
    import numpy as np
    import openvino as ov
    from openvino import opset13

    folder = tmp_path_factory.mktemp("graphs")
    image = opset13.parameter([1, 4], np.float32)
    for name in ("a", "b"):
        ov.save_model(ov.Model([opset13.add(image, np.ones(4, np.float32))], [image]), folder / f"{name}.xml")
    return [str(folder / "a.xml"), str(folder / "b.xml")]


@pytest.mark.parametrize("_time", range(3))
def test_two_threads_ask_for_their_first_array_at_the_same_time(graphs, _time):
    """pybind11 sets up NumPy behind two locks; without `import_openvino` nearly every process would stand still."""
    ended = subprocess.run([sys.executable, "-c", FIRST_ARRAYS, *graphs], timeout=120, check=False)
    assert ended.returncode == 0
