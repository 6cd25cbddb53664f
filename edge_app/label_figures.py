"""What `sightline eval` shows of a bundle whose images have any number of labels."""

import click

from sightline.runtime.multilabel import LabelEvaluation

from .console import print_table

_WEAKEST = 10


def print_labels(result: LabelEvaluation) -> None:
    """Print the figures of all labels, of the weakest ones, and of groups."""
    unknown, latency = result.unknown, result.latency_ms
    rows = [
        ("images", str(result.images)),
        ("mean average precision", _rate(result.mean_average_precision)),
        ("micro F1, macro F1", f"{result.micro_f1:.4f}, {result.macro_f1:.4f}"),
        ("all labels right", _rate(result.exact)),
        ("first answer right", _rate(result.top1)),
        ("with a label, given none", _rate(unknown.false_reject_rate)),
        ("with a label, given others only", _rate(unknown.wrong_rate)),
        ("without a label, given one", f"{_rate(unknown.false_accept_rate)} of {unknown.unknown_images}"),
        ("latency ms p50 / p95 / p99", f"{latency.p50:.1f} / {latency.p95:.1f} / {latency.p99:.1f}"),
    ]
    print_table(("variant " + result.variant, "value"), rows)
    worst = sorted(result.per_class.items(), key=lambda item: (item[1].average_precision or 0.0, item[0]))[:_WEAKEST]
    click.echo()
    print_table(
        ("weakest labels", "images", "average precision", "precision", "recall", "F1", "counts from"),
        [
            (label, one.images, _rate(one.average_precision), one.precision, one.recall, one.f1, one.threshold)
            for label, one in worst
        ],
    )
    for column, groups in result.groups.items():
        click.echo()
        names = (f"by {column}", "images", "mean average precision", "micro F1")
        print_table(
            names,
            [(value, one.images, _rate(one.mean_average_precision), one.micro_f1) for value, one in groups.items()],
        )


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
