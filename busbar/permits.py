"""A token's own permit (ERC-2612): by it somebody else can bring an account's tokens into the market.

The permit is for Trading alone and for one amount. It is used up by the deposit it is brought with, since the token
counts permits by a nonce of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from eth_account.messages import encode_typed_data
from eth_utils.address import is_hex_address
from eth_utils.crypto import keccak

from busbar import errors, recovery
from busbar.signing import InvalidMessage
from busbar.units import Asset

_FIELDS: Final = ("owner", "address"), ("spender", "address"), ("value", "uint256"), ("nonce", "uint256")
_PERMIT: Final = [{"name": name, "type": kind} for name, kind in (*_FIELDS, ("deadline", "uint256"))]
_DOMAIN: Final = [
    {"name": "name", "type": "string"},
    {"name": "version", "type": "string"},
    {"name": "chainId", "type": "uint256"},
    {"name": "verifyingContract", "type": "address"},
]


@dataclass(frozen=True, slots=True)
class TokenDomain:
    """Where a permit counts: a token on a chain, by the name it gives itself."""

    name: str
    version: str
    chain_id: int
    token: str


@dataclass(frozen=True, slots=True)
class Permit:
    """Allows Trading to take tokens from a wallet, once.

    Attributes:
        account: Whose tokens, and who signs.
        asset: Which token.
        spender: Who may take them: Trading, or the permit is none of ours.
        amount_wei: How much, in wei of the token.
        nonce: The token's, which must be the account's present one when the permit is used.
        deadline: Last second in which it may be used, Unix.

    Raises:
        InvalidMessage: An address is none, or a number does not fit.
    """

    account: str
    asset: Asset
    spender: str
    amount_wei: int
    nonce: int
    deadline: int

    def __post_init__(self) -> None:
        for name, address in (("owner", self.account), ("spender", self.spender)):
            if not is_hex_address(address):
                raise InvalidMessage(f"{name}: {address!r} is no address")
        for name, number in (("value", self.amount_wei), ("nonce", self.nonce), ("deadline", self.deadline)):
            if not 0 <= number < 2**256:
                raise InvalidMessage(f"{name}: must be a whole number of 256 bits, not {number}")

    def fields(self) -> dict[str, Any]:
        """The message as a wallet shows it; which token it is for stands in its domain."""
        return {
            "owner": self.account,
            "spender": self.spender,
            "value": self.amount_wei,
            "nonce": self.nonce,
            "deadline": self.deadline,
        }

    @classmethod
    def from_fields(cls, asset: Asset, fields: Mapping[str, Any]) -> Self:
        """The permit of a message as `fields` gives it, for a token."""
        return cls(fields["owner"], asset, fields["spender"], fields["value"], fields["nonce"], fields["deadline"])


def typed_data(permit: Permit, domain: TokenDomain) -> dict[str, Any]:
    """The permit for a wallet's `eth_signTypedData_v4`."""
    return {
        "types": {"EIP712Domain": _DOMAIN, "Permit": _PERMIT},
        "primaryType": "Permit",
        "domain": {
            "name": domain.name,
            "version": domain.version,
            "chainId": domain.chain_id,
            "verifyingContract": domain.token,
        },
        "message": permit.fields(),
    }


def digest(permit: Permit, domain: TokenDomain) -> bytes:
    """The 32 bytes that are signed."""
    signable = encode_typed_data(full_message=typed_data(permit, domain))
    return keccak(b"\x19" + signable.version + signable.header + signable.body)


def sign(permit: Permit, domain: TokenDomain, key: bytes) -> bytes:
    """A compact signature of a permit, 64 bytes, as of any other message.

    Args:
        permit: What to sign.
        domain: Where it shall count.
        key: The account's secp256k1 private key, 32 bytes.
    """
    return recovery.sign_digest(digest(permit, domain), key)


def split(signature: bytes) -> tuple[int, bytes, bytes]:
    """v, r and s of a compact signature, as `permit` takes them."""
    r, s, parity = recovery.split(signature)
    return 27 + parity, r, s


def is_by_owner(permit: Permit, domain: TokenDomain, signature: bytes) -> bool:
    """Whether the account's own key signed it; tokens ask no contract wallets."""
    try:
        signer = recovery.recover(digest(permit, domain), signature)
    except errors.BusbarError:
        return False
    return signer.lower() == permit.account.lower()
