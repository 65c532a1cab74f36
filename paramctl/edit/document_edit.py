"""Add ties to the text of a model document or remove them, leaving all other text unchanged.

Edits are made at the positions of parsed values. Each result is checked by building the model again. A document in
an unsupported layout is rejected, with the lines to write by hand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from paramctl.declare.located import Located
from paramctl.errors import DocumentError, ParamctlError, Place
from paramctl.model import from_document
from paramctl.model.document import parse
from paramctl.model.tree import Document, Model, Tie

_SPACES = re.compile(r"\s*")
_PLAIN_NAME = re.compile(r"[^\W\d][\w/.-]*")


def with_model_ties(before: Model, after: Model) -> Model:
    """Return ``after``, a model with other ties than ``before``, with the same change in its document.

    Raises DocumentError if the layout of the document's ties is not supported.
    """
    document = before.document
    if document is None:
        return after
    kept = set(before.ties) & set(after.ties)
    added = [tie for tie in after.ties if tie not in kept]
    removed = [tie for tie in before.ties if tie not in kept]
    text = with_ties(document, added, document.source) if added else document.text
    if removed:
        text = without_ties(replace(document, text=text), removed, document.source)
    return replace(after, document=replace(document, text=text))


def with_ties(document: Document, ties: Sequence[Tie], source: str) -> str:
    """Return the text of a document with ties added. Raises DocumentError if its layout is not supported."""
    root = parse(document.text, source)
    assert isinstance(root.value, dict)
    entries = [_entry_text(tie) for tie in ties]
    node = root.value.get("ties")
    if node is None:
        text = _append_section(document.text, entries)
    elif isinstance(node.value, list) and node.value:
        text = _insert_before(document.text, node.value[0], entries)
    else:
        text = _fill_section(document.text, root.key("ties"), node, entries)
    _check(document, text, source, added=ties, removed=(), entries=entries)
    return text


def without_ties(document: Document, ties: Sequence[Tie], source: str) -> str:
    """Return the text of a document with ties removed. Raises DocumentError if its layout is not supported."""
    root = parse(document.text, source)
    assert isinstance(root.value, dict)
    text = document.text
    node = root.value.get("ties")
    removed = {id(item) for item in _find_items(node, ties, source)}
    kept, end = [], len(text)
    for start, stop in _spans(text, node, removed):
        kept.append(text[stop:end])
        end = start
    text = "".join([text[:end], *reversed(kept)])
    _check(document, text, source, added=(), removed=ties, entries=[])
    return text


def _entry_text(tie: Tie) -> str:
    """Return a tie as a document writes it: ``{keep: a/kernel, tie: b/kernel}``."""
    transpose = ", transpose: true" if tie.transpose else ""
    return f"{{keep: {_quoted(tie.kept)}, tie: {_quoted(tie.tied)}{transpose}}}"


def _quoted(path: str) -> str:
    return path if _PLAIN_NAME.fullmatch(path) else json.dumps(path, ensure_ascii=False)


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _block_lines(text: str, entries: Sequence[str], dash: str = "  - ") -> str:
    return "".join(f"{dash}{entry}{_newline(text)}" for entry in entries)


def _line_start(text: str, position: int) -> int:
    return text.rfind("\n", 0, position) + 1


def _line_end(text: str, position: int) -> int:
    """Return the position after the line break that follows ``position``, or the end of the text."""
    end = text.find("\n", position)
    return len(text) if end < 0 else end + 1


def _append_section(text: str, entries: Sequence[str]) -> str:
    newline = _newline(text)
    separator = newline if text.endswith("\n") else 2 * newline
    return f"{text}{separator}ties:{newline}{_block_lines(text, entries)}"


def _insert_before(text: str, first: Located, entries: Sequence[str]) -> str:
    """Insert entries before the first item of a list, in the same style."""
    line_start = _line_start(text, first.start)
    dash = text[line_start : first.start]
    if dash.strip() == "-":  # a block list: "  - ITEM"
        return text[:line_start] + _block_lines(text, entries, dash) + text[line_start:]
    return text[: first.start] + "".join(f"{entry}, " for entry in entries) + text[first.start :]  # [ITEM, ...]


def _fill_section(text: str, key: Located, node: Located, entries: Sequence[str]) -> str:
    """Replace an empty value of the key ``ties``: nothing, null, or ``[]``. A comment on its line is kept."""
    line_end = _line_end(text, node.end)
    comment = text[node.end : line_end].strip()
    before, value = text[key.start : node.start], text[node.start : node.end]
    on_one_line = before.rstrip(" \t") == "ties:" and "\n" not in value
    if not on_one_line or not (comment == "" or comment.startswith("#")):
        raise _unsupported_layout(key.source or "", entries)
    head = f"ties:  {comment}" if comment else "ties:"
    return f"{text[: key.start]}{head}{_newline(text)}{_block_lines(text, entries)}{text[line_end:]}"


def _find_items(node: Located | None, ties: Sequence[Tie], source: str) -> list[Located]:
    """Return the items of the list ``ties`` that declare only one of these ties each."""
    item_of: dict[str, Located] = {}
    several: dict[str, Located] = {}
    for item in node.value if node is not None and isinstance(node.value, list) else []:
        assert isinstance(item.value, dict)
        tied = item.value["tie"]
        names = tied.value if isinstance(tied.value, list) else [tied]
        for name in names:
            if len(names) == 1:
                item_of.setdefault(str(name.value), item)
            else:
                several.setdefault(str(name.value), tied)
    items = []
    for tie in ties:
        if tie.tied in several:
            raise several[tie.tied].error(f"{tie.tied} is one of several names here: remove it from the list", tie.tied)
        if tie.tied not in item_of:
            place = node.place if node is not None else Place(source, 1, 1)
            raise DocumentError(f"{tie.tied} is tied by a pattern: list names instead of the pattern", place, tie.tied)
        items.append(item_of[tie.tied])
    return items


def _spans(text: str, node: Located | None, removed: Collection[int]) -> Iterator[tuple[int, int]]:
    """Yield the spans of text to remove with items of a list, from the last: lines, or an item and one comma.

    removed: the identities of the items.
    """
    assert node is not None
    assert isinstance(node.value, list)
    comma_follows = True
    for number, item in reversed([*enumerate(node.value)]):
        line_start = _line_start(text, item.start)
        is_last = number == len(node.value) - 1
        after = _skip_spaces(text, item.end)
        comma_follows = comma_follows and (not is_last or text[after : after + 1] == ",")
        if id(item) not in removed:
            comma_follows = True
        elif text[line_start : item.start].strip() == "-":
            yield line_start, _item_end(text, line_start, item)
        elif comma_follows:  # [ITEM, other]
            yield item.start, _skip_spaces(text, after + 1)
        else:  # [other, ITEM]
            before = len(text[line_start : item.start].rstrip()) + line_start
            yield (before - 1 if text[before - 1] == "," else item.start), item.end


def _item_end(text: str, line_start: int, item: Located) -> int:
    """Return the end of the lines of an item of a block list."""
    line_end = _line_end(text, item.end)
    _, *later_lines = text[line_start:line_end].splitlines()
    # A comment within the item would be lost, so such items are left to their author.
    if any(not line.strip() or line.lstrip().startswith("#") for line in later_lines):
        raise _unsupported_layout(item.source or "", [])
    return line_end


def _skip_spaces(text: str, position: int) -> int:
    """Return the position of the next character that is not white space."""
    match = _SPACES.match(text, position)
    return match.end() if match else position


def _check(
    document: Document, text: str, source: str, added: Sequence[Tie], removed: Sequence[Tie], entries: Sequence[str]
) -> None:
    """Raise DocumentError unless an edited text has the same parameters and exactly the intended ties."""
    before = from_document(document, source)
    try:
        after = from_document(replace(document, text=text), source)
    except ParamctlError:
        raise _unsupported_layout(source, entries) from None
    intended = (_tie_set(before.ties) | _tie_set(added)) - _tie_set(removed)
    if _tie_set(after.ties) != intended or list(after.parameters) != list(before.parameters):
        raise _unsupported_layout(source, entries)


def _tie_set(ties: Sequence[Tie]) -> set[tuple[str, str, bool]]:
    return {(tie.kept, tie.tied, tie.transpose) for tie in ties}


def _unsupported_layout(source: str, entries: Sequence[str]) -> DocumentError:
    hint = f"Write under 'ties': - {'; - '.join(entries)}" if entries else "Remove the ties by hand."
    return DocumentError("paramctl cannot edit a document in this layout", Place(source, 1, 1), None, hint)
