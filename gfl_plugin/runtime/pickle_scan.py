"""A scan of pickles before PyTorch reads them, which accepts only what MMEngine's checkpoints consist of.

``weights_only`` prevents code from running. It still accepts objects that make the reader hang, crash or run out of
memory: hashes of deeply nested tuples, views of freed memory, inconsistent sparse tensors. The checkpoint of a detector
contains none of these.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

_DTYPES = ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
_BUILTINS = ("builtins", "__builtin__")
_NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray")
_HISTORY = "mmengine.logging.history_buffer HistoryBuffer"
_COUNTER = "collections Counter"  # the milestones of MultiStepLR
# Functions and classes that may be called, named as in a pickle.
_CALLED = frozenset(
    [
        "collections OrderedDict",
        _COUNTER,
        "torch._utils _rebuild_tensor",
        "torch._utils _rebuild_tensor_v2",
        "torch._utils _rebuild_parameter",
        "torch._utils _rebuild_parameter_with_state",
        "torch._tensor _rebuild_from_type_v2",
        "torch Size",
        "torch device",
        "_codecs encode",
        "numpy dtype",
        *[f"{module} {name}" for module in _NUMPY for name in ("_reconstruct", "scalar")],
        *[f"{module} {name}" for module in _BUILTINS for name in ("getattr", "bytes", "set")],
    ]
)
_NAMED = frozenset(
    [
        *[f"torch {kind}Storage" for kind in _DTYPES],
        *[f"torch {name}" for name in ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8")],
        "torch uint8",
        "torch bool",
        "torch.storage UntypedStorage",
        "torch Tensor",
        "torch.nn.parameter Parameter",
        "numpy ndarray",
        _HISTORY,
    ]
)
_CREATED = frozenset(["collections OrderedDict", _HISTORY])  # by NEWOBJ
_WITH_STATE = frozenset(
    ["collections OrderedDict", _HISTORY, "numpy dtype", *[f"{name} _reconstruct" for name in _NUMPY]]
)
# A tensor with attributes (FSDP adds some) is written as a call of this function, with one of the functions and types
# below.
_WITH_ATTRIBUTES = "torch._tensor _rebuild_from_type_v2"
_REBUILT_BY = ("global torch._utils _rebuild_tensor_v2", "global torch._utils _rebuild_parameter")
_REBUILT_AS = ("global torch Tensor", "global torch.nn.parameter Parameter")
_MAX_KEY_SIZE = 1000  # parts of a dict key (a tuple), counted recursively
_MAX_DEPTH = 100
_MAX_OPERATIONS = 50_000_000
_LEGACY_PICKLES = 5  # magic number, version, system, content, storages: the start of files before PyTorch 1.6


class ScanError(ValueError):
    """A pickle contains something that no checkpoint contains."""


class _Item(NamedTuple):
    """What the scan tracks of an object on the stack of the pickle."""

    kind: str  # "value", "tuple", "list", "dict", "global NAME" or "made NAME"
    size: int = 1  # parts, counted recursively
    depth: int = 0  # of nesting
    kinds: tuple[str, ...] = ()  # of the parts of a short tuple


def scan(file: BinaryIO, legacy: bool = False) -> None:
    """Scan the pickle, or the pickles, at the beginning of a file.

    Args:
        file: open at its beginning.
        legacy: whether the file has the format before PyTorch 1.6, which begins with several pickles.

    Raises:
        ScanError: if the pickle contains something that no checkpoint contains.
        ValueError: if the file is not a pickle.
    """
    for _ in range(_LEGACY_PICKLES if legacy else 1):
        _Stack().run(file)


class _Stack:
    """The stack of an unpickler, with sizes and kinds in place of objects."""

    def __init__(self) -> None:
        self.items: list[_Item] = []
        self.marks: list[int] = []
        self.memo: dict[int, _Item] = {}

    def run(self, file: BinaryIO) -> None:
        for number, (opcode, argument, _) in enumerate(pickletools.genops(file)):
            if number > _MAX_OPERATIONS:
                raise ScanError("it has more parts than any checkpoint")
            do = _DO.get(opcode.name)
            if do is None:
                raise ScanError(f"it uses {opcode.name}, which PyTorch does not write")
            try:
                do(self, argument)
            except (IndexError, KeyError) as error:
                raise ScanError("its operations are inconsistent") from error

    def push(self, item: _Item) -> None:
        if item.depth > _MAX_DEPTH:
            raise ScanError(f"it is nested more than {_MAX_DEPTH} levels deep")
        self.items.append(item)

    def since_mark(self) -> list[_Item]:
        place = self.marks.pop()
        taken = self.items[place:]
        del self.items[place:]
        return taken

    def made_of(self, kind: str, parts: list[_Item]) -> None:
        depth = max((part.depth for part in parts), default=0) + 1
        kinds = tuple(part.kind for part in parts) if len(parts) <= 4 else ()
        self.push(_Item(kind, 1 + sum(part.size for part in parts), depth, kinds))

    def named(self, name: str) -> None:
        if name not in _CALLED | _NAMED:
            raise ScanError(f"GLOBAL {name.replace(' ', '.')} is not part of a checkpoint")
        self.push(_Item(f"global {name}"))

    def call(self, allowed: frozenset[str]) -> None:
        arguments, function = self.items.pop(), self.items.pop()
        name = function.kind.partition("global ")[2]
        if name not in allowed:
            raise ScanError(f"it calls {name.replace(' ', '.') or 'an object that is not a function'}")
        if arguments.kind != "tuple" or arguments.size > _MAX_KEY_SIZE:
            raise ScanError(f"it calls {name.replace(' ', '.')} with {arguments.size} parts")
        if name == _WITH_ATTRIBUTES and not _rebuilds_a_tensor(arguments.kinds):
            raise ScanError(f"it calls {name.replace(' ', '.')} for an object that is not a tensor")
        if name == _COUNTER and arguments.kinds != ("dict",):
            raise ScanError(f"it calls {name.replace(' ', '.')} for an object that is not a dict")
        self.push(_Item(f"made {name}"))

    def fill(self) -> None:
        self.items.pop()
        if self.items[-1].kind.partition("made ")[2] not in _WITH_STATE:
            raise ScanError("it sets the state of an object whose state no checkpoint sets")

    def put_in(self, kinds: tuple[str, ...], parts: list[_Item], keys: bool) -> None:
        if self.items[-1].kind not in kinds:
            raise ScanError(f"it adds to a {self.items[-1].kind}")
        for key in parts[::2] if keys else ():
            if key.size > _MAX_KEY_SIZE or key.kind not in ("value", "tuple"):
                raise ScanError("a dict key is not a number, a string or a short tuple")


def _rebuilds_a_tensor(kinds: tuple[str, ...]) -> bool:
    return len(kinds) == 4 and kinds[0] in _REBUILT_BY and kinds[1] in _REBUILT_AS and kinds[2] == "tuple"


_LISTS, _DICTS = ("list",), ("dict", "made collections OrderedDict")
_DO: dict[str, Callable[[_Stack, object], object]] = {
    "PROTO": lambda stack, _: None,
    "STOP": lambda stack, _: None,
    "GLOBAL": lambda stack, name: stack.named(str(name)),
    "REDUCE": lambda stack, _: stack.call(_CALLED),
    "NEWOBJ": lambda stack, _: stack.call(_CREATED),
    "BUILD": lambda stack, _: stack.fill(),
    "MARK": lambda stack, _: stack.marks.append(len(stack.items)),
    "TUPLE": lambda stack, _: stack.made_of("tuple", stack.since_mark()),
    "APPEND": lambda stack, _: stack.put_in(_LISTS, [stack.items.pop()], keys=False),
    "APPENDS": lambda stack, _: stack.put_in(_LISTS, stack.since_mark(), keys=False),
    "SETITEM": lambda stack, _: stack.put_in(_DICTS, [stack.items.pop(), stack.items.pop()][::-1], keys=True),
    "SETITEMS": lambda stack, _: stack.put_in(_DICTS, stack.since_mark(), keys=True),
    "BINPERSID": lambda stack, _: (stack.items.pop(), stack.push(_Item("made storage"))),
    "EMPTY_TUPLE": lambda stack, _: stack.push(_Item("tuple")),
    "EMPTY_LIST": lambda stack, _: stack.push(_Item("list")),
    "EMPTY_DICT": lambda stack, _: stack.push(_Item("dict")),
}
for _name in ("BINGET", "LONG_BINGET"):
    _DO[_name] = lambda stack, place: stack.push(stack.memo[place])
for _name in ("BINPUT", "LONG_BINPUT"):
    _DO[_name] = lambda stack, place: stack.memo.__setitem__(place, stack.items[-1])
for _count in (1, 2, 3):
    _DO[f"TUPLE{_count}"] = lambda stack, _, count=_count: stack.made_of(
        "tuple", [stack.items.pop() for _ in range(count)]
    )
for _name in (
    "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING", "LONG1",
):  # fmt: skip
    _DO[_name] = lambda stack, _: stack.push(_Item("value"))
