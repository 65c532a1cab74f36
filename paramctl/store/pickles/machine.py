"""A pickle machine that imports nothing and calls nothing.

It interprets the opcodes of protocols 0 to 5. A class or a function becomes a Global, which is its name. A call becomes
a Record with its arguments. The machine is a loop, so that deep nesting costs no recursion, and it stops at limits.
https://github.com/python/cpython/blob/main/Lib/pickletools.py
"""

from __future__ import annotations

from struct import Struct, error
from typing import Any

from paramctl.store.pickles.opcodes import COLD
from paramctl.store.pickles.state import NO_CALLS, BadPickle, BytesSource, Calls, Machine, PersistentLoad, Source

MAX_OPCODES = 5_000_000
"""An array takes about 40."""
STOP = 0x2E
UINT32 = Struct("<I")


def unpickle(data: bytes, persistent_load: PersistentLoad | None = None) -> Any:
    """Return the value of a pickle, with a Global for each class or function and a Record for each call.

    persistent_load: receives each persistent id, and returns the value to use for it, or raises BadPickle.
    Strings of bytes longer than scalars.MAX_INLINE are Spans of the data. Raises BadPickle.
    """
    return unpickle_from(BytesSource(data), 0, len(data), persistent_load)[0]


def unpickle_from(
    source: Source, start: int, stop: int, persistent_load: PersistentLoad | None = None, calls: Calls = NO_CALLS
) -> tuple[Any, int]:
    """Return the value of the pickle that begins at an offset of a source, and the offset behind it; see unpickle.

    stop: the offset at which the source ends.
    calls: our functions for calls of these names. Each receives the arguments, and returns what the call gives.
    """
    machine = Machine(source, start, stop, persistent_load, calls)
    try:
        return _run(machine), machine.base
    except BadPickle:
        raise
    except IndexError:  # of the window, the stack, or the marks
        raise BadPickle("the pickle is truncated, or takes a value from an empty stack") from None
    except KeyError as missing:
        raise BadPickle(f"the pickle has an unknown opcode, or refers to a value that it lacks ({missing})") from None
    except (error, ValueError, TypeError, AttributeError) as reason:
        raise BadPickle(f"the pickle is damaged ({' '.join(str(reason).split())[:100]})") from None


def _run(machine: Machine) -> Any:
    """Interpret the pickle, and return its value. Afterwards, base is the offset behind it."""
    stack, marks, memo = machine.stack, machine.marks, machine.memo
    push = stack.append
    data, low, index = machine.data, machine.low, 0
    for _ in range(MAX_OPCODES):
        if index > low:
            index = machine.slide(index)
            data, low = machine.data, machine.low
        code = data[index]
        index += 1
        if code == 0x71:  # BINPUT
            memo[data[index]] = stack[-1]
            index += 1
        elif code == 0x72:  # LONG_BINPUT
            memo[UINT32.unpack_from(data, index)[0]] = stack[-1]
            index += 4
        elif code == 0x94:  # MEMOIZE
            memo[len(memo)] = stack[-1]
        elif code == 0x68:  # BINGET
            push(memo[data[index]])
            index += 1
        elif code == 0x6A:  # LONG_BINGET
            push(memo[UINT32.unpack_from(data, index)[0]])
            index += 4
        elif code == 0x4B:  # BININT1
            push(data[index])
            index += 1
        elif code == 0x28:  # MARK
            marks.append(len(stack))
        elif code == 0x74:  # TUPLE
            mark = marks.pop()
            stack[mark:] = (tuple(stack[mark:]),)
        elif code == STOP:
            machine.base += index
            return stack.pop()
        else:
            index = COLD[code](machine, index)
            data, low = machine.data, machine.low
    raise BadPickle(f"the pickle has more than {MAX_OPCODES:,} opcodes")
