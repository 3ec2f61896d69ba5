"""The page of `evaluate --report`: what it says, what it leaves alone, and how it looks in a real browser."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from browser import browser_page, chromium  # noqa: F401
from conftest import paint
from PIL import Image, PngImagePlugin

import promptctl
from promptctl.render.html import figures, findings, page
from promptctl.render.html.thumbnails import thumbnail
from promptctl.report import ClassScore, PhotoAnswer, SkippedFile

VOID = {"meta", "img", "br", "link", "input"}


class Element:
    def __init__(self, tag, attributes, within):
        self.tag, self.attributes, self.within, self.text = tag, attributes, within, ""


class Reader(HTMLParser):
    """All elements of a page in order, each with its text."""

    def __init__(self, html):
        super().__init__()
        self.elements, self._open = [], []
        self.feed(html)
        assert not self._open, [element.tag for element in self._open]

    def handle_starttag(self, tag, attributes):
        element = Element(tag, dict(attributes), self._open[-1] if self._open else None)
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag, attributes):
        self.elements.append(Element(tag, dict(attributes), self._open[-1] if self._open else None))

    def handle_endtag(self, tag):
        assert self._open.pop().tag == tag

    def handle_data(self, data):
        for element in self._open:
            element.text += data

    def all(self, *tags):
        return [element for element in self.elements if element.tag in tags]


@pytest.fixture(scope="module")
def real(colours_bytes, tmp_path_factory):
    """What a real context says of painted pictures, and where these lie."""
    folder = tmp_path_factory.mktemp("real")
    (folder / "colours.safetensors").write_bytes(colours_bytes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROMPTCTL_HOME", str(folder / "home"))
        return promptctl.evaluate(folder / "colours.safetensors", paint(folder / "photos", images=6))


@pytest.fixture(scope="module")
def make(real):
    """A report of the photos given: (file, class, answer, probability) and, where it differs, zero-shot's answer."""

    def made(*rows, **fields):
        photos = tuple(answered(*row) for row in rows)
        count = Counter(photo.label for photo in photos)
        scores = tuple(scored(label, photos) for label in count)
        return replace(
            real, photos=photos, per_class=scores, images=len(photos), classes=len(count), class_names={}, **fields
        )

    return made


def answered(file, truth, answer, probability, zero_shot=None):
    given = Path(file)
    sha256 = hashlib.sha256(given.read_bytes()).hexdigest() if given.exists() else 64 * "0"
    other = probability if truth == answer else (1 - probability) / 2
    common = dict.fromkeys(PhotoAnswer.__dataclass_fields__)
    told = {
        "file": str(file),
        "sha256": sha256,
        "label": truth,
        "answer": answer,
        "probability": probability,
        "truth_probability": other,
        "zero_shot": zero_shot or answer,
        "zero_shot_probability": 0.5,
        "nearest_shot": answer,
        "nearest_shot_sha256": 64 * "1",
        "nearest_shot_cosine": 0.75,
    }
    return PhotoAnswer(**{**common, **told})


def scored(label, photos):
    own = [photo for photo in photos if photo.label == label]
    wrong = Counter(photo.answer for photo in own if not photo.is_right)
    return ClassScore(
        label=label,
        name=label,
        images=len(own),
        accuracy=np.mean([photo.is_right for photo in own]),
        zero_shot_accuracy=np.mean([photo.zero_shot == label for photo in own]),
        f1=0.5,
        mistaken_for=wrong.most_common(1)[0][0] if wrong else None,
    )


@pytest.fixture(scope="module")
def mixed(make, tmp_path_factory):
    """Twenty photos of four classes, of which five are mistaken, one of them for a class that none shows."""
    folder = tmp_path_factory.mktemp("mixed")
    (folder / "p").mkdir()
    file = folder / "p" / "photo.png"
    Image.new("RGB", (300, 200), (200, 120, 40)).save(file)
    rows = [(file, "emu", "emu", 0.6 + 0.03 * i, "ibis") for i in range(8)]
    rows += [(file, "ibis", "ibis", 0.9), (file, "ibis", "emu", 0.99, "ibis"), (file, "ibis", "emu", 0.4)]
    rows += [(file, "kiwi", "kiwi", 0.5)] * 5
    rows += [(file, "rhea", "rhea", 0.7), (folder / "gone.png", "rhea", "ibis", 0.8)]
    rows += [(file, "rhea", "ibis", 0.6), (file, "rhea", "ostrich", 0.45)]
    return make(*rows)


@pytest.fixture(scope="module")
def mixed_page(mixed):
    return page(mixed)


def text_of(html):
    return " ".join(Reader(html).all("body")[0].text.split()).replace("\xa0", " ")


# --------------------------------------------------------------------------- what it says


def test_a_page_of_a_real_evaluation_says_what_the_report_says(real):
    html = page(real, backbone="tiny", command="promptctl evaluate colours ./photos", made="26 November 2026")
    text = text_of(html)
    assert f"recognises {100 * real.learned.top1:.1f} % of these photos" in text
    assert f"Zero-shot recognises {100 * real.zero_shot.top1:.1f} %" in text
    found = findings.gain(findings.right(real.photos), findings.zero_shot_right(real.photos))
    assert (found.low, found.high) == (real.gain_interval.low, real.gain_interval.high)  # what the terminal says
    for said in ("tiny", "promptctl evaluate colours ./photos", promptctl.__version__, "26 November 2026", real.where):
        assert said in text
    assert f"it was learned from {real.learned_from} of these" in text


def test_every_part_is_there_and_explained(mixed_page):
    text = text_of(mixed_page)
    for part in ("Verdict", "Classes", "Confusion", "Calibration", "Coverage and risk", "Mistakes", "How it was made"):
        assert part in text
    for word in ("Zero-shot is", "Confusion is", "Calibration is", "A mistake is", "The nearest shot is", "(coverage)"):
        assert word in text
    assert "recognises 75.0 % of these photos (95 % interval 55.0 to 90.0 %)" in text
    assert "Learning puts 8 of the photos right that zero-shot gets wrong, and gets 1 wrong" in text


@pytest.mark.parametrize(
    ("zero_shot", "judged"),
    [("b", "more than chance explains"), ("a", "chance alone could do that")],
)
def test_the_verdict_says_whether_chance_could_have_done_it(make, zero_shot, judged):
    report = make(*[("1.png", "a", "a", 0.9, zero_shot)] * 20, ("2.png", "b", "a", 0.9, "b"))
    assert judged in text_of(page(report))


def test_a_context_that_is_worse_is_called_so(make):
    report = make(*[("1.png", "a", "b", 0.9, "a")] * 20, ("2.png", "b", "b", 0.9, "b"))
    assert "−95.2 points (95 % interval −100.0 to −85.7): worse, and by more than chance explains" in text_of(
        page(report)
    )


def test_nothing_wrong_is_no_proof_of_never_wrong(make):
    report = make(*[("1.png", "a", "a", 0.9)] * 20, ("2.png", "b", "b", 0.8))
    text = text_of(page(report))
    assert "recognises 100.0 % of these photos (95 % interval 83.9 to 100.0 %)" in text
    assert "20.7 to 100.0 %" in text  # of the class that has one photo
    assert "No photo was taken for another class." in text and "every photo was recognised" in text


def test_the_same_report_gives_the_same_bytes(mixed, mixed_page):
    assert page(mixed) == mixed_page


def test_the_matrix_has_the_photos_in_its_cells(mixed_page):
    table = Reader(mixed_page)
    grid = next(e for e in table.all("table") if e.attributes["aria-labelledby"] == "matrix")
    cells = [e.text for e in table.all("td") if grid is e.within.within.within and e.text]
    expected = [
        *("8", "·", "·", "·", "·"),
        *("2", "1", "·", "·", "·"),
        *("·", "·", "5", "·", "·"),
        *("·", "2", "·", "1", "1"),  # the last column is a class that none shows
    ]
    assert cells == expected


def test_mistakes_come_the_surest_first_with_the_nearest_shots_class(mixed_page):
    items = [" ".join(e.text.split()) for e in Reader(mixed_page).all("li") if "Answered" in e.text]
    assert [re.search(r"Answered (\w+) ([\d.]+)", item).groups() for item in items] == [
        ("emu", "99.0"),
        ("ibis", "80.0"),
        ("ibis", "60.0"),
        ("ostrich", "45.0"),
        ("emu", "40.0"),
    ]
    assert "Shows ibis 0.5 % Answered emu 99.0 % Zero-shot ibis 50.0 % Nearest shot emu 0.75 p/photo.png" in items[0]
    assert "The photo is no longer there." in items[1]


def test_of_many_classes_the_most_confused_are_a_table_and_all_are_a_figure(make):
    classes = [f"class {i:02d}" for i in range(95)]
    rows = [("1.png", c, c, 0.9) for c in classes for _ in range(3)]
    rows += [("1.png", classes[7], classes[9], 0.8)] * 5 + [("1.png", classes[9], classes[7], 0.8)]
    reader = Reader(page(make(*rows)))
    assert not [e for e in reader.all("table") if "matrix" in e.attributes.get("class", "")]
    pairs = next(e for e in reader.all("table") if e.attributes["aria-labelledby"] == "pairs")
    cells = [e.text for e in reader.all("th", "td") if e.within.within.within is pairs]
    assert cells[5:10] == ["class 07", "class 09", "5", "62.5\xa0%", "1"]
    assert cells[10:] == ["class 09", "class 07", "1", "25.0\xa0%", "5"]
    assert any(e.attributes.get("aria-labelledby", "").startswith("confusion-map") for e in reader.all("svg"))
    assert len([e for e in reader.all("text") if e.text.startswith("class ")]) > 95  # bars of all, and some of the map


# --------------------------------------------------------------------------- its figures


def test_intervals_are_those_of_drawing_photos_again():
    rng = np.random.default_rng(3)
    hits, others = rng.random(60) < 0.8, rng.random(60) < 0.6
    drawn = rng.integers(0, 60, (20_000, 60))
    for found, values in (
        (findings.accuracy(hits), hits[drawn].mean(1)),
        (findings.gain(hits, others), hits[drawn].mean(1) - others[drawn].mean(1)),
    ):
        low, high = np.percentile(values, (2.5, 97.5))
        assert (found.low, found.high) == pytest.approx((low, high), abs=0.018)  # one photo of sixty


def test_the_gaps_of_the_reliability_diagram_are_the_calibration_error(real):
    bins = findings.reliability(real.photos)
    assert sum(one.photos for one in bins) == real.images
    gaps = sum(abs(one.right.value - one.stated) * one.photos for one in bins) / real.images
    assert gaps == pytest.approx(real.learned.ece, abs=1e-9)


def test_risk_is_the_share_of_errors_among_the_surest():
    rng = np.random.default_rng(0)
    stated, hits = np.round(rng.random(80), 1), rng.random(80) < 0.7
    curve = findings.covered(stated.tolist(), hits)
    assert [point.least for point in curve] == sorted(set(stated), reverse=True)
    for point in curve:
        taken = stated >= point.least
        assert (point.coverage, point.risk) == pytest.approx((taken.mean(), (~hits[taken]).mean()))
    assert findings.at_deciles(curve)[0].coverage == 1


@pytest.mark.parametrize("block", [1, 2, 3])
def test_a_heat_map_of_many_classes_has_the_same_photos(block):
    counts = np.random.default_rng(0).integers(0, 9, (7, 8))  # one class is only answered
    right, wrong = figures._blocks(findings.Matrix(("",) * 7, ("",) * 8, counts), block)
    for first in range(0, 7, block):
        some, row = slice(first, first + block), first // block
        hits = counts[some, some].trace() / counts[some].sum()
        assert right[row].sum() == right[row, row] == pytest.approx(hits)
        assert wrong[row].sum() == pytest.approx(1 - hits)


# --------------------------------------------------------------------------- hostile input


HOSTILE = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(1)'>",
    "</style></svg></title>",
    "{{ 7 * 7 }}{% raw %}",
    "$\\frac{1}{0}$ & -->",
    "a\nb\tc\x00\x1b[31m",
    "photo\u202egpj.exe\u2066",
    "caf\udce9",
)


def test_names_of_files_and_classes_are_only_ever_text(make, tmp_path):
    rows = [(f"/x/{name}.jpg".replace("\0", ""), name, HOSTILE[0], 0.9) for name in HOSTILE]
    html = page(
        make(
            *rows,
            context=HOSTILE[0],
            where=HOSTILE[1],
            zero_shot_template=HOSTILE[2],
            skipped=(SkippedFile(Path("/x" + HOSTILE[6]), HOSTILE[1]),),
        ),
        backbone=HOSTILE[1],
        command=HOSTILE[7],
        made=HOSTILE[0],
    )
    html.encode("utf-8")
    assert not any(hidden in html for hidden in "\u202e\u2066\x00\x1b")
    reader = Reader(html)
    assert not reader.all("script", "img", "iframe", "object", "link", "base", "form")
    assert not [e for e in reader.elements if any(key.startswith("on") for key in e.attributes)]
    text = text_of(html)
    assert any(e.text.startswith(HOSTILE[4][:13]) for e in reader.all("text"))  # a formula would be drawn as one
    for shown in (HOSTILE[0], HOSTILE[1], HOSTILE[3], HOSTILE[4], r"a\nb\tc\x00", r"photo\u202egpj.exe", r"caf\xe9"):
        assert shown in text


def test_nothing_leads_outside_and_every_id_is_one(mixed_page):
    html = mixed_page
    assert (
        "http://" not in html
        and "https://" not in html
        and "//" not in html.replace("base64,", "").partition("<body")[0]
    )
    elements = Reader(html).elements
    ids = [e.attributes["id"] for e in elements if "id" in e.attributes]
    assert len(ids) == len(set(ids))
    pointed = [e.attributes[key] for e in elements for key in ("href", "src") if key in e.attributes]
    assert all(to.startswith("data:image/jpeg;base64,") or to.removeprefix("#") in ids for to in pointed)
    assert set(re.findall(r"url\(#([^)]*)\)", html)) <= set(ids) and "url(" not in html.replace("url(#", "")
    named = [e.attributes[key] for e in elements for key in ("aria-labelledby",) if key in e.attributes]
    assert all(set(some.split()) <= set(ids) for some in named)
    policy = next(e.attributes["content"] for e in elements if "http-equiv" in e.attributes)
    assert "default-src 'none'" in policy and "script" not in policy


# --------------------------------------------------------------------------- for everybody


def test_a_screen_reader_finds_its_way(mixed_page):
    reader = Reader(mixed_page)
    assert reader.all("html")[0].attributes["lang"] == "en"
    levels = [int(e.tag[1]) for e in reader.all("h1", "h2", "h3", "h4")]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert [len(reader.all(tag)) for tag in ("header", "nav", "main")] == [1, 1, 1]
    assert all(e.attributes.get("alt") for e in reader.all("img"))
    assert all(e.attributes.get("scope") in ("row", "col") for e in reader.all("th"))
    assert all("aria-labelledby" in e.attributes for e in reader.all("table", "section", "svg"))
    for drawing in reader.all("svg"):
        assert drawing.attributes["role"] == "img"
    for scrolls in (e for e in reader.all("div") if e.attributes.get("class") == "scroll"):
        assert scrolls.attributes["tabindex"] == "0" and scrolls.attributes["role"] == "region"


# --------------------------------------------------------------------------- thumbnails


def shown(thumb):
    assert not thumb.missing, thumb.missing
    picture = Image.open(io.BytesIO(base64.b64decode(thumb.uri.partition(",")[2])))
    assert picture.size == (thumb.width, thumb.height)
    return picture


def of(path):
    return answered(path, "a", "b", 0.9)


def test_a_thumbnail_is_upright_small_and_says_nothing_else(tmp_path):
    picture = Image.new("RGB", (1600, 800), "red")
    picture.paste("blue", (0, 0, 800, 800))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter to the right
    exif[0x010E] = "a secret"
    picture.save(tmp_path / "sideways.jpg", exif=exif, comment=b"a secret")
    small = shown(thumbnail(of(tmp_path / "sideways.jpg")))
    assert small.size == (96, 192)
    top, bottom = small.getpixel((48, 10)), small.getpixel((48, 180))
    assert top[2] > 200 > 60 > top[0] and bottom[0] > 200 > 60 > bottom[2]
    picture.save(tmp_path / "remark.gif", comment=b"a secret")
    for one in (small, shown(thumbnail(of(tmp_path / "remark.gif")))):
        assert not one.getexif() and "comment" not in one.info


def test_a_thumbnail_of_sixteen_bits_is_not_white(tmp_path):
    Image.fromarray(np.full((40, 60), 20_000, np.uint16)).save(tmp_path / "deep.png")
    small = shown(thumbnail(of(tmp_path / "deep.png")))
    assert small.size == (60, 40)  # never made larger
    assert np.abs(np.asarray(small).astype(int) - 20_000 / 65535 * 255).max() < 4


def test_a_photo_that_is_gone_changed_or_too_large_is_said_to_be(tmp_path):
    path = tmp_path / "photo.png"
    Image.new("RGB", (8, 8)).save(path)
    photo = of(path)
    Image.new("RGB", (8, 8), "red").save(path)
    assert thumbnail(photo).missing == "The file has changed since."
    path.unlink()
    assert thumbnail(photo).missing == "The photo is no longer there."
    bomb = io.BytesIO()
    Image.new("1", (1, 1)).save(bomb, "PNG")
    header = bytearray(bomb.getvalue())
    header[16:24] = b"\0\x03\0\0\0\x03\0\0"  # 196608 pixels wide and high
    crc = PngImagePlugin._crc32(bytes(header[12:29]))
    header[29:33] = crc.to_bytes(4, "big")
    path.write_bytes(header)
    assert thumbnail(of(path)).missing.startswith("The photo cannot be read: ")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    assert thumbnail(of(path)).missing.startswith("The photo cannot be read: ")


def test_a_page_of_two_hundred_photos_is_small(make, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (600, 800, 3), np.uint8)  # nothing is larger as a JPEG
    Image.fromarray(noise).save(tmp_path / "noise.jpg")
    rows = [(tmp_path / "noise.jpg", "abc"[i % 3], "abc"[i // 2 % 3], 0.5 + i / 500) for i in range(200)]
    html = page(make(*rows))
    assert html.count("data:image/jpeg") == 48
    assert 200_000 < len(html.encode()) < 1_500_000


# --------------------------------------------------------------------------- in a browser


@pytest.fixture
def opened(browser_page, mixed_page, tmp_path):  # noqa: F811
    """A report in a browser, from the disk."""
    file = tmp_path / "out.html"
    file.write_text(mixed_page, "utf-8")
    browser_page.goto(file.as_uri())
    return browser_page


def test_a_person_sees_the_verdict_the_figures_and_the_mistakes(opened):
    for seen in ("Verdict", "Classes", "Confusion", "Calibration", "Coverage and risk", "Mistakes", "How it was made"):
        assert opened.get_by_role("heading", name=seen, exact=True).is_visible()
    assert opened.get_by_text("recognises 75.0 % of these photos").is_visible()
    figures = opened.get_by_role("img")
    assert figures.filter(has_text="").count() >= 4
    for name in ("Accuracy with its 95 % interval", "Reliability diagram", "Coverage and risk"):
        box = opened.get_by_role("img", name=name).bounding_box()
        assert box["width"] > 200 and box["height"] > 80
    photos = opened.locator(".mistakes img")
    assert photos.count() == 4
    assert opened.evaluate("[...document.images].every(image => image.naturalWidth === 192)")
    assert opened.get_by_text("The photo is no longer there.").is_visible()
    numbers = opened.get_by_role("table", name="Answers by the probability that they state")
    assert not numbers.is_visible()
    opened.get_by_text("The same in numbers").first.click()
    assert numbers.is_visible()


@pytest.mark.parametrize("width", [320, 360, 768])
def test_a_phone_scrolls_no_page_sideways(opened, width):
    opened.set_viewport_size({"width": width, "height": 740})
    opened.evaluate("document.querySelectorAll('details').forEach(some => some.open = true)")
    assert opened.evaluate("document.documentElement.scrollWidth") == width
    beyond = """[...document.querySelectorAll('p, h1, h2, figure, img, dl, summary')]
        .filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"""
    assert opened.evaluate(beyond) == []


CONTRAST = """(() => {
  const light = c => { const [r, g, b] = c.match(/[\\d.]+/g).map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b }
  const ground = light(getComputedStyle(document.documentElement).backgroundColor)
  const against = c => { const [a, b] = [light(c), ground].sort((x, y) => y - x); return (a + 0.05) / (b + 0.05) }
  return Object.fromEntries([['text', 'p.lead', 'color'], ['muted', '.plain', 'color'], ['link', 'nav a', 'color'],
    ['wrong', 'strong.wrong', 'color'], ['figure text', 'svg text', 'fill'], ['bar', '#bars0-patch_3 path', 'fill'],
  ].map(([name, at, property]) => [name, against(getComputedStyle(document.querySelector(at))[property])]))
})()"""


def test_it_is_legible_in_the_light_and_in_the_dark(opened):
    ground = {}
    for scheme in ("light", "dark"):
        opened.emulate_media(color_scheme=scheme)
        ground[scheme] = opened.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        contrasts = opened.evaluate(CONTRAST)
        assert min(value for name, value in contrasts.items() if name != "bar") >= 4.5, (scheme, contrasts)
        assert contrasts["bar"] >= 3, (scheme, contrasts)
    assert ground["light"] != ground["dark"]


def test_the_keyboard_reaches_everything(opened):
    reached = []
    for _ in range(60):
        opened.keyboard.press("Tab")
        reached.append(opened.evaluate("document.activeElement.innerText.trim().split('\\n')[0]"))
        if reached[-1] == "" or opened.evaluate("document.activeElement === document.body"):
            break
    assert reached[:3] == ["Skip to the verdict", "Verdict", "Classes"]
    for name in ("Mistakes", "Every class in numbers", "What is confused most often", "The same in numbers"):
        assert name in reached
    opened.evaluate("document.activeElement.blur()")
    opened.reload()
    opened.keyboard.press("Tab")
    assert opened.get_by_text("Skip to the verdict").bounding_box()["y"] >= 0
    assert opened.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    opened.keyboard.press("Enter")
    assert opened.evaluate("document.activeElement.id") == "main"


def test_what_is_folded_is_printed(opened):
    numbers = opened.get_by_role("table", name="Answers by the probability that they state")
    opened.emulate_media(media="print", color_scheme="dark")
    assert numbers.bounding_box()["height"] > 50
    assert not opened.get_by_role("navigation").is_visible()
    ground = opened.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert ground == "rgb(255, 255, 255)"
    assert len(opened.pdf()) > 20_000


def test_a_hostile_page_does_nothing_in_a_browser(browser_page, make, tmp_path):  # noqa: F811
    rows = [(f"/x/{name}.jpg".replace("\0", ""), name, HOSTILE[0], 0.9) for name in HOSTILE]
    (tmp_path / "out.html").write_text(page(make(*rows, context=HOSTILE[1])), "utf-8")
    browser_page.on("dialog", lambda dialog: pytest.fail("a script ran"))
    browser_page.goto((tmp_path / "out.html").as_uri())
    assert browser_page.locator("script").count() == 0
    assert browser_page.get_by_role("heading", level=1).inner_text().startswith(HOSTILE[1])
