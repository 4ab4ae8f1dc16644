"""The command `facelab`."""

import json
import logging
import signal
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click

from facelab import __version__
from facelab.workbench import cli_faces
from facelab.workbench.cli_common import absolute, dask_option, elsewhere, pairs, plainly

# Everything heavy is imported inside the commands, so that `facelab --help` answers at once.


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="facelab")
@click.option("-v", "--verbose", is_flag=True, help="Say more about what is going on.")
def main(verbose: bool) -> None:
    """What do the filters of a pretrained face network know about tasks it was never trained for?"""
    logging.basicConfig(format="%(message)s", level=logging.INFO if verbose else logging.WARNING)


main.add_command(cli_faces.faces)
main.add_command(cli_faces.look)


@main.command()
@click.argument("sources", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every source there is.")
def fetch(sources: tuple[str, ...], everything: bool) -> None:
    """Fetch the weights of SOURCES into the cache (what is there already is checked and kept).

    The detector's two further networks, proposals and refinement, are fetched by name or with --all too.
    """
    with plainly():
        from facelab import errors, nets
        from facelab.nets.sources import DETECTOR

        if not sources and not everything:
            raise ValueError(f"name some sources ({', '.join(nets.SOURCES)}) or say --all")
        for name in sources:
            if name not in nets.SOURCES and name not in DETECTOR:
                raise errors.unknown("source", name, [*nets.SOURCES, *DETECTOR])
        for name in (*nets.SOURCES, *DETECTOR) if everything else sources:
            click.echo(f"{name}: {nets.fetch(name)}")


@main.command()
@click.argument("network", type=click.Choice(["vgg-narrow", "student"]))
@click.option("--people", default=4000, show_default=True, help="Rendered people to learn from.")
@click.option("--photos", multiple=True, type=click.Path(path_type=Path), help="A folder of photographs to add.")
@click.option("--lfw", type=click.Path(path_type=Path), help="LFW's folder, for its official pairs; not trained on.")
@click.option("--epochs", type=int, help="[default: 14; student: 45]")
@click.option("--seed", default=1, show_default=True, help="Of the people and the weights.")
@click.option("--out", type=click.Path(path_type=Path), help="The file to write. [default: NETWORK.safetensors]")
@click.option("--dry-run", is_flag=True, help="Only say how many faces, steps, minutes and bytes it will take.")
@dask_option
def train(
    network: str,
    people: int,
    photos: tuple[Path, ...],
    lfw: Path | None,
    epochs: int | None,
    seed: int,
    out: Path | None,
    dry_run: bool,
    dask: str | None,
) -> None:
    """Train a network that comes with facelab and measure it on people it has not seen.

    vgg-narrow learns the descriptors of the source `identity`, student the fused code of all six sources. With --dask
    the cluster renders and embeds; the training itself is done here.
    """
    with plainly(), ExitStack() as stack:
        from facelab import cache
        from facelab.nets import narrow, student
        from facelab.transfer import distill
        from facelab.workbench import training_plan

        training_plan.check(people, photos, lfw, epochs, seed)
        small = network == "student"
        epochs = epochs or training_plan.EPOCHS[network]
        if dry_run:
            click.echo("\n".join(training_plan.lines(training_plan.of(network, people, photos, lfw, epochs))))
            return
        stack.enter_context(elsewhere(dask))
        sets = narrow.training_faces(people, photos, seed)
        depends = [[part.fingerprint for part in sets], epochs, seed]
        if small:
            operator = distill.fuse(sets[:2])  # the code is of rendered faces alone
            depends += [network, cache.content(distill.weights(operator))]
        how = {"epochs": epochs, "seed": seed, "checkpoint": cache.folder() / "training" / cache.digest(depends)}
        if small:
            net, learned = distill.teach(sets, operator, **how)
        else:
            net, learned = narrow.train(sets, **how)
        given = "".join(f" --photos {folder.name}" for folder in photos) + (" --lfw lfw" if lfw else "")
        about = {
            "command": f"facelab train {network} --people {people} --epochs {epochs} --seed {seed}{given}",
            "data": {
                "rendered faces": sum(len(part) for part in sets[:2]),
                "photographs": {part.name: len(part) for part in sets[2:]},
            },
            "seed": seed,
            "teacher": "the six sources, fused" if small else narrow.TEACHER,
            "learned": learned,
            "measured": narrow.examine(net, lfw, **({"unit": True} if small else {})),
        }
        click.echo(json.dumps(about, indent=1))
        write = student.write if small else narrow.write
        click.echo(write(net, about, out or Path(f"{network}.safetensors")))


@main.command("train-pose")
@click.option("--mtfl", type=click.Path(path_type=Path), help="MTFL's folder, to measure on photos; not trained on.")
@click.option("--seed", default=0, show_default=True, help="Which people it is measured on.")
@click.option("--out", type=click.Path(path_type=Path), help="The file to write. [default: pose.safetensors]")
@click.option("--dry-run", is_flag=True, help="Only say how many faces, minutes and bytes it will take.")
def train_pose(mtfl: Path | None, seed: int, out: Path | None, dry_run: bool) -> None:
    """Fit the layer that reads yaw and pitch from five landmarks, on rendered heads."""
    with plainly():
        from facelab import cache
        from facelab.faces import load
        from facelab.nets import pose
        from facelab.workbench import training_plan

        if mtfl is not None:  # its mistakes before the work
            load("mtfl", root=mtfl, rows=1, progress=False)
        if dry_run:
            click.echo("\n".join(training_plan.lines(training_plan.of_pose(mtfl))))
            return
        heads = load("rendered/wild")[::2]
        layer, row = pose.learn(heads, seed=seed)
        measured = {"rendered/wild, other people": row}
        if mtfl is not None:
            measured["mtfl, by class of yaw"] = pose.classes(load("mtfl", root=mtfl, rows=training_plan.MTFL), layer)
        about = {
            "command": f"facelab train-pose --seed {seed}" + (" --mtfl MTFL" if mtfl else ""),
            "data": {heads.name: len(heads)},
            "seed": seed,
            "learned": "yaw and pitch in degrees, from five landmarks",
            "measured": measured,
        }
        out = out or Path("pose.safetensors")
        cache.write_tensors(out, layer, about)
        click.echo(json.dumps(about, indent=1))
        click.echo(out)


@main.command("train-heads")
@click.option(
    "--photos", type=click.Path(path_type=Path), help="A folder with UTKFace, MTFL or fer2013, to measure on."
)
@click.option("--seed", default=0, show_default=True, help="Which people they are measured on.")
@click.option("--out", type=click.Path(path_type=Path), help="The file to write. [default: student-heads.safetensors]")
@click.option("--dry-run", is_flag=True, help="Only say how many faces, minutes and bytes it will take.")
def train_heads(photos: Path | None, seed: int, out: Path | None, dry_run: bool) -> None:
    """Fit the heads by which the student reads age, gender and expression, on rendered faces."""
    with plainly():
        from facelab import cache
        from facelab.faces import load
        from facelab.nets import ready, student_heads
        from facelab.workbench import training_plan

        folders = {"utkface": "UTKFace", "mtfl": "MTFL", "fer2013": "fer2013"} if photos else {}
        folders = {name: photos / folder for name, folder in folders.items() if (photos / folder).is_dir()}
        if photos is not None and not folders:
            raise ValueError(f"{photos} holds none of UTKFace, MTFL and fer2013")
        if dry_run:
            click.echo("\n".join(training_plan.lines(training_plan.of_heads(len(folders)))))
            return
        people = load("rendered/wild")
        layers, row = student_heads.learn(people, seed=seed)
        measured = {"rendered/wild, other people": row}
        for name, folder in folders.items():
            some = ready(load(name, root=folder, broken="skip"), training_plan.PHOTOS, seed=seed)
            measured[f"{name}, photographs"] = student_heads.measured(some, layers)
        about = {
            "command": f"facelab train-heads --seed {seed}" + (" --photos FOLDER" if photos else ""),
            "data": {people.name: len(people)},
            "seed": seed,
            "learned": "age in years, probabilities of gender and expression, from the student's code",
            "measured": measured,
        }
        out = out or Path("student-heads.safetensors")
        cache.write_tensors(out, layers, about)
        click.echo(json.dumps(about, indent=1))
        click.echo(out)


@main.command()
@click.argument("notebooks", nargs=-1)
@click.option("--profile", default="quick", show_default=True, help="smoke, quick, full or paper.")
@click.option("--name", default="default", show_default=True, help="Name of the run.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Set a notebook parameter.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of runs. [default: reports/runs]")
@click.option("--force", is_flag=True, help="Run also what is up to date.")
@click.option("--publish", metavar="REFERENCE", help="Only copy the run to reports/reference/…")
@click.option("--keys", metavar="PREFIX", default="", help="With --publish: only results whose names begin so.")
@click.option("--dry-run", is_flag=True, help="Only list the notebooks and the minutes they will take.")
def report(
    notebooks: tuple[str, ...],
    profile: str,
    name: str,
    settings: tuple[str, ...],
    out: Path | None,
    force: bool,
    publish: str | None,
    keys: str,
    dry_run: bool,
) -> None:
    """Run NOTEBOOKS (numbers, names or paths; all if none is named) and write their report.

    What is up to date is not run again. Exit code 1 if a notebook failed; its page shows where.
    """
    with plainly():
        if keys and not publish:
            raise ValueError(f"--keys {keys} goes with --publish REFERENCE: a run keeps all its results")
        if publish and (notebooks or settings or force or dry_run):
            raise ValueError("--publish copies a whole run, or of it --keys: it goes with --name and --out alone")
        if publish:
            _publish(name, out, publish, keys)
            return
        from facelab.workbench import runner

        parameters = {key: absolute(value) for key, value in pairs(settings, "gamma=0.01").items()}
        if dry_run:
            from facelab.workbench import batch, runs

            folder, about = runs.folder(name, out), runner.surroundings()
            cells = batch.of_run(runner.find(notebooks), profile, parameters)
            kept = [c.name for c in cells if runner.current(c.notebook, folder, c.parameters, about) and not force]
            _plan(cells, kept, folder)
            return
        with _terminated_as_interrupted():
            done = runner.run(notebooks, profile, name, parameters, out, force=force, tell=click.echo)
        click.echo(done.index)
    if not done.ok:
        failed = [o.notebook for o in done.outcomes.values() if o.status != "ok"]
        raise click.ClickException(f"failed: {', '.join(failed)}")


@main.command()
@click.argument("grid", type=click.Path(path_type=Path))
@click.option("--jobs", type=int, help="Cells side by side, one process each. [default: 1; with --dask all workers]")
@click.option("--name", help="Name of the batch. [default: that of the file]")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of runs. [default: reports/runs]")
@click.option("--again", is_flag=True, help="Run also what is up to date.")
@click.option("--dry-run", is_flag=True, help="Only list the cells and the minutes they will take.")
@dask_option
def batch(
    grid: Path, jobs: int | None, name: str | None, out: Path | None, again: bool, dry_run: bool, dask: str | None
) -> None:
    """Run every cell of GRID, a YAML file of notebooks × parameters, and compare the cells on one page.

    Finished cells are kept and not run again. Exit code 1 if a cell failed; its page shows where.
    """
    with plainly():
        from facelab.workbench import batch, runner, runs

        cells, name = batch.read(grid), name or grid.stem
        if dry_run:
            folder = runs.folder(name, out)
            kept = {} if again else batch.current(cells, folder, runner.surroundings())
            _plan(cells, kept, folder, jobs or 1)
            return
        with _terminated_as_interrupted(), elsewhere(dask):
            done = batch.run(cells, name, out, jobs=jobs, again=again, tell=click.echo)
        click.echo(done.index)
    if not done.ok:
        failed = [str(cell) for cell in done.cells if done.states[cell.name] != "ok"]
        raise click.ClickException(f"failed: {', '.join(failed)}")


@contextmanager
def _terminated_as_interrupted():
    """SIGTERM stops as Ctrl-C does: what runs is stopped, what finished is kept."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _plan(cells, kept, folder: Path, jobs: int = 1) -> None:
    """Say what a batch or a report would do. kept: the names of the cells that would not run."""
    from facelab.workbench import batch

    minutes, unknown = 0.0, 0
    for cell in cells:
        known = None if cell.name in kept else batch.expected(cell, folder)
        minutes, unknown = minutes + (known[0] if known else 0), unknown + (cell.name not in kept and not known)
        about = f"{known[0]:.1f} min, as in {known[1]}" if known else "minutes not known"
        click.echo(f"{cell}: {'up to date' if cell.name in kept else about}")
    more = f", and {unknown} whose minutes are not known" if unknown else ""
    click.echo(f"{len(cells)} in all, {len(cells) - len(kept)} to run: about {minutes / jobs:.1f} minutes{more}")


def _publish(name: str, out: Path | None, reference: str, keys: str) -> None:
    from facelab.workbench import reference as references
    from facelab.workbench import runs

    root = runs.root()
    where = runs.folder(reference, root / "reports" / "reference")
    click.echo(references.publish(runs.folder(name, out), where, keys))
    for page in references.refresh(root):
        click.echo(page)


@main.command()
@click.option(
    "--photos", type=click.Path(path_type=Path), help="A folder with london_set, UTKFace and MTFL, to ask too."
)
def cards(photos: Path | None) -> None:
    """Measure the networks that come with facelab group by group, and write their cards (reports/reference)."""
    with plainly():
        from facelab.workbench import models, reference, runs

        click.echo(models.measure(runs.root() / "reports" / "reference", photos))
        for page in reference.refresh(runs.root()):
            click.echo(page)


@main.command()
def doctor() -> None:
    """What is installed and fetched, and a fix for each thing missing. Exit code 1 if something needed is."""
    from facelab.workbench.doctor import examine

    with plainly():
        diagnosis = examine()
    width = max(len(f.thing) for f in diagnosis.findings)
    for finding in diagnosis.findings:
        click.echo(f"{finding.state:<8}  {finding.thing:<{width}}  {finding.found}")
        if finding.fix:
            click.echo(f"{'':<8}  {'':<{width}}  → {finding.fix}")
    if not diagnosis.usable:
        sys.exit(1)


if __name__ == "__main__":
    main()
