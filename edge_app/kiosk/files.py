"""The page's own files, read once; nothing outside the folder can be asked for."""

import hashlib
from importlib import resources
from importlib.resources.abc import Traversable

from starlette.exceptions import HTTPException
from starlette.responses import Response

_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class Files:
    """The files of `assets/`.

    Attributes:
        version: Changes with any of them, so that an open page knows when to load itself again.
    """

    def __init__(self) -> None:
        folder = resources.files(__package__).joinpath("assets")
        self._files = {file.name: file.read_bytes() for file in _sorted(folder) if _kind(file.name)}
        self.version = hashlib.sha256(b"\0".join(self._files.values())).hexdigest()[:12]

    def answer(self, name: str, held: str | None) -> Response:
        """Answer with a file, or that `held` (the browser's ETag) is still right.

        Raises:
            HTTPException: There is no such file.
        """
        data = self._files.get(name)
        if data is None:
            raise HTTPException(404, "there is no such file")
        tag = f'"{self.version}"'
        headers = {"ETag": tag, "Cache-Control": "no-cache"}
        if held == tag:
            return Response(status_code=304, headers=headers)
        return Response(data, headers=headers, media_type=_kind(name))


def _sorted(folder: Traversable) -> list[Traversable]:
    return sorted(folder.iterdir(), key=lambda file: file.name)


def _kind(name: str) -> str | None:
    return _KINDS.get(name[name.rfind(".") :])
