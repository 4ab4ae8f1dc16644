"""Tiny data sets in the official layouts: each function writes one below a folder and says what it should be read as.

What it returns: file → the labels that are expected of it. Pictures are plain, each of its own colour.
"""

import json
from datetime import date

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat


def picture(file, size=(30, 20), colour=(200, 100, 50)):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(file)


def utkface(root):
    wanted = {
        "116_1_2_20170109150557335.jpg.chip.jpg": {"age": 116, "gender": "female", "ethnicity": "asian"},
        "1_0_4_20161219140623097.jpg.chip.jpg": {"age": 1, "gender": "male", "ethnicity": "other"},
        "26_1_0_20170116174525125.jpg": {"age": 26, "gender": "female", "ethnicity": "white"},
    }
    for name in wanted:
        picture(root / name)
    return wanted


def mtfl(root):
    rows = {  # path as printed in the file, landmarks, classes
        "training.txt": [
            ("lfw_5590\\Ann_Lee_0001.jpg", (8, 22, 4, 8, 20, 8, 8, 12, 16, 16), "2 1 2 1"),
            ("net_7876/0001.jpg", (8, 22, 15, 8, 20, 8, 8, 12, 16, 16), "1 2 1 3"),
        ],
        "testing.txt": [("AFLW/0001-image.jpg", (8, 22, 21, 8, 20, 8, 8, 12, 16, 16), "1 1 2 4")],
    }
    for name, lines in rows.items():
        text = "".join(f"{path} {' '.join(map(str, numbers))} {classes}\n" for path, numbers, classes in lines)
        (root / name).write_text(text + "\n")
        for path, *_ in lines:
            picture(root / path.replace("\\", "/"))
    return {
        "lfw_5590/Ann_Lee_0001.jpg": {"gender": "female", "smile": "yes", "glasses": "no", "yaw": -60, "split": "train",
                                      "identity": "Ann_Lee"},
        "net_7876/0001.jpg": {"gender": "male", "smile": "no", "glasses": "yes", "yaw": 0, "split": "train",
                              "identity": None},
        "AFLW/0001-image.jpg": {"gender": "male", "smile": "yes", "glasses": "no", "yaw": 30, "split": "test",
                                "identity": None},
    }  # fmt: skip


def fer2013(root):
    rows = [(0, "Training"), (3, "PublicTest"), (6, "PrivateTest")]
    text = "emotion,pixels,Usage\n"
    for i, (emotion, usage) in enumerate(rows):
        text += f"{emotion},{' '.join([str(40 * i + 30)] * 48 * 48)},{usage}\n"
    (root / "fer2013.csv").write_text(text)
    labels = [("angry", "train"), ("happy", "validation"), ("neutral", "test")]
    return {f"fer2013.csv, line {i + 2}": {"expression": e, "split": s} for i, (e, s) in enumerate(labels)}


def fer2013_folders(root):
    wanted = {}
    for usage, split in (("Training", "train"), ("PublicTest", "validation"), ("PrivateTest", "test")):
        for expression in ("happy", "fear"):
            picture(root / usage / expression / "a.png", (48, 48))
            wanted[f"{usage}/{expression}/a.png"] = {"expression": expression, "split": split}
    return wanted


def lfw(root):
    for name in ("Ann_Lee_0001", "Ann_Lee_0002", "José_Ñ_0001"):
        picture(root / "lfw_funneled" / name[:-5] / f"{name}.jpg")
    (root / "people.txt").write_text("2\n1\nJosé_Ñ\t1\n1\nAnn_Lee\t2\n", encoding="utf-8")
    return {
        "lfw_funneled/Ann_Lee/Ann_Lee_0001.jpg": {"identity": "Ann_Lee", "fold": 1},
        "lfw_funneled/Ann_Lee/Ann_Lee_0002.jpg": {"identity": "Ann_Lee", "fold": 1},
        "lfw_funneled/José_Ñ/José_Ñ_0001.jpg": {"identity": "José_Ñ", "fold": 0},
    }


def london(root):
    (root / "london_faces_info.csv").write_text(
        "face_id,face_age,face_sex,face_eth\nX001,24,female,white\nX002,,male,west_asian\n"
    )
    for view, number in (("neutral_front", "03"), ("smiling_front", "08")):
        for who in ("001", "002"):
            picture(root / view / f"{who}_{number}.jpg")
    one = {"identity": "001", "age": 24, "gender": "female", "ethnicity": "white"}
    two = {"identity": "002", "age": None, "gender": "male", "ethnicity": "other", "ethnicity_stated": "west_asian"}
    neutral, happy = {"expression": "neutral", "smile": "no"}, {"expression": "happy", "smile": "yes"}
    return {
        "neutral_front/001_03.jpg": one | neutral,
        "neutral_front/002_03.jpg": two | neutral,
        "smiling_front/001_08.jpg": one | happy,
        "smiling_front/002_08.jpg": two | happy,
    }


def celeba(root):
    names = ["000001.jpg", "000002.jpg", "000003.jpg"]
    for name in names:
        picture(root / "img_align_celeba" / name, (178, 218))
    head = "5_o_Clock_Shadow Eyeglasses Male No_Beard Smiling Wearing_Hat Young"
    signs = ["-1 -1 -1  1  1 -1  1", "-1  1  1 -1 -1  1  1", " 1 -1  1 -1 -1 -1 -1"]
    (root / "list_attr_celeba.txt").write_text(
        f"3\n{head}\n" + "".join(f"{n} {s}\n" for n, s in zip(names, signs, strict=True))
    )
    (root / "identity_CelebA.txt").write_text("000001.jpg 2880\n000002.jpg 17\n000003.jpg 17\n")
    (root / "list_eval_partition.txt").write_text("000001.jpg 0\n000002.jpg 1\n000003.jpg 2\n")
    marks = "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y"
    points = "69 109 106 113 77 142 73 152 108 154"
    (root / "list_landmarks_align_celeba.txt").write_text(f"3\n{marks}\n" + "".join(f"{n}  {points}\n" for n in names))
    one = {"gender": "female", "smile": "yes", "glasses": "no", "identity": "2880", "split": "train", "Young": 1}
    return {
        "img_align_celeba/000001.jpg": one | {"facial_hair:no beard": 1, "accessories:hat": 0},
        "img_align_celeba/000002.jpg": {"gender": "male", "glasses": "yes", "accessories:eyeglasses": 1,
                                        "accessories:hat": 1, "split": "validation", "identity": "17"},
        "img_align_celeba/000003.jpg": {"facial_hair:5 o'clock shadow": 1, "facial_hair:no beard": 0, "Young": 0,
                                        "split": "test", "identity": "17"},
    }  # fmt: skip


def headpose(root):
    wanted = {}
    for who, series, number, tilt, pan in (("01", 1, "00", "-90", "+0"), ("01", 2, "46", "-30", "+0"),
                                           ("15", 1, "23", "+15", "-75"), ("15", 1, "92", "+90", "+0")):  # fmt: skip
        name = f"Person{who}/person{who}{series}{number}{tilt}{pan}"
        picture(root / f"{name}.jpg", (384, 288))
        (root / f"{name}.txt").write_text(f"person{who}.jpg\n\nFace\n150\n140\n80\n100\n")
        wanted[f"{name}.jpg"] = {"identity": who, "series": series, "pitch": int(tilt), "pan": int(pan)}
    return wanted


def marks(pitch=0.0, yaw=0.0, roll=0.0, at=(200.0, 200.0)):
    """(2, 68) where a head's points come to lie, drawn as the set's own fitting code does: x to the right, y up, z to
    the viewer, turned by Rx(pitch) · Ry(yaw) · Rz(roll), the picture's rows counted downwards.
    """
    head = np.zeros((68, 3))
    head[36:42], head[42:48], head[30] = (-30, 35, 30), (30, 35, 30), (0, 0, 60)
    head[48], head[54] = (-22, -35, 35), (22, -35, 35)
    (cp, sp), (cy, sy), (cr, sr) = ((np.cos(a), np.sin(a)) for a in (pitch, yaw, roll))
    x = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    y = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
    z = np.array([[cr, sr, 0], [-sr, cr, 0], [0, 0, 1]])
    seen = head @ (x @ y @ z).T
    return np.stack([at[0] + seen[:, 0], at[1] - seen[:, 1]])


POSES = {"image00002": (0.3, 0.5, 0.0), "image00004": (-0.2, -0.7, 0.0), "image00006": (0.0, 0.0, 0.4)}


def aflw2000(root):
    for name, (pitch, yaw, roll) in POSES.items():
        picture(root / f"{name}.jpg", (400, 400))
        pose = np.array([[pitch, yaw, roll, 200, 200, 0, 0.001]])
        points = np.vstack([marks(pitch, yaw, roll), np.zeros(68)])
        savemat(root / f"{name}.mat", {"Pose_Para": pose, "pt3d_68": points})
    return {
        f"{name}.jpg": {"pitch": np.degrees(pitch), "yaw": -np.degrees(yaw), "roll": np.degrees(roll)}
        for name, (pitch, yaw, roll) in POSES.items()
    }


def lp300(root):
    """300W-LP: folders of one photo turned to many poses, with plane landmarks."""
    (pitch, yaw, roll), wanted = (0.1, -0.4, 0.2), {}
    for name in ("AFW/AFW_134212_1_0", "AFW/AFW_134212_1_17", "AFW_Flip/AFW_134212_1_0", "HELEN/HELEN_23_1_3"):
        picture(root / f"{name}.jpg", (450, 450))
        pose = np.array([[pitch, yaw, roll, 200, 200, 0, 0.001]])
        savemat(root / f"{name}.mat", {"Pose_Para": pose, "pt2d": marks(pitch, yaw, roll)})
        person = "HELEN_23_1" if "HELEN" in name else "AFW_134212_1"
        wanted[f"{name}.jpg"] = {"yaw": -np.degrees(yaw), "identity": person}
    return wanted


def agedb(root):
    wanted = {
        "0_MariaCallas_35_f.jpg": {"identity": "MariaCallas", "age": 35, "gender": "female"},
        "10_GlennFord_101_m.jpg": {"identity": "GlennFord", "age": 101, "gender": "male"},
    }
    for name in wanted:
        picture(root / name)
    return wanted


def fgnet(root):
    wanted = {
        "images/001A02.JPG": {"identity": "001", "age": 2},
        "images/001A43a.JPG": {"identity": "001", "age": 43},
        "images/082A10.JPG": {"identity": "082", "age": 10},
    }
    (root / "points").mkdir(parents=True)
    points = np.full((68, 2), 1.0)  # pupils, tip of the nose, corners of the mouth
    points[[31, 36, 67, 48, 54]] = [(10, 6), (20, 6), (16, 10), (12, 15), (19, 15)]
    body = "".join(f"{x:.4f} {y:.4f}\n" for x, y in points)
    for name in wanted:
        picture(root / name)
        (root / "points" / f"{name[7:-4].lower()}.pts").write_text(f"version: 1\nn_points: 68\n{{\n{body}}}\n")
    return wanted


def rafdb(root):
    (root / "EmoLabel").mkdir(parents=True)
    (root / "EmoLabel" / "list_patition_label.txt").write_text("train_00001.jpg 5\ntest_0001.jpg 4\ntest_0002.jpg 7\n")
    for name in ("train_00001", "test_0001", "test_0002"):
        picture(root / "Image" / "aligned" / f"{name}_aligned.jpg", (100, 100))
    return {
        "Image/aligned/train_00001_aligned.jpg": {"expression": "sad", "split": "train"},
        "Image/aligned/test_0001_aligned.jpg": {"expression": "happy", "split": "test"},
        "Image/aligned/test_0002_aligned.jpg": {"expression": "neutral", "split": "test"},
    }


def ckplus(root):
    wanted = {}
    for person, emotion, shown in (
        ("S005", "3.0000000e+00", "disgust"),
        ("S010", "2.0", "contempt"),
        ("S011", "", None),
    ):
        for number in (1, 2, 3):
            name = f"{person}/001/{person}_001_{number:08d}"
            picture(root / "cohn-kanade-images" / f"{name}.png", (640, 490))
            file = root / "Landmarks" / f"{name}_landmarks.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("".join(f"   {x:.7e}   {y:.7e}\n" for x, y in marks(at=(320, 240)).T))
            peak = shown if number == 3 and shown == "disgust" else None
            wanted[f"cohn-kanade-images/{name}.png"] = {
                "identity": person, "shown": shown, "expression": peak, "frame": number - 1, "frames": 3,
            }  # fmt: skip
        if emotion:
            file = root / "Emotion" / f"{person}/001/{person}_001_00000003_emotion.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"   {emotion}\n")
    return wanted


def adience(root):
    head = "user_id\toriginal_image\tface_id\tage\tgender\tx\ty\tdx\tdy\ttilt_ang\tfiducial_yaw_angle\tfiducial_score\n"
    wanted = {}
    cells = [("(25, 32)", "f"), ("(8, 23)", "m"), ("35", "u"), ("None", ""), ("(60, 100)", "f")]
    labels = [("25–32", None, "female"), ("8–12", None, "male"), (None, 35, None), (None, None, None),
              ("60–100", None, "female")]  # fmt: skip
    for fold, ((age, gender), (group, years, named)) in enumerate(zip(cells, labels, strict=True)):
        row = f"7{fold}@N0\t1_o.jpg\t9\t{age}\t{gender}\t0\t0\t9\t9\t0\t0\t90\n"
        (root / f"fold_{fold}_data.txt").write_text(head + row)
        name = f"aligned/7{fold}@N0/landmark_aligned_face.9.1_o.jpg"
        picture(root / name)
        wanted[name] = {"age_group": group, "age": years, "gender": named, "fold": fold, "album": f"7{fold}@N0"}
    return wanted


def _day(year, month, day):
    return float(date(year, month, day).toordinal() + 366)


def _faces(root, part, **columns):
    names = ["01/nm1.jpg", "02/nm2.jpg", "03/nm3.jpg"]
    for name in names:
        picture(root / name)
    paths = np.empty(3, object)
    paths[:] = names
    about = {
        "dob": np.array([_day(1980, 7, 2), _day(1980, 6, 30), _day(1990, 1, 1)]),
        "photo_taken": np.array([2000, 2000, 2010], np.uint16),
        "full_path": paths,
        "gender": np.array([0.0, np.nan, 1.0]),
        "face_score": np.array([3.5, 2.0, -np.inf]),
        "second_face_score": np.array([np.nan, 1.5, np.nan]),
        **columns,
    }
    savemat(root / f"{part}.mat", {part: about})
    return names


def imdb(root):
    one, two, _ = _faces(root, "imdb", celeb_id=np.array([7, 9, 9], np.uint16))
    return {
        one: {"age": 19, "gender": "female", "identity": "7", "second_face_score": None},
        two: {"age": 20, "gender": None, "identity": "9", "second_face_score": 1.5, "face_score": 2.0},
    }


def wiki(root):
    people = np.empty(3, object)
    people[:] = ["Ann Lee", "José Ñ", "Bo"]
    one, two, _ = _faces(root, "wiki", name=people)
    return {one: {"age": 19, "identity": "Ann Lee"}, two: {"age": 20, "identity": "José Ñ"}}


def afew_va(root):
    wanted = {}
    for clip, actor in (("001", "Ann"), ("002", None)):
        frames = {}
        for number, valence in (("00000", 10.0), ("00001", -5.0)):
            frames[number] = {"valence": valence, "arousal": 2.0, "landmarks": marks(at=(300, 250)).T.tolist()}
            picture(root / clip / f"{number}.png", (720, 576))
            label = {"valence": valence / 10, "arousal": 0.2, "identity": actor or f"clip {clip}", "clip": clip}
            wanted[f"{clip}/{number}.png"] = label
        about = {"video_id": clip, "frames": frames} | ({"actor": actor} if actor else {})
        (root / clip / f"{clip}.json").write_text(json.dumps(about))
    return wanted


def morph(root):
    wanted = {
        "009055_1M54.JPG": {"identity": "009055", "age": 54, "gender": "male"},
        "009055_2M55.JPG": {"identity": "009055", "age": 55, "gender": "male"},
        "100001_0F17.JPG": {"identity": "100001", "age": 17, "gender": "female"},
    }
    for name in wanted:
        picture(root / name)
    return wanted


LAYOUTS = {
    "utkface": utkface, "mtfl": mtfl, "fer2013": fer2013, "fer2013 folders": fer2013_folders, "lfw": lfw,
    "london": london, "celeba": celeba, "headpose": headpose, "aflw2000": aflw2000, "aflw2000 as 300W-LP": lp300,
    "agedb": agedb, "fgnet": fgnet, "rafdb": rafdb, "ckplus": ckplus, "adience": adience, "imdb": imdb, "wiki": wiki,
    "afew-va": afew_va, "morph": morph,
}  # fmt: skip


@pytest.fixture
def layouts():
    """The functions that write a tiny set each, by the set's name."""
    return LAYOUTS


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("FACELAB_CACHE", str(folder))
    return folder


def pytest_generate_tests(metafunc):
    if "layout" in metafunc.fixturenames:
        metafunc.parametrize("layout", LAYOUTS)
