"""The user's own photos in the demo: which are held out, and a clip filmed over them.

The photos of the clip hang on a wall as prints, and the camera walks along them as it does along the shop's
shelf: they are panned over, turned a little and seen nearer and farther. No photo of the clip is trained on.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from sightline.runtime.dataset import LabelledImage, read_dataset
from sightline.runtime.errors import InputError
from sightline.runtime.preprocess import Image, read_image

from .clip import FPS, Clip, Shelf, camera_frames, camera_track, clear_views, write_video

# Three photos to teach from and two to be recognised in.
_LESSON, _LATER = 3, 2
_LEAST_NEW = _LESSON + _LATER
_LEAST_KNOWN = 6
_MOST_STOPS = 10
_ROWS, _SPACING, _PRINT = 680, 700, 640


@dataclass(frozen=True, slots=True)
class OwnPhotos:
    """The user's photos, divided for the demo.

    Attributes:
        training: Photos to train on and to build the gallery from.
        shown: Photos of known items for the clip; none of them is trained on.
        new: The label that the classifier is not told of.
        lesson: Its photos that are taught from.
        later: Its photos that are to be recognised afterwards.
        left_out: Labels with too few photos to be shown.
    """

    training: tuple[LabelledImage, ...]
    shown: tuple[LabelledImage, ...]
    new: str
    lesson: tuple[LabelledImage, ...]
    later: tuple[LabelledImage, ...]
    left_out: tuple[str, ...] = ()

    def shortage(self, enough: int) -> str | None:
        """Say in one sentence that the demo lacks photos; None where each class has enough of them to learn from."""
        counts = Counter(image.label for image in self.training)
        label, least = min(counts.items(), key=lambda item: item[1])
        if least >= enough and not self.left_out:
            return None
        said = []
        if least < enough:
            said.append(
                f"'{label}' has {least} photos to learn from, where the demo's own shop has {enough} of each class"
            )
        if self.left_out:
            said.append(f"classes of fewer than {_LEAST_KNOWN} photos are left out: {', '.join(self.left_out)}")
        return (
            f"{'; '.join(said)}; the demo starts from nothing, so its answers may fall short; for few photos there is "
            f"'sightline train DATA --weights imagenet'"
        )


def divide(data: str | Path, new: str | None, seed: int) -> OwnPhotos:
    """Hold one class out as the new item, and a photo of each other class for the clip.

    Args:
        data: A folder of class folders, or a CSV.
        new: The class to hold out; None takes the smallest that has enough photos.
        seed: Chooses the photos.

    Raises:
        InputError: There are too few classes or photos, or no such class.
    """
    rng = np.random.default_rng([seed, 3])
    groups: dict[str, list[LabelledImage]] = defaultdict(list)
    for image in read_dataset(data):
        groups[image.label].append(image)
    for images in groups.values():
        rng.shuffle(images)
    chosen = _choose_new(groups, new, data)
    known = {label: images for label, images in groups.items() if label != chosen and len(images) >= _LEAST_KNOWN}
    if len(known) < 2:
        raise InputError(
            f"data '{data}' has {len(known)} classes of at least {_LEAST_KNOWN} photos beside '{chosen}': "
            "the demo needs two to train on and one to teach"
        )
    stops = sorted(known)
    shown = [known[label].pop() for label in stops if label in set(rng.permutation(stops)[:_MOST_STOPS].tolist())]
    training = [image for label in stops for image in known[label]]
    lesson, later = tuple(groups[chosen][:_LESSON]), tuple(groups[chosen][_LESSON:_LEAST_NEW])
    left_out = tuple(sorted(set(groups) - set(known) - {chosen}))
    return OwnPhotos(tuple(training), tuple(shown), chosen, lesson, later, left_out)


def film_photos(path: Path, photos: OwnPhotos, seed: int) -> Clip:
    """Film the held-out photos: some known items, the new one to be taught, then it again among the others.

    Raises:
        InputError: A photo cannot be read.
        SourceError: The video cannot be written.
    """
    rng = np.random.default_rng([seed, 78])
    order = _order(photos)
    shelf = _wall([image for image, _ in order], rng)
    track = camera_track(shelf.centres, [seconds for _, seconds in order], rng)
    count = write_video(path, camera_frames(shelf.picture, track, rng))
    segments = clear_views(shelf, track)
    lessons = [segment for segment in segments if segment.label == photos.new][: len(photos.lesson)]
    teach_at = tuple(segment.first + round(0.4 * (segment.last - segment.first)) for segment in lessons)
    return Clip(path, FPS, count, segments, photos.new, teach_at)


def _choose_new(groups: dict[str, list[LabelledImage]], new: str | None, data: str | Path) -> str:
    if new is not None and new not in groups:
        raise InputError(f"data '{data}' has no class '{new}', only {', '.join(sorted(groups)[:20])}")
    wanted = [new] if new is not None else sorted(groups, key=lambda label: (len(groups[label]), label))
    for label in wanted:
        if len(groups[label]) >= _LEAST_NEW:
            return label
    raise InputError(
        f"no class to teach: the new item needs {_LEAST_NEW} photos, "
        + (f"'{new}' has {len(groups[new])}" if new is not None else f"and no class of '{data}' has as many")
    )


def _order(photos: OwnPhotos) -> list[tuple[LabelledImage, float]]:
    half = (len(photos.shown) + 1) // 2
    before, after = photos.shown[:half], photos.shown[half:]
    middle = (len(after) + 1) // 2
    parts = (before, photos.lesson, after[:middle], photos.later[:1], after[middle:], photos.later[1:])
    return [(image, 3.0 if image in photos.lesson else 1.4) for part in parts for image in part]


def _wall(images: Sequence[LabelledImage], rng: np.random.Generator) -> Shelf:
    picture = np.full((_ROWS, _SPACING * len(images), 3), (58, 52, 48), np.uint8)
    top = (_ROWS - _PRINT) // 2
    for number, image in enumerate(images):
        left = number * _SPACING + (_SPACING - _PRINT) // 2
        picture[top : top + _PRINT, left : left + _PRINT] = _square(read_image(image.path))
    picture = np.clip(picture + rng.normal(0, 2, picture.shape), 0, 255).astype(np.uint8)
    centres = np.array([((number + 0.5) * _SPACING, _ROWS / 2) for number in range(len(images))])
    return Shelf(picture, tuple(image.label for image in images), centres, np.full((len(images), 2), 190.0))


def _square(photo: Image) -> Image:
    rows, columns = photo.shape[:2]
    edge = min(rows, columns)
    top, left = (rows - edge) // 2, (columns - edge) // 2
    flags = cv2.INTER_AREA if edge > _PRINT else cv2.INTER_CUBIC
    resized = cv2.resize(photo[top : top + edge, left : left + edge], (_PRINT, _PRINT), interpolation=flags)
    return np.asarray(resized, np.uint8)
