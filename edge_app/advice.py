"""What a person is told of the choice that `sightline tune` made."""

from sightline.runtime import Bundle, Recognizer
from sightline.runtime.reporter import Reporter
from sightline.runtime.tuned import Kept, find_tuned, stale_sentence

from .console import ConsoleReporter


def tell_advice(model: object, reporter: Reporter | None = None) -> None:
    """Warn where a model was opened without the choice that was made for it, because it does not hold any more."""
    if isinstance(model, Recognizer) and model.advice.stale:
        (reporter or ConsoleReporter()).warn(model.advice.sentence)


def describe_choice(bundle: Bundle) -> tuple[Kept | None, str]:
    """Say in words what is chosen for a bundle here, and whether it holds."""
    kept = find_tuned(bundle)
    if kept is None:
        return None, f"nothing is chosen: 'sightline tune {bundle.path}' measures what runs it fastest here"
    if kept.tuned is None or kept.changes:
        return kept, stale_sentence(bundle, kept)
    one, many = kept.tuned.one, kept.tuned.many
    speeds = f"{1 / kept.tuned.one_ratio:.2f} and {1 / kept.tuned.many_ratio:.2f} times as fast as the default"
    return kept, f"{one}; folders: {many}; {speeds}, measured on {kept.tuned.measured_at[:10]}"
