"""Choosing by measurement: made-up times decide, the bundle and its golden answers are real."""

import msgspec
import numpy as np
import pytest

from sightline.runtime import Bundle, Recognizer
from sightline.runtime.manifest import GateResult
from sightline.runtime.processor import Processor, this_processor
from sightline.runtime.tune import tune, upper_bound
from sightline.runtime.tune_candidates import list_candidates
from sightline.runtime.tuned import Choice, advise, find_tuned, forget_tuned, keep_tuned
from sightline.runtime.turns import Failed, Taken, interleave
from tests.factories import tiny_bundle, two_variants

CORES = 2


@pytest.fixture(autouse=True)
def two_cores_and_a_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for module in ("tune", "processor"):
        monkeypatch.setattr(f"sightline.runtime.{module}.usable_cores", lambda most=4: CORES)
    for module in ("tune", "tuned"):
        monkeypatch.setattr(f"sightline.runtime.{module}.available_providers", lambda: ("cpu",))


@pytest.fixture
def bundle(tmp_path) -> Bundle:
    return Bundle.load(two_variants(tmp_path / "kiosk.bundle"))


def times(table: dict[tuple[str, int], float], noise: float = 0.0):
    """A measure that says what the table says of (variant, threads), the callers asked for once each."""
    random = np.random.default_rng(0)

    def measure(contenders, images, seconds, advance):
        found, failed = {}, {}
        for place, one in enumerate(contenders):
            one.answer(images[:1])
            value = table[one.choice.variant, one.choice.threads]
            if np.isnan(value):
                failed[place] = Failed(1, RuntimeError("out of memory"))
            else:
                found[place] = value * (1 + noise * random.normal(size=(20, 3)))
        return Taken(found, failed)

    return measure


def by(tuned, choice: Choice, callers: int = 1):
    return next(one for one in tuned.trials if one.choice == choice and one.callers == callers)


def test_the_fastest_that_answers_rightly_is_chosen(bundle):
    tuned = tune(bundle, 1, measure=times({("int8", 2): 4, ("int8", 1): 5, ("fp32", 2): 2, ("fp32", 1): 6}, 0.02))
    assert tuned.default == Choice("int8", "cpu", 2)
    assert tuned.one == Choice("fp32", "cpu", 2) and tuned.one_ratio == pytest.approx(0.5, abs=0.03)
    assert tuned.many == Choice("int8", "cpu", 1) and tuned.many_ratio == 1
    chosen = by(tuned, tuned.one)
    assert chosen.verdict == "chosen" and chosen.golden == 3 and chosen.most_ratio < 0.6
    assert by(tuned, Choice("int8", "cpu", 1)).verdict == "not faster than the default"
    assert by(tuned, Choice("fp32", "cpu", 1), CORES).verdict == "not faster than the default"


@pytest.mark.parametrize("value", [3.95, 3.9], ids=["by 1 %", "by 2.5 %"])
def test_what_is_hardly_faster_does_not_replace_the_default(bundle, value):
    tuned = tune(bundle, 1, measure=times({("int8", 2): 4, ("int8", 1): 5, ("fp32", 2): value, ("fp32", 1): 6}))
    assert tuned.one == tuned.default
    assert by(tuned, Choice("fp32", "cpu", 2)).verdict == "not surely 3% faster than the default"


def test_noise_that_could_be_chance_does_not_replace_the_default(bundle):
    table = {("int8", 2): 4, ("int8", 1): 5, ("fp32", 2): 3.6, ("fp32", 1): 6}
    assert tune(bundle, 1, measure=times(table, 0.9)).one == Choice("int8", "cpu", 2)


def test_a_wrong_golden_answer_or_a_failure_never_wins(tmp_path):
    wrong = Bundle.load(two_variants(tmp_path / "wrong.bundle", spoiled="fp32"))
    table = {("int8", 2): 4, ("int8", 1): np.nan, ("fp32", 2): 1, ("fp32", 1): 1}
    with pytest.raises(RuntimeError, match="out of memory"):
        # The default of folders is int8 with one thread: its own failure is not passed over.
        tune(wrong, 1, measure=times(table))
    tuned = tune(wrong, 1, measure=times({**table, ("int8", 1): 5}))
    assert tuned.one == tuned.default and "differ from export's" in by(tuned, Choice("fp32", "cpu", 2)).verdict


def test_a_variant_that_the_gate_refused_is_no_candidate(tmp_path):
    default = Choice("fp32", "cpu", 2)
    gate = GateResult(False, "fp32", max_drop=0.5)
    refused = Bundle.load(two_variants(tmp_path / "a.bundle", gate=gate, default="fp32", int8_top1=0.8))
    passed = Bundle.load(two_variants(tmp_path / "b.bundle", gate=gate, default="fp32", int8_top1=0.9))
    assert {one.variant for one in list_candidates(refused, default, ("cpu",), 2)} == {"fp32"}
    assert {one.variant for one in list_candidates(passed, default, ("cpu",), 2)} == {"fp32", "int8"}


def test_candidates_keep_to_what_a_provider_is_for(bundle):
    found = list_candidates(bundle, Choice("int8", "cpu", 4), ("cpu", "cuda", "openvino"), 4)
    assert Choice("fp32", "cuda", 4) in found and not any(one == Choice("int8", "cuda", 4) for one in found)
    assert {one.threads for one in found if one.provider == "openvino"} == {1, 2, 4}
    assert Choice("int8", "cpu", 4) not in found and len(set(found)) == len(found)


def test_the_bound_of_a_median():
    assert upper_bound(np.array([1.0, 2, 3, 4, 5])) == 5
    random = np.random.default_rng(1)
    above = [upper_bound(random.exponential(size=40)) >= np.log(2) for _ in range(400)]
    assert np.mean(above) > 0.95


def test_turns_say_who_failed_and_the_others_go_on():
    def fail(_):
        raise ValueError("no")

    taken = interleave([lambda _: None, fail], np.zeros((2, 1, 1, 3), np.uint8), 0, 9)
    assert taken.times[0].shape == (5, 3) and taken.failed[1].turn == 1 and 1 not in taken.times


# --- what is kept --------------------------------------------------------------------------------------------


@pytest.fixture
def chosen(bundle) -> Bundle:
    keep_tuned(bundle, tune(bundle, 1, measure=times({("int8", 2): 4, ("int8", 1): 5, ("fp32", 2): 2, ("fp32", 1): 2})))
    return bundle


def test_a_recognizer_takes_the_choice_and_explicit_options_win(chosen):
    tuned = Recognizer(chosen)
    assert (tuned.variant.name, tuned.threads, tuned.provider.obtained) == ("fp32", 2, "cpu")
    assert "chosen by 'sightline tune'" in tuned.provider.reason and tuned.provider.requested == "auto"
    assert Recognizer(chosen, threads=1).variant.name == "fp32"
    assert Recognizer(chosen, variant="int8").variant.name == "int8"
    assert Recognizer(chosen, "cpu").variant.name == "int8"
    assert Recognizer(chosen, threads=3).variant.name == "int8"
    assert forget_tuned(chosen) and Recognizer(chosen).variant.name == "int8" and find_tuned(chosen) is None


def _other_processor(monkeypatch, **changes):
    now = msgspec.to_builtins(this_processor())
    monkeypatch.setattr("sightline.runtime.tuned.this_processor", lambda: Processor(**{**now, **changes}))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda patch: _other_processor(patch, name="Cortex-A76"), "this is Cortex-A76"),
        (lambda patch: _other_processor(patch, features="0"), "the processor's features changed"),
        (lambda patch: _other_processor(patch, cores=1), "2 cores were usable, now 1 are"),
        (
            lambda patch: patch.setattr("sightline.runtime.tuned.provider_versions", lambda: {"onnxruntime": "9.9.9"}),
            "now it is 9.9.9",
        ),
        (
            lambda patch: patch.setattr("sightline.runtime.tuned.available_providers", lambda: ("cpu", "xnnpack")),
            "xnnpack is new",
        ),
    ],
    ids=["processor", "features", "cores", "version", "provider"],
)
def test_what_changed_is_said_and_the_default_runs(chosen, monkeypatch, change, said):
    change(monkeypatch)
    opened = Recognizer(chosen)
    assert opened.variant.name == "int8" and opened.advice.stale and said in opened.advice.sentence


def test_another_bundle_in_its_place_ends_the_choice(chosen, tmp_path):
    place = find_tuned(chosen).place
    other = Bundle.load(two_variants(tmp_path / "other.bundle", sharpness=30.0))
    place.rename(tmp_path / "other.bundle.tuned.json")
    advice = advise(other)
    assert advice.stale and "it was measured for the bundle" in advice.sentence


@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b'{"schema_version": 1}', b"\xff" * 50])
def test_a_damaged_choice_is_ignored(chosen, data):
    find_tuned(chosen).place.write_bytes(data)
    opened = Recognizer(chosen)
    assert opened.variant.name == "int8" and "is damaged" in opened.advice.sentence


def test_a_choice_that_cannot_be_opened_is_passed_over(chosen):
    place = find_tuned(chosen).place
    said = msgspec.json.decode(place.read_bytes())
    said["one"]["provider"] = "qnn"
    place.write_bytes(msgspec.json.encode(said))
    opened = Recognizer(chosen)
    assert opened.variant.name == "int8" and "cannot be opened" in opened.advice.sentence and opened.advice.stale


def test_where_nothing_can_be_written_beside_the_bundle_the_cache_keeps_it(bundle, tmp_path, monkeypatch):
    tuned = tune(bundle, 1, measure=times({("int8", 2): 4, ("int8", 1): 5, ("fp32", 2): 2, ("fp32", 1): 2}))

    def refuse(path, data):
        if path.parent == bundle.path.parent:
            raise PermissionError(13, "Permission denied")
        path.write_bytes(data)

    monkeypatch.setattr("sightline.runtime.tuned.write_file", refuse)
    assert keep_tuned(bundle, tuned).is_relative_to(tmp_path / "cache" / "sightline")
    assert Recognizer(bundle).variant.name == "fp32"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    with pytest.raises(Exception, match="the choice cannot be kept: neither"):
        keep_tuned(bundle, tuned)


def test_a_bundle_of_one_variant_can_be_tuned(tmp_path):
    one = Bundle.load(tiny_bundle(tmp_path / "one.bundle"))
    tuned = tune(one, 1, measure=times({("fp32", 2): 4, ("fp32", 1): 3}))
    assert tuned.one == Choice("fp32", "cpu", 1) and tuned.many == Choice("fp32", "cpu", 1)
