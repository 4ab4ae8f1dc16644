"""What holds for every test."""

import os

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """The same order of summation everywhere, and no two threads that wait for each other beside a busy process: here
    and in the kernels and programs that tests start."""
    torch.set_num_threads(1)
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
