"""Augmentation, pace, recipe, metrics, checkpoints and the projection, each against a reference."""

import math
import time

import cv2
import numpy as np
import pytest
import torch

from sightline.export.augment import Augmentation, augment, crop_box
from sightline.export.balance import balance_filters, he_std
from sightline.export.checkpoint import Best
from sightline.export.evaluator import Score
from sightline.export.features import extract_features, fit_projection
from sightline.export.finetune import FineTuner, Pace, freeze_front
from sightline.export.metrics import confusions, measure
from sightline.export.mixing import cut_mix
from sightline.export.photos import PhotoCache, ahead
from sightline.export.plots import worst_pairs
from sightline.export.recipe import Recipe, choose_epochs, choose_image_size
from sightline.export.warmstart import fit_head, last_linear
from sightline.models import build_model
from sightline.runtime.errors import InputError
from sightline.runtime.preprocess import InputSpec, prepare, read_image, resize_exact
from sightline.runtime.reporter import QuietReporter

NONE = Augmentation(crop_area=1.0, aspect=1.0, flip=0.0, colour=0.0)


def frame(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)


def test_without_chance_augmentation_is_the_device_preprocessing():
    image = frame(90, 90)
    made = augment(image, 32, NONE, np.random.default_rng(0))
    assert np.array_equal(made, prepare(image, InputSpec(32, 32, 1.0)))


def test_flip_mirrors():
    image = frame(64, 64)
    made = augment(image, 32, Augmentation(1.0, 1.0, 1.0, 0.0), np.random.default_rng(0))
    plain = augment(image, 32, NONE, np.random.default_rng(0))
    assert np.array_equal(made, plain[:, ::-1])


def test_colour_changes_light_and_keeps_shape():
    image = frame(64, 64)
    made = augment(image, 32, Augmentation(1.0, 1.0, 0.0, 0.5), np.random.default_rng(1))
    plain = augment(image, 32, NONE, np.random.default_rng(1))
    assert made.shape == plain.shape == (32, 32, 3)
    assert made.dtype == np.uint8
    assert np.corrcoef(made.ravel(), plain.ravel())[0, 1] > 0.8
    assert not np.array_equal(made, plain)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 200), (480, 640)])
def test_crops_lie_inside_and_keep_enough(rows, columns):
    how = Augmentation(0.25, 4 / 3, 0.5, 0.3)
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(300):
        top, left, height, width = crop_box(rows, columns, how, rng)
        assert top >= 0
        assert left >= 0
        assert 1 <= height <= rows - top
        assert 1 <= width <= columns - left
        shares.append(height * width / (rows * columns))
    if rows > 100:
        assert min(shares) > 0.2
        assert 0.5 < np.mean(shares) < 0.75


def test_the_same_generator_draws_the_same_picture():
    how = Augmentation(0.25, 4 / 3, 0.5, 0.3, tint=0.15, rotation=15.0, erase=0.5)
    first, second = (augment(frame(50, 70), 32, how, np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(first, second)


def test_tint_moves_the_white_and_keeps_black():
    white = np.full((40, 40, 3), 180, np.uint8)
    how = Augmentation(1.0, 1.0, 0.0, 0.0, tint=0.3)
    made = augment(white, 32, how, np.random.default_rng(0))
    assert len({int(value) for value in made[0, 0]}) > 1
    assert np.ptp(made, axis=(0, 1)).max() == 0
    assert augment(0 * white, 32, how, np.random.default_rng(0)).max() == 0


def test_a_turned_picture_has_no_black_corners():
    image = np.full((64, 64, 3), 200, np.uint8)
    image[24:40, 20:44] = 90
    made = augment(image, 64, Augmentation(1.0, 1.0, 0.0, 0.0, rotation=30.0), np.random.default_rng(0))
    assert made.min() >= 90
    assert not np.array_equal(made, image)
    assert abs(float(made.mean()) - float(image.mean())) < 2


def test_erasing_hides_one_rectangle():
    image = frame(64, 64)
    made = augment(image, 64, Augmentation(1.0, 1.0, 0.0, 0.0, erase=1.0), np.random.default_rng(3))
    rows, columns = np.nonzero((made != augment(image, 64, NONE, np.random.default_rng(3))).any(2))
    hidden = made[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    assert np.ptp(hidden, axis=(0, 1)).max() == 0
    assert 0.01 < hidden.size / made.size < 0.4


def test_cache_shrinks_by_exact_halving_and_bounds_its_memory(tmp_path):
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), frame(260, 400))
    cache = PhotoCache(32, limit_bytes=1_000_000)
    assert np.array_equal(cache.read(path), resize_exact(read_image(path), 100, 65))
    path.unlink()
    assert cache.read(path).shape == (65, 100, 3)
    full = PhotoCache(32, limit_bytes=10)
    with pytest.raises(InputError):
        full.read(path)


def test_ahead_keeps_order_and_raises():
    def late(job: int) -> int:
        time.sleep(0.002 * (job % 3))
        return job * job

    assert list(ahead(late, range(20))) == [job * job for job in range(20)]
    with pytest.raises(ZeroDivisionError):
        list(ahead(lambda job: 1 // (job - 5), range(20)))


def test_pace_by_steps_and_by_clock():
    assert [Pace(4, None).progress(step) for step in range(6)] == [0, 0.25, 0.5, 0.75, 1, 1]
    assert Pace(None, 100.0, spent=50.0).progress(0) == pytest.approx(0.5, abs=0.01)
    assert Pace(10, 100.0, spent=80.0).progress(1) == pytest.approx(0.8, abs=0.01)
    assert Pace(None, 1.0, spent=2.0).progress(0) == 1.0


def test_recipe_schedule():
    recipe = Recipe()
    assert recipe.lr_at(0) == 0
    assert recipe.lr_at(recipe.warmup) == pytest.approx(1)
    assert recipe.lr_at(1) == pytest.approx(recipe.lr_floor)
    assert Recipe.for_data(1000, pretrained=False).lr_at(1) == pytest.approx(0, abs=1e-9)
    sizes = [recipe.size_at(progress, 224) for progress in (0.0, 0.5, 1.0)]
    assert sizes == sorted(sizes)
    assert all(size % 32 == 0 and size <= 224 for size in sizes)
    assert Recipe(sizes=(0.75, 1.0)).size_at(0.0, 32) == Recipe(sizes=(0.75, 1.0)).smallest(32) == 24


@pytest.mark.parametrize(("photos", "batch"), [(4, 8), (80, 10), (5000, 32)])
def test_recipe_suits_the_data(photos, batch):
    recipe = Recipe.for_data(photos, pretrained=True)
    assert recipe.batch_size == batch
    assert recipe.lr == pytest.approx(Recipe().lr * batch / 32)
    assert Recipe.for_data(photos, pretrained=False).frozen_share == 0


def test_choices_that_need_no_knowledge():
    assert [choose_epochs(photos) for photos in (50, 2500, 60_000)] == [60, 40, 10]
    assert [choose_image_size(224, side) for side in (32, 150, 1080)] == [96, 160, 224]


def test_metrics_against_counting():
    targets = np.array([0, 0, 1, 1, 2, 2], np.int64)
    logits = np.eye(4, dtype=np.float32)[[0, 1, 1, 1, 0, 2]]
    metrics = measure(logits, targets, ["a", "b", "c", "unseen"])
    assert metrics.images == 6
    assert metrics.top1 == pytest.approx(4 / 6)
    assert metrics.top5 == 1.0
    by_label = {one.label: one for one in metrics.per_class}
    assert by_label["b"].precision == pytest.approx(2 / 3)
    assert by_label["b"].recall == 1.0
    assert by_label["c"].f1 == pytest.approx(2 / 3)
    assert by_label["unseen"].images == 0
    assert metrics.macro_f1 == pytest.approx(np.mean([by_label[label].f1 for label in "abc"]))
    counts = confusions(logits, targets, 4)
    assert counts.sum() == 6
    assert worst_pairs(counts, 9) == [(0, 1, 1), (2, 0, 1)]


def test_the_newest_of_equally_good_epochs_is_kept():
    best = Best(photos=100)
    for epoch, top1 in enumerate([0.5, 0.9, 0.88, 0.6]):
        best.offer(epoch, Score(1.0, top1), {"w": torch.full((1,), float(epoch))})
    assert best.epoch == 2
    again = Best(photos=100)
    again.load(best.dump())
    again.offer(4, Score(1.0, 0.7), {"w": torch.zeros(1)})
    assert (again.epoch, float(again.state["w"])) == (2, 2.0)


def small_model(classes: int = 3):
    torch.manual_seed(0)
    return build_model("mobilenet_v3_small", classes, 32)


@pytest.mark.parametrize("photos", [1, 3, 20, 2000])
def test_projection_keeps_its_full_width(photos):
    model = small_model()
    features = np.random.default_rng(0).gamma(1.0, 1.0, (photos, model.feature_dim)).astype(np.float32)
    fit_projection(model, features)
    matrix = model.projection.matrix.detach().numpy()
    assert np.isfinite(matrix).all()
    assert np.linalg.matrix_rank(matrix) == 32
    gram = matrix.T @ matrix
    assert np.abs(gram - np.diag(np.diag(gram))).max() < 1e-3 * gram.max()
    embedding = model.projection(torch.from_numpy(features)).detach()
    if photos > 1:
        assert torch.allclose(embedding.norm(dim=1), torch.ones(photos), atol=1e-5)


def test_projection_without_whitening_is_pca():
    from sklearn.decomposition import PCA

    model = small_model()
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(400, model.feature_dim)) * np.linspace(5, 0.1, model.feature_dim)).astype(np.float32)
    fit_projection(model, features, whitening=0.0)
    expected = PCA(32, svd_solver="full").fit(features).components_
    overlap = np.abs((expected @ model.projection.matrix.detach().numpy()).diagonal())
    assert overlap.min() > 0.999


def test_head_is_logistic_regression():
    model = build_model("resnet18", 3, 16)
    rng = np.random.default_rng(0)
    targets = np.arange(90) % 3
    features = rng.normal(size=(90, 512)).astype(np.float32)
    features[np.arange(90), targets] += 5
    loss, top1 = fit_head(model, features, targets, label_smoothing=0.0)
    assert top1 == 1.0
    assert loss < 0.05
    with torch.no_grad():
        answers = last_linear(model)(torch.from_numpy(features)).argmax(1).numpy()
    assert np.array_equal(answers, targets)


def test_cut_mix_keeps_what_it_says():
    images = torch.stack([torch.full((40, 40, 3), value, dtype=torch.uint8) for value in (0, 200)])
    mixed, kept = cut_mix(images, torch.tensor([1, 0]), np.random.default_rng(3))
    assert 0 < kept <= 1
    assert float((mixed[0] == 0).float().mean()) == pytest.approx(kept)
    assert float((mixed[1] == 200).float().mean()) == pytest.approx(kept)
    assert images[0].max() == 0


@pytest.mark.parametrize(("share", "frozen"), [(0.0, 0), (0.2, 4), (1.0, 19)])
def test_frozen_front(share, frozen):
    model = build_model("mobilenet_v2", 2)
    assert len(freeze_front(model, share)) == frozen
    still = [not value.requires_grad for value in model.trunk.parameters()]
    assert any(still) == (frozen > 0)
    assert all(value.requires_grad for value in model.classifier.parameters())


def make_tuner(tmp_path, seed: int = 0) -> FineTuner:
    paths = []
    for number in range(12):
        path = tmp_path / f"{number}.png"
        cv2.imwrite(str(path), frame(40, 40, number))
        paths.append(path)
    recipe = Recipe(batch_size=4, frozen_share=0.2)
    targets = np.arange(12) % 3
    return FineTuner(small_model(), paths, targets, PhotoCache(64), recipe, 64, torch.float32, seed)


def run_epochs(tuner: FineTuner, numbers: list[int]) -> None:
    pace = Pace(9, None)
    with QuietReporter().task("", 1) as task:
        for number in numbers:
            tuner.run_epoch(number, pace, task)


def test_a_resumed_run_ends_where_an_unbroken_one_does(tmp_path):
    unbroken = make_tuner(tmp_path)
    run_epochs(unbroken, [1, 2, 3])
    first = make_tuner(tmp_path)
    run_epochs(first, [1])
    torch.save(first.state(), tmp_path / "last.pt")
    second = make_tuner(tmp_path)
    second.load(torch.load(tmp_path / "last.pt", weights_only=True))
    run_epochs(second, [2, 3])
    assert second.progress == unbroken.progress == 1.0
    for name, value in unbroken.average.state_dict().items():
        assert torch.equal(value, second.average.state_dict()[name]), name


def test_fine_tuning_moves_only_what_is_not_frozen(tmp_path):
    tuner = make_tuner(tmp_path)
    before = {name: value.clone() for name, value in tuner.model.state_dict().items()}
    run_epochs(tuner, [1])
    moved = {name for name, value in tuner.model.state_dict().items() if not torch.equal(value, before[name])}
    assert not any(name.startswith("trunk.features.0.") for name in moved)
    assert any(name.startswith("trunk.features.12.") for name in moved)
    assert any(name.startswith("classifier.") for name in moved)
    assert math.isfinite(tuner.lr)


def test_features_are_those_of_the_device_preprocessing(tmp_path):
    from sightline.runtime.dataset import LabelledImage

    images = []
    for number in range(3):
        path = tmp_path / f"{number}.png"
        cv2.imwrite(str(path), frame(50, 80, number))
        images.append(LabelledImage(path, "a"))
    model, spec = small_model(), InputSpec(64, 64, 0.875)
    found = extract_features(model, images, spec)
    model.eval()
    with torch.inference_mode():
        one = model.features(torch.from_numpy(prepare(read_image(images[1].path), spec)[None])).numpy()
    assert found.shape == (3, model.feature_dim)
    assert np.allclose(found[1], one[0], atol=1e-4)


@pytest.mark.parametrize("arch", ["mobilenet_v2", "mobilenet_v3_small", "resnet18"])
def test_balanced_filters_have_one_length_and_give_the_same_answers(arch):
    torch.manual_seed(0)
    net = build_model(arch, 5).trunk.double()
    norms = [layer for layer in net.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    for layer in net.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.weight.data *= torch.rand(len(layer.weight), 1, 1, 1) * 30 + 0.01
    images = torch.randn(8, 3, 64, 64).double()
    net.train()(images)  # statistics that fit the weights
    net.eval()
    before = net(images).detach()
    pruned = next(layer for layer in net.modules() if isinstance(layer, torch.nn.Conv2d))
    assert balance_filters(net) == sum(norm.num_features for norm in norms)
    assert torch.allclose(net(images), before, atol=1e-9 * float(before.abs().max()))
    lengths = pruned.weight.detach().flatten(1).square().mean(1).sqrt()
    assert torch.allclose(lengths, torch.full_like(lengths, he_std(pruned)))


def test_a_dead_filter_is_not_blown_up():
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, bias=False), torch.nn.BatchNorm2d(4)).eval()
    net[0].weight.data[1] = 0
    assert balance_filters(net) == 3
    assert float(net[0].weight[1].detach().abs().max()) == 0
