"""A network that runs out of memory is asked for half as many, and nothing is lost."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from savecli.errors import SaveError
from savecli.model.batches import Batches, is_out_of_memory

ITEMS = np.arange(23)


class Small:
    """Doubles and squares; fails above a size."""

    def __init__(self, most, error):
        self.most, self.error = most, error
        self.asked = []

    def __call__(self, items):
        self.asked.append(len(items))
        if len(items) > self.most:
            raise self.error
        return 2 * items, items**2


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"),
        Exception("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : std::bad_alloc"),
    ],
    ids=["numpy", "cuda", "mps", "torch", "ONNX Runtime"],
)
def test_half_as_many_until_they_fit(error):
    work, batches = Small(3, error), Batches(16)
    doubled, squared = batches.run(work, ITEMS)
    np.testing.assert_array_equal(doubled, 2 * ITEMS)
    np.testing.assert_array_equal(squared, ITEMS**2)
    assert work.asked == [16, 8, 4, *[2] * 11, 1]
    work.asked.clear()
    batches.run(work, ITEMS)
    assert max(work.asked) == 2, "the lesson was forgotten"


def test_each_retreat_is_told_once():
    batches = Batches(8)
    batches.run(Small(3, MemoryError()), ITEMS)
    assert batches.notes() == (
        "too little memory to look at 8 pictures at a time: 4 from here on",
        "too little memory to look at 4 pictures at a time: 2 from here on",
    )
    batches.run(Small(3, MemoryError()), ITEMS)
    assert batches.notes() == ()


def test_not_one_is_an_error_with_a_hint():
    with pytest.raises(SaveError, match="not enough memory to look at a single picture") as caught:
        Batches(4).run(Small(0, MemoryError()), ITEMS)
    assert "--jobs" in caught.value.hint


def test_another_failure_is_no_lesson():
    work, batches = Small(3, ValueError("misshapen")), Batches(8)
    with pytest.raises(ValueError, match="misshapen"):
        batches.run(work, ITEMS)
    assert (batches.most, work.asked, batches.notes()) == (8, [8], ())


def test_several_threads_learn_one_lesson():
    work, batches = Small(4, MemoryError()), Batches(16)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: batches.run(work, ITEMS)[0], range(40)))
    assert all((rows == 2 * ITEMS).all() for rows in found)
    assert batches.most == 4
    assert len(batches.notes()) == 2


OUT_OF_MEMORY = """
import resource, sys
import numpy as np
from savecli.model.batches import Batches
from savecli.model.onnx import Graph, session

graph = Graph((None, 1), "float32")
wide = graph.add("MatMul", graph.entry, graph.constant(np.ones((1, 2**25))))  # 128 MiB for each row
run = session(graph.to_bytes(graph.add("GlobalMaxPool", graph.add("Unsqueeze", wide, graph.constant(
    np.array([1])))), (None, 1, 1)))
one = lambda rows: run.run(None, {Graph.entry: rows})
one(np.ones((1, 1), np.float32))
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**30,) * 2)
batches = Batches(64)
rows = np.arange(64, dtype=np.float32).reshape(-1, 1)
found = batches.run(one, rows)[0].ravel()
print(batches.most, (found == rows.ravel()).all(), len(batches.notes()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_onnx_runtime_s_own_failure_is_known_for_what_it_is():
    run = subprocess.run([sys.executable, "-c", OUT_OF_MEMORY], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    most, is_right, n_told = run.stdout.split()
    assert (1 <= int(most) < 64, is_right) == (True, "True")
    assert int(n_told) >= 3


def test_torch_s_own_failure_is_known_for_what_it_is():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
