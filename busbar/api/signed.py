"""Requests signed by an account: who may see or change what is known of somebody.

There are no passwords and no sessions. A caller signs five lines of text with the account's key (EIP-191, as
`personal_sign` does it) and sends account, expiry and signature in the Authorization header. Roles are those on the
chain.
"""

import hashlib
import re
import time
from typing import Annotated, NamedTuple

from eth_account import Account as EthAccount
from eth_account.messages import encode_defunct
from eth_keys.exceptions import BadSignature
from eth_utils.address import to_checksum_address
from eth_utils.exceptions import ValidationError
from fastapi import Depends, Request
from fastapi.security import APIKeyHeader
from sqlalchemy import Connection

from busbar import people
from busbar.api.context import Node
from busbar.api.problems import Problem
from busbar.chain import Chain
from busbar.deployment import ROLES

LONGEST_S = 300
"""Longest time a signature may be valid for."""

_HEADER = re.compile(
    r"Busbar account=(0x[0-9a-fA-F]{40}), expires=([0-9]{1,12}), signature=0x([0-9a-fA-F]{128}1[bBcC])"
)
_SCHEME = APIKeyHeader(
    name="Authorization",
    scheme_name="SignedRequest",
    auto_error=False,
    description="`Busbar account=0x…, expires=<Unix seconds>, signature=0x…`; see docs/integration.md",
)


def text_to_sign(method: str, path: str, chain_id: int, expires: int, body: bytes) -> str:
    """What an account signs.

    Args:
        method: GET, POST ...
        path: Path with its query, as sent.
        chain_id: Chain of the market.
        expires: When the signature ends, Unix seconds.
        body: Body of the request; empty if there is none.
    """
    digest = hashlib.sha256(body).hexdigest()
    return f"Busbar request\n{method} {path}\nchain {chain_id}\nexpires {expires}\nbody {digest}"


class Caller(NamedTuple):
    """Who signed a request.

    Attributes:
        account: Whose signature it is.
        chain: The market.
        digest: Hash of account and signed text: of the same request the same, in whatever form its signature comes.
        expires: When the signature ends, Unix seconds.
    """

    account: str
    chain: Chain
    digest: str
    expires: int

    def may_act_for(self, account: str) -> bool:
        """Whether the caller is the account itself, or a distributor."""
        if self.account == account:
            return True
        held, _ = self.chain.view("Authority", "hasRole", ROLES["distributor"], self.account)
        return bool(held)

    def must_act_for(self, account: str) -> None:
        """Refuses a stranger.

        Raises:
            Problem: The caller is neither the account nor a distributor.
        """
        if not self.may_act_for(account):
            raise Problem(403, "Not allowed", f"{self.account} is neither {account} nor a distributor")

    def must_be_first(self, connection: Connection) -> None:
        """Notes the request as carried out by this transaction.

        Raises:
            Problem: It was before.
        """
        if not people.first_time(connection, self.digest, self.expires, int(time.time())):
            raise Problem(409, "Used already", "this request was carried out before: sign another one")


async def caller_of(request: Request, chain: Node, header: Annotated[str | None, Depends(_SCHEME)]) -> Caller:
    """Who signed the request.

    Raises:
        Problem: Nobody did, or the signature does not hold.
    """
    challenge = {"WWW-Authenticate": "Busbar"}
    match = _HEADER.fullmatch(header or "")
    if match is None:
        raise Problem(401, "Not signed", "sign the request with the account's key: see docs/integration.md", challenge)
    account, expires = to_checksum_address(match[1]), int(match[2])
    now = time.time()
    if not now <= expires <= now + LONGEST_S:
        raise Problem(401, "Signature expired", f"`expires` must lie within {LONGEST_S} s from now", challenge)
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    text = text_to_sign(request.method, path, chain.chain_id, expires, await request.body())
    try:
        signer = EthAccount.recover_message(encode_defunct(text=text), signature=bytes.fromhex(match[3]))
    except (BadSignature, ValidationError, ValueError):
        signer = None
    if signer != account:
        raise Problem(401, "Wrong signature", f"the request as received was not signed by {account}", challenge)
    digest = "0x" + hashlib.sha256(f"{account}\n{text}".encode()).hexdigest()
    return Caller(str(account), chain, digest, expires)


SignedBy = Annotated[Caller, Depends(caller_of)]
