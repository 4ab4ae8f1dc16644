"""Tests in Debian's Chromium, driven by Playwright; where one of them is missing they are skipped and say so."""

import importlib.util
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for `driver`

import driver


def pytest_collection_modifyitems(items):
    lacking = None
    if not driver.CHROMIUM.is_file():
        lacking = f"no browser at {driver.CHROMIUM}: apt-get install chromium"
    elif importlib.util.find_spec("playwright") is None:
        lacking = "the package playwright is missing: pip install playwright"
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)
            if lacking:
                item.add_marker(pytest.mark.skip(reason=lacking))
