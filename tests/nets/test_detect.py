"""Faces in photos: found where they were put, the same alone and among others, and none where there is none."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

import facelab as fl
from facelab.nets import mtcnn, pnet, rnet
from facelab.nets.sources import MTCNN_FACE

WIDE, HIGH = 640, 480
SPOTS = ((20, 30, 1.0), (230, 12, 1.5), (470, 250, 1.2), (60, 220, 1.8))  # left, top and scale of a picture of 128


@pytest.fixture(scope="module")
def heads():
    """Rendered heads, nearly frontal."""
    faces = fl.faces.load("rendered/wild", people=30, progress=False)
    return faces[((np.abs(faces.labels["yaw"]) <= 15) & (np.abs(faces.labels["pitch"]) <= 12)).to_numpy()]


@pytest.fixture(scope="module")
def party(heads):
    """A photo (3, 480, 640) of four rendered heads before a bright blur, and their true landmarks (4, 5, 2)."""
    rng = np.random.default_rng(0)
    wall = Image.fromarray(rng.integers(90, 200, (12, 16, 3), dtype=np.uint8)).resize((WIDE, HIGH), Image.BICUBIC)
    points = []
    for i, (left, top, scale) in zip((0, 4, 8, 12), SPOTS, strict=True):
        side = round(128 * scale)
        head = Image.fromarray(heads.images[i].transpose(1, 2, 0)).resize((side, side), Image.BICUBIC)
        wall.paste(head, (left, top))
        points.append((heads.landmarks[i] + 0.5) * side / 128 - 0.5 + (left, top))
    return np.asarray(wall).transpose(2, 0, 1).copy(), np.array(points)


def box_of(points):
    """The square of which the mean face's eyes have the eyes' distance and place."""
    eyes = points[:2].mean(0) + 0.5
    side = np.linalg.norm(points[1] - points[0]) / (MTCNN_FACE[1][0] - MTCNN_FACE[0][0])
    corner = eyes - side * np.mean(MTCNN_FACE[:2], 0)
    return np.array([*corner, *(corner + side)])


def overlap(a, b):
    shared = (np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])).clip(0).prod()
    return shared / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared)


def same(a, b):
    for field in ("boxes", "scores", "landmarks"):
        for one, other in zip(getattr(a, field), getattr(b, field), strict=True):
            np.testing.assert_array_equal(one, other)


def test_every_face_is_found_where_it_is(party):
    photo, points = party
    found = fl.nets.detect(photo, device="cpu")
    assert len(found) == 1 and found.counts.tolist() == [4]
    boxes, landmarks = found.boxes[0], found.landmarks[0]
    assert boxes.dtype == landmarks.dtype == found.scores[0].dtype == np.float32
    taken = set()
    for true in points:
        shares = [overlap(box, box_of(true)) for box in boxes]
        i = int(np.argmax(shares))
        taken.add(i)
        assert shares[i] >= 0.5
        off = np.linalg.norm(landmarks[i] - true, axis=1) / np.linalg.norm(true[1] - true[0])
        assert off[:3].mean() < 0.2 and off.mean() < 0.25  # the drawn mouth corners lie higher and wider
    assert taken == {0, 1, 2, 3}
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    assert (np.diff(areas) <= 0).all() and found.scores[0].min() >= 0.7 and found.scores[0].max() <= 1
    table = found.table()
    assert table["face"].tolist() == [0, 1, 2, 3] and set(table["photo"]) == {"photo 0"}
    np.testing.assert_array_equal(table[["left", "top", "right", "bottom"]], boxes)


def test_the_largest_are_kept(party):
    photo, _ = party
    whole, few = fl.nets.detect(photo, device="cpu"), fl.nets.detect(photo, most=2, device="cpu")
    np.testing.assert_array_equal(few.boxes[0], whole.boxes[0][:2])
    tall = fl.nets.detect(photo, smallest=150, device="cpu")  # the smaller faces are not looked for
    assert 0 < tall.counts[0] < 4


def test_a_photo_gives_the_same_alone_and_among_others_and_again(party, heads):
    photo, _ = party
    first = fl.nets.detect(photo, device="cpu")
    others = [np.array(heads.images[0]), photo, photo[:, :200, :300]]
    among = fl.nets.detect(others, device="cpu")
    assert len(among) == 3
    for field in ("boxes", "scores", "landmarks"):
        np.testing.assert_array_equal(getattr(among, field)[1], getattr(first, field)[0])
    same(fl.nets.detect(photo, device="cpu"), first)
    same(fl.nets.detect(heads.images[:3], device="cpu"), fl.nets.detect(list(heads.images[:3]), device="cpu"))


def test_a_shifted_photo_has_its_faces_shifted(party):
    photo, _ = party
    wide = np.zeros((3, HIGH + 40, WIDE + 60), np.uint8)
    wide[:, 40:, 60:] = photo
    a, b = fl.nets.detect(photo, device="cpu"), fl.nets.detect(wide, device="cpu")
    assert b.counts.tolist() == [4]
    for box in a.boxes[0] + np.float32([60, 40, 60, 40]):
        assert max(overlap(box, other) for other in b.boxes[0]) > 0.8


def test_the_mirror_image_has_the_mirrored_faces(party):
    photo, _ = party
    a, b = fl.nets.detect(photo, device="cpu"), fl.nets.detect(photo[:, :, ::-1].copy(), device="cpu")
    assert b.counts.tolist() == [4]
    for box in a.boxes[0]:
        mirrored = np.array([WIDE - box[2], box[1], WIDE - box[0], box[3]])
        assert max(overlap(mirrored, other) for other in b.boxes[0]) > 0.75


def test_a_huge_photo_is_shrunk_and_answered_in_its_own_pixels(party):
    photo, points = party
    scale = 5
    huge = np.asarray(Image.fromarray(photo.transpose(1, 2, 0)).resize((WIDE * scale, HIGH * scale), Image.BICUBIC))
    found = fl.nets.detect(huge.transpose(2, 0, 1), smallest=60, device="cpu")
    assert found.counts.tolist() == [4]
    for true in points * scale:
        assert max(overlap(box, box_of(true)) for box in found.boxes[0]) >= 0.5


def test_files_and_pillow_images_give_what_pixels_give(party, tmp_path):
    photo, _ = party
    image = Image.fromarray(photo.transpose(1, 2, 0))
    file = tmp_path / "zoë 李.png"
    image.save(file)
    wanted = fl.nets.detect(photo, device="cpu")
    for given in (image, file, str(file), torch.from_numpy(photo)):
        same(fl.nets.detect(given, device="cpu"), wanted)
    assert fl.nets.detect([file], device="cpu").photos == (str(file),)


@pytest.mark.parametrize("tag, turn", [(3, Image.ROTATE_180), (6, Image.ROTATE_90), (8, Image.ROTATE_270)])
def test_rotation_tags_are_obeyed(party, tmp_path, tag, turn):
    photo, _ = party
    exif = Image.Exif()
    exif[0x0112] = tag
    Image.fromarray(photo.transpose(1, 2, 0)).transpose(turn).save(tmp_path / "turned.png", exif=exif)
    same(fl.nets.detect(tmp_path / "turned.png", device="cpu"), fl.nets.detect(photo, device="cpu"))


def test_no_face_where_there_is_none():
    rng = np.random.default_rng(0)
    x, y = np.meshgrid(np.arange(160), np.arange(120))
    stripes = np.repeat((127 + 127 * np.sin(x / 5 + y / 9)).astype(np.uint8)[None], 3, 0)
    empty = [np.full((3, 120, 160), 70, np.uint8), rng.integers(0, 256, (3, 120, 160), dtype=np.uint8), stripes]
    empty += [np.zeros((3, 5, 400), np.uint8), np.zeros((3, 1, 1), np.uint8)]  # too small for any window
    found = fl.nets.detect(empty, device="cpu")
    assert found.counts.tolist() == [0] * 5
    assert [b.shape for b in found.boxes] == [(0, 4)] * 5 and [p.shape for p in found.landmarks] == [(0, 5, 2)] * 5
    assert len(found.table()) == 0


def test_stricter_thresholds_find_fewer(party):
    photo, _ = party
    all_four = fl.nets.detect(photo, device="cpu").scores[0]
    strict = fl.nets.detect(photo, thresholds=(0.6, 0.7, float(np.sort(all_four)[1])), device="cpu")
    assert strict.counts.tolist() == [3]


@pytest.mark.parametrize(
    ("photo", "options", "error", "message"),
    [
        (np.zeros((60, 80, 3), np.uint8), {}, ValueError, r"a photo of uint8 \(60, 80, 3\).*give photo.transpose"),
        (np.zeros((3, 60, 80)), {}, ValueError, r"a photo of float64 \(3, 60, 80\): expected uint8 RGB"),
        (np.zeros((60, 80), np.uint8), {}, ValueError, r"a photo of uint8 \(60, 80\)"),
        (np.zeros((3, 0, 80), np.uint8), {}, ValueError, r"a photo of uint8 \(3, 0, 80\)"),
        ([], {}, ValueError, "no photo to look for faces in"),
        (7, {}, TypeError, "int is no photo"),
        ([7], {}, TypeError, "int is no photo"),
        ("nowhere.jpg", {}, ValueError, "nowhere.jpg cannot be read as an image"),
        (np.zeros((3, 9, 9), np.uint8), {"smallest": 5}, ValueError, "smallest 5: expected at least 12 pixels"),
        (np.zeros((3, 9, 9), np.uint8), {"smallest": "20"}, TypeError, "smallest '20': expected a number"),
        (np.zeros((3, 9, 9), np.uint8), {"thresholds": (0.5, 0.6)}, ValueError, "expected three probabilities"),
        (np.zeros((3, 9, 9), np.uint8), {"thresholds": (0.5, 0.6, 2)}, ValueError, "threshold 2: expected a prob"),
        (np.zeros((3, 9, 9), np.uint8), {"most": 0}, ValueError, "most 0: expected at least 1 face"),
        (np.zeros((3, 9, 9), np.uint8), {"device": "gpu"}, ValueError, "unknown device 'gpu'"),
    ],
)
def test_bad_requests_are_named(photo, options, error, message):
    with pytest.raises(error, match=message):
        fl.nets.detect(photo, **options)


def test_results_cannot_be_changed(party):
    found = fl.nets.detect(party[0][:, :100, :100], device="cpu")
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.photos = ()


# ---- the networks


def by_hand(net, window):
    """P-Net at one window (3, 12, 12), in plain sums."""
    w = {name: value.detach().double().numpy() for name, value in net.state_dict().items()}

    def conv(x, name):
        weight, n = w[f"{name}.weight"], w[f"{name}.weight"].shape[2]
        side = x.shape[1] - n + 1
        out = np.empty((len(weight), side, side))
        for row in range(side):
            for column in range(side):
                patch = x[:, row : row + n, column : column + n]
                out[:, row, column] = (weight * patch).sum((1, 2, 3)) + w[f"{name}.bias"]
        return out

    def prelu(x, name):
        return np.where(x > 0, x, w[f"{name}.weight"][:, None, None] * x)

    x = prelu(conv(window, "conv1"), "prelu1").reshape(10, 5, 2, 5, 2).max((2, 4))
    x = prelu(conv(prelu(conv(x, "conv2"), "prelu2"), "conv3"), "prelu3")
    return np.concatenate([conv(x, "conv4_1"), conv(x, "conv4_2")])[:, 0, 0]


@pytest.fixture(scope="module")
def nets():
    return mtcnn.load(torch.device("cpu"))


def test_p_net_is_what_its_formula_says(nets, formula):
    window = mtcnn.normalised(torch.from_numpy(formula(12, 1)).float())
    with torch.no_grad():
        out = nets.proposals(window)
    assert out.shape == (1, 6, 1, 1)
    np.testing.assert_allclose(out[0, :, 0, 0], by_hand(nets.proposals, window[0].numpy()), atol=1e-5)


def test_a_position_of_p_net_sees_its_window_alone(nets, formula):
    picture = mtcnn.normalised(torch.from_numpy(formula(31, 1)).float())
    with torch.no_grad():
        out = nets.proposals(picture)
        for row, column in ((0, 0), (2, 7), (9, 4)):
            y, x = pnet.STRIDE * row, pnet.STRIDE * column
            alone = nets.proposals(picture[:, :, y : y + pnet.WINDOW, x : x + pnet.WINDOW])
            np.testing.assert_allclose(alone[0, :, 0, 0], out[0, :, row, column], atol=1e-5)


def test_outputs_are_those_of_the_package_that_carries_the_weights(nets, formula):
    package = pytest.importorskip("facenet_pytorch.models.mtcnn")
    with torch.no_grad():
        for mine, theirs, size in ((nets.proposals, package.PNet(), 40), (nets.refinement, package.RNet(), 24)):
            x = mtcnn.normalised(torch.from_numpy(formula(size, 3)).float())
            shifts, face = theirs(x)
            torch.testing.assert_close(mine(x)[:, 2:], shifts)
            torch.testing.assert_close(mine(x)[:, :2].softmax(1), face)


@pytest.mark.parametrize("kind", [pnet.PNet, rnet.RNet])
def test_weights_of_another_network_are_refused(tmp_path, kind):
    tensors = kind().state_dict()
    tensors.pop("conv3.weight")
    torch.save(tensors, tmp_path / "net.pt")
    read = pnet.read if kind is pnet.PNet else rnet.read
    with pytest.raises(ValueError, match=r"net\.pt lacks the layer 'conv3\.weight'"):
        read(tmp_path / "net.pt")


# ---- the steps of the cascade


def test_sizes_halve_every_other_time_and_end_where_the_window_does_not_fit():
    sizes = mtcnn.sizes(480, 640, 24)
    assert sizes[0] == (240, 320) and min(sizes[-1]) >= 12 and min(sizes[-1]) * mtcnn.FACTOR < 12
    assert sizes[2][0] == pytest.approx(120, abs=2)


def test_boxes_are_cut_where_they_lie(formula):
    photo = torch.from_numpy(formula(40, 1)[0]).float()
    square = torch.tensor([[4.0, 6.0, 16.0, 18.0]])
    np.testing.assert_allclose(mtcnn.cut(photo, square, 12)[0], photo[:, 6:18, 4:16], atol=1e-3)
    halved = photo[:, 6:30, 4:28].unfold(1, 2, 2).unfold(2, 2, 2).mean((3, 4))
    np.testing.assert_allclose(mtcnn.cut(photo, torch.tensor([[4.0, 6.0, 28.0, 30.0]]), 12)[0], halved, atol=1e-3)
    outside = mtcnn.cut(photo, torch.tensor([[-30.0, -30.0, -5.0, -5.0], [30.0, 0.0, 50.0, 20.0]]), 10)
    assert (outside[0] == 0).all() and (outside[1, :, :, 5:] == 0).all() and (outside[1, :, 1:, :4] > 0).any()
    assert mtcnn.cut(photo, torch.zeros(0, 4), 12).shape == (0, 3, 12, 12)


def test_many_boxes_are_cut_as_each_one_alone(formula, monkeypatch):
    photo, rng = torch.from_numpy(formula(64, 1)[0]).float(), np.random.default_rng(0)
    corner, side = rng.uniform(-10, 40, (30, 2)), rng.uniform(5, 60, (30, 1))
    boxes = torch.from_numpy(np.concatenate([corner, corner + side], 1)).float()
    monkeypatch.setattr(mtcnn, "SAMPLES", 3000)
    many = mtcnn.cut(photo, boxes, 12)
    for i in range(30):
        np.testing.assert_allclose(mtcnn.cut(photo, boxes[i : i + 1], 12)[0], many[i], atol=1e-3)


@pytest.mark.parametrize("of", ["union", "smaller"])
def test_boxes_that_stay_are_apart_and_the_others_are_not(of):
    rng = np.random.default_rng(1)
    corner, side = rng.uniform(0, 60, (80, 2)), rng.uniform(10, 40, (80, 2))
    boxes, sure = torch.from_numpy(np.concatenate([corner, corner + side], 1)), torch.from_numpy(rng.random(80))

    def share(i, j):
        a, b = boxes[i].numpy(), boxes[j].numpy()
        shared = (np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])).clip(0).prod()
        areas = (a[2:] - a[:2]).prod(), (b[2:] - b[:2]).prod()
        return shared / (sum(areas) - shared if of == "union" else min(areas))

    left = mtcnn.apart(boxes, sure, 0.4, of=of).tolist()
    assert 5 < len(left) < 75 and sure[left].tolist() == sorted(sure[left].tolist(), reverse=True)
    assert all(share(i, j) <= 0.4 for n, i in enumerate(left) for j in left[:n])
    for gone in set(range(80)) - set(left):
        assert any(share(gone, i) > 0.4 and sure[i] > sure[gone] for i in left)
