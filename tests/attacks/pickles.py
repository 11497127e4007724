"""Pickles written opcode by opcode, with all names that ``weights_only`` allows in a checkpoint."""

from __future__ import annotations

import random
import struct

NONE, TRUE, FALSE = b"N", b"\x88", b"\x89"
ORDERED = "collections.OrderedDict"
TENSOR = "torch._utils._rebuild_tensor_v2"
HISTORY = "mmengine.logging.history_buffer.HistoryBuffer"


def name(path: str) -> bytes:
    module, _, attribute = path.rpartition(".")
    return f"c{module}\n{attribute}\n".encode()


def number(value: int) -> bytes:
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    digits = value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True)
    return b"\x8a" + bytes([len(digits)]) + digits


def real(value: float) -> bytes:
    return b"G" + struct.pack(">d", value)


def text(value: str) -> bytes:
    content = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(content)) + content


def group(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def items(*pairs: tuple[bytes, bytes]) -> bytes:
    return b"}(" + b"".join(key + value for key, value in pairs) + b"u"


def fields(**values: bytes) -> bytes:
    return items(*((text(key), value) for key, value in values.items()))


def sequence(*values: bytes) -> bytes:
    return b"](" + b"".join(values) + b"e"


def call(path: str, *arguments: bytes) -> bytes:
    return name(path) + group(*arguments) + b"R"


def built(thing: bytes, state: bytes) -> bytes:
    return thing + state + b"b"


def pickle_of(value: bytes) -> bytes:
    return b"\x80\x02" + value + b"."


def checkpoint(state_dict: bytes = b"}", meta: bytes = b"}", message_hub: bytes = b"}", **more: bytes) -> bytes:
    return pickle_of(fields(state_dict=state_dict, meta=meta, message_hub=message_hub, **more))


# ---------------------------------------------------------------------------------------------------
# Tensors, arrays, buffers
# ---------------------------------------------------------------------------------------------------


def storage(key: str = "0", numel: int = 4, kind: str = "torch.FloatStorage", where: str = "cpu") -> bytes:
    return group(text("storage"), name(kind), text(key), text(where), number(numel)) + b"Q"


def tensor(size: tuple = (4,), stride: tuple = (1,), offset: int = 0, of: bytes | None = None) -> bytes:
    numbers = (group(*map(number, size)), group(*map(number, stride)))
    return call(TENSOR, of or storage(), number(offset), *numbers, FALSE, call(ORDERED))


def octets(content: str) -> bytes:
    return call("_codecs.encode", text(content), text("latin1"))


def dtype(code: str = "f8", state: bytes | None = None) -> bytes:
    plain = group(number(3), text("<"), NONE, NONE, NONE, number(-1), number(-1), number(0))
    return built(call("numpy.dtype", text(code), FALSE, TRUE), state or plain)


def array_state(content: str = "\0" * 16, shape: tuple = (2,), kind: bytes | None = None) -> bytes:
    return group(number(1), group(*map(number, shape)), kind or dtype(), FALSE, octets(content))


def empty_array() -> bytes:
    return call("numpy._core.multiarray._reconstruct", name("numpy.ndarray"), group(number(0)), octets("b"))


def parameter_with(**attributes: bytes) -> bytes:
    function = "torch._utils._rebuild_parameter_with_state"
    return call(function, tensor(), FALSE, call(ORDERED), fields(**attributes))


def ordered_with(**attributes: bytes) -> bytes:
    return built(call(ORDERED), fields(**attributes))


def doubled(times: int) -> bytes:
    """Nested pairs of one text: a short pickle whose printed form has 2^times texts."""
    return text("x") + b"q\x01h\x01\x86" * times


def nested(depth: int) -> bytes:
    """Nested tuples."""
    return b")" + b"\x85" * depth


# ---------------------------------------------------------------------------------------------------
# Random pickles from a grammar
# ---------------------------------------------------------------------------------------------------

DTYPES = ["float32", "float64", "float16", "int64", "int8", "uint8", "bool", "complex64", "bfloat16", "qint8", "quint8"]
DTYPES += ["float8_e4m3fn", "float4_e2m1fn_x2", "bits8", "uint16", "int4", "quint4x2"]
STORAGES = [
    "Float",
    "Double",
    "Half",
    "Long",
    "Int",
    "Short",
    "Char",
    "Byte",
    "Bool",
    "QInt8",
    "QUInt8",
    "ComplexFloat",
]
STORAGES += ["BFloat16", "QInt32", "QUInt4x2"]
CLASSES = [
    "torch.Tensor",
    "torch.FloatTensor",
    "torch.LongTensor",
    "torch.sparse.FloatTensor",
    "torch.cuda.FloatTensor",
]
CLASSES += ["torch.nn.parameter.Parameter", "torch.storage.UntypedStorage", "torch.storage.TypedStorage", "torch.Size"]
CLASSES += [
    "torch.device",
    "collections.Counter",
    ORDERED,
    "builtins.set",
    "builtins.complex",
    HISTORY,
    "numpy.ndarray",
]
CLASSES += ["numpy.dtype"]
FUNCTIONS = [f"torch._utils._rebuild_{kind}" for kind in (
    "tensor", "tensor_v2", "tensor_v3", "parameter", "parameter_with_state", "qtensor", "sparse_tensor",
    "meta_tensor_no_storage", "nested_tensor", "wrapper_subclass", "device_tensor_from_numpy",
    "device_tensor_from_cpu_tensor",
)]  # fmt: skip
FUNCTIONS += ["torch._tensor._rebuild_from_type_v2", "torch.serialization._get_layout", "_codecs.encode"]
FUNCTIONS += [
    "numpy._core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "builtins.getattr",
    "builtins.bytes",
]
ATTRIBUTES = ["_log_history", "_count_history", "max_length", "requires_grad", "grad", "data", "name", "__class__"]
ATTRIBUTES += ["_backward_hooks", "__dict__", "is_leaf", "real", "T", "_untyped_storage", "dtype", "foo", "numel"]
LAYOUTS = ["torch.strided", "torch.sparse_coo", "torch.sparse_csr", "torch.sparse_bsr", "torch.jagged", "x"]
TEXTS = [
    "",
    "x",
    "epoch",
    "\x1b[2J",
    "a\nb",
    "\ud800",
    "\u202e",
    "cpu",
    "cuda:0",
    "meta",
    "min",
    "mean",
    "f8",
    "O",
    "<",
    "é" * 40,
]
CODECS = ["latin1", "utf-8", "ascii", "zlib_codec", "rot13", "idna", "punycode", "nothing", "os", "undefined"]
# 2^31 and more only where no memory of that size is filled; named files test filling.
NUMBERS = [0, 1, -1, 2, 3, 4, 7, 16, 64, 255, 1000, 2**20, 2**31, 2**40, 2**62, 2**63, -(2**63), 2**70]
DATA = {"0": bytes(range(16)), "1": (1 << 40).to_bytes(8, "little") * 2, "2": bytes(64), "3": b"", "4": b"\xff" * 7}


class Grammar:
    """Random values; most calls have arguments of valid types, some have invalid ones.

    Args:
        chance: source of random numbers.
    """

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.kept = 0  # entries of the memo

    def value(self, depth: int = 4) -> bytes:
        chance = self.chance
        if depth <= 0 or chance.random() < 0.15:
            return self.leaf()
        usual = [self.container, self.a_tensor, self.an_array, self.a_buffer]
        made = chance.choice(usual * 4 + [self.any_call, self.any_object])(depth - 1)
        if chance.random() < 0.15:
            made += b"r" + struct.pack("<I", self.kept)
            self.kept += 1
        return built(made, self.value(depth - 1)) if chance.random() < 0.03 else made

    def leaf(self) -> bytes:
        chance = self.chance
        if self.kept and chance.random() < 0.2:
            return b"j" + struct.pack("<I", chance.randrange(self.kept))
        kind = chance.randrange(7)
        if kind == 0:
            return chance.choice([NONE, TRUE, FALSE, b")", b"]", b"}", b"\x8f"])
        if kind == 1:
            return real(chance.choice([0.5, -1.0, float("inf"), float("nan"), 1e308]))
        if kind == 2:
            return text(chance.choice(TEXTS))
        if kind == 3:
            return octets("ab" * chance.randrange(9))
        if kind == 4:
            return name(chance.choice(CLASSES + FUNCTIONS + [f"torch.{kind}" for kind in DTYPES]))
        return number(chance.choice(NUMBERS))

    def small(self) -> bytes:
        return number(self.chance.choice([0, 0, 1, 1, 2, 3, 4, 4, 8, -1]))

    def shape(self) -> bytes:
        chance = self.chance
        if chance.random() < 0.15:
            return group(*(number(chance.choice(NUMBERS)) for _ in range(chance.randrange(4))))
        return group(*(self.small() for _ in range(chance.choice([0, 1, 1, 2, 3]))))

    def container(self, depth: int) -> bytes:
        parts = [self.value(depth) for _ in range(self.chance.randrange(4))]
        kind = self.chance.randrange(4)
        if kind == 0:
            return group(*parts)
        if kind == 1:
            return sequence(*parts)
        if kind == 2:
            return items(*((text(chr(97 + place)), part) for place, part in enumerate(parts)))
        return built(call(ORDERED), items(*((text(self.chance.choice(ATTRIBUTES)), part) for part in parts)))

    def a_storage(self, depth: int) -> bytes:
        if depth and self.chance.random() < 0.1:
            return self.value(depth)
        key = self.chance.choice("000000011222222234x" if depth else "02")
        kind = self.chance.choice(STORAGES)
        width = {"Double": 8, "Long": 8, "Float": 4, "Int": 4, "ComplexFloat": 8, "QInt32": 4}.get(kind, 2)
        width = 1 if kind in ("Char", "Byte", "Bool", "QInt8", "QUInt8", "QUInt4x2") else width
        numel = len(DATA.get(key, b"")) // width if self.chance.random() < 0.95 else self.chance.choice(NUMBERS)
        where = self.chance.choice(["cpu"] * 40 + ["cuda:0", "meta", "xla", "x\n"])
        return storage(key, numel, f"torch.{kind}Storage", where)

    def a_tensor(self, depth: int) -> bytes:
        chance = self.chance
        hooks = call(ORDERED) if chance.random() < 0.9 else self.value(depth)
        plain = (self.a_storage(depth), self.small(), self.shape(), self.shape())
        if chance.random() < 0.8:  # fits its storage
            size, stride = chance.choice(
                [((4,), (1,)), ((2, 2), (2, 1)), ((), ()), ((0, 3), (3, 1)), ((9, 2), (0, 1)), ((1,), (9,))]
            )
            plain = (self.a_storage(0), number(0), group(*map(number, size)), group(*map(number, stride)))
        a_dtype = name(f"torch.{chance.choice(DTYPES)}")
        flag = chance.choice([FALSE, FALSE, TRUE])
        layout = call("torch.serialization._get_layout", text(chance.choice(LAYOUTS)))
        kind = chance.randrange(11)
        if kind <= 2 or depth <= 0:
            more = [items((text(chance.choice(["conj", "neg", "x"])), TRUE))] if chance.random() < 0.1 else []
            return call(TENSOR, *plain, flag, hooks, *more)
        if kind == 3:
            return call("torch._utils._rebuild_tensor_v3", *plain, flag, hooks, a_dtype)
        if kind == 4:
            scheme = name("torch." + chance.choice(["per_tensor_affine", "per_channel_affine", "per_tensor_symmetric"]))
            settings = group(scheme, self.value(depth), self.value(depth), *[self.small()] * chance.randrange(2))
            return call("torch._utils._rebuild_qtensor", *plain, settings, flag, hooks)
        if kind == 5:
            parts = [self.a_tensor(depth - 1) for _ in range(chance.choice([1, 2, 2, 3]))]
            return call(
                "torch._utils._rebuild_sparse_tensor", layout, group(*parts, self.shape(), *[flag] * (kind & 1))
            )
        if kind == 6:
            return call("torch._utils._rebuild_nested_tensor", *(self.a_tensor(depth - 1) for _ in range(4)))
        if kind == 7:
            return call("torch._utils._rebuild_meta_tensor_no_storage", a_dtype, self.shape(), self.shape(), flag)
        if kind == 8:
            state = items(*((text(chance.choice(ATTRIBUTES)), self.value(depth)) for _ in range(chance.randrange(3))))
            return call("torch._utils._rebuild_parameter_with_state", self.a_tensor(depth - 1), flag, hooks, state)
        if kind == 9:
            where = text(chance.choice(["cpu", "cuda", "meta"]))
            source = chance.choice([self.a_tensor, self.an_array])(depth - 1)
            function = chance.choice(["numpy", "cpu_tensor"])
            return call(f"torch._utils._rebuild_device_tensor_from_{function}", source, a_dtype, where, flag)
        arguments = group(*(self.value(depth - 1) for _ in range(chance.randrange(4))))
        function = name(chance.choice(FUNCTIONS + CLASSES))
        return call("torch._tensor._rebuild_from_type_v2", function, name(chance.choice(CLASSES)), arguments, b"}")

    def an_array(self, depth: int) -> bytes:
        chance = self.chance
        code = chance.choice(["f8", "i4", "b1", "u1", "f4"] * 4 + ["O", "U1", "M8", "c16", "V8"])
        order = text(chance.choice("<<<><|=<<<<<<<<<<x"))
        state = group(
            number(3), order, *[NONE if chance.random() < 0.98 else self.value(0)] * 3, *[number(-1)] * 2, number(0)
        )
        kind = dtype(code, state) if chance.random() < 0.95 else self.value(depth)
        side = chance.choice([0, 1, 2, 3])
        shape = chance.choice([(side,), (1, side)] * 6 + [(side, 2**40), (1,) * 70, (-1,)])
        width = int(code[1:]) if code[1:] else 8
        length = side * width if chance.random() < 0.95 else chance.randrange(40)
        made = built(empty_array(), array_state("x" * length, shape, kind))
        if chance.random() < 0.2:
            return call("numpy.core.multiarray.scalar", kind, octets("x" * width))
        return made

    def a_buffer(self, depth: int) -> bytes:
        histories = [
            self.an_array(depth - 1) if self.chance.random() < 0.7 else self.value(depth - 1) for _ in range(2)
        ]
        state = fields(_log_history=histories[0], _count_history=histories[1], max_length=self.leaf())
        return built(call(HISTORY), state)

    def any_call(self, depth: int) -> bytes:
        arguments = [self.value(depth) for _ in range(self.chance.randrange(5))]
        if self.chance.random() < 0.2:
            return call("_codecs.encode", self.leaf(), text(self.chance.choice(CODECS)), *arguments[:1])
        return call(self.chance.choice(FUNCTIONS + CLASSES), *arguments)

    def any_object(self, depth: int) -> bytes:
        arguments = [self.value(depth) for _ in range(self.chance.randrange(3))]
        return name(self.chance.choice(CLASSES + FUNCTIONS)) + group(*arguments) + b"\x81"


def by_grammar(chance: random.Random) -> bytes:
    """A checkpoint of random values."""
    made = Grammar(chance)
    weights = items(*((text(f"w{number}"), made.a_tensor(3)) for number in range(chance.randrange(3))))
    if chance.random() < 0.1:
        return pickle_of(made.value(5))
    return checkpoint(weights, items((text("x"), made.value())), items((text("x"), made.value())))
