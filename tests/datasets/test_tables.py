"""Tables, archives and data sets in the forms that people have them in, against what was written into them."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from opsigcli.datasets import open_source
from opsigcli.errors import DatasetError, OpsigError, UsageError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(9, 4)).astype("f4")
Y = np.arange(9) % 3


def whole(spec: str) -> tuple[np.ndarray, np.ndarray, Any]:
    source = open_source(spec)
    rows = np.arange(len(source))
    return source.read(rows), source.read_targets(rows), source


@pytest.fixture
def pictures(tmp_path: Path) -> np.ndarray:
    (tmp_path / "train").mkdir()
    found = RNG.integers(0, 256, (9, 4, 5, 3)).astype("u1")
    for i, pixels in enumerate(found):
        Image.fromarray(pixels).save(tmp_path / "train" / f"{i:02d}.png")
    return found


@pytest.mark.parametrize(
    ("header", "line", "query"),
    [
        ("file,label", "train/{i:02d}.png,{name}", ""),
        ("id,breed", "{i:02d},{name}", "?image=id&label=breed&root=train&ext=.png"),
        ("a,image,b,label", '"x, y",{i:02d}.png,3,{name}', "?root=train"),
    ],
)
def test_a_table_of_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: np.ndarray, header: str, line: str, query: str
) -> None:
    names = ["cat", "ant", "bee"]
    lines = [line.format(i=i, name=names[i % 3]) for i in range(9)]
    (tmp_path / "t.csv").write_text("\n".join([header, *lines]))
    monkeypatch.chdir(tmp_path)
    x, y, source = whole(f"csv:t.csv{query}")
    monkeypatch.chdir("/")
    again = open_source(source.spec)
    np.testing.assert_allclose(x, pictures.transpose(0, 3, 1, 2) / np.float32(255), rtol=1e-6)
    assert source.classes == ("ant", "bee", "cat")
    assert [source.classes[label] for label in y] == [names[i % 3] for i in range(9)]
    assert again.fingerprint == source.fingerprint


@pytest.mark.parametrize(("form", "wanted"), [("{}", Y), ("{}.0", Y), ("{}.5", Y + 0.5), ("-{}.0", None)])
def test_a_table_of_numbers(tmp_path: Path, form: str, wanted: np.ndarray | None) -> None:
    labels = [form.format(label) for label in Y]
    lines = [",".join([*map(str, row), label]) for row, label in zip(X.tolist(), labels, strict=True)]
    (tmp_path / "t.csv").write_text("\ufeffa,b,c,d,target\n" + "\n".join(lines))
    x, y, _ = whole(f"csv:{tmp_path / 't.csv'}")
    np.testing.assert_allclose(x, X)
    assert y.tolist() == (np.array(labels, dtype=float) if wanted is None else wanted).tolist()
    assert (y.dtype.kind == "i") == (form in ("{}", "{}.0"))


def test_what_a_table_lacks_is_said_with_the_option_that_mends_it(
    tmp_path: Path, pictures: np.ndarray
) -> None:
    (tmp_path / "t.csv").write_text("id,label\n00,a\n01,b\n")
    spec = f"csv:{tmp_path / 't.csv'}?image=id"
    with pytest.raises(DatasetError) as first:
        open_source(f"{spec}&root={tmp_path / 'train'}")
    assert "ext=.png" in first.value.hint
    open_source(f"{spec}&root={tmp_path / 'train'}&ext=.png")
    with pytest.raises(UsageError, match="label"):
        open_source(f"{spec}&label=lable")
    (tmp_path / "r.csv").write_text("a,label\n1,0\n2\n")
    with pytest.raises(DatasetError, match="row 3 has 1"):
        open_source(f"csv:{tmp_path / 'r.csv'}")


@pytest.mark.parametrize("mark", [";", "\t", ","])
def test_columns_are_parted_by_what_parts_the_header(tmp_path: Path, mark: str) -> None:
    rows = [
        ["a, or b" if mark != "," else "a", "other name", "label"],
        ["1.5", "2", "left; right"],
        ["3", "4", "b"],
    ]
    text = "\n".join(mark.join(row) for row in rows) if mark != "," else "a,other name,label\n1.5,2,c\n3,4,b"
    (tmp_path / "t.csv").write_text(text if mark != ";" else text.replace("left; right", '"left; right"'))
    x, y, source = whole(f"csv:{tmp_path / 't.csv'}")
    np.testing.assert_allclose(x, [[1.5, 2], [3, 4]])
    assert y.tolist() == [1, 0]
    assert source.classes[0] == "b"


@pytest.mark.parametrize(
    ("names", "query"),
    [
        (("train_images", "train_labels", "test_images", "test_labels"), "?split=train"),
        (("x_train", "y_train", "x_test", "y_test"), "?split=train"),
        (("data", "other", "x2", "y2"), "?input=data&target=other"),
        (("images", "labels", "a", "b"), ""),
    ],
)
@pytest.mark.parametrize("column", [False, True])
def test_archives_with_arrays_of_other_names(
    tmp_path: Path, names: tuple[str, ...], query: str, column: bool
) -> None:
    pixels, labels = RNG.integers(0, 256, (9, 4, 5, 3)).astype("u1"), Y[:, None] if column else Y
    np.savez(
        tmp_path / "d.npz", **dict(zip(names, (pixels, labels.astype("u1"), pixels[:2], Y[:2]), strict=True))
    )
    x, _, source = whole(f"npz:{tmp_path / 'd.npz'}{query}")
    np.testing.assert_allclose(x, pixels.transpose(0, 3, 1, 2) / np.float32(255), rtol=1e-6)
    assert source.labels.tolist() == Y.tolist()


def test_the_split_that_an_archive_has_is_in_the_hint(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", train_images=X, train_labels=Y)
    with pytest.raises(DatasetError) as refused:
        open_source(f"npz:{tmp_path / 'd.npz'}")
    assert "split=train" in refused.value.hint


CODE = """
import numpy as np
class Data:
    def __init__(self, kind): self.kind = kind
    def __len__(self): return 9
    def __getitem__(self, i):
        x, y = np.random.default_rng(i).normal(size=4).astype("f4"), i % 3
        return {"dict": {"image": x, "label": y, "name": "n"}, "odd": {"a": x, "b": y},
                "triple": (x, "name", y), "index": (i, x, y)}[self.kind]
"""


@pytest.mark.parametrize(
    "query",
    ["kind=dict", "kind=odd&input=a&target=b", "kind=triple&input=0&target=2", "kind=index&input=1&target=2"],
)
def test_examples_that_are_mappings_or_longer_than_pairs(tmp_path: Path, query: str) -> None:
    (tmp_path / "data.py").write_text(CODE)
    x, y, _ = whole(f"file:{tmp_path / 'data.py'}:Data?{query}")
    wanted = [np.random.default_rng(i).normal(size=4) for i in range(9)]
    np.testing.assert_allclose(x, wanted, rtol=1e-6)
    assert y.tolist() == Y.tolist()


@pytest.mark.parametrize(("query", "hint"), [("kind=odd", "input="), ("kind=triple", "input=0&target=1")])
def test_parts_that_cannot_be_told_are_asked_for(tmp_path: Path, query: str, hint: str) -> None:
    (tmp_path / "data.py").write_text(CODE)
    with pytest.raises(DatasetError) as refused:
        open_source(f"file:{tmp_path / 'data.py'}:Data?{query}")
    assert hint in refused.value.hint


@pytest.mark.parametrize("deep", ["I;16", "I", "F"])
def test_pictures_that_bytes_cannot_hold_are_refused_or_numbers(tmp_path: Path, deep: str) -> None:
    values = RNG.integers(0, 65536, (4, 3, 5))
    kind, ending = {"I;16": ("u2", "png"), "I": ("i4", "tiff"), "F": ("f4", "tiff")}[deep]
    for i, pixels in enumerate(values):
        (tmp_path / "im" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(kind)).save(tmp_path / "im" / "ab"[i % 2] / f"{i}.{ending}")
    with pytest.raises(DatasetError, match="as bytes it would be white or black") as refused:
        open_source(f"folder:{tmp_path / 'im'}")
    assert "mode=F" in refused.value.hint
    x, _, _ = whole(f"folder:{tmp_path / 'im'}?mode=F&mean=0&std=65535")
    np.testing.assert_allclose(x[:, 0], values[[0, 2, 1, 3]] / 65535, rtol=1e-6)


def test_a_function_of_the_users_is_given_the_numbers(tmp_path: Path) -> None:
    values = RNG.integers(0, 65536, (2, 3, 5)).astype("u2")
    for name, pixels in zip("ab", values, strict=True):
        (tmp_path / "im" / name).mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / "im" / name / "0.png")
    (tmp_path / "f.py").write_text(
        "import numpy as np\ndef f(p): return np.asarray(p)[None].astype('f4') / 9\n"
    )
    x, _, _ = whole(f"folder:{tmp_path / 'im'}?transform=file:{tmp_path / 'f.py'}:f")
    np.testing.assert_allclose(x[:, 0], values / 9, rtol=1e-6)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name", ["d", "d/train.parquet", "t.jsonl", "t.csv", "t.arrow"])
def test_a_path_is_read_from_there_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "d").mkdir()
    path = tmp_path / name
    table = datasets.Dataset.from_dict({"x": X.tolist(), "label": Y.tolist()})
    if name == "t.csv":
        table = datasets.Dataset.from_dict({"x": X[:, 0].tolist(), "label": Y.tolist()})
        table.to_csv(str(path), index=False)
    elif name == "t.jsonl":
        table.to_json(str(path))
    elif name == "t.arrow":
        table.save_to_disk(str(tmp_path / "saved"))
        path = next((tmp_path / "saved").glob("*.arrow"))
    else:
        table.to_parquet(str(tmp_path / "d" / "train.parquet"))
    x, y, _ = whole(f"hfds:{path}")
    np.testing.assert_allclose(x, X[:, 0] if name == "t.csv" else X, rtol=1e-6)
    assert y.tolist() == Y.tolist()


@pytest.mark.usefixtures("no_network")
def test_a_folder_of_pictures_has_its_splits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: np.ndarray
) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for i in range(9):
        (tmp_path / "im" / "test" / "abc"[i % 3]).mkdir(parents=True, exist_ok=True)
        (tmp_path / "train" / f"{i:02d}.png").rename(tmp_path / "im" / "test" / "abc"[i % 3] / f"{i}.png")
    assert len(open_source(f"hfds:{tmp_path / 'im'}?split=test")) == 9
    with pytest.raises(OpsigError) as refused:
        open_source(f"hfds:{tmp_path / 'im'}?split=train")
    assert "split=test" in refused.value.hint


NESTED = """
import numpy as np
class Data:
    def __init__(self, kind): self.kind = kind
    def __len__(self): return 9
    def __getitem__(self, i):
        x, y = np.random.default_rng(i).normal(size=4).astype("f4"), i % 3
        return {"deep": {"sample": {"image": x, "size": 4}, "truth": {"label": y}},
                "flat": {"a.b": x, "label": y}, "part": {"image": x, "truth": {"label": y, "box": [1, 2]}}}[self.kind]
"""


@pytest.mark.parametrize(
    "query",
    [
        "kind=deep&input=sample.image&target=truth.label",
        "kind=flat&input=a.b&target=label",
        "kind=part&target=truth.label",
    ],
)
def test_parts_within_mappings_are_named_with_dots(tmp_path: Path, query: str) -> None:
    (tmp_path / "data.py").write_text(NESTED)
    x, y, _ = whole(f"file:{tmp_path / 'data.py'}:Data?{query}")
    np.testing.assert_allclose(x, [np.random.default_rng(i).normal(size=4) for i in range(9)], rtol=1e-6)
    assert y.tolist() == Y.tolist()


def test_pictures_as_bytes_in_parquet_with_texts_as_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: np.ndarray
) -> None:
    import datasets
    import pyarrow
    from pyarrow import parquet

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    content = [(tmp_path / "train" / f"{i:02d}.png").read_bytes() for i in range(9)]
    names = ["cat", "ant", "bee"]
    for name, column in (("plain", content), ("struct", [{"bytes": one, "path": None} for one in content])):
        table = pyarrow.table({"image": column, "label": [names[i % 3] for i in range(9)]})
        parquet.write_table(table, tmp_path / f"{name}.parquet")
        x, y, source = whole(f"hfds:{tmp_path / f'{name}.parquet'}")
        np.testing.assert_allclose(x, pictures.transpose(0, 3, 1, 2) / np.float32(255), rtol=1e-6)
        assert [source.classes[label] for label in y] == [names[i % 3] for i in range(9)]


def test_parquet_holds_pictures_their_names_or_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: np.ndarray
) -> None:
    import datasets
    import pyarrow
    from pyarrow import parquet

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    names = ["cat", "ant", "bee"]
    texts = [names[label] for label in Y]
    files = [f"{i:02d}.png" for i in range(9)]
    content = [{"bytes": (tmp_path / "train" / file).read_bytes(), "path": file} for file in files]
    pixels = pictures.transpose(0, 3, 1, 2) / np.float32(255)
    numbers = {"a": X[:, 0], "b": Y, "__index_level_0__": texts}
    for columns, query, wanted in (
        ({"photo": content, "breed": texts}, "?label=breed", pixels),
        ({"file_name": files, "label": texts}, f"?root={tmp_path / 'train'}", pixels),
        ({**numbers, "target": texts}, "", np.stack([X[:, 0], Y], axis=1)),
        ({**numbers, "c": texts, "target": texts}, "?columns=b", Y[:, None]),
    ):
        parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
        x, y, source = whole(f"parquet:{tmp_path / 't.parquet'}{query}")
        np.testing.assert_allclose(x, wanted, rtol=1e-6)
        assert [source.classes[label] for label in y] == texts
        assert open_source(source.spec).fingerprint == source.fingerprint


def test_a_missing_number_of_parquet_is_named_with_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets
    import pyarrow
    from pyarrow import parquet

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    parquet.write_table(pyarrow.table({"a": [1.0, None], "label": [0, 1]}), tmp_path / "t.parquet")
    with pytest.raises(DatasetError, match=r"column 'a' of .* row 1 has none") as refused:
        open_source(f"parquet:{tmp_path / 't.parquet'}")
    assert "fill in" in refused.value.hint


def test_a_text_too_long_for_a_file_name_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(f"image,label\n{'a' * 5000},0\nb,1\n")
    with pytest.raises(DatasetError, match="expected a picture"):
        open_source(f"csv:{tmp_path / 't.csv'}")
