"""ABI encoding, fast enough for a state machine: types are compiled once, then encoded without looking anything up.

What the contracts answer is compared as bytes with what the model expects, so nothing is decoded unless they differ.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from eth_utils.crypto import keccak

from busbar import errors
from busbar.chain import load_artifact, split_tuple


@dataclass(frozen=True, slots=True)
class _Codec:
    """How values of a type are encoded; `size` counts the bytes in the head, 0 if the type is dynamic."""

    size: int
    encode: Callable[[object], bytes]


@dataclass(frozen=True, slots=True)
class Function:
    selector: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def calldata(self, args) -> bytes:
        return self.selector + encode(self.inputs, args)


@dataclass(frozen=True, slots=True)
class Event:
    topic: bytes
    indexed: tuple[bool, ...]
    types: tuple[str, ...]
    data_types: tuple[str, ...]

    def log(self, values) -> tuple[tuple[bytes, ...], bytes]:
        """Topics and data."""
        topics = [self.topic]
        data = []
        for indexed, kind, value in zip(self.indexed, self.types, values, strict=True):
            if indexed:
                topics.append(encode((kind,), (value,)))
            else:
                data.append(value)
        return tuple(topics), encode(self.data_types, data)


def encode(types: tuple[str, ...], values) -> bytes:
    return _sequence(types).encode(values)


@cache
def functions(contract: str) -> dict[str, Function]:
    """By name; of two functions with one name the shorter."""
    found: dict[str, Function] = {}
    for entry in load_artifact(contract)["abi"]:
        if entry["type"] != "function":
            continue
        inputs, outputs = tuple(map(_type, entry["inputs"])), tuple(map(_type, entry["outputs"]))
        if entry["name"] not in found or len(inputs) < len(found[entry["name"]].inputs):
            selector = keccak(text=f"{entry['name']}({','.join(inputs)})")[:4]
            found[entry["name"]] = Function(selector, inputs, outputs)
    return found


@cache
def events(contract: str) -> dict[str, Event]:
    found = {}
    for entry in load_artifact(contract)["abi"]:
        if entry["type"] == "event":
            types = tuple(map(_type, entry["inputs"]))
            indexed = tuple(parameter["indexed"] for parameter in entry["inputs"])
            data_types = tuple(kind for kind, flag in zip(types, indexed, strict=True) if not flag)
            topic = keccak(text=f"{entry['name']}({','.join(types)})")
            found[entry["name"]] = Event(topic, indexed, types, data_types)
    return found


def refusal(name: str, values) -> bytes:
    """Revert data of a custom error."""
    signature = getattr(errors, name).signature
    types = tuple(kind for kind in signature[signature.index("(") + 1 : -1].split(",") if kind)
    return keccak(text=signature)[:4] + encode(types, values)


def _type(parameter) -> str:
    kind = parameter["type"]
    if not kind.startswith("tuple"):
        return kind
    return f"({','.join(map(_type, parameter['components']))}){kind[len('tuple') :]}"


@cache
def _codec(kind: str) -> _Codec:
    if kind.endswith("[]"):
        return _Codec(0, _array(_codec(kind[:-2])))
    if kind.startswith("("):
        return _sequence(tuple(split_tuple(kind)))
    if kind in ("bytes", "string"):
        return _Codec(0, _text)
    if kind == "address":
        return _Codec(32, _address)
    if kind.startswith("bytes"):
        return _Codec(32, lambda value: value.ljust(32, b"\0"))
    if kind.startswith("int"):
        return _Codec(32, lambda value: value.to_bytes(32, "big", signed=True))
    return _Codec(32, _word)


@cache
def _sequence(types: tuple[str, ...]) -> _Codec:
    codecs = tuple(map(_codec, types))
    encoders = tuple(codec.encode for codec in codecs)
    if all(codec.size for codec in codecs):

        def plain(values) -> bytes:
            return b"".join([enc(value) for enc, value in zip(encoders, values, strict=True)])

        return _Codec(sum(codec.size for codec in codecs), plain)
    head_size = sum(codec.size or 32 for codec in codecs)

    def mixed(values) -> bytes:
        heads, tails, offset = [], [], head_size
        for codec, value in zip(codecs, values, strict=True):
            part = codec.encode(value)
            if codec.size:
                heads.append(part)
            else:
                heads.append(_word(offset))
                tails.append(part)
                offset += len(part)
        return b"".join(heads + tails)

    return _Codec(0, mixed)


def _array(codec: _Codec) -> Callable[[object], bytes]:
    enc = codec.encode
    assert codec.size, "no array of dynamic values here"
    return lambda values: _word(len(values)) + b"".join([enc(value) for value in values])


def _word(value) -> bytes:
    return value.to_bytes(32, "big")


@cache
def _address(value: str) -> bytes:
    return int(value, 16).to_bytes(32, "big")


def _text(value) -> bytes:
    raw = value.encode() if isinstance(value, str) else bytes(value)
    return _word(len(raw)) + raw + bytes(-len(raw) % 32)
