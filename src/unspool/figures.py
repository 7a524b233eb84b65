"""Figures of matplotlib to files."""

from __future__ import annotations

import os
from pathlib import Path

from matplotlib.figure import Figure

from unspool.errors import bad_parameter, described
from unspool.files import replacing


def save(figure: Figure, path: str | os.PathLike[str], dpi: int = 130) -> None:
    """Write `figure` to `path` in the format of its ending, .png without one; the folder is made where it is missing.

    `InvalidParameterError` for no path, or an ending that is no format's.
    """
    if not isinstance(path, (str, os.PathLike)):
        bad_parameter("this function", "path", "the name of a file, such as 'plot.png'", described(path))
    place = Path(path)
    place = place if place.suffix else place.with_suffix(".png")
    form, known = place.suffix[1:].lower(), figure.canvas.get_supported_filetypes()
    if form not in known:
        bad_parameter("this function", "path", "a name that ends in .png, .svg, .pdf or the like", str(path))
    with replacing(place) as file:
        figure.savefig(file, format=form, dpi=dpi)
