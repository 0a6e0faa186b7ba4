"""Who signed: the address behind a compact secp256k1 signature (EIP-2098), by the rules of OpenZeppelin's ECDSA."""

from functools import lru_cache
from typing import Final

from coincurve import PublicKey
from eth_typing import ChecksumAddress
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from busbar import errors

SIGNATURE_BYTES: Final = 64
"""Of a compact signature: r, and s with the parity in its highest bit."""

HALF_ORDER: Final = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
"""The largest s that counts: half of the curve's order."""

PARITY_SHIFT: Final = 255
"""Where the parity stands beside s."""

_S_MASK: Final = (1 << PARITY_SHIFT) - 1


def recover(digest: bytes, signature: bytes) -> ChecksumAddress:
    """The address whose key signed a digest of 32 bytes.

    Raises:
        errors.ECDSAInvalidSignatureLength: The signature has not 64 bytes.
        errors.ECDSAInvalidSignatureS: s is in the upper half, where every signature has a twin.
        errors.ECDSAInvalidSignature: No key can have signed this.
    """
    if len(signature) != SIGNATURE_BYTES:
        raise errors.ECDSAInvalidSignatureLength(len(signature))
    vs = int.from_bytes(signature[32:], "big")
    s = vs & _S_MASK
    if s > HALF_ORDER:
        raise errors.ECDSAInvalidSignatureS(s.to_bytes(32, "big"))
    parted = signature[:32] + s.to_bytes(32, "big") + bytes([vs >> PARITY_SHIFT])
    try:
        public_key = PublicKey.from_signature_and_message(parted, digest, hasher=None)
    except ValueError as e:
        raise errors.ECDSAInvalidSignature from e
    return key_address(public_key.format(compressed=False)[1:])


@lru_cache(maxsize=16_384)
def key_address(public_key: bytes) -> ChecksumAddress:
    """The address that names a public key of 64 bytes on either curve, as the contracts hold it."""
    return to_checksum_address(keccak(public_key)[-20:])
