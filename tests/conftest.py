"""What holds for every test."""

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """The same order of summation everywhere, and no two threads that wait for each other beside a busy process."""
    torch.set_num_threads(1)
