"""Architectures, the two-headed model and what loading weights says."""

import pytest
import torch

from sightline.models import (
    ARCHITECTURES,
    UnknownArchitectureError,
    WeightsError,
    build_model,
    find_architecture,
    load_weights,
    measure_size,
)

SMALL = ("mobilenet_v2", "mobilenet_v3_small_relu", "mobilenet_v1_x0_25", "resnet18", "cnn_32", "lenet5")


@pytest.mark.parametrize("name", SMALL)
def test_two_heads_one_pass(name):
    torch.manual_seed(0)
    model = build_model(name, 5, 64, image_size=64).eval()
    with torch.inference_mode():
        logits, embedding = model(torch.randint(0, 255, (2, 64, 64, 3), dtype=torch.uint8))
    assert logits.shape == (2, 5)
    assert embedding.shape == (2, 64)
    assert torch.allclose(embedding.norm(dim=1), torch.ones(2), atol=1e-5)
    head = f"trunk.{ARCHITECTURES[name].head}."
    assert not any(name.startswith(head) for name in model.state_dict())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_network_gives_one_row_of_each_head(name):
    size = ARCHITECTURES[name].image_size
    with torch.device("meta"):  # shapes alone: nothing is allocated or computed
        model = build_model(name, 5, 64).eval()
        logits, embedding = model(torch.zeros((2, size, size, 3), dtype=torch.uint8))
    assert (logits.shape, embedding.shape) == ((2, 5), (2, 64))


# Parameters and multiply-accumulates as the papers and torchvision's documentation give them.
@pytest.mark.parametrize(
    ("name", "parameters", "macs"),
    [
        ("mobilenet_v1", 4.2e6, 569e6),
        ("mobilenet_v1_x0_5", 1.33e6, 149e6),
        ("googlenet", 6.62e6, 1.50e9),
        ("resnet101", 44.5e6, 7.80e9),
        ("efficientnet_b0", 5.29e6, 0.386e9),
        ("swin_t", 28.3e6, 4.49e9),
        ("convnext_tiny", 28.6e6, 4.46e9),
        ("vit_b_16", 86.6e6, 17.56e9),
    ],
)
def test_sizes_are_the_published_ones(name, parameters, macs):
    size = measure_size(ARCHITECTURES[name])
    assert size.parameters == pytest.approx(parameters, rel=0.015)
    assert size.macs == pytest.approx(macs, rel=0.015)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_blocks_cover_the_trunk_in_order(name):
    with torch.device("meta"):
        model = build_model(name, 2)
    inside = [value for block in ARCHITECTURES[name].blocks(model.trunk) for value in block.parameters()]
    assert [id(value) for value in inside] == [id(value) for value in model.trunk.parameters()]


def test_logits_are_those_of_torchvision(tmp_path):
    import torchvision

    torch.manual_seed(0)
    plain = torchvision.models.mobilenet_v3_small(num_classes=1000).eval()
    torch.save(plain.state_dict(), tmp_path / "weights.pth")
    model = build_model("mobilenet_v3_small", 1000).eval()
    loaded = load_weights(model, str(tmp_path / "weights.pth"))
    assert loaded.head_loaded
    image = torch.randint(0, 255, (2, 96, 96, 3), dtype=torch.uint8)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    wanted = plain(((image / 255.0 - mean) / std).permute(0, 3, 1, 2))
    assert torch.allclose(model(image)[0], wanted, atol=1e-4)


def test_head_of_another_size_is_replaced_and_said(tmp_path):
    torch.save(ARCHITECTURES["resnet18"].build().state_dict(), tmp_path / "weights.pth")
    loaded = load_weights(build_model("resnet18", 7), str(tmp_path / "weights.pth"))
    assert not loaded.head_loaded
    assert "its head has 1000 outputs, replaced by one of 7" in loaded.note


def test_missing_entries_are_said(tmp_path):
    state = ARCHITECTURES["resnet18"].build().state_dict()
    partial = {name: value for name, value in state.items() if not name.startswith("layer4.1.conv2")}
    torch.save(partial, tmp_path / "weights.pth")
    loaded = load_weights(build_model("resnet18", 1000), str(tmp_path / "weights.pth"))
    assert loaded.missing == ("layer4.1.conv2.weight",)
    assert "1 entries are missing" in loaded.note


def test_weights_of_another_architecture(tmp_path):
    torch.save(ARCHITECTURES["resnet18"].build().state_dict(), tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match="are not of mobilenet_v2"):
        load_weights(build_model("mobilenet_v2", 7), str(tmp_path / "weights.pth"))


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 half an archive"])
def test_files_that_are_no_weights(tmp_path, content):
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(WeightsError, match="cannot be read"):
        load_weights(build_model("resnet18", 7), str(tmp_path / "weights.pth"))


def test_a_list_is_no_state_dict(tmp_path):
    torch.save([torch.zeros(1)], tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match="no state dict"):
        load_weights(build_model("resnet18", 7), str(tmp_path / "weights.pth"))


def test_imagenet_without_network_says_what_to_fetch(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(WeightsError, match=r"fetch https://.*resnet18.* and put it at"):
        load_weights(build_model("resnet18", 7), "imagenet")


def test_unknown_architecture_names_those_there_are():
    with pytest.raises(UnknownArchitectureError, match=r"choose one of mobilenet_v2, mobilenet_v3_small"):
        build_model("alexnet", 2)


def test_a_network_without_published_weights_says_so():
    with pytest.raises(WeightsError, match="nobody publishes ImageNet weights of lenet5: start from --weights none"):
        load_weights(build_model("lenet5", 2), "imagenet")


def test_heads_for_training_alone_are_left_out_of_published_weights(tmp_path):
    state = dict(ARCHITECTURES["googlenet"].build().state_dict())
    torch.save(state | {"aux1.conv.conv.weight": torch.zeros(3)}, tmp_path / "weights.pth")
    assert load_weights(build_model("googlenet", 1000), str(tmp_path / "weights.pth")).missing == ()


def test_position_embeddings_follow_the_input_size():
    architecture = ARCHITECTURES["vit_b_16"]
    published = {"encoder.pos_embedding": torch.randn(1, 197, 768)}
    assert architecture.resize(published, 96)["encoder.pos_embedding"].shape == (1, 37, 768)
    assert torch.equal(architecture.resize(published, 224)["encoder.pos_embedding"], published["encoder.pos_embedding"])


def test_a_network_of_timm():
    pytest.importorskip("timm", reason="timm is not installed")
    architecture = find_architecture("timm:vit_tiny_patch16_224")
    assert architecture.fixed and architecture.weights is not None and architecture.image_size == 224
    model = build_model("timm:mobilenetv3_small_050", 3, 16).eval()
    logits, embedding = model(torch.zeros((2, 64, 64, 3), dtype=torch.uint8))
    assert (logits.shape, embedding.shape) == ((2, 3), (2, 16))
    with pytest.raises(UnknownArchitectureError, match="has no network 'mobilenetv99'"):
        build_model("timm:mobilenetv99", 3)


def test_timm_is_asked_for_where_it_is_missing(monkeypatch):
    monkeypatch.setattr("sightline.models.timm_models.importlib.util.find_spec", lambda name: None)
    with pytest.raises(UnknownArchitectureError, match=r"needs timm: pip install 'sightline\[timm\]'"):
        build_model("timm:resnet18", 3)
