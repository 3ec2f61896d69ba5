"""XMP: keywords in a sidecar, beside whatever other programs keep there.

A sidecar is changed where a keyword comes or goes, and every other byte of it stays. A stranger may have written it: a
document type is refused, and so with it every entity; size, elements and depth are bounded. The properties are those
of Adobe's "XMP Specification Part 1" (ISO 16684-1): dc:subject, and Lightroom's lr:hierarchicalSubject.

What was written is listed in a property of our own, one record for each context, so that it can be replaced when the
answer changes, and a keyword that was there before stays.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

LARGEST = 32_000_000  # bytes of a sidecar; those of darktable with drawn masks have one or two million
_MOST_ELEMENTS = 100_000
_DEEPEST = 64

_X, _RDF = "adobe:ns:meta/", "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_OWN = "urn:promptctl:xmp:1.0/"
_ANSWERS = "answers"
_TOOLKIT = "promptctl"  # x:xmptk of a sidecar that was made here
_FIELDS = ("context", "version", "label", "probability")
_CONTAINERS = ("Bag", "Seq", "Alt")

Name = tuple[str, str]  # namespace, local name
Edit = tuple[int, int, bytes]  # what of the file is replaced, and by what


class BadSidecar(Exception):
    """A sidecar that is left as it is; `str()` says why in a few words."""


@dataclass(frozen=True)
class Tag:
    """What a photo is tagged with by one context."""

    context: str  # its name; "": words
    keyword: str | None  # None: no keyword, and one of before goes
    parents: tuple[str, ...] = ()  # above the keyword in a tree of keywords
    label: str = ""
    probability: float = 0.0
    version: int | None = None


@dataclass(frozen=True)
class _List:
    """A property in which programs keep keywords."""

    uri: str
    prefix: str
    local: str
    between: str | None  # levels of a keyword's path; None: the keyword alone
    always: bool = True  # False: only where a program keeps one already

    def entries(self, tag: Tag) -> tuple[str, ...]:
        if tag.keyword is None:
            return ()
        if self.between is None:
            return (_text(tag.keyword),)
        return (self.between.join(_text(level).replace(self.between, "-") for level in (*tag.parents, tag.keyword)),)


_LISTS = (
    _List("http://purl.org/dc/elements/1.1/", "dc", "subject", None),
    _List("http://ns.adobe.com/lightroom/1.0/", "lr", "hierarchicalSubject", "|"),
    # where one of these is, digiKam and Windows look at no other
    _List("http://www.digikam.org/ns/1.0/", "digiKam", "TagsList", "/", always=False),
    _List("http://ns.microsoft.com/photo/1.0/", "MicrosoftPhoto", "LastKeywordXMP", "/", always=False),
)


def tagged(data: bytes | None, tag: Tag) -> bytes | None:
    """A sidecar with what a photo is tagged with in place of what the same context said before.

    data      the sidecar; None: there is none
    returns   the same bytes where nothing changes; None: there is nothing to keep a sidecar for
    raises    BadSidecar
    """
    if data is None:
        return None if tag.keyword is None else _changed(_NEW, tag)
    if len(data) > LARGEST:
        raise BadSidecar(f"{len(data) / 1e6:.0f} MB, which no sidecar has")
    mark, text, encoding = _decoded(data)
    changed = _changed(text, tag)
    if changed is None:
        return None
    return data if changed == text else mark + changed.decode("utf-8").encode(encoding)


def keywords(data: bytes) -> tuple[str, ...]:
    """The keywords of a sidecar, whoever wrote them; BadSidecar."""
    return _Sidecar(_decoded(data)[1]).items(_LISTS[0]) or ()


def _decoded(data: bytes) -> tuple[bytes, bytes, str]:
    """Its byte order mark, the rest in UTF-8, and how that is encoded in the file."""
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (b"", "utf-8"),
    ):
        if data.startswith(mark):
            try:
                return mark, data[len(mark) :].decode(encoding).encode("utf-8"), encoding
            except UnicodeError:
                break
    raise BadSidecar("not in Unicode")


def _text(said: str) -> str:
    """What XML can hold of a text, on one line."""
    return _NO_TEXT.sub("\ufffd", " ".join(said.split())) or "-"


def _escaped(text: str) -> str:
    """A text as XML has it between tags and in quotation marks."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


_NO_TEXT = re.compile("[^\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


# --------------------------------------------------------------------------- what changes


@dataclass(frozen=True)
class _Record:
    """What one context's answer put where."""

    told: Mapping[str, str]  # of _FIELDS
    wrote: Mapping[str, tuple[str, ...]]  # local name of a list → entries that are ours

    @property
    def context(self) -> str:
        return self.told.get("context", "")


def _changed(text: bytes, tag: Tag) -> bytes | None:
    sidecar = _Sidecar(text)
    records, context = sidecar.records(), _text(tag.context) if tag.context else ""
    others = [record for record in records if record.context != context]
    before = next((record for record in records if record.context == context), None)
    if before is None and tag.keyword is None:
        return text
    wrote = {one.local: sidecar.list_keywords(one, tag, before, others) for one in _LISTS}
    ours = [] if tag.keyword is None else [_record(tag, wrote)]
    sidecar.write_records([*others, *ours])
    changed = sidecar.changed()
    after = _Sidecar(changed)  # read again: what cannot be read is never written
    if any(after.items(one) != sidecar.expected[one] for one in _LISTS):
        raise BadSidecar("its keywords are written in a way that is not understood")
    return None if after.is_ours_and_empty() else changed


def _record(tag: Tag, wrote: Mapping[str, tuple[str, ...]]) -> _Record:
    told = {
        "context": tag.context,
        "version": "" if tag.version is None else str(tag.version),
        "label": tag.label,
        "probability": f"{tag.probability:.4f}",
    }
    return _Record({key: _text(value) for key, value in told.items() if value}, wrote)


class _Sidecar:
    """A sidecar as it was read, and the edits that are to be made in it."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.expected: dict[_List, tuple[str, ...] | None] = {}  # what a list is to hold after the edits
        self._edits: list[Edit] = []
        self._gone: list[_Element] = []
        self._new: list[str] = []  # properties that it lacks
        self._root = _parsed(data)
        found = [element for element in self._root.below(3) if element.name == (_RDF, "RDF")]
        if len(found) != 1:
            raise BadSidecar("not XMP")
        self._rdf = found[0]
        self._descriptions = [child for child in self._rdf.children if child.name == (_RDF, "Description")]
        self._declared = "" if self._rdf.tag == "rdf:RDF" else f' xmlns:rdf="{_RDF}"'

    # ---------------------------------------------------------------- read

    def items(self, one: _List) -> tuple[str, ...] | None:
        """The keywords of a list; None where it has none such."""
        found = self._property((one.uri, one.local))
        return None if found is None or found.is_bare else tuple(item.text for item in self._container(found).children)

    def records(self) -> list[_Record]:
        found = self._property((_OWN, _ANSWERS))
        if found is None or found.is_bare:
            return []
        return [_read_record(item) for item in self._container(found).children]

    def is_ours_and_empty(self) -> bool:
        made_here = self._root.attributes.get((_X, "xmptk"), "").startswith(_TOOLKIT)
        return made_here and not self._rdf.children

    def _property(self, name: Name) -> _Element | None:
        found = [child for one in self._descriptions for child in one.children if child.name == name]
        if any(name in one.attributes for one in self._descriptions) or len(found) > 1:
            raise BadSidecar(f"its {name[1]} is no list")
        return found[0] if found else None

    @staticmethod
    def _container(found: _Element) -> _Element:
        inside = found.children
        if len(inside) != 1 or inside[0].name not in [(_RDF, kind) for kind in _CONTAINERS]:
            raise BadSidecar(f"its {found.name[1]} is no list")
        return inside[0]

    # ---------------------------------------------------------------- change

    def list_keywords(self, one: _List, tag: Tag, before: _Record | None, others: Sequence[_Record]) -> tuple[str, ...]:
        """Have a list hold what it should, and nothing of before; which of its entries are ours.

        What we wrote and somebody took away since stays away as long as the answer is the same. What another context
        wrote too stays.
        """
        items = self.items(one)
        if items is None and not one.always:
            self.expected[one] = None
            return ()
        wanted, there = one.entries(tag), items or ()
        mine = before.wrote.get(one.local, ()) if before else ()
        elsewhere = {entry for record in others for entry in record.wrote.get(one.local, ())}
        gone = {entry for entry in mine if entry not in wanted and entry not in elsewhere}
        added = tuple(entry for entry in wanted if entry not in there and entry not in mine)
        left = tuple(entry for entry in there if entry not in gone)
        self.expected[one] = (left + added) or (items if items is not None and not gone else None)
        self._edit_list(one, gone, added, bool(left))
        return tuple(entry for entry in wanted if entry not in there or entry in mine or entry in elsewhere)

    def _edit_list(self, one: _List, gone: set[str], added: Sequence[str], is_left: bool) -> None:
        found = self._property((one.uri, one.local))
        if found is not None and found.is_bare and added:
            self._remove(found)
            found = None
        if found is None:
            if added:
                self._new.append(self._written(one.prefix, one.local, one.uri, map(_item, added)))
            return
        if found.is_bare:
            return
        container = self._container(found)
        if gone and not is_left and not added:
            self._remove(found)
            return
        for item in container.children:
            if item.text in gone:
                self._remove(item)
        if added:
            li = container.prefixed("li")
            self._append(container, [f"<{li}>{_escaped(entry)}</{li}>" for entry in added])

    def write_records(self, records: Sequence[_Record]) -> None:
        """Our own property, in the place where it is."""
        found = self._property((_OWN, _ANSWERS))
        if not records:
            if found is not None:
                self._remove(found)
            return
        written = self._written("promptctl", _ANSWERS, _OWN, map(_record_item, records))
        if found is None:
            self._new.append(written)
        else:
            self._edits.append((found.start, found.end, written.encode()))

    def changed(self) -> bytes:
        """The file with all edits made."""
        if self._new:
            self._append(self._rdf, [self._description()])
        for one in self._descriptions:
            if one.children and all(child in self._gone for child in one.children) and _says_nothing(one):
                self._edits = [edit for edit in self._edits if not one.start <= edit[0] < one.end]
                self._remove(one)
        parts, at = [], 0
        for start, stop, replacement in sorted(self._edits):
            parts += [self.data[at:start], replacement]
            at = stop
        return b"".join([*parts, self.data[at:]])

    def _description(self) -> str:
        """What it lacks, as one that is about the same as the others."""
        about = (one.attributes.get((_RDF, "about")) for one in self._descriptions)
        subject = _escaped(next(filter(None, about), ""))
        start = f'<rdf:Description{self._declared} rdf:about="{subject}">'
        return "".join([start, *(f"\n   {one}" for one in self._new), "\n  </rdf:Description>"])

    def _written(self, prefix: str, local: str, uri: str, items: Iterable[str]) -> str:
        """A property that is a list."""
        inside = "".join(f"\n     {item}" for item in items)
        start = f'<{prefix}:{local} xmlns:{prefix}="{uri}"{self._declared}>'
        return f"{start}\n    <rdf:Bag>{inside}\n    </rdf:Bag>\n   </{prefix}:{local}>"

    def _remove(self, element: _Element) -> None:
        """An element, with the white space before it."""
        self._gone.append(element)
        self._edits.append((self._after_text(element.start), element.end, b""))

    def _append(self, element: _Element, inside: Sequence[str]) -> None:
        """More at the end of what is inside an element, indented as what stands there."""
        if element.is_closed:  # <rdf:Bag/>
            tag = self.data[element.start : element.inner].rstrip(b"/> \t\r\n")
            name = tag[1:].split()[0]
            new = tag + b">" + "".join(inside).encode() + b"</" + name + b">"
            self._edits.append((element.start, element.end, new))
            return
        last = element.children[-1] if element.children else None
        indent = self.data[self._after_text(last.start) : last.start] if last else b"\n  "
        at = max(self._after_text(element.inner_end), element.inner)
        self._edits.append((at, at, b"".join(indent + one.encode() for one in inside)))

    def _after_text(self, at: int) -> int:
        """Where the white space before a place begins."""
        while at and self.data[at - 1 : at].isspace():
            at -= 1
        return at


def _says_nothing(description: _Element) -> bool:
    return set(description.attributes) <= {(_RDF, "about"), ("", "about")}


def _read_record(item: _Element) -> _Record:
    """A record in any of the forms that RDF has for a structure."""
    told: dict[str, str] = {}
    wrote: dict[str, tuple[str, ...]] = {}
    for element in (item, *(child for child in item.children if child.name == (_RDF, "Description"))):
        told |= {local: value for (uri, local), value in element.attributes.items() if uri == _OWN}
        for child in element.children:
            uri, local = child.name
            if uri == _OWN and child.children:
                wrote[local] = tuple(entry.text for entry in child.children[0].children)
            elif uri == _OWN:
                told[local] = child.text
    return _Record({key: told[key] for key in _FIELDS if key in told}, wrote)


def _record_item(record: _Record) -> str:
    told = "".join(f"<promptctl:{key}>{_escaped(value)}</promptctl:{key}>" for key, value in record.told.items())
    lists = "".join(
        f"<promptctl:{local}><rdf:Bag>{''.join(map(_item, entries))}</rdf:Bag></promptctl:{local}>"
        for local, entries in record.wrote.items()
        if entries
    )
    return f'<rdf:li rdf:parseType="Resource">{told}{lists}</rdf:li>'


def _item(entry: str) -> str:
    return f"<rdf:li>{_escaped(entry)}</rdf:li>"


# --------------------------------------------------------------------------- parsed


@dataclass(eq=False)
class _Element:
    """An element and where it stands, in bytes."""

    name: Name
    attributes: Mapping[Name, str]
    tag: str  # as it is written: rdf:Bag
    start: int
    inner: int  # where its start tag ends
    inner_end: int = 0
    end: int = 0
    children: list[_Element] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.texts).strip()

    @property
    def is_closed(self) -> bool:
        return self.inner == self.end

    @property
    def is_bare(self) -> bool:
        """Whether it says nothing."""
        return not (self.children or self.text or self.attributes)

    def prefixed(self, local: str) -> str:
        """Another name of its namespace."""
        prefix, colon, _ = self.tag.rpartition(":")
        return prefix + colon + local

    def below(self, depth: int) -> Iterator[_Element]:
        yield self
        if depth:
            for child in self.children:
                yield from child.below(depth - 1)


_TAG = re.compile(rb"<([^\s/>]+)[^>\"']*(?:(?:\"[^\"]*\"|'[^']*')[^>\"']*)*>")


def _parsed(data: bytes) -> _Element:
    """The root of a sidecar; BadSidecar."""
    from xml.parsers import expat

    parser = expat.ParserCreate("utf-8", namespace_separator=" ")
    parser.buffer_text = True
    tree = _Tree(data, lambda: parser.CurrentByteIndex)
    parser.StartDoctypeDeclHandler = tree.refuse
    parser.StartElementHandler, parser.EndElementHandler = tree.begin, tree.finish
    parser.CharacterDataHandler = tree.say
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise BadSidecar(f"not XML ({expat.ErrorString(error.code)}, line {error.lineno})") from error
    assert tree.root is not None  # or there would have been an error
    return tree.root


class _Tree:
    """Elements as the parser finds them."""

    def __init__(self, data: bytes, at: Callable[[], int]) -> None:
        self.root: _Element | None = None
        self._data, self._at = data, at
        self._open: list[_Element] = []
        self._n_elements = 0

    def refuse(self, *_: object) -> None:
        raise BadSidecar("it has a document type, and no sidecar needs one")

    def begin(self, name: str, attributes: Mapping[str, str]) -> None:
        self._n_elements += 1
        if self._n_elements > _MOST_ELEMENTS or len(self._open) == _DEEPEST:
            raise BadSidecar("more elements than a sidecar has")
        start = self._at()
        tag = _TAG.match(self._data, start)
        assert tag is not None  # it has been parsed
        said = {_name(key): value for key, value in attributes.items()}
        element = _Element(_name(name), said, tag[1].decode(), start, tag.end())
        if self._open:
            self._open[-1].children.append(element)
        self._open.append(element)
        self.root = self.root or element

    def finish(self, _: str) -> None:
        element = self._open.pop()
        if self._data.startswith(b"/>", element.inner - 2):
            element.inner_end = element.end = element.inner
        else:
            element.inner_end = self._at()
            element.end = self._data.index(b">", element.inner_end) + 1

    def say(self, text: str) -> None:
        self._open[-1].texts.append(text)


def _name(said: str) -> Name:
    uri, _, local = said.rpartition(" ")
    return uri, local


_NEW = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="{_X}" x:xmptk="{_TOOLKIT}">
 <rdf:RDF xmlns:rdf="{_RDF}">
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
""".encode()
