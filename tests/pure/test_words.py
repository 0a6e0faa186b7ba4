"""What contracts answer in words: read as eth_abi reads it, or left to eth_abi."""

import pytest
from eth_abi import decode, encode
from eth_abi.exceptions import DecodingError
from hypothesis import example, given
from hypothesis import strategies as st

from busbar import words
from busbar.chain import load_artifact

WORDS = {
    "uint8": st.integers(0, 2**8 - 1),
    "uint32": st.integers(0, 2**32 - 1),
    "uint256": st.integers(0, 2**256 - 1),
    "bool": st.booleans(),
    "address": st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex()),
    "bytes1": st.binary(min_size=1, max_size=1),
    "bytes32": st.binary(min_size=32, max_size=32),
}
KINDS = st.sampled_from(sorted(WORDS))
STRUCTS = st.lists(KINDS, min_size=1, max_size=5)


def of(kinds):
    """Values of a struct."""
    return st.tuples(*(WORDS[kind] for kind in kinds))


def as_struct(kinds):
    return f"({','.join(kinds)})"


@st.composite
def rows(draw):
    """Types and values one after the other, some of them structs."""
    parts = draw(st.lists(st.one_of(KINDS, STRUCTS), max_size=4))
    types = [part if isinstance(part, str) else as_struct(part) for part in parts]
    return types, tuple(draw(WORDS[part] if isinstance(part, str) else of(part)) for part in parts)


@st.composite
def arrays(draw):
    """An array of words or structs."""
    part = draw(st.one_of(KINDS, STRUCTS))
    one = WORDS[part] if isinstance(part, str) else of(part)
    kind = part if isinstance(part, str) else as_struct(part)
    return [f"{kind}[]"], (tuple(draw(st.lists(one, max_size=4))),)


@given(st.one_of(rows(), arrays()))
@example((["(uint8,bool)[]"], (((7, True), (0, False)),)))
def test_decode__what_the_abi_has__as_encoded(case):
    types, values = case
    data = encode(types, values)
    assert words.decode(types, data) == values == decode(types, data)


@given(st.one_of(rows(), arrays()), st.data())
def test_decode__altered_data__as_eth_abi_or_left_to_it(case, drawn):
    types, values = case
    data = bytearray(encode(types, values))
    if data:
        data[drawn.draw(st.integers(0, len(data) - 1))] ^= drawn.draw(st.integers(1, 255))
    altered = bytes(data[: drawn.draw(st.integers(0, len(data)))])
    found = words.decode(types, altered)
    try:
        expected = decode(types, altered)
    except (DecodingError, OverflowError):
        expected = None
    assert found in (None, expected)
    assert found is None or expected is not None


@pytest.mark.parametrize(
    ("types", "data"),
    [
        (["uint8"], (256).to_bytes(32, "big")),
        (["bool"], (2).to_bytes(32, "big")),
        (["address"], b"\1" * 32),
        (["bytes4"], b"\1" * 32),
        (["uint256"], b"\1" * 31),
        (["uint8[]"], encode(["uint8[]"], [[1, 2]])[:-1]),
    ],
)
def test_decode__what_no_contract_answers__left_to_eth_abi(types, data):
    assert words.decode(types, data) is None


@pytest.mark.parametrize(
    "kind", ["bytes", "string", "uint8[][]", "(bytes,uint8)[]", "((uint8,uint8),bool)", "uint8[2]"]
)
def test_decode__type_of_no_fixed_size__left_to_eth_abi(kind):
    assert words.decode([kind], bytes(320)) is None


@pytest.mark.parametrize(
    ("contract", "function"), [("Trading", "accountsOf"), ("Metering", "registersOf"), ("Registry", "meterOf")]
)
def test_decode__views_of_many__not_left_to_eth_abi(contract, function):
    entry = next(e for e in load_artifact(contract)["abi"] if e.get("name") == function)
    (output,) = entry["outputs"]
    kind = as_struct([part["type"] for part in output["components"]]) + output["type"].removeprefix("tuple")
    value = words.decode([kind], encode([kind], [[]]) if kind.endswith("[]") else bytes(1_024))
    assert value is not None
