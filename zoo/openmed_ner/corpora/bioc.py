"""XML with places: BioC (passages with annotations) and IeXML (sentences with inline ``<e>`` elements)."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

from zoo.core.errors import UserError, one_line
from zoo.openmed_ner.corpora.records import Document, Report, Span, checked_span, offset, read_bytes


def read_bioc(path: str | Path, *, strict: bool = False) -> tuple[list[Document], Report]:
    """Read a BioC collection. Offsets of annotations count from the document's start; gaps between passages are spaces.

    Args:
        path: the XML file.
        strict: refuse the first annotation that does not match instead of reporting it.

    Returns:
        The documents, and the report of annotations that do not match their text and were left out.

    Raises:
        UserError: not XML, no document, passages that overlap, or with ``strict`` any flaw.
    """
    report, documents = Report(), []
    for node in _parse(path).iter("document"):
        name = node.findtext("id", "").strip()
        text, spans = "", []
        for passage in node.iter("passage"):
            for holder in passage.findall("sentence") or [passage]:
                start = _number(holder.findtext("offset"), path, name)
                # BioC counts from wherever the collection starts; what lies between passages is blank.
                if start < len(text):
                    raise UserError(
                        f"{path}, document {name}: the passage at {start} overlaps the one before: mend offset"
                    )
                text += " " * (start - len(text)) + (holder.findtext("text") or "")
        for note in node.iter("annotation"):
            label = next((i.text or "" for i in note.findall("infon") if i.get("key") == "type"), "")
            concept = next((i.text or "" for i in note.findall("infon") if i.get("key") in ("identifier", "MESH")), "")
            places = [
                (_number(p.get("offset"), path, name), _number(p.get("length"), path, name))
                for p in note.findall("location")
            ]
            fragments = [(s, s + n) for s, n in places]
            span, why = checked_span(text, fragments, label, note.findtext("text") or "", id=concept)
            if not fragments:
                span, why = None, "an annotation without a location"
            if span is None:
                if strict:
                    raise UserError(f"{path}, document {name}: {why}: mend the annotation, or read without strict")
                report.add("spans that do not match", path, 0, f"document {name}: {why}", "left out")
            else:
                spans.append(span)
        documents.append(Document(name, text, tuple(sorted(spans, key=lambda s: (s.start, s.end)))))
    if not documents:
        raise UserError(f"{path} holds no <document>: check that it is a BioC file")
    return documents, report


def read_iexml(path: str | Path) -> tuple[list[Document], Report]:
    """Read IeXML: documents (or MedlineCitation) whose text has sentences ``<s>`` and entities ``<e id="...">mention</e>``.

    An entity's type is the last part of its ``id`` (``...:T023:PRGE``), or its ``type`` or ``class``. Nested entities are kept,
    each with its own span.

    Raises:
        UserError: not XML, or no sentence.
    """
    root, documents = _parse(path), []
    holders = [n for n in root.iter() if _tag(n) in ("document", "article", "MedlineCitation", "doc")] or [root]
    for number, holder in enumerate(holders, start=1):
        name = holder.get("id") or holder.findtext("PMID") or holder.findtext("id") or str(number)
        text, spans, sentences = "", [], []
        for sentence in (n for n in holder.iter() if _tag(n) in ("s", "sentence")):
            if text:
                text += " "
            begin = len(text)
            text = _inline(sentence, text, spans)
            sentences.append((begin, len(text)))
        if sentences:
            documents.append(Document(name.strip(), text, tuple(sorted(spans, key=_place)), tuple(sentences)))
    if not documents:
        raise UserError(f"{path} holds no <s> sentence: check that it is an IeXML file")
    return documents, Report()


def _inline(node: ET.Element, text: str, spans: list[Span]) -> str:
    start = len(text)
    text += node.text or ""
    for child in node:
        text = _inline(child, text, spans)
        text += child.tail or ""
    if _tag(node) == "e" and len(text) > start:
        label = node.get("type") or node.get("class") or (node.get("id") or "").split("|")[0].split(":")[-1]
        spans.append(Span(((start, len(text)),), label or "e", text[start:], node.get("id") or ""))
    return text


def _tag(node: ET.Element) -> str:
    return node.tag.rsplit("}", 1)[-1] if isinstance(node.tag, str) else ""


def _place(span: Span) -> tuple[int, int]:
    return span.start, span.end


def _number(value: str | None, path: object, name: str) -> int:
    number = offset((value or "").strip())
    if number is None:
        raise UserError(
            f"{path}, document {name}: offset or length {value!r} is no whole number below 10^9: mend the file"
        )
    return number


def _parse(path: str | Path) -> ET.Element:
    raw = read_bytes(path)
    # Entities of one's own making can blow a small file up to gigabytes; these formats need none.
    if b"<!ENTITY" in raw:
        raise UserError(f"{path} defines XML entities, which these formats do not need: it is refused")
    try:
        return ET.fromstring(raw)
    except (ET.ParseError, LookupError, ValueError) as error:  # the latter two: an encoding that the parser lacks
        raise UserError(f"{path}: not well-formed XML ({one_line(str(error))}): get the file again") from None
