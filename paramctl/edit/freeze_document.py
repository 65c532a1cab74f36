"""Freeze the layers and blocks of a model document, or make them trainable, leaving all other text unchanged.

``trainable`` is an option of an entry, for all parameters in it. An entry can have several blocks: it is repeated,
or in a custom block that is used several times. So it is changed only if all parameters of all its blocks are selected.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from paramctl.core.text import abbreviate
from paramctl.edit.trainable_text import Change, change_trainable
from paramctl.errors import DocumentError, ParamctlError, Place
from paramctl.model import Block, Document, Model, from_document
from paramctl.model.document import parse
from paramctl.model.entry import Entry
from paramctl.model.template import read_templates


def mark_document(model: Model, document: Document, paths: Collection[str], trainable: bool) -> Model:
    """Return a model in which these arrays are trainable or frozen, with its document edited.

    paths: of arrays, not of names tied to them.
    Raises DocumentError if the document cannot say exactly this.
    """
    editor = _Editor(model, document, set(paths), trainable)
    changes = editor.changes()
    text = document.text
    for change in sorted(changes, reverse=True):
        text = text[: change.start] + change.text + text[change.end :]
    edited = replace(document, text=text)
    flags = _check(model, edited, editor)
    marked = model.map_parameters(lambda each: replace(each, trainable=flags[each.path]))
    return replace(marked, document=edited)


def _check(model: Model, edited: Document, editor: _Editor) -> dict[str, bool | None]:
    """Return trainable of each parameter of an edited document. Raises DocumentError unless only these changed."""
    try:
        after = from_document(edited, edited.source)
    except ParamctlError as error:
        if isinstance(error, DocumentError) and "initializer" in error.rule:
            rule = "this pattern of 'initializers' would match frozen parameters only"
            raise DocumentError(rule, error.place, None, "Remove it first.") from error
        raise editor.unsupported() from error
    before = model.parameters
    if list(after.parameters) != list(before) or after.ties != model.ties:
        raise editor.unsupported()
    for path, parameter in before.items():
        owner = model.owner(path)
        intended = editor.trainable if owner.path in editor.paths else owner.trainable
        if after.owner(path).trainable is not intended or after.parameters[path].shape != parameter.shape:
            raise editor.unsupported()
    return {path: parameter.trainable for path, parameter in after.parameters.items()}


class _Editor:
    """The entries of one document, the blocks of each, and the changes of their option ``trainable``."""

    def __init__(self, model: Model, document: Document, paths: Collection[str], trainable: bool) -> None:
        self.model, self.document, self.paths, self.trainable = model, document, paths, trainable
        self.entries: dict[str, Entry] = {}
        built = from_document(document, document.source, self.entries)
        self.blocks: dict[int, list[Block]] = {}
        for block in built.walk():
            if (entry := self.entries.get(block.path)) is not None and block.reuse_of is None:
                self.blocks.setdefault(id(entry.node), []).append(block)
        self.top = built.blocks
        root = parse(document.text, document.source)
        assert isinstance(root.value, dict)
        self.templates = read_templates(root.value.get("blocks"))
        self.done: dict[int, Change] = {}
        self.unselected: dict[int, list[str]] = {}

    def changes(self) -> list[Change]:
        """Return the changes of the text. Raises DocumentError for a layer that cannot be changed."""
        for block in self.top:
            if self.trainable:
                self._thaw(block, [])
            else:
                self._freeze(block, None)
        return list(self.done.values())

    def unsupported(self) -> DocumentError:
        """Return the error for a layout that cannot be edited."""
        layers = abbreviate(list(dict.fromkeys(path.rpartition("/")[0] for path in self.paths)))
        setting = f"trainable: {str(self.trainable).lower()}"
        hint = f"Write '{setting}' among the options of {layers}."
        place = Place(self.document.source, 1, 1)
        return DocumentError("paramctl cannot edit a document in this layout", place, None, hint)

    def _to_change(self, block: Block) -> bool:
        """Return whether a block has selected arrays whose mark changes."""
        return any(
            path in self.paths and self.model.parameters[path].trainable is not self.trainable for path in _paths(block)
        )

    def _unselected(self, entry: Entry) -> list[str]:
        """Return the parameters of an entry, in all its blocks, that would change and are not selected."""
        if (known := self.unselected.get(id(entry.node))) is not None:
            return known
        unselected = []
        for block in self.blocks[id(entry.node)]:
            for path in _paths(block):
                parameter = self.model.parameters[path]
                # a tied name has the setting of its owner, and a leaf's constants and state stay as they are
                fixed = parameter.kind == "state" or path in self.model.tied
                fixed = fixed or (not block.blocks and not self.trainable and not parameter.trainable)
                if not fixed and path not in self.paths:
                    unselected.append(path)
        self.unselected[id(entry.node)] = unselected
        return unselected

    def _set(self, entry: Entry) -> bool:
        """Add the change of an entry; return False if its layout is not supported."""
        flag = entry.common.get("trainable")
        if flag is not None and not isinstance(flag.value, bool):
            raise flag.error("trainable is an expression here: change its variables", str(flag.value))
        change = change_trainable(self.document.text, entry, self.trainable, self.templates)
        if change is not None:
            self.done[id(entry.node)] = change
        return change is not None

    def _freeze(self, block: Block, outer: Block | None) -> None:
        """Freeze the selected arrays in a block: by its own entry, if all are selected, or by those inside it."""
        entry = self.entries.get(block.path)
        if block.reuse_of is not None or not self._to_change(block):
            return
        if entry is not None and id(entry.node) in self.done:
            return
        unselected = self._unselected(entry) if entry is not None else []
        if entry is not None and not unselected and self._set(entry):
            return
        if not block.blocks:
            if entry is None and outer is not None:
                entry, unselected = self.entries[outer.path], self._unselected(self.entries[outer.path])
            raise self._together(entry, unselected, block) if entry and unselected else self.unsupported()
        for inner in block.blocks:
            self._freeze(inner, block if entry is not None else outer)

    def _thaw(self, block: Block, frozen_by: list[Entry]) -> None:
        """Make the selected arrays in a block trainable: remove every ``trainable: false`` around them."""
        if block.reuse_of is not None or not self._to_change(block):
            return
        entry = self.entries.get(block.path)
        flag = entry.common.get("trainable") if entry is not None else None
        if entry is not None and flag is not None and flag.value is not True:
            frozen_by = [*frozen_by, entry]
            if unselected := self._unselected(entry):
                raise self._together(entry, unselected, block)
            self._set(entry)
        constants = [each.path for each in block.parameters if each.path in self.paths and not each.trainable]
        if constants and not frozen_by:
            at = entry.at if entry is not None else self.entries[block.path.rpartition("/")[0]].at
            raise at.error(f"{constants[0]} is declared as not trainable by its layer: change its declaration")
        for inner in block.blocks:
            self._thaw(inner, frozen_by)

    def _together(self, entry: Entry, unselected: list[str], block: Block) -> DocumentError:
        """Return the error for an entry of which only some parameters are selected."""
        verb = "made trainable" if self.trainable else "frozen"
        count = len(self.blocks[id(entry.node)])
        uses = f", which {count:,} blocks share" if count > 1 else ""
        rule = f"the parameters of {block.path} can only be {verb} together, by its option 'trainable'{uses}"
        command = "unfreeze" if self.trainable else "freeze"
        hint = f"Name {abbreviate(unselected)} too, or use paramctl {command} on a checkpoint."
        return entry.type.error(rule, "only some of them", hint)


def _paths(block: Block) -> Iterator[str]:
    """Yield the paths of the parameters in a block."""
    return (parameter.path for inner in block.walk() for parameter in inner.parameters)
