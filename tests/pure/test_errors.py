"""errors.py: one mirror for each custom error of the contracts, generated from them."""

import importlib.util
import json

import pytest
from eth_utils.crypto import keccak

from busbar import errors, tools

ROOT = tools.project_root()
MIRRORS = [value for value in vars(errors).values() if isinstance(value, type)]
MIRRORS = [kind for kind in MIRRORS if issubclass(kind, errors.ContractError) and kind is not errors.ContractError]

OPENZEPPELINS = (
    "Access",
    "Address",
    "ECDSA",
    "ERC",
    "Failed",
    "Insufficient",
    "Invalid",
    "Reentrancy",
    "Safe",
    "StringTooLong",
)


def exporter():
    """scripts/export_errors.py as a module."""
    spec = importlib.util.spec_from_file_location("export_errors", ROOT / "scripts" / "export_errors.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def abi_errors():
    """{signature: (names of its parameters, meaning)} of every custom error in every ABI."""
    found = {}
    for path in sorted((ROOT / "busbar" / "abi").glob("*.json")):
        artifact = json.loads(path.read_text(encoding="utf-8"))
        for entry in artifact["abi"]:
            if entry["type"] == "error":
                signature = f"{entry['name']}({','.join(p['type'] for p in entry['inputs'])})"
                notices = artifact["userdoc"].get("errors", {}).get(signature, [{}])
                meaning = notices[0].get("notice", "") or found.get(signature, ((), ""))[1]
                found[signature] = (tuple(p["name"] for p in entry["inputs"]), meaning)
    return found


def test_errors__of_the_abis__are_what_the_file_was_generated_from():
    assert (ROOT / "busbar" / "errors.py").read_text(encoding="utf-8") == exporter().generate(ROOT)


def test_errors__of_the_abis__have_each_exactly_one_mirror():
    found = abi_errors()
    assert len(found) > 50
    assert set(errors.CONTRACT_ERRORS) == set(found)
    assert set(errors.CONTRACT_ERRORS.values()) == set(MIRRORS)
    for signature, (fields, _) in found.items():
        mirror = errors.CONTRACT_ERRORS[signature]
        assert mirror.__name__ == signature.partition("(")[0]
        assert mirror.signature == signature
        assert mirror.fields == fields


def test_errors__selectors__tell_them_apart():
    selectors = {keccak(text=signature)[:4] for signature in errors.CONTRACT_ERRORS}
    assert len(selectors) == len(errors.CONTRACT_ERRORS)
    assert selectors.isdisjoint({keccak(text="Error(string)")[:4], keccak(text="Panic(uint256)")[:4]})


def test_errors__types_in_signatures__are_plain():
    # `decode_revert` splits a signature at its commas.
    for signature in errors.CONTRACT_ERRORS:
        inside = signature[signature.index("(") + 1 : -1]
        assert "(" not in inside
        assert "[" not in inside


@pytest.mark.parametrize("kind", MIRRORS, ids=lambda kind: kind.__name__)
def test_error__shown__is_one_line_with_name_meaning_and_values(kind):
    error = kind(*range(10, 10 + len(kind.fields)))
    text = str(error)
    assert "\n" not in text
    assert text.startswith(f"{kind.__name__}: {kind.meaning}")
    assert kind.meaning.strip() == kind.meaning != ""
    assert not kind.meaning.endswith(".")
    for number, field in enumerate(kind.fields, start=10):
        assert error.values[field] == number
        assert f"{field} = {number}" in text
    assert issubclass(kind, errors.BusbarError)
    assert kind.__doc__


@pytest.mark.parametrize("kind", MIRRORS, ids=lambda kind: kind.__name__)
def test_error__wrong_number_of_values__is_refused(kind):
    with pytest.raises(TypeError, match=kind.__name__):
        kind(*range(len(kind.fields) + 1))


def test_error__of_our_own_contracts__says_what_the_interface_says():
    for signature, (_, meaning) in abi_errors().items():
        if meaning:
            assert errors.CONTRACT_ERRORS[signature].meaning == " ".join(meaning.split()).rstrip(".")
        else:
            # Only OpenZeppelin's carry no sentence.
            assert signature.startswith(OPENZEPPELINS), signature


def test_error__with_bytes__shows_them_as_hex():
    assert "meterId = 0x" + "ab" * 32 in str(errors.UnknownMeter(b"\xab" * 32))


def test_unknown_revert__of_any_data__is_one_line():
    assert "\n" not in str(errors.UnknownRevert(b"\n\n"))
    assert "0x0a0a" in str(errors.UnknownRevert(b"\n\n"))
