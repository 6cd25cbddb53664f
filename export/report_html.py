"""report.html: one file that opens offline, without scripts, on a phone or a desk, in light or dark."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from sightline.runtime.dataset import LabelledImage
from sightline.runtime.manifest import MULTI_LABEL

from . import report_plots as plots
from .decision import DecisionFit
from .figures import Report
from .pages import render_page, thumbnail

_WEAKEST = 12
# One photo of a class says nothing of the class.
_LEAST_IMAGES = 3


def render_report(
    report: Report,
    fit: DecisionFit,
    evaluation: Sequence[LabelledImage],
    gallery: Sequence[LabelledImage],
    maps: Mapping[Path, str],
) -> str:
    """Render the report.

    Args:
        report: What was measured.
        fit: The scores that the thresholds were fitted to.
        evaluation: The evaluation photos, in the order that `report.confusions` counts in.
        gallery: Photos that show what an item was taken for.
        maps: For the worst mistakes the address of a picture of what the answer rests on.
    """
    shown = {image.label: image for image in reversed([*evaluation, *gallery])}
    several = report.task == MULTI_LABEL
    thresholds = dict(zip(report.labels, report.decision.label_thresholds, strict=False))
    return render_page(
        "report.html.j2",
        report=report,
        default=report.default,
        reference=report.variants[0],
        gate=report.gate,
        several=several,
        figure="mean average precision" if several else "top-1",
        threshold=thresholds.get,
        decision=report.decision,
        weakest=[one for one in report.classes if one.top1 < 1 and one.images >= _LEAST_IMAGES][:_WEAKEST],
        perfect=sum(one.top1 == 1 for one in report.classes),
        photo=lambda row: thumbnail(evaluation[row].path),
        map_of=lambda row: maps.get(evaluation[row].path, ""),
        sample=lambda label: thumbnail(shown[label].path) if label in shown else "",
        plots=_plots(report, fit),
    )


def _plots(report: Report, fit: DecisionFit) -> dict[str, str]:
    decision = report.decision
    made = {"reliability": plots.reliability_plot(report.reliability)}
    if len(fit.known) and len(fit.unknown):
        shown = "probability of a label" if report.task == MULTI_LABEL else "probability of the first answer"
        draw = partial(plots.threshold_plot, x_label=shown, low=0.0)
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
        figure = "mean average precision" if report.task == MULTI_LABEL else "top-1"
        made["top1"] = plots.curve_plot(epochs, top1, figure, percent=True)
    return made
