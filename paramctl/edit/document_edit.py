"""A document's text with other ties: lines are put in or taken out, and everything else stays as it is written.

Every change is checked by building the model again; a document that is laid out in a way that this does not
follow is refused, with the line to write.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace

from paramctl.declare.located import Located
from paramctl.errors import DocumentError, ParamctlError, Place
from paramctl.model import from_document
from paramctl.model.document import parse
from paramctl.model.tree import Document, Model, Tie

_PLAIN = re.compile(r"[^\W\d][\w/.-]*")


def with_ties(document: Document, ties: Sequence[Tie], source: str) -> str:
    """The text of a document with these ties more. Raises DocumentError if it cannot be edited."""
    node = _ties_node(document, source)
    lines = [_line(tie) for tie in ties]
    if node is None:
        end = _end(document.text)
        last = "" if document.text.endswith("\n") else end
        text = f"{document.text}{last}{end}ties:{end}" + "".join(f"  - {line}{end}" for line in lines)
    elif isinstance(node.value, list) and node.value:
        text = _put_in(document.text, node.value[0], lines)
    else:  # a key without items
        text = _filled(document.text, node, lines)
    _check(document, text, source, {(tie.kept, tie.tied, tie.transpose) for tie in ties}, set(), lines)
    return text


def without_ties(document: Document, ties: Sequence[Tie], source: str) -> str:
    """The text of a document without these ties. Raises DocumentError if it cannot be edited."""
    node = _ties_node(document, source)
    text = document.text
    items = [_item_of(node, tie, source) for tie in ties]
    for item in sorted(items, key=lambda item: (item.line, item.column), reverse=True):
        text = _taken_out(text, item)
    _check(document, text, source, set(), {(tie.kept, tie.tied, tie.transpose) for tie in ties}, [])
    return text


def _end(text: str) -> str:
    """How lines end in a text."""
    return "\r\n" if "\r\n" in text else "\n"


def _line(tie: Tie) -> str:
    transposed = ", transpose: true" if tie.transpose else ""
    return f"{{keep: {_name(tie.kept)}, tie: {_name(tie.tied)}{transposed}}}"


def _name(path: str) -> str:
    return path if _PLAIN.fullmatch(path) else json.dumps(path, ensure_ascii=False)


def _ties_node(document: Document, source: str) -> Located | None:
    root = parse(document.text, source)
    assert isinstance(root.value, dict)
    return root.value.get("ties")


def _offset(text: str, node: Located) -> int:
    """Where in the text a node begins."""
    lines = text.splitlines(keepends=True)
    return sum(map(len, lines[: node.line - 1])) + node.column - 1


def _put_in(text: str, first: Located, lines: Sequence[str]) -> str:
    """The lines before a list's first item, as that is written."""
    place = _offset(text, first)
    begin = text.rfind("\n", 0, place) + 1
    dash = text[begin:place]
    if dash.strip() == "-":
        return text[:begin] + "".join(f"{dash}{line}{_end(text)}" for line in lines) + text[begin:]
    return text[:place] + "".join(f"{line}, " for line in lines) + text[place:]


def _filled(text: str, node: Located, lines: Sequence[str]) -> str:
    """The lines after ``ties:``, or within its empty brackets."""
    found = re.search(r"^ties:[ \t]*(?:\[[ \t]*\]|null|~)?[ \t]*(#[^\r\n]*)?(?=\r?$)", text, re.MULTILINE)
    if found is None:
        raise _refused(Document(text, "", {}, ()), node.source or "", lines)
    key = f"ties:  {found[1]}" if found[1] else "ties:"
    stop = (text + "\n").index("\n", found.end()) + 1
    end = _end(text)
    return f"{text[: found.start()]}{key}{end}" + "".join(f"  - {line}{end}" for line in lines) + text[stop:]


def _item_of(node: Located | None, tie: Tie, source: str) -> Located:
    for item in node.value if node is not None and isinstance(node.value, list) else []:
        assert isinstance(item.value, dict)
        names = item.value["tie"]
        if names.value == tie.tied or (isinstance(names.value, list) and [n.value for n in names.value] == [tie.tied]):
            return item
        listed = names.value if isinstance(names.value, list) else [names]
        if any(name.value == tie.tied for name in listed):
            raise names.error(f"{tie.tied} is one of several names here: take it out of the list", tie.tied)
    place = node.place if node is not None else Place(source, 1, 1)
    raise DocumentError(f"{tie.tied} is tied by a pattern: list the names that it shall mean instead", place, tie.tied)


def _taken_out(text: str, item: Located) -> str:
    """The text without a list's item: its lines, or what stands between its brackets and the comma after."""
    place = _offset(text, item)
    begin = text.rfind("\n", 0, place) + 1
    if text[begin:place].strip() == "-":
        indent = len(text[begin:place]) - len(text[begin:place].lstrip())
        end = begin
        for line in text[begin:].splitlines(keepends=True):
            own = len(line) - len(line.lstrip())
            if end > begin and line.strip() and own <= indent:
                break
            if end > begin and (not line.strip() or line.strip().startswith("#")):
                break
            end += len(line)
        return text[:begin] + text[end:]
    if text[place : place + 1] != "{" or "}" not in text[place:]:
        raise _refused(Document(text, "", {}, ()), item.source or "", [])
    end = text.index("}", place) + 1
    after = re.match(r"\s*,\s*", text[end:])
    if after:
        return text[:place] + text[end + after.end() :]
    before = re.search(r"\s*,\s*$", text[:place])
    return (text[: before.start()] if before else text[:place]) + text[end:]


def _check(
    document: Document,
    text: str,
    source: str,
    more: set[tuple[str, str, bool]],
    less: set[tuple[str, str, bool]],
    lines: Sequence[str],
) -> None:
    """Raise DocumentError unless the text says what it shall and nothing else."""

    def ties(of: Model) -> set[tuple[str, str, bool]]:
        return {(tie.kept, tie.tied, tie.transpose) for tie in of.ties}

    before = from_document(document, source)
    try:
        after = from_document(replace(document, text=text), source)
        if ties(after) == (ties(before) | more) - less and list(after.parameters) == list(before.parameters):
            return
    except ParamctlError:
        pass
    raise _refused(document, source, lines)


def _refused(document: Document, source: str, lines: Sequence[str]) -> DocumentError:
    hint = f"Write under 'ties': - {'; - '.join(lines)}" if lines else "Take the ties out by hand."
    return DocumentError("this document is laid out in a way that is not edited", Place(source, 1, 1), None, hint)
