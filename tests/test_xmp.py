"""XMP: keywords come and go, and every byte that others wrote stays; what strangers wrote is read safely."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from promptctl.sorting.xmp import BadSidecar, Tag, keywords, tagged

EMU = Tag("birds", "emu", ("birds",), "emu", 0.97314, 3)
IBIS = Tag("birds", "ibis", ("birds",), "ibis", 0.8, 4)
NOTHING = Tag("birds", None)

# as darktable writes it, and in Adobe's short form, with what nobody here knows
DARKTABLE = """<?xml version="1.0" encoding="UTF-8"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 4.4.0-Exiv2">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:darktable="http://darktable.sf.net/"
   xmp:Rating="4" darktable:note="a &lt; b&#xA;c"
   darktable:history_end="11">
   <dc:subject>
    <rdf:Bag>
     <rdf:li>holiday &amp; sea</rdf:li>
    </rdf:Bag>
   </dc:subject>
   <!-- by hand -->
   <darktable:history><rdf:Seq><rdf:li darktable:params="gz04eJxz"/></rdf:Seq></darktable:history>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""
ADOBE = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="uuid:1" '
    'xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/" crs:Exposure2012="+0.50"/></rdf:RDF></x:xmpmeta>'
)
PREFIX = ADOBE.replace("rdf:", "r:").replace("xmlns:rdf", "xmlns:r")  # which exiv2 does not read
DIGIKAM = DARKTABLE.replace(
    "<dc:subject>",
    '<digiKam:TagsList xmlns:digiKam="http://www.digikam.org/ns/1.0/"><rdf:Seq><rdf:li>People/Ada</rdf:li></rdf:Seq>'
    "</digiKam:TagsList><dc:subject>",
)


def lines_that_changed(before: bytes, after: bytes) -> tuple[list[str], list[str]]:
    """Lines that one has and the other has not."""
    one, other = before.decode().splitlines(), after.decode().splitlines()
    return [line for line in one if line not in other], [line for line in other if line not in one]


def test_a_new_sidecar_holds_the_keyword_its_place_in_the_tree_and_the_probability():
    made = tagged(None, EMU)
    assert made is not None and keywords(made) == ("emu",)
    for part in ("<rdf:li>birds|emu</rdf:li>", "<promptctl:probability>0.9731</", "<promptctl:context>birds</"):
        assert part in made.decode()
    assert tagged(made, EMU) == made
    assert tagged(None, NOTHING) is None


@pytest.mark.parametrize("theirs", [DARKTABLE, ADOBE, DIGIKAM, PREFIX])
def test_what_others_keep_stays_to_the_last_byte_and_comes_back_alone(theirs):
    before = theirs.encode()
    after = tagged(before, EMU)
    gone, added = lines_that_changed(before, after)
    if theirs not in (ADOBE, PREFIX):  # which have one line
        assert gone == ([] if theirs is DARKTABLE else [line for line in gone if "TagsList" in line])
        assert any("emu" in line for line in added)
    assert keywords(after)[-1] == "emu"
    assert tagged(tagged(after, IBIS), EMU).count(b"emu") == after.count(b"emu")
    assert b"emu" not in tagged(after, IBIS)
    assert tagged(after, NOTHING) == before


def test_an_answer_that_changes_replaces_ours_and_no_other_keyword():
    after = tagged(tagged(DARKTABLE.encode(), EMU), IBIS)
    assert keywords(after) == ("holiday & sea", "ibis")
    theirs = DARKTABLE.replace("holiday &amp; sea", "emu").encode()
    assert keywords(tagged(tagged(theirs, EMU), IBIS)) == ("emu", "ibis"), "it was there before, so it is not ours"


def test_two_contexts_do_not_take_each_others_keywords_away():
    both = tagged(tagged(None, EMU), Tag("places", "emu", ("places",), "emu", 0.5))
    assert keywords(both) == ("emu",)
    assert keywords(tagged(both, IBIS)) == ("emu", "ibis"), "places still says emu"
    assert keywords(tagged(both, NOTHING)) == ("emu",)
    assert tagged(tagged(both, NOTHING), Tag("places", None)) is None, "nothing is left that the sidecar was made for"


def test_a_keyword_that_somebody_took_away_stays_away_while_the_answer_is_the_same():
    made = tagged(None, EMU)
    less = made.replace(b"<rdf:li>emu</rdf:li>\n    </rdf:Bag>\n   </dc:subject>", b"</rdf:Bag></dc:subject>")
    assert less != made and keywords(less) == ()
    assert keywords(tagged(less, EMU)) == ()
    assert keywords(tagged(less, IBIS)) == ("ibis",)


def test_digikams_own_list_is_kept_in_step_where_there_is_one():
    assert b"birds/emu" not in tagged(DARKTABLE.encode(), EMU)
    after = tagged(DIGIKAM.encode(), EMU).decode()
    assert "<rdf:li>People/Ada</rdf:li><rdf:li>birds/emu</rdf:li></rdf:Seq>" in after
    assert "birds/emu" not in tagged(after.encode(), IBIS).decode()


@pytest.mark.parametrize("label", ["R&B <x> \"'", "caf\u00e9 \u9d89", "a|b", " two\n lines ", "bad\x01\ud800", "  "])
def test_any_name_of_a_class_is_written_so_that_it_can_be_read(label):
    made = tagged(None, Tag("birds", label, ("a/b",), label, 0.5))
    assert len(keywords(made)) == 1 and tagged(made, Tag("birds", label, ("a/b",), label, 0.5)) == made
    assert keywords(tagged(made, IBIS)) == ("ibis",)


@pytest.mark.parametrize(
    "mark, encoding", [(b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")]
)
def test_a_sidecar_stays_in_its_encoding(mark, encoding):
    theirs = mark + DARKTABLE.replace(' encoding="UTF-8"', "").encode(encoding)
    after = tagged(theirs, EMU)
    assert after.startswith(mark) and "<rdf:li>emu</rdf:li>" in after[len(mark) :].decode(encoding)
    assert tagged(after, NOTHING) == theirs


SHORT = 'xmlns:dc="http://purl.org/dc/elements/1.1/" dc:subject'
BROKEN = {
    "empty": (b"", "not XML (no element found, line 1)"),
    "text": (b"000 sidecar", "not XML (syntax error, line 1)"),
    "cut off": (DARKTABLE.encode()[:600], "not XML (unclosed token, line 16)"),
    "latin": (b"\xff\xfe\x00", "not in Unicode"),
    "html": (b"<html><p/></html>", "not XMP"),
    "entities": (
        b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]>' + DARKTABLE.encode().partition(b"?>\n")[2],
        "it has a document type, and no sidecar needs one",
    ),
    "outside": (b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><x/>', "it has a document type, and no sidecar needs one"),
    "deep": (b"<a>" * 100 + b"</a>" * 100, "more elements than a sidecar has"),
    "wide": (b"<a>" + b"<b/>" * 200_000 + b"</a>", "more elements than a sidecar has"),
    "large": (b" " * 33_000_000, "33 MB, which no sidecar has"),
    "attribute": (ADOBE.replace("crs:Exposure2012", SHORT).encode(), "its subject is no list"),
    "plain": (DARKTABLE.replace("<rdf:Bag>", "").replace("</rdf:Bag>", "").encode(), "its subject is no list"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_a_sidecar_that_cannot_be_understood_is_refused_with_the_reason(kind):
    data, reason = BROKEN[kind]
    with pytest.raises(BadSidecar) as refused:
        tagged(data, EMU)
    assert str(refused.value) == reason


# --------------------------------------------------------------------------- what other programs read


def asked(*command: str) -> str:
    if shutil.which(command[0]) is None:
        pytest.skip(f"there is no {command[0]} here")
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("theirs", [None, DARKTABLE, ADOBE, DIGIKAM])
def test_exiftool_and_exiv2_read_the_keywords_and_all_that_was_there(tmp_path, theirs):
    before, after = tmp_path / "before.xmp", tmp_path / "after.xmp"
    before.write_bytes((theirs or ADOBE).encode())
    after.write_bytes(tagged(theirs and theirs.encode(), EMU))
    told, old = (
        json.loads(asked("exiftool", "-json", "-G1", "-XMP:all", "-struct", str(path)))[0] for path in (after, before)
    )
    assert "emu" in told["XMP-dc:Subject"] and told["XMP-lr:HierarchicalSubject"] == ["birds|emu"]
    assert told["XMP-promptctl:Answers"][0]["Probability"] == 0.9731
    if theirs:
        ours = ("SourceFile", "XMP-dc:Subject", "XMP-digiKam:TagsList")
        assert {key: told.get(key) for key in old if key not in ours} == {
            key: value for key, value in old.items() if key not in ours
        }
        assert (told.get("XMP-digiKam:TagsList") or [])[:1] == (["People/Ada"] if theirs is DIGIKAM else [])
    of_exiv2, of_old = (set(asked("exiv2", "-PXkt", str(path)).splitlines()) for path in (after, before))
    assert any(line.startswith("Xmp.dc.subject") and line.endswith("emu") for line in of_exiv2)
    assert any("promptctl:probability" in line and line.endswith("0.9731") for line in of_exiv2)
    if theirs:
        assert {line for line in of_old - of_exiv2 if "subject" not in line and "TagsList" not in line} == set()


def test_what_exiftool_and_exiv2_wrote_into_ours_stays_and_ours_is_still_known(tmp_path):
    path = tmp_path / "a.jpg.xmp"
    path.write_bytes(tagged(None, EMU))
    asked("exiftool", "-overwrite_original", "-XMP-dc:Subject+=mine", "-XMP-xmp:Rating=5", str(path))
    asked("exiv2", "-M", "set Xmp.dc.title mine", str(path))
    path.write_bytes(tagged(path.read_bytes(), IBIS))
    assert keywords(path.read_bytes()) == ("mine", "ibis")
    told = json.loads(asked("exiftool", "-json", "-G1", str(path)))[0]
    assert (told["XMP-xmp:Rating"], told["XMP-dc:Title"], told["XMP-dc:Subject"]) == (5, "mine", ["mine", "ibis"])
    assert told["XMP-lr:HierarchicalSubject"] == "birds|ibis"
