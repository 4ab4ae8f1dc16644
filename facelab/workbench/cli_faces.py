"""`facelab faces …` and `facelab look`: rendered faces, public data sets, the faces in a photo.

Everything heavy is imported inside the commands, as in `cli`.
"""

import sys
from pathlib import Path

import click

from facelab.workbench.cli_common import dask_option, elsewhere, pairs, plainly


@click.group()
def faces() -> None:
    """Rendered faces and public data sets."""


@faces.command("list")
def list_faces() -> None:
    """The rendered presets with their options, then the public data sets: labels, terms, owner, what is expected."""
    with plainly():
        from facelab.faces import presets, readers

        for name, options in presets.PRESETS.items():
            shown = ", ".join(f"{option}={value}" for option, value in options.items())
            click.echo(f"{name}  {presets.images(name):,} images ({shown}), like {presets.STANDS_FOR[name]}")
            click.echo(f"  {presets.VARIES[name]}")
        for name, data in readers.SETS.items():
            click.echo(f"{name}  {data.pictures:,} images, {data.title}: {', '.join(data.labels)}")
            click.echo(f"  terms: {data.terms}; from {data.owner}; on disk: {data.layout}")


@faces.command("fetch")
@click.argument("name")
@click.option("--root", type=click.Path(path_type=Path), help="Where to put it. [default: the cache folder]")
@click.option("--yes", is_flag=True, help="Agree to the terms that are shown.")
def fetch_faces(name: str, root: Path | None, yes: bool) -> None:
    """Fetch the public data set NAME, if a library may; its terms are shown first."""
    with plainly():
        from facelab.faces import readers
        from facelab.faces.readers import fetch

        data = readers.get(name)
        if name not in fetch.DOWNLOADS:
            raise ValueError(fetch.how(data))
        click.echo(f"{data.title}, {data.pictures:,} images, from {data.owner}.")
        click.echo(
            f"Terms: {data.terms}. Its pictures show real people, who have not agreed to any use you make of them."
        )
        if not yes and not click.confirm("Do you agree to these terms?"):
            raise click.ClickException(f"{data.title} is not fetched")
        click.echo(fetch.fetch(data, root))


@faces.command()
@click.argument("preset")
@click.option("--size", default=128, show_default=True, help="Side of the images in pixels.")
@click.option("--seed", default=0, show_default=True, help="Other people, other light.")
@click.option("--people", type=int, help="How many people. [default: the preset's own]")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Another option of the preset.")
@click.option("--out", type=click.Path(path_type=Path), help="Write PNG images and labels.csv here too.")
@click.option("--dry-run", is_flag=True, help="Only say how many images, how many bytes and about how long.")
@dask_option
def render(
    preset: str,
    size: int,
    seed: int,
    people: int | None,
    settings: tuple[str, ...],
    out: Path | None,
    dry_run: bool,
    dask: str | None,
) -> None:
    """Render PRESET into the cache, or find it there (`facelab faces list` names presets and options)."""
    with plainly():
        from facelab.faces import load
        from facelab.workbench import export

        options = {key: export.whole(key, value) for key, value in pairs(settings, "frames=4").items()}
        for name in ("size", "seed"):
            if name in options:
                raise ValueError(f"--set {name}={options[name]}: expected it as --{name}")
        if people is not None and options.setdefault("people", people) != people:
            raise ValueError(f"--people {people} and --set people={options['people']}: expected one of them")
        if out:
            export.check(out)
        if dry_run:
            click.echo(export.plan(preset, size, **options))
            return
        with elsewhere(dask):
            rendered = load(preset, size=size, seed=seed, progress=sys.stderr.isatty(), **options)
        click.echo(repr(rendered))
        if out:
            written = export.write(rendered, out)
            kept = f" ({len(rendered) - written} of them already there)" if written < len(rendered) else ""
            click.echo(f"{len(rendered)} images{kept} and labels.csv: {out}")


@faces.command()
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the page. [default: reports/reference/faces]")
def atlas(out: Path | None) -> None:
    """Draw the page that shows every preset and every label with rendered pictures."""
    with plainly():
        from facelab.workbench import atlas, runs

        click.echo(atlas.write(out or runs.root() / "reports" / "reference" / "faces"))


@click.command()
@click.argument("photos", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the results. [default: ./look-PHOTOS]")
@click.option("--smallest", default=24.0, show_default=True, help="Side of the smallest face to look for, in pixels.")
@click.option("--most", type=int, help="At most so many faces of a photo, the largest. [default: all]")
@click.option("--no-cache", is_flag=True, help="Keep no crops of the faces in the cache.")
def look(photos: Path, out: Path | None, smallest: float, most: int | None, no_cache: bool) -> None:
    """Find the faces in PHOTOS, a photo or a folder, and say what the networks read in each: age, gender, expression.

    So does the student, which rendered faces alone taught to read: of photographs it reads far less. Writes
    summary.txt, faces.csv and contact sheets (PNG). Runs on this machine alone. The cache keeps the crops of the faces,
    so that a second look is fast (`facelab doctor` says where); with --no-cache only the results are kept.
    """
    with plainly():
        from facelab.workbench import look as looking

        out = out or Path(f"look-{photos.expanduser().resolve().stem}")
        looking.check(photos.expanduser(), out)
        how = {"smallest": smallest, "most": most, "cached": not no_cache, "progress": sys.stderr.isatty()}
        seen = looking.look(photos, **how)
        files = looking.write(seen, out)
        click.echo(looking.summary(seen))
        click.echo(f"{', '.join(file.name for file in files)}: {out}")
