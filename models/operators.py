"""Makes `import torchvision` work beside a torch build that its compiled operators do not fit.

torchvision's wheels on the package index are CUDA builds. Beside CPU-only torch their C++ library does not
load, and the import then raises because two operator schemas are unknown. Declaring the schemas lets models,
transforms and data sets work; the operators themselves (box suppression) are not used here. Nothing is done
where the real operators are present. Import this module before torchvision.
"""

import importlib.util
from pathlib import Path

import torch

_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}

# torch.library removes what it declared when the Library object is collected.
_declared: list[torch.library.Library] = []


def declare_missing_operators() -> bool:
    """Declare torchvision's operator schemas where its compiled library cannot be loaded.

    Returns:
        Whether anything was declared.
    """
    if _declared or _real_operators_load():
        return bool(_declared)
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call,unused-ignore]
    for schema in _SCHEMAS.values():
        library.define(schema)  # type: ignore[no-untyped-call,unused-ignore]
    _declared.append(library)
    return True


def _real_operators_load() -> bool:
    found = importlib.util.find_spec("torchvision")
    if found is None or found.origin is None:
        return False
    for file in Path(found.origin).parent.glob("_C*.so"):
        try:
            torch.ops.load_library(str(file))  # type: ignore[no-untyped-call,unused-ignore]
        except OSError:
            return False
    return all(hasattr(torch.ops.torchvision, name) for name in _SCHEMAS)


declare_missing_operators()
