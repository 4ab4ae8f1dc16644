"""VGG-Face and LightCNN from weight files of every public layout, written here, narrow; and the readers' errors."""

import collections

import h5py
import numpy as np
import pytest
import torch
from scipy.io import savemat
from torch import nn

from facelab import nets
from facelab.filters import sparse
from facelab.filters.ablate import ablated
from facelab.nets import caffe_file, keras_file, lightcnn, matconvnet_file, torch_file, vgg_face
from facelab.nets.vgg_face import CONVS, LAYERS, VGGFace

WIDTHS, HIDDEN, PEOPLE = (2, 3, 4, 5, 6), 8, 7


@pytest.fixture
def narrow(monkeypatch):
    monkeypatch.setattr(vgg_face, "WIDTHS", WIDTHS)
    monkeypatch.setattr(vgg_face, "HIDDEN", HIDDEN)
    torch.manual_seed(0)
    return VGGFace(WIDTHS, HIDDEN, PEOPLE).eval()


@pytest.fixture
def x():
    return torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))


def arrays(module: nn.Module) -> dict[str, list[np.ndarray]]:
    """layer → filters (out, in, h, w), also of fc6, which MatConvNet and some Keras files store as a convolution."""
    found = {}
    for name in LAYERS:
        layer = module.get_submodule(name)
        weight = layer.weight.detach().numpy()
        if name not in CONVS:
            weight = weight.reshape(len(weight), -1, 7, 7) if name == "fc6" else weight[:, :, None, None]
        found[name] = [weight, layer.bias.detach().numpy()]
    return found


def write_torch(module, file):
    torch.save(module.state_dict(), file)


def write_torch7(module, file):
    """Blue first, under the names that conversions of Torch 7's file use."""
    state = {k.replace("conv", "conv_"): v for k, v in module.state_dict().items()}
    torch.save({**state, "conv_1_1.weight": state["conv_1_1.weight"].flip(1)}, file)


def write_torchvision(module, file):
    numbered = {v: k for k, v in vgg_face._NUMBERED.items()}
    names = {k: f"{numbered[k.rpartition('.')[0]]}.{k.rpartition('.')[2]}" for k in module.state_dict()}
    torch.save({"state_dict": {f"module.{names[k]}": v for k, v in module.state_dict().items()}}, file)


def write_mat(module, file, *, old=False, inside="net"):
    cells = []
    for name, (weight, bias) in arrays(module).items():
        weight = weight.transpose(2, 3, 1, 0)
        layer = {"name": name, "type": "conv"}
        cell = np.empty((1, 2), object)
        cell[0, 0], cell[0, 1] = weight, bias[:, None]
        layer |= {"filters": weight, "biases": bias[None]} if old else {"weights": cell}
        cells += [layer, {"name": name.replace("conv", "relu"), "type": "relu"}]
    layers = np.empty((1, len(cells)), object)
    layers[0] = cells
    savemat(file, {"net": {"layers": layers}} if inside else {"layers": layers})


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def field(number: int, value) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def write_caffe(module, file, *, old=False):
    """Blue, green, red; old: V1 layers, and four axes everywhere."""
    out = field(1, b"VGG_FACE")
    for name, (weight, bias) in arrays(module).items():
        if name == CONVS[0]:
            weight = weight[:, ::-1]
        if name not in CONVS:
            weight = weight.reshape(len(weight), -1)
        blobs = []
        for array in (weight, bias):
            shape = (1,) * (4 - array.ndim) + array.shape
            head = b"".join(field(i + 1, d) for i, d in enumerate(shape))
            dims = field(7, field(1, b"".join(map(varint, array.shape))))
            blobs.append((head if old else dims) + field(5, np.ascontiguousarray(array, "<f4").tobytes()))
        number, (name_field, blobs_field) = (2, (4, 6)) if old else (100, (1, 7))
        body = field(name_field, name.encode()) + b"".join(field(blobs_field, b) for b in blobs)
        out += field(number, body) + field(number, field(name_field, b"relu"))
    file.write_bytes(out)


def write_keras(layers, file, *, inside=False):
    with h5py.File(file, "w") as root:
        group = root.create_group("model_weights") if inside else root
        group.attrs["layer_names"] = [name.encode() for name in layers]
        for name, values in layers.items():
            layer = group.create_group(name)
            layer.attrs["weight_names"] = [f"{name}/{i}:0".encode() for i in range(len(values))]
            for i, value in enumerate(values):
                layer[f"{name}/{i}:0"] = value


def write_keras_convs(module, file):
    """Every layer a convolution and numbered, red first: made from the file for MatConvNet."""
    layers = {}
    for i, (weight, bias) in enumerate(arrays(module).values()):
        layers |= {f"zero_padding2d_{i}": [], f"conv2d_{i + 1}": [weight.transpose(2, 3, 1, 0), bias]}
    write_keras(layers, file)


def write_keras_dense(module, file):
    """Linear layers that read the maps position by position, blue first: made from Caffe's file."""
    layers = {}
    for name, (weight, bias) in arrays(module).items():
        weight = weight[:, ::-1] if name == CONVS[0] else weight
        weight = weight.transpose(2, 3, 1, 0)
        layers[name] = [weight if name in CONVS else weight.reshape(-1, weight.shape[3]), bias]
    write_keras(layers, file, inside=True)


WRITERS = {
    "names.pth": write_torch,
    "torch7.pth": write_torch7,
    "numbers.pt": write_torchvision,
    "new.mat": write_mat,
    "old.mat": lambda module, file: write_mat(module, file, old=True, inside=None),
    "new.caffemodel": write_caffe,
    "old.caffemodel": lambda module, file: write_caffe(module, file, old=True),
    "convs.h5": write_keras_convs,
    "dense.hdf5": write_keras_dense,
}


@pytest.mark.parametrize("name", WRITERS)
def test_vgg_face_of_every_layout(name, narrow, x, tmp_path):
    WRITERS[name](narrow, tmp_path / name)
    net = nets.load("vgg-face", weights=tmp_path / name, device="cpu")
    with torch.no_grad():
        torch.testing.assert_close(net(x), narrow(x))
    assert (net.name, net.size, net.grey, net.mean, net.std) == ("vgg-face", 224, False, vgg_face.MEAN, (1, 1, 1))


def test_vgg_face_is_as_wide_as_published():
    with torch.device("meta"):
        module = VGGFace()
    convs = [m for m in module.modules() if isinstance(m, nn.Conv2d)]
    assert (len(convs), sum(c.out_channels for c in convs)) == (13, 4224)
    assert sum(p.numel() for p in module.parameters()) == 145_002_878


def test_vgg_face_embeds(narrow, pictures, tmp_path):
    write_torch(narrow, tmp_path / "w.pth")
    net = nets.load("vgg-face", weights=str(tmp_path / "w.pth"), device="cpu")
    with torch.no_grad():
        expected = nn.Sequential(*list(narrow.children())[:-1])(net.prepare(pictures))
    np.testing.assert_allclose(net.embed(pictures), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("head", ["keep", "pool"])
@torch.no_grad()
def test_vgg_face_of_a_file_is_cut_like_any_other(head, narrow, x, tmp_path):
    write_torch(narrow, tmp_path / "w.pth")
    net = nets.load("vgg-face", weights=tmp_path / "w.pth", device="cpu")
    keep = {name: range(1, layer.out_channels) for name, layer in net.convs.items()}
    small = sparse.cut(net, keep, head=head, outputs=2 if head == "pool" else None)
    assert [len(keep[name]) for name in CONVS] == [small.convs[name].out_channels for name in CONVS]
    assert small(x).shape == (2, 2 if head == "pool" else PEOPLE)
    if head == "keep":
        with ablated(net, {name: [0] for name in CONVS}):
            torch.testing.assert_close(small(x), net(x), rtol=1e-5, atol=1e-5)


LIGHT = {"lightcnn-9": (lightcnn.LightCNN9, {}), "lightcnn-29": (lightcnn.LightCNN29, {})}
LIGHT["lightcnn-29v2"] = (lightcnn.LightCNN29, {"v2": True})


@pytest.mark.parametrize("name", LIGHT)
def test_lightcnn(name, pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(lightcnn, "WIDTHS", (2, 3, 4, 5))
    kind, settings = LIGHT[name]
    torch.manual_seed(0)
    module = kind(people=11, **settings).eval()
    state = {f"module.{k}": v for k, v in module.state_dict().items()}
    file = tmp_path / "LightCNN_checkpoint.pth.tar"
    torch.save({"epoch": 3, "arch": "LightCNN", "prec1": 0.5, "state_dict": collections.OrderedDict(state)}, file)
    net = nets.load(name, weights=file, device="cpu")
    x = net.prepare(pictures)
    assert x.shape == (5, 1, 128, 128) and x.min() >= 0 and x.max() <= 1
    with torch.no_grad():
        torch.testing.assert_close(net(x), module(x))
    assert net.embed(pictures).shape == (5, 256)


@pytest.mark.parametrize(
    ("name", "convs", "parameters"),
    [("lightcnn-9", 9, 5_480_864), ("lightcnn-29", 29, 12_573_280), ("lightcnn-29v2", 29, 10_475_872)],
)
def test_lightcnn_is_as_wide_as_published(name, convs, parameters):
    """Without the layer that names people; the paper gives 5.56 M and 12.64 M for the first two."""
    kind, settings = LIGHT[name]
    with torch.device("meta"):
        module = kind(**settings)
    assert sum(isinstance(m, nn.Conv2d) for m in module.modules()) == convs
    rest = sum(p.numel() for k, p in module.named_parameters() if not k.startswith("fc2"))
    assert rest == parameters


def test_lightcnn_takes_the_larger_half():
    layer = lightcnn.MFM(nn.Identity())
    assert layer(torch.tensor([[1.0, 5, 2, 3]])).tolist() == [[2, 5]]


@pytest.mark.parametrize("name", [*LIGHT, "vgg-face"])
def test_weights_are_needed(name):
    with pytest.raises(
        ValueError, match=f"'{name}' needs your weight file: nets.load\\('{name}', weights=PATH\\); its"
    ):
        nets.load(name)


@pytest.mark.parametrize(
    ("name", "weights", "error", "message"),
    [
        ("vgg-face", "no/such.pth", FileNotFoundError, "there is no weight file no/such.pth"),
        ("identity", "mine.dat", ValueError, "the source 'identity' fetches its own weights"),
        ("vgg-face", 3, TypeError, "weights must be the path of a weight file, not int"),
    ],
)
def test_weights_that_cannot_be(name, weights, error, message):
    with pytest.raises(error, match=message):
        nets.load(name, weights=weights)


def test_missing_and_mismatched_layers_are_named(narrow, tmp_path):
    file = tmp_path / "w.pth"
    state = narrow.state_dict()
    torch.save({k.replace("conv3_2", "konv3_2"): v for k, v in state.items()}, file)
    with pytest.raises(ValueError, match=r"w\.pth lacks the layer 'conv3_2'; the nearest is 'konv3_2'"):
        vgg_face.read(file)
    torch.save({k: v for k, v in state.items() if k != "fc7.bias"}, file)
    with pytest.raises(ValueError, match="layer 'fc7', lacks the 'bias'; there are 'weight'"):
        vgg_face.read(file)
    torch.save({**state, "conv2_1.weight": torch.zeros(3, 9, 3, 3)}, file)
    with pytest.raises(ValueError, match=r"conv2_1.weight has shape \(3, 9, 3, 3\), VGGFace takes \(3, 2, 3, 3\)"):
        vgg_face.read(file)
    with pytest.raises(ValueError, match=r"lacks the layer 'fc2\.weight'; the nearest is"):
        lightcnn.read(lightcnn.LightCNN9, file)
    module = nn.Linear(2, 1)
    with pytest.raises(ValueError, match="Linear has no place for the layer 'biass'; the nearest is 'bias'"):
        torch_file.fill(module, {**module.state_dict(), "biass": torch.zeros(1)}, "w.pth")


def test_kinds_of_file_are_told_apart(tmp_path):
    (tmp_path / "w.bin").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"w\.bin is no known kind of weight file: expected one that ends in \.pth"):
        vgg_face.read(tmp_path / "w.bin")


JUNK = bytes(range(256)) * 20


@pytest.mark.parametrize(
    ("read", "name", "message"),
    [
        (torch_file.read, "w.pth", "is no torch file of tensors alone"),
        (keras_file.read, "w.h5", "is no complete Keras weight file"),
        (caffe_file.read, "w.caffemodel", "is no complete Caffe weight file"),
        (matconvnet_file.read, "w.mat", "is no MatConvNet network"),
    ],
)
def test_another_kind_of_file(read, name, message, tmp_path):
    (tmp_path / name).write_bytes(JUNK)
    with pytest.raises(ValueError, match=f"{name} {message}"):
        read(tmp_path / name)


@pytest.mark.parametrize(("keep", "name"), [(k, n) for k in (0.3, 0.98) for n in WRITERS])
def test_cut_short(keep, name, narrow, tmp_path):
    WRITERS[name](narrow, tmp_path / name)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(keep * len(data))])
    with pytest.raises(ValueError, match=name):
        vgg_face.read(tmp_path / name)


def test_files_without_weights(tmp_path):
    (tmp_path / "w.caffemodel").write_bytes(field(1, b"name"))
    with pytest.raises(ValueError, match="no layer with blobs"):
        caffe_file.read(tmp_path / "w.caffemodel")
    write_keras({"flatten": []}, tmp_path / "w.h5")
    with pytest.raises(ValueError, match="a Keras file without weights"):
        keras_file.read(tmp_path / "w.h5")
    torch.save([1, 2], tmp_path / "w.pth")
    with pytest.raises(ValueError, match="holds no named tensors: expected a state dict, found a list"):
        torch_file.read(tmp_path / "w.pth")
    write_keras({"a": [np.zeros((3, 3, 3, 2)), np.zeros(2)]}, tmp_path / "few.h5")
    with pytest.raises(ValueError, match=r"few\.h5 has 1 layers with weights \(a\), VGG-Face has 16"):
        vgg_face.read(tmp_path / "few.h5")


def test_a_torch_file_with_code_in_it_is_refused(tmp_path):
    torch.save(nn.Linear(2, 1), tmp_path / "model.pth")
    with pytest.raises(ValueError, match="reads state dicts only, never whole models"):
        torch_file.read(tmp_path / "model.pth")


def test_caffe_numbers_one_by_one_and_double(tmp_path):
    single = b"".join(varint(5 << 3 | 5) + np.float32(v).tobytes() for v in (1.5, -2))
    np.testing.assert_array_equal(caffe_file.blob(field(7, field(1, 2)) + single), [1.5, -2])
    double = field(7, field(1, b"\x02\x01")) + field(8, np.array([0.25, 4], "<f8").tobytes())
    np.testing.assert_array_equal(caffe_file.blob(double), [[0.25], [4]])
