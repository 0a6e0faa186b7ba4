"""Messages: the assembly that hashes bundles says what its readable twin says, and what Python says."""

import json
from functools import cache

from eth_abi import decode, encode
from eth_utils.crypto import keccak
from hypothesis import given
from pyrevm import EVM

from busbar import tools
from busbar.orders import Side
from busbar.signing import digest
from tests.pure.test_signing import DOMAIN, bundles

DEPLOYER = "0x" + "01" * 20
DOMAIN_TYPE = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
ORDERS = "(address,uint8,uint8,uint32,uint32,uint32,(string,uint32,uint16,uint32)[])"


@cache
def twin():
    path = tools.project_root() / ".cache" / "test-abi" / "MessagesTwin.json"
    evm = EVM(spec_id="PRAGUE")
    return evm, evm.deploy(DEPLOYER, bytes.fromhex(json.loads(path.read_text(encoding="utf-8"))["bytecode"][2:]))


def ask_twin(signature, values):
    evm, address = twin()
    types = signature[signature.index("(") :]
    data = keccak(text=signature)[:4] + encode([types], [values])[32 if "[]" in types else 0 :]
    return decode(["bytes32"], bytes(evm.message_call(DEPLOYER, address, calldata=data)))[0]


def domain_separator():
    names = [keccak(text="Busbar Trading"), keccak(text="1")]
    values = [keccak(text=DOMAIN_TYPE), *names, DOMAIN.chain_id, DOMAIN.verifying_contract]
    return keccak(encode(["bytes32", "bytes32", "bytes32", "uint256", "address"], values))


@given(bundles)
def test_digest_bundle__any_bundle__is_what_its_readable_twin_and_python_say(bundle):
    head = (bundle.account, bundle.zone)
    numbers = (bundle.nonce, bundle.first_epoch, bundle.last_epoch)
    orders = [
        ("sell" if o.side is Side.ASK else "buy", o.quantity_wh, o.tick, bundle.first_epoch + o.life)
        for o in bundle.orders
    ]
    readable = ask_twin(f"readable(bytes32,{ORDERS})", (domain_separator(), (*head, 0, *numbers, orders)))
    packed = [order.pack() for order in bundle.orders]
    shipped = ask_twin(
        "shipped(bytes32,address,uint256,uint256,uint256,uint256,uint48[])",
        (domain_separator(), *head, *numbers, packed),
    )
    assert shipped == readable == digest(bundle, DOMAIN)
