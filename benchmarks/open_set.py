"""Known against unknown: classes are left out of training at random, and their photos shown as unknown items.

python benchmarks/open_set.py train.csv --val val.csv --label-column class_name --weights mobilenet_v2.pth --work open

For each seed a net is trained without those classes; then every score of `open_set_scores`, and the one that bundles
ship, judges the same features. The photos that each run sets apart are to choose a score by, those of --val to report
it by. The items left out are then looked up among all photos of DATA, by what the net learned and by the features it
began with. A run that is finished is used again, an interrupted one goes on. What
bundles ship is fitted here on float outputs.
"""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from open_set_scores import SCORES, Learned, Seen, Values, unit, with_unknown

from sightline.edge_app.console import ConsoleReporter, print_table
from sightline.export.data import class_indices
from sightline.export.decision import fit_decision
from sightline.export.evaluate import Outputs
from sightline.export.features import extract_features
from sightline.export.recipe_file import read_recipe_file
from sightline.export.run import TrainedRun, load_run
from sightline.export.stage import TrainOptions
from sightline.export.train import train
from sightline.export.warmstart import last_linear
from sightline.models import build_model
from sightline.models.weights import load_weights
from sightline.runtime.dataset import LabelledImage, read_dataset
from sightline.runtime.rates import area_under_curve, false_accepts

OURS = "softmax with an unknown class (ours)"


@click.command()
@click.argument("data")
@click.option("--val", "validation", required=True, help="Photos to report by.")
@click.option("--label-column", default="label", show_default=True)
@click.option("--arch", default="mobilenet_v2", show_default=True)
@click.option("--weights", default="imagenet", show_default=True)
@click.option("--recipe", help="TOML file with training values.")
@click.option("--task", default="single-label", show_default=True)
@click.option("--epochs", default=10, show_default=True)
@click.option("--image-size", type=int)
@click.option("--left-out", default=10, show_default=True, help="Classes to leave out.")
@click.option("--seeds", default=1, show_default=True)
@click.option("--work", required=True, help="Folder for the runs.")
def main(
    data: str,
    validation: str,
    label_column: str,
    recipe: str | None,
    left_out: int,
    seeds: int,
    work: str,
    **asked: object,
) -> None:
    """Train, ask, compare."""
    images, judged = read_dataset(data, label_column), read_dataset(validation, label_column)
    classes = sorted({image.label for image in images})
    text = read_recipe_file(recipe) if recipe else ""
    _check(classes, judged, str(asked["arch"]))
    _keep_settings(Path(work), {**asked, "data": data, "recipe": text, "left_out": left_out})
    rows: dict[str, list[list[float]]] = {}
    found: dict[str, list[list[float]]] = {}
    for seed in range(seeds):
        unknown = set(np.random.default_rng(seed).choice(classes, left_out, replace=False).tolist())
        folder = Path(work) / f"seed{seed}"
        listed = _write_known(folder, [image for image in images if image.label not in unknown])
        options = TrainOptions(str(listed), str(folder / "run"), recipe=text, seed=seed, **asked)  # type: ignore[arg-type]
        if not (folder / "run" / "run.json").exists():
            train(options, resume=(folder / "run" / "last.pt").exists(), reporter=ConsoleReporter())
        run = load_run(folder / "run")
        seen = _All(run, [*images, *judged])
        for name, figures in _compare(
            run, seen, [one for one in images if one.label in unknown], judged, unknown
        ).items():
            rows.setdefault(name, []).append(figures)
        for name, figures in _look_up(run, seen, images, judged, unknown, options.weights).items():
            found.setdefault(name, []).append(figures)
    told = f"{seeds} seeds, {left_out} of {len(classes)} classes left out"
    names = ("score", "AUC set apart", "AUC --val", "unknown passing at 90 %", "at 95 %")
    print_table(names, sorted(_means(rows), key=lambda row: -row[1]), told)
    print_table(("recall@1 among all", "items left out", "known items"), _means(found), told)


def _means(figures: dict[str, list[list[float]]]) -> list[tuple[Any, ...]]:
    return [(name, *np.mean(rows, axis=0).tolist()) for name, rows in figures.items()]


def _check(classes: Sequence[str], judged: Sequence[LabelledImage], arch: str) -> None:
    strange = sorted({image.label for image in judged} - set(classes))
    if strange:
        raise click.ClickException(f"--val has photos of '{strange[0]}', which DATA has not")
    model = build_model(arch, 2)
    if last_linear(model).in_features != model.feature_dim:
        raise click.ClickException(
            f"{arch} has layers before its last: the scores here read features and logits of one"
        )


def _keep_settings(work: Path, settings: dict[str, object]) -> None:
    """Write what the runs in a folder are trained with; refuse a folder whose runs are of other settings."""
    file, text = work / "settings.json", json.dumps(settings, indent=1, sort_keys=True)
    if file.exists() and file.read_text() != text:
        raise click.ClickException(f"the runs in '{work}' were trained with other settings: name another --work")
    work.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


class _All:
    """What a run makes of all photos, each looked at once."""

    def __init__(self, run: TrainedRun, images: Sequence[LabelledImage]) -> None:
        self._row = {image.path.resolve(): number for number, image in enumerate(images)}
        features = extract_features(run.model, images, run.spec, ConsoleReporter())
        with torch.inference_mode():
            pooled = torch.from_numpy(features)
            logits, embeddings = run.model.classifier(pooled), run.model.projection(pooled)
        self._parts = [part.astype(np.float64) for part in (features, logits.numpy(), embeddings.numpy())]

    def of(self, images: Sequence[LabelledImage]) -> Seen:
        rows = [self._row[image.path.resolve()] for image in images]
        return Seen(*(part[rows] for part in self._parts))


def _write_known(folder: Path, images: Sequence[LabelledImage]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "known.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("file", "label"))
        writer.writerows((image.path.resolve(), image.label) for image in images)
    return path


def _compare(
    run: TrainedRun,
    seen: _All,
    left_out: Sequence[LabelledImage],
    judged: Sequence[LabelledImage],
    unknown: set[str],
) -> dict[str, list[float]]:
    """Give AUC on the photos set apart, and AUC and passing unknown items on the photos to report by."""
    train_targets, own_targets = (np.asarray(class_indices(part, run.labels)) for part in (run.train, run.val))
    trained, apart = seen.of(run.train), seen.of(run.val)
    outside, inside = ([one for one in judged if (one.label in unknown) == wanted] for wanted in (True, False))
    strange, known, new = seen.of(left_out), seen.of(inside), seen.of(outside)
    last = last_linear(run.model)
    learned = Learned(trained, train_targets, last.weight.detach().numpy(), last.bias.detach().numpy())
    policy = fit_decision(_outputs(apart), own_targets, _outputs(trained), train_targets).policy
    right = known.logits.argmax(1) == np.asarray(class_indices(inside, run.labels))
    click.echo(f"top-1 {right.mean():.4f} of {len(inside)} known photos; {len(outside)} unknown ones")

    def ours(asked: Seen, known: Learned) -> Values:
        scaled = Seen(asked.features, asked.logits / policy.temperature, asked.embeddings)
        return with_unknown(scaled, known, policy.unknown_logit if policy.unknown_logit is not None else -np.inf)

    found: dict[str, list[float]] = {}
    for name, score in {**SCORES, OURS: ours}.items():
        pairs = [(score(a, learned), score(b, learned)) for a, b in ((apart, strange), (known, new))]
        rates = [area_under_curve(*pair) for pair in pairs] + [false_accepts(*pairs[1], one) for one in (0.9, 0.95)]
        found[name] = [np.nan if rate is None else rate for rate in rates]
    return found


def _look_up(
    run: TrainedRun,
    seen: _All,
    gallery: Sequence[LabelledImage],
    asked: Sequence[LabelledImage],
    unknown: set[str],
    weights: str,
) -> dict[str, list[float]]:
    """Give recall@1 of the items left out and of the others, by each space."""
    labels = sorted({image.label for image in gallery})
    own, truth = (np.asarray(class_indices(part, labels)) for part in (gallery, asked))
    strange = np.array([image.label in unknown for image in asked])
    frozen = build_model(run.model.architecture.name, len(labels), image_size=run.spec.height)
    load_weights(frozen, weights)
    kept, shown = seen.of(gallery), seen.of(asked)
    spaces = {
        "embedding": (shown.embeddings, kept.embeddings),
        "features, trained": (unit(shown.features), unit(kept.features)),
        "features, as they were": tuple(
            unit(extract_features(frozen, part, run.spec, ConsoleReporter()).astype(np.float64))
            for part in (asked, gallery)
        ),
    }
    click.echo(f"{strange.sum()} photos of items left out and {(~strange).sum()} others looked up among {len(gallery)}")
    hits = {name: own[(queries @ rows.T).argmax(1)] == truth for name, (queries, rows) in spaces.items()}
    return {name: [hit[strange].mean(), hit[~strange].mean()] for name, hit in hits.items()}


def _outputs(seen: Seen) -> Outputs:
    def single(values: Values) -> NDArray[np.float32]:
        return values.astype(np.float32)

    return Outputs(single(seen.logits), single(seen.embeddings))


if __name__ == "__main__":
    main()
