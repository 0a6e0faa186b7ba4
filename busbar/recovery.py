"""Compact secp256k1 signatures (EIP-2098): made, taken apart, and the address behind one, by the rules of ECDSA.sol.

A signature is r, then s with the parity in its highest bit: 64 bytes. ECDSA.sol is OpenZeppelin's.
"""

from functools import lru_cache
from typing import Final

from coincurve import PublicKey
from eth_hash.auto import keccak
from eth_keys.datatypes import PrivateKey
from eth_typing import ChecksumAddress
from eth_utils.address import to_checksum_address

from busbar import errors

SIGNATURE_BYTES: Final = 64
"""Of a compact signature: r, and s with the parity in its highest bit."""

HALF_ORDER: Final = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
"""The largest s that counts: half of the curve's order."""

PARITY_SHIFT: Final = 255
"""Where the parity stands beside s."""

_S_MASK: Final = (1 << PARITY_SHIFT) - 1


def sign_digest(digest: bytes, key: bytes) -> bytes:
    """A key's signature of a digest of 32 bytes.

    Args:
        digest: What to sign.
        key: A secp256k1 private key, 32 bytes.
    """
    signature = PrivateKey(bytes(key)).sign_msg_hash(digest)
    s = signature.v << PARITY_SHIFT | signature.s
    return int(signature.r).to_bytes(32, "big") + int(s).to_bytes(32, "big")


def split(signature: bytes) -> tuple[bytes, bytes, int]:
    """r, s and the parity of a signature of 64 bytes."""
    vs = int.from_bytes(signature[32:], "big")
    return signature[:32], (vs & _S_MASK).to_bytes(32, "big"), vs >> PARITY_SHIFT


def recover(digest: bytes, signature: bytes) -> ChecksumAddress:
    """The address whose key signed a digest of 32 bytes.

    Raises:
        errors.ECDSAInvalidSignatureLength: The signature has not 64 bytes.
        errors.ECDSAInvalidSignatureS: s is in the upper half, where every signature has a twin.
        errors.ECDSAInvalidSignature: No key can have signed this.
    """
    if len(signature) != SIGNATURE_BYTES:
        raise errors.ECDSAInvalidSignatureLength(len(signature))
    r, s, parity = split(signature)
    if int.from_bytes(s, "big") > HALF_ORDER:
        raise errors.ECDSAInvalidSignatureS(s)
    try:
        public_key = PublicKey.from_signature_and_message(r + s + bytes([parity]), digest, hasher=None)
    except ValueError as e:
        raise errors.ECDSAInvalidSignature from e
    return key_address(public_key.format(compressed=False)[1:])


@lru_cache(maxsize=16_384)
def key_address(public_key: bytes) -> ChecksumAddress:
    """The address that names a public key of 64 bytes on either curve, as the contracts hold it."""
    return to_checksum_address(keccak(public_key)[-20:])
