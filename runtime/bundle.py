"""Opens a bundle: a folder, or the same folder as one uncompressed zip (`NAME.sightline`).

Every file is checked by size and SHA-256 before anything parses a byte of it; nothing is unpickled.
"""

import hashlib
import zipfile
from collections.abc import Callable
from pathlib import Path

from .errors import BundleError
from .manifest import MANIFEST_NAME, MAX_MANIFEST_BYTES, Embedding, Manifest, Variant, decode_manifest
from .preprocess import InputSpec

MAX_FILE_BYTES = 2_000_000_000


class Bundle:
    """A model with its labels, preprocessing, thresholds and proof, verified.

    Attributes:
        path: Where it was loaded from.
        manifest: What it says of itself.
    """

    def __init__(self, path: Path, manifest: Manifest, files: dict[str, bytes]) -> None:
        self.path = path
        self.manifest = manifest
        self._files = files

    @classmethod
    def load(cls, path: str | Path) -> "Bundle":
        """Open and verify a bundle.

        Reads every file once (about 20 MB for a MobileNetV2 bundle, 30 ms) and keeps the verified bytes, so
        nothing can change between the check and the use.

        Raises:
            BundleError: It is missing, damaged, incomplete, changed or of a newer schema.
        """
        place = Path(path)
        if not place.exists():
            raise BundleError(f"bundle '{path}' does not exist: expected what 'sightline export' wrote")
        try:
            if place.is_dir():
                return cls._load(place, lambda name, limit: _read_file(place, name, limit))
            with zipfile.ZipFile(place) as archive:
                return cls._load(place, lambda name, limit: _read_member(archive, name, limit))
        except zipfile.BadZipFile as error:
            raise BundleError(f"bundle '{path}' is neither a folder nor a whole .sightline file ({error})") from error
        except OSError as error:
            raise BundleError(f"bundle '{path}' cannot be read: {error}") from error

    @classmethod
    def _load(cls, path: Path, read: Callable[[str, int], bytes]) -> "Bundle":
        manifest = decode_manifest(read(MANIFEST_NAME, MAX_MANIFEST_BYTES), str(path))
        files: dict[str, bytes] = {}
        for name, entry in manifest.files.items():
            data = read(name, min(entry.bytes, MAX_FILE_BYTES))
            if len(data) != entry.bytes or hashlib.sha256(data).hexdigest() != entry.sha256:
                raise BundleError(f"bundle '{path}': {name} was changed after export: copy the bundle again")
            files[name] = data
        return cls(path, manifest, files)

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classifier's outputs, in order."""
        return self.manifest.labels

    @property
    def input_spec(self) -> InputSpec:
        """How frames are brought to the model's input."""
        return self.manifest.input

    @property
    def bundle_id(self) -> str:
        """The SHA-256 that names exactly this bundle."""
        return self.manifest.bundle_id

    @property
    def model_id(self) -> str:
        """The embedding space; galleries keep to one. See `embedding`."""
        return self.embedding.model_id

    @property
    def embedding(self) -> Embedding:
        """The embedding that its model makes.

        Raises:
            BundleError: It makes none.
        """
        if self.manifest.embedding is None:
            raise BundleError(f"bundle '{self.path}' is made for {self.manifest.task} and makes no embeddings")
        return self.manifest.embedding

    def expect(self, *tasks: str) -> None:
        """Make sure that it is made for one of these tasks.

        Raises:
            BundleError: It is made for another.
        """
        if self.manifest.task not in tasks:
            raise BundleError(
                f"bundle '{self.path}' is made for {self.manifest.task}, and one for {' or '.join(tasks)} is wanted "
                f"here: 'sightline inspect' says what a bundle is for"
            )

    def variant(self, name: str = "auto") -> Variant:
        """Find a variant by name; "auto" is the default that export's gate chose.

        Raises:
            BundleError: There is none of that name.
        """
        wanted = self.manifest.default_variant if name == "auto" else name
        for variant in self.manifest.variants:
            if variant.name == wanted:
                return variant
        there_are = ", ".join(variant.name for variant in self.manifest.variants)
        raise BundleError(f"bundle '{self.path}' has no variant '{name}': choose one of {there_are}")

    def read(self, name: str) -> bytes:
        """Give the verified bytes of a file of the bundle.

        Raises:
            BundleError: The bundle has no such file.
        """
        try:
            return self._files[name]
        except KeyError:
            raise BundleError(f"bundle '{self.path}' holds no file '{name}'") from None


def _read_file(folder: Path, name: str, limit: int) -> bytes:
    file = folder / name
    if file.is_symlink() or not file.is_file():
        raise BundleError(f"bundle '{folder}': {name} is missing: copy the bundle again, or export it anew")
    with file.open("rb") as stream:
        return stream.read(limit + 1)


def _read_member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise BundleError(f"bundle '{archive.filename}': {name} is missing: copy the bundle again") from None
    if info.compress_type != zipfile.ZIP_STORED:
        raise BundleError(f"bundle '{archive.filename}': {name} is compressed, bundles are stored as they are")
    with archive.open(info) as stream:
        return stream.read(limit + 1)
