"""report.html: one file that opens offline, without scripts, on a phone or a desk, in light or dark."""

import base64
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import cv2
import jinja2
import numpy as np

from sightline.runtime.dataset import LabelledImage
from sightline.runtime.preprocess import read_image, resize_exact

from . import report_plots as plots
from .decision import DecisionFit
from .evaluate import Rate
from .figures import Report

_THUMBNAIL = 144
_WEAKEST = 12
# One photo of a class says nothing of the class.
_LEAST_IMAGES = 3


def render_report(
    report: Report, fit: DecisionFit, evaluation: Sequence[LabelledImage], gallery: Sequence[LabelledImage]
) -> str:
    """Render the report.

    Args:
        report: What was measured.
        fit: The scores that the thresholds were fitted to.
        evaluation: The evaluation photos, in the order that `report.confusions` counts in.
        gallery: Photos that show what an item was taken for.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=_percent,
        points=_points,
        megabytes=_megabytes,
        spell=_spell,
        bar=plots.interval_bar,
        share=plots.share_bar,
    )
    shown = {image.label: image for image in reversed([*evaluation, *gallery])}
    return environment.get_template("report.html.j2").render(
        report=report,
        default=report.default,
        reference=report.variants[0],
        gate=report.gate,
        decision=report.decision,
        weakest=[one for one in report.classes if one.top1 < 1 and one.images >= _LEAST_IMAGES][:_WEAKEST],
        perfect=sum(one.top1 == 1 for one in report.classes),
        photo=lambda row: _thumbnail(evaluation[row].path),
        sample=lambda label: _thumbnail(shown[label].path) if label in shown else "",
        plots=_plots(report, fit),
    )


def _plots(report: Report, fit: DecisionFit) -> dict[str, str]:
    decision = report.decision
    made = {"reliability": plots.reliability_plot(report.reliability)}
    if len(fit.known) and len(fit.unknown):
        draw = partial(plots.threshold_plot, x_label="probability of the first answer", low=0.0)
        made["probability"] = draw(fit.known, fit.unknown, decision.min_probability)
    if len(fit.same) and len(fit.other):
        low = float(np.floor(10 * np.quantile(np.concatenate([fit.same, fit.other]), 0.01)) / 10)
        draw = partial(plots.threshold_plot, x_label="cosine similarity to the nearest entry", low=low)
        made["similarity"] = draw(fit.same, fit.other, decision.min_similarity)
    if report.history:
        epochs = [one.epoch for one in report.history]
        loss = [("training", [one.train_loss for one in report.history])]
        loss.append(("evaluation", [one.val_loss for one in report.history]))
        top1 = [("training", [one.train_top1 for one in report.history])]
        top1.append(("evaluation", [one.val_top1 for one in report.history]))
        made["loss"] = plots.curve_plot(epochs, loss, "loss", percent=False)
        made["top1"] = plots.curve_plot(epochs, top1, "top-1", percent=True)
    return made


def _thumbnail(path: Path) -> str:
    frame = read_image(path)
    rows, columns = frame.shape[:2]
    side = min(rows, columns)
    top, left = (rows - side) // 2, (columns - side) // 2
    small = resize_exact(frame[top : top + side, left : left + side], _THUMBNAIL, _THUMBNAIL)
    _, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 82])
    return "data:image/jpeg;base64," + base64.b64encode(np.asarray(data).tobytes()).decode()


def _percent(value: float | None, digits: int = 1) -> str:
    return "–" if value is None or not np.isfinite(value) else f"{100 * value:.{digits}f} %"


def _points(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2f}".replace("-", "−")


def _megabytes(value: int) -> str:
    return f"{value / 1e6:.2f} MB"


def _spell(rate: Rate) -> str:
    return f"{100 * rate.low:.1f} to {100 * rate.high:.1f} %"
