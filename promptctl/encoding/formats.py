"""Formats: which image files are opened, which are only known by name, and how the first bytes tell them apart.

Nothing outside READ is ever handed to a decoder: some of the others would be read by running a program.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

HEAD = 4096  # bytes from the start of a file that tell what it is
RAW_MISSING = "raw photo, which needs one more package: pip install 'promptctl[raw]'"
RAW_UNKNOWN = "raw photo that cannot be read (none of its kind is known): export it as JPEG first"


@dataclass(frozen=True)
class Format:
    """A kind of image file: how its content starts and how it is called."""

    name: str
    suffixes: tuple[str, ...]
    start: re.Pattern[bytes] | None = None  # None: its content is not told by its start
    refusal: str = ""  # why it is not read; empty: it is
    needs: str = ""  # a package that it is read with; empty: none beside Pillow
    missing: str = ""  # what to say where that is not installed

    @property
    def why_not(self) -> str:
        """Why it is not read here; empty: it is."""
        return self.refusal or (self.missing if self.needs and not _is_installed(self.needs) else "")


@cache
def _is_installed(package: str) -> bool:
    return find_spec(package) is not None


def _start(pattern: bytes) -> re.Pattern[bytes]:
    return re.compile(pattern, re.DOTALL)


def _refused(name: str, suffixes: str, pattern: bytes | None = None) -> Format:
    refusal = f"{name}, which is not read: convert it to JPEG or PNG"
    return Format(name, tuple(suffixes.split()), _start(pattern) if pattern else None, refusal)


JPEG = Format("JPEG", (".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo"), _start(rb"\xff\xd8\xff"))
PNG = Format("PNG", (".png", ".apng"), _start(rb"\x89PNG\r\n\x1a\n"))
GIF = Format("GIF", (".gif",), _start(rb"GIF8[79]a"))
BMP = Format("BMP", (".bmp", ".dib"), _start(rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0"))
TIFF = Format("TIFF", (".tif", ".tiff"), _start(rb"II[*+]\0|MM\0[*+]"))
WEBP = Format("WebP", (".webp",), _start(rb"RIFF.{4}WEBP"))
NETPBM = Format("PPM", (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"), _start(rb"(P[1-6]|Pf)\s+(#[^\n]*\n\s*)*\d"))
AVIF = Format("AVIF", (".avif", ".avifs"))
HEIC = Format("HEIC", (".heic", ".heif", ".heics", ".heifs", ".hif"))

_RAW_SUFFIXES = (
    ".3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .fff .gpr .iiq .k25 .kdc .mef .mos .mrw .nef .nrw .orf .pef .ptx .raf "
    ".raw .rw2 .rwl .sr2 .srf .srw .x3f"
)
_RAW_STARTS = (
    rb"(II\*\0|MM\0\*).{4}(CR\x02|IIII|MMMM)|IIU\0|IIR[OS]|MMOR|FUJIFILMCCD-RAW|FOVb|\0MRM|II\x1a\0\0\0HEAPCCDR"
)
RAW_PHOTO = Format("raw photo", tuple(_RAW_SUFFIXES.split()), _start(_RAW_STARTS), needs="rawpy", missing=RAW_MISSING)
READ = (JPEG, PNG, GIF, BMP, TIFF, WEBP, NETPBM, AVIF, HEIC, RAW_PHOTO)
REFUSED = (
    _refused("JPEG XL", ".jxl", rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n"),
    _refused("JPEG 2000", ".jp2 .j2k .jpx .jpf .j2c .jpc", rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"),
    _refused("JPEG XR", ".jxr .wdp .hdp", rb"II\xbc"),
    _refused("Photoshop file", ".psd .psb", rb"8BPS"),
    _refused("GIMP file", ".xcf", rb"gimp xcf"),
    _refused(
        "SVG drawing",
        ".svg .svgz",
        # what comes first ends where it first can: a choice of ends doubles with every comment
        rb"(\xef\xbb\xbf)?\s*(<\?xml((?!\?>).)*\?>|<!--((?!-->).)*-->|<!DOCTYPE\s+svg[^>]*>|\s)*<svg[\s>]",
    ),
    _refused("PostScript file", ".eps .ps", rb"%!PS|\xc5\xd0\xd3\xc6"),
    _refused("Windows icon", ".ico .cur"),
    _refused("Mac icon", ".icns", rb"icns"),
    _refused("Targa picture", ".tga .icb .vda .vst"),
    _refused("DirectDraw texture", ".dds", rb"DDS \x7c"),
    _refused("OpenEXR picture", ".exr", rb"v/1\x01"),
    _refused("Radiance picture", "", rb"#\?(RADIANCE|RGBE)"),
    _refused("QOI picture", ".qoi", rb"qoif"),
    _refused("PCX picture", ".pcx .dcx"),
    _refused("SGI picture", ".sgi .rgb .rgba .bw"),
    _refused("X bitmap", ".xbm .xpm"),
    _refused("Windows metafile", ".wmf .emf", rb"\xd7\xcd\xc6\x9a|\x01\0\0\0.{36} EMF"),
    _refused("DICOM picture", ".dcm .dicom", rb".{128}DICM"),
    _refused("FITS picture", ".fits .fts", rb"SIMPLE  ="),
    _refused("DjVu document", ".djvu .djv", rb"AT&TFORM"),
    _refused("BPG picture", ".bpg", rb"BPG\xfb"),
)
_FOREIGN = (  # what people's folders hold beside images, and what is called .jpg by mistake
    ("a PDF, not an image", _start(rb"\s{0,16}%PDF-")),
    (
        "a video, not an image",
        _start(rb".{4}ftyp|RIFF.{4}AVI |\x1aE\xdf\xa3|\0\0\x01\xba|\x30\x26\xb2\x75\x8e\x66\xcf\x11"),
    ),
    ("a video, not an image", _start(rb".{4}(moov|mdat|wide|free|skip)[\0-\xff]{4}")),
    ("an archive, whose photos classify --engine ray reads", _start(rb".{257}ustar")),
    ("a table, whose photos classify --engine ray reads", _start(rb"PAR1")),
)
_IN_TURN = (
    JPEG,
    RAW_PHOTO,
    *REFUSED,
    *READ,
)  # most files are JPEGs, which start like nothing else; raw photos go before TIFF
_OF_SUFFIX = {suffix: format for format in (*READ, *REFUSED) for suffix in format.suffixes}
_AVIF_BRANDS = frozenset((b"avif", b"avis"))
_HEIC_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"))


def of_name(path: Path) -> Format | None:
    """The kind of image that a file is called like."""
    return _OF_SUFFIX.get(path.suffix.lower())


def is_image_name(path: Path) -> bool:
    """Whether a file is called like an image, also of a kind that is not read; nothing is opened."""
    return of_name(path) is not None


def of_content(head: bytes) -> Format | None:
    """The kind of image that a file starts like; raw photos that start like any TIFF are a TIFF here."""
    if head[4:8] == b"ftyp":
        return _of_brands(head)
    return next((format for format in _IN_TURN if format.start and format.start.match(head)), None)


def foreign(head: bytes) -> str:
    """What a file that is no image is instead."""
    return next((what for what, start in _FOREIGN if start.match(head)), "not an image")


def _of_brands(head: bytes) -> Format | None:
    end = min(int.from_bytes(head[:4], "big"), len(head))
    brands = {head[at : at + 4] for at in (8, *range(16, end - 3, 4))}
    if b"crx " in brands:
        return RAW_PHOTO
    return AVIF if brands & _AVIF_BRANDS else HEIC if brands & _HEIC_BRANDS else None
