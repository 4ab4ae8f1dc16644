"""The explorer of the task matrix: choose a network and a task, see what is read and how well."""

from facelab.workbench import relation_plots, style
from facelab.workbench.live import Explorer, choice, slider


class RelationExplorer(Explorer):
    """A primary and a satellite: the numbers of all tasks read from that network, and faces with what was read.

    relations: a `Relations`. faces: the set its responses were measured on; without them the numbers stand alone.
    ValueError: no task with a label to show.
    """

    DRAWS = 20

    def __init__(self, relations, faces=None):
        self.relations, self.faces, self._table = relations, faces, relations.table()
        shown = relation_plots.names_of(self._table[self._table["kind"] == "read"])
        if not shown:
            raise ValueError("no task with a label to show was read: expected one besides identity")
        controls = {
            "primary": choice("network trained for", relations.primaries),
            "satellite": choice("task", shown),
            "draw": slider("draw of faces", 1, self.DRAWS, 1),
        }
        controls["draw"].disabled = faces is None
        super().__init__(controls, (11.0, 4.3))

    def draw(self, figure, primary, satellite, draw):
        bars = figure.add_axes((0.09, 0.2, 0.29, 0.62))
        relation_plots.reading_bars(self._table, primary, ax=bars)
        style.legend(bars, above=True)
        reading = self.relations.readings[primary, satellite]
        alone = "" if self.faces is not None else ". No faces were given, so none are shown: pass faces="
        if self.faces is not None:
            self._strip(figure, reading, draw)
        rows = self._table[(self._table["primary"] == primary) & (self._table["satellite"] == satellite)]
        row = rows[rows["kind"] == ("own" if reading.layer == "head" else "read")].iloc[0]
        numbers = style.interval(100 * row["accuracy"], 100 * row["low"], 100 * row["high"], 1)
        return (
            f"{style.words(satellite)} read from the network trained for {style.words(primary)}: {numbers} % right, "
            f"balanced {style.number(100 * row['balanced_accuracy'], 1)} %, commonest answer "
            f"{style.number(100 * row['majority'], 1)} %{alone}"
        )

    def _strip(self, figure, reading, draw) -> None:
        faces = figure.add_axes((0.41, 0.08, 0.58, 0.84))
        relation_plots.strip(self.faces, reading, show=10, columns=5, seed=draw - 1, ax=faces)
        where = "its own head" if reading.layer == "head" else f"layer {reading.layer}"
        said = f"{style.words(reading.task)} from {where} (red, ✗: wrong, the true label below)"
        faces.set_title(said, fontsize=9, loc="left", color=style.INK)
