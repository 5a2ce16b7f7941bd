"""Image encoders by name, on small random checkpoints of the classes that they stand for; never on trained weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import registry
from harness.errors import CimError
from harness.retrieval.gallery import encoding

torch = pytest.importorskip("torch", reason="torch is not installed: run `make setup-models`")
transformers = pytest.importorskip("transformers", reason="transformers is not installed: run `make setup-models`")
safetensors = pytest.importorskip("safetensors.torch", reason="safetensors is not installed: run `make setup-models`")

TINY_CLIP: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1},
}

FOLDERS = {"dinov2_l": "dinov2-large", "dinov3_l": "dinov3-vitl16-pretrain-lvd1689m"}
SIGLIP = {"siglip_so400m": "ViT-SO400M-14-SigLIP-384", "siglip2_so400m": "ViT-SO400M-16-SigLIP2-384"}


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Forty pictures of other sizes and colours, one of them grey, and CIM_MODELS beside them."""
    from PIL import Image

    monkeypatch.setenv("CIM_MODELS", str(tmp_path / "models"))
    paths = []
    for at in range(40):
        paths.append(str(tmp_path / f"{at}.png"))
        mode, colour = ("L", 99) if at == 5 else ("RGB", (6 * at, 255 - 6 * at, 40))
        Image.new(mode, (40 + at, 60), colour).save(paths[-1])
    return paths


def dino(name: str, folder: Path) -> Any:
    """A small random checkpoint of the class, with an image processor of its kind."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32}
    if name == "dinov2_l":
        config: Any = transformers.Dinov2Config(**sizes, patch_size=8, mlp_ratio=2)
        processor: Any = transformers.BitImageProcessor(
            size={"shortest_edge": 36}, crop_size={"height": 32, "width": 32}
        )
    else:
        config = transformers.DINOv3ViTConfig(**sizes, patch_size=8, intermediate_size=64, num_register_tokens=4)
        processor = transformers.DINOv3ViTImageProcessor(size={"height": 32, "width": 32})
    model = transformers.AutoModel.from_config(config).eval()
    model.save_pretrained(folder / FOLDERS[name])
    processor.save_pretrained(folder / FOLDERS[name])
    return model, processor


@pytest.mark.parametrize("name", FOLDERS)
def test_dino_vectors_are_the_class_token_of_each_image(name: str, pictures: list[str], tmp_path: Path) -> None:
    from PIL import Image

    encoder = registry.encoder(name)
    assert encoder.kind == "image" and FOLDERS[name] in str(encoder.missing())
    with pytest.raises(CimError, match="are not on this machine"), encoding(encoder):
        pass
    model, processor = dino(name, tmp_path / "models")
    assert encoder.missing() is None
    with encoding(encoder) as encode:
        together, alone = encode(pictures), np.concatenate([encode([path]) for path in pictures[:6]])
        Path(pictures[0]).write_bytes(b"no image")
        with pytest.raises(CimError, match=r"0.png: is no image that can be read"):
            encode(pictures[:2])
    assert together.shape == (40, 32) and np.linalg.norm(together, axis=1) == pytest.approx(1, abs=1e-5)
    assert together[:6] == pytest.approx(alone, abs=1e-5), "a vector depends on its image alone"
    for at in (1, 5):
        pixels = processor(images=Image.open(pictures[at]).convert("RGB"), return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            token = model(pixel_values=pixels).last_hidden_state[0, 0].numpy()
        assert together[at] == pytest.approx(token / np.linalg.norm(token), abs=1e-5)
    assert np.ptp(together, axis=0).max() > 0.01, "images are told apart"


def test_other_weights_are_other_settings(pictures: list[str], tmp_path: Path) -> None:
    encoder = registry.encoder("dinov2_l")
    assert encoder.settings()["weights"] == "facebook/dinov2-large@not here"
    dino("dinov2_l", tmp_path / "models")
    before = encoder.settings()
    assert before["pooling"] == "class token, L2" and before["transformers"] == transformers.__version__
    file = tmp_path / "models" / "dinov2-large" / "model.safetensors"
    file.write_bytes(file.read_bytes() + b" ")
    assert encoder.settings()["weights"] != before["weights"]
    (file.parent / "preprocessor_config.json").unlink()
    assert encoder.missing() is not None


@pytest.mark.parametrize("name", SIGLIP)
def test_siglip_vectors_are_those_of_attention_pooling(name: str, pictures: list[str], tmp_path: Path) -> None:
    """OpenCLIP's ``CustomTextCLIP`` over a timm tower that pools by attention, as SigLIP's configurations say."""
    open_clip, timm = pytest.importorskip("open_clip"), pytest.importorskip("timm")
    from safetensors.torch import save_file

    tower = {"image_size": 224, "timm_model_name": "vit_tiny_patch16_224", "timm_model_pretrained": False}
    config = {
        "embed_dim": 192,
        "init_logit_bias": -10,
        "vision_cfg": {**tower, "timm_pool": "map", "timm_proj": "none"},
        "text_cfg": {"context_length": 64, "vocab_size": 100, "width": 32, "heads": 2, "layers": 1},
    }
    torch.manual_seed(0)
    model = open_clip.CustomTextCLIP(**config).eval()
    assert type(model.visual.trunk.attn_pool).__name__ == "AttentionPoolLatent", timm.__version__
    folder = tmp_path / "models" / SIGLIP[name]
    folder.mkdir(parents=True)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    content = {"model_cfg": {**config, "custom_text": True}, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    with encoding(registry.encoder(name)) as encode:
        vectors = encode(pictures[:9])
    assert vectors.shape == (9, 192) and np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    _, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    from PIL import Image

    with torch.inference_mode():
        vector = model.encode_image(transform(Image.open(pictures[7]))[None], normalize=True)[0].numpy()
    assert vectors[7] == pytest.approx(vector, abs=1e-5)


@pytest.mark.parametrize("name", ["dinov2_l", "vit_h_14"])
def test_threads_that_read_ahead_change_no_byte_of_a_gallery(
    name: str, pictures: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One and four workers, seven pictures a batch; a picture that cannot be read is named by both."""
    open_clip = pytest.importorskip("open_clip", reason="open_clip is not installed: run `make setup-models`")
    from harness.encoders import _weights
    from harness.retrieval import build
    from harness.retrieval.sources import Pair

    if name == "dinov2_l":
        dino(name, tmp_path / "models")
    else:
        folder, config = tmp_path / "models" / "CLIP-ViT-H-14-laion2B-s32B-b79K", dict(TINY_CLIP)
        folder.mkdir(parents=True)
        torch.manual_seed(0)
        safetensors.save_file(open_clip.CLIP(**config).state_dict(), folder / "open_clip_model.safetensors")
        text = json.dumps({"model_cfg": config, "preprocess_cfg": {}})
        (folder / "open_clip_config.json").write_text(text)
    monkeypatch.setattr(_weights.batches, "__defaults__", (7, None))
    pairs = [Pair("made", str(at), "a red disc .", Path(path)) for at, path in enumerate(pictures)]
    encoders = registry.encoder("miniscenes_text"), registry.encoder(name)

    def built(workers: int) -> dict[str, bytes]:
        folder = tmp_path / f"by-{workers}"
        plan = build.Plan(folder, lambda: iter(pairs), [{"kind": "made", "file": "-"}], *encoders, workers=workers)
        assert build.build(plan)
        return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".npy", ".jsonl")}

    assert built(1) == built(4) and len(built(1)) == 3
    Path(pictures[30]).write_bytes(b"no image")
    for workers in (2, 3):
        with pytest.raises(CimError, match=r"30.png: is no image that can be read"):
            built(workers)
