"""The page of `sightline data`: findings first, then classes, sizes, colours and the photos concerned."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import report_plots as plots
from .data_report import DataReport
from .pages import render_page, thumbnail

# Pictures are in the page: beyond these it would not open on a phone.
_GROUPS, _IN_GROUP, _SUSPECTS, _UNREADABLE, _SAMPLES = 24, 6, 48, 50, 400
_SAMPLE_SIDE, _FEW = 72, 10


def render_data_page(report: DataReport) -> str:
    """Render the page, one HTML text with its pictures inside."""
    images = report.census.images
    first = {image.label: image.path for image in reversed(images)}
    sizes_wh = report.census.sizes_wh
    drawn: dict[Path, str] = {}

    def photo(row: int) -> str:
        path = images[row].path
        if path not in drawn:
            drawn[path] = thumbnail(path)
        return drawn[path]

    return render_page(
        "data.html.j2",
        report=report,
        name=Path(report.data).name,
        images=len(images),
        findings=_findings(report),
        groups=report.duplicates[:_GROUPS],
        most_in_group=_IN_GROUP,
        suspects=report.suspicion.suspects[:_SUSPECTS] if report.suspicion else (),
        unreadable=report.unreadable[:_UNREADABLE],
        most=max(one.images for one in report.classes),
        photo=photo,
        sample=lambda label: thumbnail(first[label], _SAMPLE_SIDE) if len(report.classes) <= _SAMPLES else "",
        label=lambda row: images[row].label,
        part=lambda row: report.census.parts[row],
        file=lambda row: images[row].path.name,
        sizes=_spread(sizes_wh.min(axis=1), "shorter side, pixels", "How large the photos are"),
        aspects=_spread(sizes_wh[:, 0] / sizes_wh[:, 1], "width over height", "Shapes of the photos"),
        channels=plots.channel_plot(report.pixels.histograms),
    )


def _spread(values: NDArray[np.number[Any]], x_label: str, title: str) -> str:
    return plots.histogram_plot(values, x_label, title) if values.min() < values.max() else ""


def _findings(report: DataReport) -> list[str]:
    """Sentences on what to look at, the gravest first; none where nothing was found."""
    exact = sum(one.exact for one in report.duplicates)
    near = len(report.duplicates) - exact
    counts = [one.images for one in report.classes]
    few = [one.label for one in report.classes if one.images < _FEW]
    found = [
        (len(report.unreadable), "{} cannot be read and will be left out", "file", "files"),
        (len(report.leaks), "{} of the same photo in several splits: evaluation would measure memory", *_GROUP_NAMES),
        (sum(one.contradict for one in report.duplicates), "{} of one photo under several labels", *_GROUP_NAMES),
        (exact, "{} of photos with the same bytes", *_GROUP_NAMES),
        (near, "{} of photos that nearly show the same", *_GROUP_NAMES),
        (len(report.suspicion.suspects) if report.suspicion else 0, "{} with a doubtful label", "photo", "photos"),
        (len(few), f"{{}} with fewer than {_FEW} photos ({_some(few)})", "class", "classes"),
    ]
    sentences = [text.format(f"{count:,} {one if count == 1 else many}") for count, text, one, many in found if count]
    if max(counts) > 4 * min(counts):
        sentences.append(f"classes are uneven: {min(counts)} to {max(counts)} photos")
    return sentences


_GROUP_NAMES = ("group", "groups")


def _some(names: Sequence[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
