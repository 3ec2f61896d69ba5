from __future__ import annotations

import codecs
import json
import pkgutil
import subprocess
import sys
import unicodedata
import zipfile
from pathlib import Path

import pytest
from PIL import Image

import promptctl.data.readers
from promptctl.data import shelf
from promptctl.data.folder import ImageFolder
from promptctl.data.readers import READERS
from promptctl.data.readers.class_names import read_names
from promptctl.data.readers.headings import USUAL, ColumnNames
from promptctl.data.readers.records import Listed
from promptctl.errors import DatasetError, NoImages, PromptctlError

ROWS = [("emu/0.png", "emu"), ("emu/1.png", "emu"), ("ibis/0.png", "ibis"), ("ibis/1.png", "ibis")]
READ = {("0.png", "emu"), ("1.png", "emu"), ("0.png", "ibis"), ("1.png", "ibis")}
ZHOU = {"train": [[path, 0, label] for path, label in ROWS], "val": [], "test": []}


@pytest.fixture
def birds(tmp_path):
    tmp_path = tmp_path / "birds"
    tmp_path.mkdir()
    for i, (path, _) in enumerate(ROWS):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4), (i, 0, 0)).save(tmp_path / path)
    return tmp_path


def csv(head: str, line: str = "{0},{1}", end: str = "\n") -> str:
    return "".join(f"{row}{end}" for row in (head, *(line.format(*row, i) for i, row in enumerate(ROWS))) if row)


def written(folder, name, data):
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def listed(path, columns=USUAL):
    return {(image.path.name, image.label) for image in ImageFolder.scan(path, columns).images}


GOOD = {
    "bom": codecs.BOM_UTF8 + csv("path,label").encode(),
    "utf16": csv("path\tlabel", "{0}\t{1}").encode("utf-16"),
    "utf16 that does not say so": csv("path\tlabel", "{0}\t{1}").encode("utf-16-le"),
    "excel": "\ufeffsep=;\r\n" + csv("path;label", "{0};{1}", "\r\n"),
    "pipes": csv("path|label", "{0}|{1}"),
    "comment": "# made by hand\n" + csv("path,label"),
    "commented heading": csv("# path,label"),
    "backslash": csv("path,label").replace("/", "\\"),
    "dot slash": csv("path,label", "./{0},{1}"),
    "windows": csv("path,label", "C:\\Users\\me\\birds\\{0},{1}").replace("/", "\\"),
    "another machine": csv("path,label", "/home/me/birds/{0},{1}"),
    "other case": csv("path,label").replace("emu/", "Emu/").replace(".png", ".PNG"),
    "index": csv(",image,label", "{2},{0},{1}"),
    "named index": csv("Unnamed: 0,image,label", "{2},{0},{1}"),
    "index without heading": csv("", "{2},{0},{1}"),
    "swapped": csv("labels,filepaths", "{1},{0}"),
    "swapped without heading": csv("", "{1},{0}"),
    "unknown heading": csv("where,species", "{0},{1}"),
    "class and id": csv("class_id,filepaths,labels,data set", "7,{0},{1},train"),
    "ids": csv("id,label").replace(".png", ""),
    "id and species": csv("image_id,species"),
    "one hot": csv("filename, emu, ibis", "{0},{1}").replace(",emu\n", ", 1, 0\n").replace(",ibis\n", ", 0, 1\n"),
    "list of one": csv("path,label", "{0},['{1}']"),
    "another language": csv("Datei;Klasse", "{0};{1}"),
    "another language and an index": csv(",Bild,Art", "{2},{0},{1}"),
    "more columns without heading": csv("", "{0},{1},Anna"),
    "numbers behind": csv("", "{0},{1},0.5,7"),
    "number and name without heading": csv("", "{0},{2},{1}"),
    "index, label, path": csv("", "{2},{1},{0}"),
    "split without heading": csv("", "{2},train,{0},{1}"),
    "title above": "My birds,\n\n" + csv("path,label"),
    "comments above and below": "# my birds\n# Image,Class\n# Class: a bird\n" + csv(""),
    "file address": csv("path,label", "file:///C:/me/{0},{1}"),
    "from above": csv("path,label", "birds/{0},{1}"),
    "excel's truth": csv("id,path,emu, ibis", "7,{0},{1}").replace(",emu\n", ",TRUE,\n").replace(",ibis\n", ",,x\n"),
    **{
        head: csv(head) for head in ("image_path,label", "filepath,target", "img,category_name", "File Name,Class Name")
    },
    **{head: csv(head) for head in ("FILENAME,LABEL", "file,class_id", "photo,breed", "image,categories")},
}


@pytest.mark.parametrize("how", GOOD)
def test_a_csv_as_people_write_it(birds, how):
    assert listed(written(birds, "list.csv", GOOD[how])) == READ


RECORDS = [{"file_name": path, "label": label} for path, label in ROWS]
NAMES = ("emu", "ibis")
COCO = {
    "images": [{"id": i, "file_name": path} for i, (path, _) in enumerate(ROWS)],
    "annotations": [{"image_id": i, "category_id": label} for i, (_, label) in enumerate(ROWS)] * 2,
    "categories": [{"id": "emu", "name": "emu"}, {"id": "ibis", "name": "ibis"}],
}
GOOD_JSON = {
    "bom.jsonl": codecs.BOM_UTF8 + "\n".join(map(json.dumps, RECORDS)).encode(),
    "utf16.jsonl": "\n".join(map(json.dumps, RECORDS)).encode("utf-16"),
    "array.jsonl": json.dumps(RECORDS),
    "lines.json": "\n".join(map(json.dumps, RECORDS)),
    "records.json": json.dumps(RECORDS),
    "mapping.json": json.dumps(dict(ROWS)),
    "coco.json": json.dumps(COCO),
    "zhou.json": json.dumps(ZHOU),
    "bom.json": codecs.BOM_UTF8 + json.dumps(ZHOU).encode(),
    "utf16.json": json.dumps(ZHOU).encode("utf-16"),
    "backslash.json": json.dumps(ZHOU).replace("/", "\\\\"),
    "one each.json": json.dumps({path: [label] for path, label in ROWS}),
    "rows.json": json.dumps([[path, i, label] for i, (path, label) in enumerate(ROWS)]),
    "rows.jsonl": "\n".join(json.dumps(row) for row in ROWS),
    "splits.json": json.dumps({"train": RECORDS[:3], "test": RECORDS[3:]}),
    "pairs.txt": "\n".join(f"{path} {label}" for path, label in ROWS),
    "numbers.txt": "\n".join(f"{path} {label}  0.5 7 " for path, label in ROWS),
    "split.txt": "\n".join(f"{path} {label} train" for path, label in ROWS),
}


@pytest.mark.parametrize("name", GOOD_JSON)
def test_lists_that_tools_write(birds, name):
    assert listed(written(birds, name, GOOD_JSON[name])) == READ


SEVERAL = "gives several labels in line {}: emu, bird"
BAD = {
    "multi.jsonl": (json.dumps({"file_name": "emu/0.png", "label": ["emu", "bird"]}), SEVERAL.format(1)),
    "python.csv": ("path,label\nemu/0.png,\"['emu', 'bird']\"\n", SEVERAL.format(2)),
    "pipe.csv": ("path,label\nemu/0.png,emu|bird\n", SEVERAL.format(2)),
    "comma.csv": ('path,label\nemu/0.png,emu\nibis/0.png,bird\nemu/1.png,"emu, bird"\n', SEVERAL.format(4)),
    "hot.csv": ("file,emu,bird\nemu/0.png,1,1\n", SEVERAL.format(2)),
    "cold.csv": ("file,emu,bird\nemu/0.png,0,0\n", "has no label in line 2"),
    "names.csv": ("folder;name\nemu;large bird, flightless\n", "has no path column: its columns are 'folder', 'name'"),
    "notes.csv": ("path,photographer\nemu/0.png,me\n", "has no label column: its columns are 'path', 'photographer'"),
    "names.json": ('{"emu": "large bird"}', "lists no image: 'emu' is not a file beside it"),
    "classes.txt": ("emu\nibis\n", "has one column only, 'emu', path and label were expected"),
    "odd.csv": ("path,label,split\nemu/0.png,emu,spare\n", "has the split 'spare' in line 2"),
    "both.csv": ("path,label\nemu/0.png,emu\nemu/0.png,ibis\n", "calls {folder}/emu/0.png both 'emu' and 'ibis'"),
    "bare.json": (json.dumps({**COCO, "annotations": []}), "is a COCO file without annotations"),
    "some.json": (
        json.dumps({**COCO, "annotations": COCO["annotations"][:1]}),
        "is a COCO file in which 3 of 4 images have not one category: emu/1.png has no category",
    ),
    "boxes.json": (
        json.dumps(
            {**COCO, "annotations": [{"image_id": i // 2, "category_id": ("emu", "ibis")[i % 2]} for i in range(8)]}
        ),
        "is a COCO file in which 4 of 4 images have not one category: emu/0.png has several categories: emu, ibis",
    ),
    "array.csv": ('path,label\nemu/0.png,"{emu, bird}"\n', SEVERAL.format(2)),
    "none.json": (json.dumps([{"path": "emu/0.png", "label": []}]), "has no label in line 1"),
    "nan.json": ('[{"path": "emu/0.png", "label": NaN}]', "has no label in line 1"),
    "quote.csv": (
        'path,label\nemu/0.png,"emu\nibis/0.png,x',
        "has a label in line 3 that goes on in the next line: emu",
    ),
    "wide.csv": ("path,label\nemu/0.png,emu, large\n", "has 3 cells in line 2 and 2 columns"),
    "twice.csv": ("path,label,label\nemu/0.png,emu,ibis\n", "has 2 columns called 'label'"),
    "web.csv": (
        "url,label\nhttps://a.org/emu/0.png,emu\n",
        "lists addresses in the network such as https://a.org/emu/0.png, and photos are read from files",
    ),
    "three.csv": (
        "Datei,Klasse,Jahr\nemu/0.png,emu,2020\n",
        "has no label column: its columns are 'Datei', 'Klasse', 'Jahr'",
    ),
    "index.txt": ("1 emu/0.png\n2 emu/1.png\n3 ibis/0.png\n", "has no label beside 'emu/0.png'"),
    "deep.json": (
        '[{"image": {"path": "x"}, "label": "emu"}]',
        "has a path in line 1 that is not text: {{'path': 'x'}}",
    ),
    "word.json": ('"emu"', 'is JSON, but not a list of images: it holds "emu"'),
    "half.json": (
        '{"train": [["emu/0.png", "emu"]]}',
        "is not a CoOp split file: its rows are not path, number and name",
    ),
    "line.jsonl": (
        '{"path": "emu/0.png"}\n{"path"\n',
        "is not JSON lines: Expecting ':' delimiter in line 2, column 8",
    ),
    "page.csv": (b"<!DOCTYPE html><html>", "is a web page"),
    "packed.csv": (b"\x1f\x8b...", "is an archive, and photos are read from folders"),
    "lfs.csv": (b"version https://git-lfs.github.com/spec/v1\n", "is a pointer of Git LFS, not the file"),
    "photo.csv": (b"\xff\xd8\xff\xe0", "is a picture"),
    "keys.json": ('{"a": [1]}', "is JSON, but not a list of images: its keys are 'a'"),
    "broken.json": ('{"a": ', "is not JSON (Expecting value: line 1 column 7 (char 6))"),
    "table.xlsx": (b"PK\x03\x04....xl/workbook.xml", "is a spreadsheet"),
    "table.csv": (b"PK\x03\x04....xl/workbook.xml", "is a spreadsheet"),
    "old.xls": (b"\xd0\xcf\x11\xe0....", "is a spreadsheet"),
    "photos.zip": (b"PK\x03\x04....emu/0.png", "is an archive, and photos are read from folders"),
    "table.feather": (b"PAR1....", "is a table in a form that is not read"),
    "empty.csv": (b"\n", "is empty"),
    "gone.csv": (
        "path,label\nno.png,emu\n",
        "the one image listed in {file} does not exist: {folder}/no.png",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_list_that_cannot_be_read_says_what_it_is(birds, name):
    data, sentence = BAD[name]
    path = written(birds, name, data)
    with pytest.raises((DatasetError, NoImages)) as refused:
        ImageFolder.scan(path)
    said = sentence.format(folder=birds, file=path)
    assert str(refused.value) == (said if str(path) in said else f"{path} {said}")
    assert refused.value.hint


def test_a_real_archive_is_told_from_a_list(birds):
    with zipfile.ZipFile(birds / "list.csv", "w") as archive:
        archive.write(birds / "emu" / "0.png", "emu/0.png")
    with pytest.raises(NoImages, match="is an archive"):
        ImageFolder.scan(birds / "list.csv")


def test_an_id_that_two_images_have_is_no_image(birds):
    Image.new("RGB", (4, 4)).save(birds / "emu" / "0.jpg")
    folder = ImageFolder.scan(written(birds, "list.csv", "id,label\nemu/0,emu\nibis/0,ibis\n"))
    assert [image.path for image in folder.images] == [birds / "ibis" / "0.png"]
    why = "2 photos are called so: emu/0.jpg and emu/0.png"
    assert [(item.path, item.reason) for item in folder.skipped] == [(birds / "emu" / "0", why)]


def test_ids_may_be_of_photos_in_many_folders(tmp_path):
    for place in ("2020/a/1a2b", "2020/b/3c4d", "2021/5e6f", "2021/7.8", "x/twin", "y/twin"):
        (tmp_path / "photos" / place).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / "photos" / f"{place}.jpg")
    (tmp_path / "photos" / "2021" / "5e6f.nef").touch()  # the raw photo of a JPEG
    (tmp_path / "photos" / "5e6f").mkdir()
    rows = "".join(f"{one},{'ab'[i % 2]}\n" for i, one in enumerate(("1a2b", "3c4d", "5e6f", "7.8", "twin", "gone")))
    path = written(tmp_path, "list.csv", f"specimen,verdict\n{rows}")
    folder = ImageFolder.scan(path, ColumnNames("specimen", "verdict"))
    assert [image.path.stem for image in folder.images] == ["1a2b", "3c4d", "5e6f", "7.8"]
    why = "2 photos are called so: photos/x/twin.jpg and photos/y/twin.jpg"
    assert [item.reason for item in folder.skipped] == [why, "no such file"]
    (tmp_path / "lists").mkdir()
    again = ImageFolder.scan(path.rename(tmp_path / "lists" / "list.csv"), ColumnNames("specimen", "verdict"))
    assert [image.path.name for image in again.images] == [image.path.name for image in folder.images]


def test_photos_are_not_looked_for_by_their_ids_on_all_of_the_machine(tmp_path, monkeypatch, caplog):
    for i, place in enumerate(("x/y/0", "x/z/1", "x/y/w/2")):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (i, 0, 0)).save(tmp_path / f"{place}.png")
    (tmp_path / "lists").mkdir()
    path = written(tmp_path / "lists", "list.csv", "path,label\n0,a\n1,b\n2,a\n")
    assert len(ImageFolder.scan(path).images) == 3
    monkeypatch.setattr(shelf, "_MOST_AROUND", 3)
    with pytest.raises(NoImages, match="none of the 3 images"):
        ImageFolder.scan(path)
    assert f"more than 3 files lie in {tmp_path}: photos of {path} are not looked for there" in caplog.text
    monkeypatch.setattr(shelf, "every_file", lambda _: pytest.fail("the disk is gone through"))
    alone = shelf.Shelf(Path("/list.csv"))
    alone.choose_folder([("no such photo 7f3a", "a")])
    assert not alone.looked_up("no such photo 7f3a")[0].exists()


def test_an_id_is_not_taken_from_beside_the_folder_of_its_list(tmp_path):
    """train/ has most of them, and test/ has other photos of the same names: what train/ lacks is not in test/."""
    for place in ("train/1", "train/2", "test/1", "test/3"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / f"{place}.png")
    folder = ImageFolder.scan(written(tmp_path, "train.csv", "id,label\n1,a\n2,b\n3,a\n"))
    assert [image.path.relative_to(tmp_path).as_posix() for image in folder.images] == ["train/1.png", "train/2.png"]
    assert [item.reason for item in folder.skipped] == ["no such file"]


NAMED = {
    "csv": ("list.csv", "who,seen,when\n{emu},emu,day\n{ibis},ibis,night\n"),
    "semicolons and a title": ("list.csv", "My birds;;\n;;\nwho;seen;when\n{emu};emu;day\n{ibis};ibis;night\n"),
    "other case": ("list.csv", "WHO,Seen,when\n{emu},emu,day\n{ibis},ibis,night\n"),
    "usual names beside": ("list.csv", "label,file,who,seen\nx,y,{emu},emu\nx,y,{ibis},ibis\n"),
    "jsonl": ("list.jsonl", '{{"who": "{emu}", "seen": "emu"}}\n{{"who": "{ibis}", "seen": "ibis"}}\n'),
    "json by split": (
        "l.json",
        '{{"train": [{{"who": "{emu}", "seen": "emu"}}, {{"who": "{ibis}", "seen": "ibis"}}]}}',
    ),
    "metadata": ("metadata.csv", "who,seen,text\n{emu},emu,large\n{ibis},ibis,small\n"),
}


@pytest.mark.parametrize("how", NAMED)
def test_columns_that_are_named_are_taken_whatever_they_are_called(birds, how):
    name, text = NAMED[how]
    path = written(birds, name, text.format(emu="emu/0", ibis="ibis/1.png"))
    found = ImageFolder.scan(birds if how == "metadata" else path, ColumnNames("who", "seen"))
    assert [(image.path.name, image.label) for image in found.images] == [("0.png", "emu"), ("1.png", "ibis")]


def test_one_column_may_be_named_and_the_others_told(birds):
    path = written(birds, "list.csv", "n,where,species,bird\n7,emu/0.png,x,emu\n8,ibis/1.png,y,ibis\n")
    assert listed(path, ColumnNames(label="bird")) == {("0.png", "emu"), ("1.png", "ibis")}
    path = written(birds, "parts.csv", "path,label,split,fold\nemu/0.png,emu,a,train\nibis/1.png,ibis,b,test\n")
    assert {image.split for image in ImageFolder.scan(path, ColumnNames(split="fold")).images} == {"train", "test"}


def test_a_column_that_is_not_there_is_said_with_those_that_are(birds):
    for name, text, asked, sentence, hint in (
        ("list.csv", "who,seen\nemu/0.png,emu\n", ColumnNames(label="sen"),
         "has no column 'sen': its columns are 'who', 'seen'", "--label-column seen"),
        ("coco.json", json.dumps(COCO), ColumnNames("id"),
         "is a JSON object without columns, so it has no column 'id'", "leave out --path-column"),
        ("metadata.csv", "file_name,text\nemu/0.png,emu\n", ColumnNames(label="kind"),
         "has no column 'kind': its columns are 'file_name', 'text'", "--label-column file_name"),
    ):  # fmt: skip
        path = written(birds, name, text)
        with pytest.raises(DatasetError) as refused:
            ImageFolder.scan(birds if name.startswith("meta") else path, asked)
        assert (str(refused.value), refused.value.hint) == (f"{path} {sentence}", hint)
    path.unlink()
    with pytest.raises(DatasetError, match="is a folder without a list of its photos, so it has no column 'kind'"):
        ImageFolder.scan(birds, ColumnNames(label="kind"))


def test_coco_leaves_out_the_few_images_of_several_categories_and_names_them(birds):
    extra = [{"image_id": 0, "category_id": "ibis"}]
    path = written(birds, "coco.json", json.dumps({**COCO, "annotations": [*COCO["annotations"][:3], *extra]}))
    folder = ImageFolder.scan(path)
    assert [image.path.relative_to(birds).as_posix() for image in folder.images] == ["emu/1.png", "ibis/0.png"]
    reasons = ["it has several categories: emu, ibis", "it has no category"]
    assert [item.reason for item in folder.skipped] == reasons


def test_images_are_found_in_the_folder_beside_the_list(birds):
    (birds / "train_images").mkdir()
    (birds / "emu").rename(birds / "train_images" / "emu")
    path = written(birds, "train.csv", "image_id,label\nemu/0.png,emu\n")
    assert [image.path for image in ImageFolder.scan(path).images] == [birds / "train_images" / "emu" / "0.png"]


def test_images_are_taken_from_the_folder_that_has_all(birds, caplog):
    """Kaggle's butterflies: test/1.png and train/1.png are two pictures, and the list is of those in train/."""
    for part, count in (("test", 2), ("train", 4)):
        (birds / part).mkdir()
        for i in range(count):
            Image.new("RGB", (4, 4)).save(birds / part / f"Image_{i}.png")
    path = written(birds, "all.csv", "filename,label\n" + "".join(f"Image_{i}.png,{'ab'[i % 2]}\n" for i in range(4)))
    assert {image.path.parent.name for image in ImageFolder.scan(path).images} == {"train"}
    some = "filename,label\nImage_0.png,a\nImage_1.png,b\n"
    assert {i.path.parent.name for i in ImageFolder.scan(written(birds, "train_set.csv", some)).images} == {"train"}
    assert caplog.messages == []
    ImageFolder.scan(written(birds, "some.csv", some))
    where = f"are in {birds / 'test'} and in {birds / 'train'}: those in {birds / 'test'} are taken"
    assert caplog.messages == [f"the files of {birds / 'some.csv'} {where}"]


def test_a_bare_name_lies_in_the_folder_of_its_class(birds):
    path = written(birds, "list.csv", "file,label\n0.png,emu\n1.png,ibis\n")
    found = [image.path.relative_to(birds).as_posix() for image in ImageFolder.scan(path).images]
    assert found == ["emu/0.png", "ibis/1.png"]


def test_a_bare_name_is_no_tail_of_a_path_with_folders(birds):
    path = written(birds, "list.csv", "path,label\n/home/me/emu/0.png,emu\n/home/me/crane/0.png,crane\n")
    assert [image.path for image in ImageFolder.scan(path).images] == [birds / "emu" / "0.png"]
    path = written(birds / "emu", "list.csv", "path,label\nD:\\me\\0.png,emu\nD:\\me\\1.png,ibis\n")
    assert len(ImageFolder.scan(path).images) == 2


def test_images_may_lie_beside_the_folder_of_the_list(birds, caplog):
    (birds / "annotations").mkdir()
    (birds / "images").mkdir()
    for name in ("emu", "ibis"):
        (birds / name).rename(birds / "images" / name)
    path = written(birds / "annotations", "list.json", json.dumps(COCO))
    assert listed(path) == READ
    assert caplog.messages == [f"the files of {path} are not beside it: those in {birds / 'images'} are taken"]


def test_blanks_may_be_in_paths_and_labels(birds):
    (birds / "emu").rename(birds / "my birds")
    path = written(birds, "list.txt", "my birds/0.png large emu\nibis/0.png ibis\n")
    assert listed(path) == {("0.png", "large emu"), ("0.png", "ibis")}


def test_json_lines_may_hold_any_separator_but_a_line_end(birds):
    path = written(birds, "list.jsonl", '{"path": "emu/0.png", "label": "emu\u2028x"}\n')
    assert [image.label for image in ImageFolder.scan(path).images] == ["emu\u2028x"]


def test_names_in_a_text_file_have_blanks(tmp_path):
    path = written(tmp_path, "synsets.txt", "n01440764 tench, Tinca tinca\nn01491361 tiger shark\n")
    expected = {"n01440764": "tench, Tinca tinca", "n01491361": "tiger shark"}
    assert read_names(path, list(expected)) == expected


def test_a_path_in_the_other_unicode_form_is_found(birds):
    (birds / "emu").rename(birds / unicodedata.normalize("NFD", "Émeu"))
    path = written(birds, "list.csv", unicodedata.normalize("NFC", "path,label\nÉmeu/0.png,Émeu\n"))
    (image,) = ImageFolder.scan(path).images
    assert (image.path.name, image.label) == ("0.png", unicodedata.normalize("NFC", "Émeu"))


def test_splits_in_a_list_have_many_names(birds):
    rows = zip(ROWS, ("Train", "Validation", "holdout", ""), strict=True)
    path = written(birds, "list.csv", "path,label,split\n" + "".join(f"{p},{c},{s}\n" for (p, c), s in rows))
    assert [image.split for image in ImageFolder.scan(path).images] == ["train", "val", "test", None]


def test_a_column_called_dataset_may_say_something_else(birds):
    path = written(birds, "list.csv", csv("path,label,dataset", "{0},{1},birds525"))
    assert {image.split for image in ImageFolder.scan(path).images} == {None}


def test_a_cell_our_own_csv_escaped_reads_back(birds):
    (birds / "emu").rename(birds / "=emu")
    path = written(birds, "list.csv", "path,label\n'=emu/0.png,'@emu\n")
    assert [(image.path, image.label) for image in ImageFolder.scan(path).images] == [(birds / "=emu/0.png", "@emu")]


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_metadata_without_labels_is_passed_over_beside_class_folders(birds, name, caplog):
    row = "file_name,photographer\nemu/0.png,me\n" if name.endswith("csv") else '{"file_name": "emu/0.png", "by": "me"}'
    path = written(birds, name, row)
    assert listed(birds) == READ
    (said,) = caplog.messages
    assert said.startswith(f"{path} has no label column")
    assert said.endswith("it is passed over, the folders are the labels")


def test_a_list_names_its_files_on_purpose(birds):
    from promptctl.data.images import hash_images

    (birds / "emu" / "notes").write_text("hello")
    path = written(birds, "list.csv", "path,label\nemu/notes,emu\nemu/0.png,emu\n")
    (skipped,) = hash_images(ImageFolder.scan(path).images)[1]
    assert (skipped.path.name, skipped.foreign) == ("notes", False)


def test_names_are_found_in_any_form(tmp_path):
    label = unicodedata.normalize("NFC", "Émeu")
    for text in ("Folder;Name\nÉmeu;large bird, flightless\n", "émeu;large bird, flightless\n"):
        path = written(tmp_path, "names.csv", unicodedata.normalize("NFD", text))
        assert read_names(path, [label, "ibis"]) == {label: "large bird, flightless"}
    path = written(tmp_path, "names.json", json.dumps({label: "large bird"}))
    assert read_names(path, [label]) == {label: "large bird"}


def test_names_that_are_none_are_refused(tmp_path):
    for name, data, sentence in (
        ("n.csv", "emu\n", "has the line 'emu', folder,name was expected"),
        ("n.csv", "emu,a\nEmu,b\n", "names the folder 'Emu' twice"),
        ("n.json", "[1]", "is not a list of names"),
        ("n.xlsx", b"PK\x03\x04xl/", "is a spreadsheet"),
    ):
        path = written(tmp_path, name, data)
        with pytest.raises(PromptctlError) as refused:
            read_names(path, ["emu"])
        assert str(refused.value) == f"{path} {sentence}"


def test_a_new_format_is_one_line_of_the_table(birds, monkeypatch):
    def read(path, names):
        return [Listed(path.parent / name, label) for name, label in map(str.split, path.read_text().splitlines())]

    (birds / "list.toy").write_text("emu/0.png emu\n")
    with pytest.raises(NoImages, match="neither a folder nor a list of images"):
        ImageFolder.scan(birds / "list.toy")
    monkeypatch.setitem(READERS, ".toy", read)
    assert [image.label for image in ImageFolder.scan(birds / "list.toy").images] == ["emu"]


def test_data_knows_nothing_of_what_uses_it():
    packages = (promptctl.data, promptctl.data.readers)
    modules = [f"{one.__name__}.{module.name}" for one in packages for module in pkgutil.iter_modules(one.__path__)]
    program = f"import sys; [__import__(name) for name in {modules}]; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    known = {name.split(".")[1] for name in done.stdout.split() if name.startswith("promptctl.")}
    assert known <= {"data", "encoding", "context", "errors", "cells", "paths", "progress", "remote"}


def test_lines_are_counted_with_excels_own_first_one(tmp_path):
    (tmp_path / "a.png").touch()
    (tmp_path / "list.csv").write_text("sep=;\npath;label;split\na.png;red;nowhere\n")
    with pytest.raises(DatasetError, match="has the split 'nowhere' in line 3"):
        ImageFolder.scan(tmp_path / "list.csv")
