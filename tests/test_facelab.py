"""Importing the package: fast, silent, and nothing that is not asked for."""

import subprocess
import sys


def said(code):
    run = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


def test_the_package_alone_loads_nothing_heavy():
    assert said("import sys, facelab; print(*({'numpy', 'pandas', 'torch', 'torchvision'} & set(sys.modules)))") == []


def test_faces_and_nets_load_without_a_warning_and_without_torchvision():
    code = (
        "import sys, facelab; facelab.faces; facelab.nets; print('torch' in sys.modules, 'torchvision' in sys.modules)"
    )
    assert said(code) == ["True", "False"]
