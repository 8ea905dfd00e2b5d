"""A `.pth` gives its tensors and nothing else. The files are put together opcode by opcode, as PyTorch writes them."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facectl_runtime.errors import ModelError
from facectl_trainer.pth import read_state_dict

HEADER = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e" + "80024de9032e")
VALUES = np.arange(24, dtype="<f4")


class Raw(bytes):
    """Opcodes that leave one value on the stack."""


def encode(value):
    if isinstance(value, Raw):
        return value
    if value is None or isinstance(value, bool):
        return {None: b"N", True: b"\x88", False: b"\x89"}[value]
    if isinstance(value, int):
        size = value.bit_length() // 8 + 1
        return b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)
    if isinstance(value, str):
        return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
    opening, closing = {tuple: (b"(", b"t"), list: (b"](", b"e"), dict: (b"}(", b"u")}[type(value)]
    items = (part for item in value.items() for part in item) if isinstance(value, dict) else value
    return opening + b"".join(encode(item) for item in items) + closing


def glob(name):
    module, _, attribute = name.rpartition(".")
    return Raw(f"c{module}\n{attribute}\n".encode())


def call(name, *arguments):
    return Raw(glob(name) + encode(arguments) + b"R")


def storage(size=24, scalar="torch.FloatStorage", key="7", view=None):
    return Raw(encode(("storage", glob(scalar), key, "cpu", size, view)) + b"Q")


def tensor(source=None, offset=0, sides=(4, 6), strides=(6, 1)):
    hooks = call("collections.OrderedDict")
    return call("torch._utils._rebuild_tensor_v2", source or storage(), offset, sides, strides, False, hooks)


def pickle(value):
    return b"\x80\x02" + encode(value) + b"."


def pth(state, keys=("7",), data=None, system=None):
    """Make a legacy file of one storage, `VALUES`, unless told otherwise."""
    data = struct.pack("<q", VALUES.size) + VALUES.tobytes() if data is None else data
    system = {"protocol_version": 1001, "little_endian": True} if system is None else system
    return HEADER + pickle(system) + pickle(state) + pickle(list(keys)) + data


PLAIN = pth({"weight": tensor()})


@pytest.fixture
def read(tmp_path):
    def read(data):
        path = tmp_path / "model.pth"
        path.write_bytes(data)
        return read_state_dict(path)

    return read


def refusal(read, data):
    with pytest.raises(ModelError) as caught:
        read(data)
    assert "\n" not in str(caught.value)
    assert "model.pth" in str(caught.value)
    return str(caught.value)


def test_a_tensor_has_its_file_s_values(read):
    (name, weight), *others = read(PLAIN).items()
    assert (name, weight.dtype, others) == ("weight", np.float32, [])
    np.testing.assert_array_equal(weight, VALUES.reshape(4, 6))


def test_strides_and_offset_are_followed(read):
    transposed = tensor(sides=(6, 3), strides=(1, 6), offset=6)
    np.testing.assert_array_equal(read(pth({"weight": transposed}))["weight"], VALUES.reshape(4, 6)[1:].T)


def test_a_tensor_cannot_be_written_to(read):
    with pytest.raises(ValueError, match="read-only"):
        read(PLAIN)["weight"][0, 0] = 1


def test_storages_of_several_types_stand_one_after_another(read):
    state = {
        "a": tensor(),
        "b": tensor(storage(size=1, scalar="torch.LongStorage", key="count"), sides=(), strides=()),
        "c": tensor(offset=23, sides=(1,), strides=(1,)),
    }
    data = struct.pack("<q", 24) + VALUES.tobytes() + struct.pack("<qq", 1, -5)
    arrays = read(pth(state, keys=("7", "count"), data=data))
    assert list(arrays) == ["a", "b", "c"]
    assert (arrays["b"].dtype, arrays["b"].item(), arrays["c"].tolist()) == (np.int64, -5, [23.0])


def test_the_modules_versions_beside_a_state_dict_are_dropped(read):
    state = Raw(encode({"weight": tensor()}) + encode({"_metadata": {"": {"version": 1}}}) + b"b")
    assert list(read(pth(state))) == ["weight"]


MALICIOUS = [
    "os.system",
    "posix.system",
    "builtins.eval",
    "builtins.getattr",
    "torch.load",
    "torch.jit.load",
    "torch._utils._rebuild_tensor",
    "torch.storage._load_from_bytes",
    "numpy.load",
    "collections.Counter",
    "torch.BFloat16Storage",
    "torch.FloatStorage.__class__",
]


@pytest.mark.parametrize("name", MALICIOUS)
def test_any_other_name_is_refused_by_name(read, tmp_path, name):
    attack = call(name, f"touch {tmp_path / 'harm'}")
    assert name in refusal(read, pth({"weight": attack}))
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("opcode", "code"),
    [
        ("NEWOBJ", encode(()) + b"\x81"),
        ("STACK_GLOBAL", encode("os") + encode("system") + b"\x93"),
        ("INST", b"(ios\nsystem\n"),
        ("OBJ", b"(" + glob("collections.OrderedDict") + b"o"),
        ("EXT1", b"\x82\x01"),
        ("BYTEARRAY8", b"\x96" + struct.pack("<Q", 1 << 40)),
        ("PERSID", b"P7\n"),
    ],
)
def test_any_other_opcode_is_refused_by_name(read, opcode, code):
    start = glob("collections.OrderedDict") if opcode == "NEWOBJ" else b""
    message = refusal(read, pth(Raw(start + code)))
    assert opcode in message or "cut short" in message


@pytest.mark.parametrize(
    "state",
    [
        Raw(glob("collections.OrderedDict") + encode({"_metadata": 1}) + b"b"),  # the class's attributes
        Raw(glob("torch._utils._rebuild_tensor_v2") + encode({"__code__": 1}) + b"b"),
        Raw(encode({}) + encode({"items": 1}) + b"b"),
        Raw(encode({}) + encode((None, {"items": 1})) + b"b"),
        {"weight": Raw(tensor() + encode({"_metadata": {}}) + b"b")},
    ],
)
def test_no_attribute_is_set(read, state):
    assert "attributes" in refusal(read, pth(state))


@pytest.mark.parametrize(
    "wrong",
    [
        {"offset": -1},
        {"offset": 1},
        {"offset": 1 << 70},
        {"sides": (4, 7)},
        {"sides": (-4, 6)},
        {"sides": (5, 5), "strides": (1, 1)},
        {"sides": (1 << 40, 1 << 40), "strides": (0, 0)},
        {"sides": (4, 6), "strides": (-6, 1)},
        {"sides": (4, 6), "strides": (6, 2)},
        {"sides": (1, 1), "strides": (1 << 62, 1)},
        {"sides": (1, 1), "strides": (25, 1)},
        {"sides": (0,), "strides": (1,)},
        {"sides": (1,) * 100, "strides": (1,) * 100},
        {"sides": (4,), "strides": (6, 1)},
        {"sides": (True, 6)},
    ],
    ids=str,
)
def test_a_tensor_stays_inside_its_storage(read, wrong):
    refusal(read, pth({"weight": tensor(**wrong)}))


@pytest.mark.parametrize("size", [23, 25, 1 << 40, -1])
def test_a_storage_has_the_size_that_its_tensors_say(read, size):
    refusal(read, pth({"weight": tensor(storage(size), sides=(1,), strides=(1,))}))


def test_storages_larger_than_the_file_are_refused(read):
    huge = tensor(storage(1 << 40), sides=(1,), strides=(1,))
    assert "elements" in refusal(read, pth({"weight": huge}, data=struct.pack("<q", 1 << 40) + VALUES.tobytes()))


def test_a_storage_has_one_description(read):
    halves = tensor(storage(scalar="torch.HalfStorage"))
    assert "two ways" in refusal(read, pth({"a": tensor(), "b": halves}))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "magic number"),
        (b"PK\x03\x04" + bytes(100), "zip format"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "magic number"),
        (np.random.RandomState(1).bytes(5000), "magic number"),
        (HEADER, "cut short"),
        (PLAIN[:-1], "elements"),
        (PLAIN + b"\x00", "follow"),
        (pth({"weight": tensor()}, keys=()), "list of storages"),
        (pth({"weight": tensor()}, keys=("7", "7")), "list of storages"),
        (pth({"weight": tensor()}, system={"little_endian": False}), "little-endian"),
        (pth({"weight": 3}, keys=(), data=b""), "dict of tensors"),
        (pth({"weight": {"inner": tensor()}}), "dict of tensors"),
        (pth((tensor(),)), "dict of tensors"),
        (pth({"weight": tensor(storage(view=("8", 0, 24)))}), "storage"),
        (pth(Raw(b"}" + encode(()) + b"\x85" * 200_000 + b"Ns")), "str keys"),  # its hash would overflow the stack
        (pth(call("collections.OrderedDict", ((Raw(encode(()) + b"\x85" * 10), None),))), "OrderedDict"),  # hashed, too
        (pth(Raw(b"}" + b"N" * 1_000_001)), "opcodes"),
    ],
)
def test_a_file_of_another_kind_is_an_error_of_one_line(read, data, words):
    assert words in refusal(read, data)


def test_a_missing_file_is_a_model_error(tmp_path):
    with pytest.raises(ModelError, match="cannot be read"):
        read_state_dict(tmp_path / "none.pth")


class Bytes:
    """Stands in for a path, so that a thousand examples touch no disk."""

    def __init__(self, data):
        self.read_bytes = io.BytesIO(data).getvalue


def read_or_refuse(data):
    try:
        arrays = read_state_dict(Bytes(data))
    except ModelError as error:
        assert "\n" not in str(error)  # noqa: PT017
        return
    assert sum(array.astype(np.float64).size for array in arrays.values()) <= len(data)


quick = settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


@quick
@given(st.integers(0, len(PLAIN) - 1))
def test_a_cut_file_is_refused(length):
    with pytest.raises(ModelError):
        read_state_dict(Bytes(PLAIN[:length]))


@quick
@pytest.mark.filterwarnings("ignore:invalid escape sequence")
@given(st.lists(st.tuples(st.integers(len(HEADER), len(PLAIN) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_a_damaged_file_gives_tensors_or_a_model_error(damage):
    data = bytearray(PLAIN)
    for at, value in damage:
        data[at] = value
    read_or_refuse(bytes(data))


@quick
@given(
    st.lists(
        st.sampled_from(list(b"()tlduseabRQcNX\x80\x85\x86\x87\x88\x8a.}]qrhjKMJ012gpi\x94\x96\x8e\n")), max_size=60
    )
)
def test_any_opcodes_give_tensors_or_a_model_error(codes):
    read_or_refuse(pth(Raw(codes), keys=(), data=b""))


def test_a_path_may_be_of_any_name(tmp_path):
    path = Path(tmp_path / "gewichte ü 重み.pth")
    path.write_bytes(PLAIN)
    assert list(read_state_dict(path)) == ["weight"]
