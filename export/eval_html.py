"""The page of `sightline eval --report`: figures, groups, the pairs taken for one another with their photos."""

from collections.abc import Sequence
from pathlib import Path

from sightline.runtime.breakdown import Breakdown
from sightline.runtime.dataset import LabelledImage
from sightline.runtime.evaluation import Evaluation
from sightline.runtime.recognizer import Recognizer
from sightline.runtime.reporter import Reporter

from . import report_plots as plots
from .mistakes import mistake_maps
from .pages import render_page, thumbnail

_WEAKEST = 40


def render_eval_page(
    recognizer: Recognizer,
    result: Evaluation,
    parts: Breakdown,
    images: Sequence[LabelledImage],
    reporter: Reporter,
) -> str:
    """Render the page, one HTML text with its pictures inside.

    Args:
        recognizer: What was measured.
        result: Its figures.
        parts: Where it is weak.
        images: What it was measured on.
        reporter: Where progress goes.
    """
    columns = {label: column for column, label in enumerate(recognizer.labels)}
    mistakes = [(Path(one.files[0]), columns[one.answer]) for one in parts.confusions]
    maps = mistake_maps(recognizer, recognizer.bundle.input_spec, mistakes, reporter)
    first = {image.label: image.path for image in reversed(images)}
    return render_page(
        "eval.html.j2",
        result=result,
        parts=parts,
        arch=recognizer.bundle.manifest.arch,
        photo=lambda file: thumbnail(Path(file)),
        map_of=lambda file: maps.get(Path(file), ""),
        sample=lambda label: thumbnail(first[label]) if label in first else "",
        reliability=plots.reliability_plot(parts.calibration) if parts.calibration else "",
        matrix=plots.matrix_plot(parts.confusion_matrix) if parts.confusions else "",
        weakest=sorted(result.per_class.items(), key=lambda item: (item[1].f1, item[0]))[:_WEAKEST],
    )
