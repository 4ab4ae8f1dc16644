"""Every notebook takes a device, looks at it before anything is computed, and says what a GPU would gain."""

import re
from pathlib import Path

import nbformat
import pytest

from facelab import devices

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("file", sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")), ids=lambda file: file.stem)
def test_the_device_is_told_at_the_top(file):
    code = [cell for cell in nbformat.read(file, as_version=4).cells if cell.cell_type == "code"]
    assert "parameters" in code[0].metadata["tags"] and re.search(r'^device: str = "auto"$', code[0].source, re.M)
    (gains,) = re.findall(r'^print\(devices\.told\(device, "(.+)"\)\)$', code[1].source, re.M)
    assert f"would take over {gains};" in devices.told("cpu", gains)
    assert sum("device=device" in cell.source for cell in code[2:]) >= 1  # and it is used


def test_a_device_that_is_not_here_is_refused_at_the_top(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert devices.told("auto").startswith("device: cpu, ")
    with pytest.raises(ValueError, match=r"device 'cuda' is not here: torch .* finds 0 CUDA devices; use 'cpu'"):
        devices.told("cuda")
    with pytest.raises(ValueError, match="unknown device 'gpu'"):
        devices.told("gpu")
