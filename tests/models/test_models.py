"""Architectures, the two-headed model and what loading weights says."""

import pytest
import torch

from sightline.models import ARCHITECTURES, UnknownArchitectureError, WeightsError, build_model, load_weights


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_two_heads_one_pass(name):
    torch.manual_seed(0)
    model = build_model(name, 5, 128).eval()
    with torch.inference_mode():
        logits, embedding = model(torch.randint(0, 255, (2, 64, 48, 3), dtype=torch.uint8))
    assert logits.shape == (2, 5)
    assert embedding.shape == (2, 128)
    assert torch.allclose(embedding.norm(dim=1), torch.ones(2), atol=1e-5)
    assert not any(name.startswith("trunk.classifier") or name.startswith("trunk.fc") for name in model.state_dict())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_blocks_cover_the_trunk_in_order(name):
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
