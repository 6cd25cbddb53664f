"""Every network from one training step to fp32 and int8: what ONNX Runtime answers is what torch answers."""

import numpy as np
import pytest
import torch
from torch import nn

from sightline.export.fusion import inspect_fusion
from sightline.export.onnx_graph import export_onnx, serialize
from sightline.export.parity import compare
from sightline.export.quantize_input import fold_normalization
from sightline.export.quantize_plan import make_plan
from sightline.export.quantize_ranges import find_ranges, observe
from sightline.export.quantize_writer import write_qdq
from sightline.models import ARCHITECTURES, Architecture, RecognitionModel, build_model
from sightline.models.architecture import child_blocks
from sightline.runtime.preprocess import InputSpec
from sightline.runtime.session import open_session

QUICK = ("lenet5", "cnn_32", "mobilenet_v1_x0_25", "mobilenet_v3_small_relu")
# Built, trained and exported in 5 to 60 seconds each.
LARGE = [pytest.param(name, marks=pytest.mark.slow) for name in ARCHITECTURES if name not in QUICK]
# Their layers are products that no int8 form is made of; VGG pools one cell to 7x7 at 32 px, by products too.
FLOAT_PRODUCTS = ("vit_b_16", "swin_t", "convnext_tiny", "vgg11", "vgg11_bn")
# After one step their signal grows from block to block by the statistics they began with.
DEEP = ("resnet50", "resnet101")
SIZE = 32


def trained(name: str, images: torch.Tensor) -> RecognitionModel:
    """A net after one step of training."""
    torch.manual_seed(0)
    model = build_model(name, 5, 32, SIZE).train()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d) and name in DEEP:
            layer.momentum = None  # this batch's statistics alone
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
    loss = nn.functional.cross_entropy(model.classifier(model.features(images)), torch.arange(len(images)) % 5)
    loss.backward()
    optimizer.step()
    assert torch.isfinite(loss)
    return model.eval()


def answers(model: RecognitionModel, images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    with torch.inference_mode():
        logits, embeddings = model(images)
    return logits.numpy(), embeddings.numpy()


@pytest.mark.parametrize("name", [*QUICK, *LARGE])
def test_from_a_step_of_training_to_int8(name):
    images = torch.randint(0, 256, (4, SIZE, SIZE, 3), dtype=torch.uint8, generator=torch.manual_seed(1))
    model = trained(name, images)
    graph = export_onnx(model, InputSpec(SIZE, SIZE))
    exact = compare(answers(model, images), open_session(serialize(graph), "cpu", 1).run(images.numpy()))
    assert exact.logit_difference < 1e-4 and exact.least_cosine > 0.9999

    folded = fold_normalization(graph)
    plan = make_plan(folded)
    ranges = find_ranges(observe(folded, lambda: [images.numpy()], plan.rounded), "minmax")
    int8 = serialize(write_qdq(folded, plan, ranges))
    fusion = inspect_fusion(int8)
    kinds = [node.op_type for node in plan.weighted(folded)]
    assert fusion.int8_convolutions == kinds.count("Conv") > 0
    assert fusion.int8_products == kinds.count("Gemm") > 0
    assert not fusion.float_convolutions
    # The embedding's product is the only one in float, except where layers are not convolutions.
    assert len(fusion.float_products) == 1 or name in FLOAT_PRODUCTS
    near = compare(answers(model, images), open_session(int8, "cpu", 1).run(images.numpy()))
    assert near.least_cosine > 0.98


def test_pooling_to_a_size_that_does_not_divide():
    class Net(nn.Sequential):
        def __init__(self) -> None:
            super().__init__()
            self.append(nn.Conv2d(3, 4, 3)).append(nn.AdaptiveAvgPool2d((7, 3))).append(nn.Flatten())
            self.fc = nn.Linear(84, 10)

    torch.manual_seed(0)
    model = RecognitionModel(Architecture("net", Net, None, "fc", child_blocks), 5, 8).eval()
    images = torch.randint(0, 256, (3, 12, 16, 3), dtype=torch.uint8)
    graph = export_onnx(model, InputSpec(12, 16))
    parity = compare(answers(model, images), open_session(serialize(graph), "cpu", 1).run(images.numpy()))
    assert parity.logit_difference < 1e-5 and parity.least_cosine > 0.9999
