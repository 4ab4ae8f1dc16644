"""A run's pages, opened from disk without a network."""

import driver
import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from facelab.workbench import runner

CELLS = (
    "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()",
    """from facelab.workbench.live import Explorer, slider
class Square(Explorer):
    def __init__(self):
        super().__init__({"level": slider("level", 0, 100, 50, unit="percent")}, (2, 1))
    def draw(self, figure, level):
        figure.patch.set_facecolor((level / 100,) * 3)
        return f"grey {level}"
Square()""",
    'import facelab as fl\nfl.record("01.score", 0.5, unit="R²")\nfl.recorded()',
)


def test_every_figure_is_shown_from_disk_without_a_network(tmp_path):
    parameters = new_code_cell('profile: str = "quick"\nseed: int = 0', metadata={"tags": ["parameters"]})
    cells = [new_markdown_cell("# What is it?"), parameters, *map(new_code_cell, CELLS)]
    nbformat.write(new_notebook(cells=cells), tmp_path / "01_page.ipynb")
    run = runner.run([tmp_path / "01_page.ipynb"], "smoke", "page", out=tmp_path / "runs")
    assert run.outcomes["01_page"].status == "ok"
    with driver.chromium(offline=True) as page:
        for name, figures in (("index", 1), ("01_page", 2)):
            page.goto((run.folder / f"{name}.html").as_uri())
            widths = page.eval_on_selector_all("img", "images => images.map((image) => image.naturalWidth)")
            assert len(widths) >= figures and min(widths) > 0
            alt = page.eval_on_selector_all("img", "images => images.map((image) => image.alt)")
            assert all(alt), alt
        assert any("level 50 percent" in text for text in alt)  # the explorer's twin says what it shows
        assert page.trouble == []
