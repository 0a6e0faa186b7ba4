"""What wallets and pages ask of a node, passed on within bounds: nobody's question may keep the node from its work.

Methods, parameters and gas are looked at before anything reaches the node. It is asked by few at a time and in small
parts, by a client of its own, so that neither the node nor the API's threads are ever taken by this door.
"""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from busbar.api.problems import Problem
from busbar.chain import TRANSACTION_GAS_CAP

RPC_METHODS = frozenset(
    (
        "eth_blockNumber",
        "eth_call",
        "eth_chainId",
        "eth_estimateGas",
        "eth_feeHistory",
        "eth_gasPrice",
        "eth_getBalance",
        "eth_getBlockByHash",
        "eth_getBlockByNumber",
        "eth_getCode",
        "eth_getLogs",
        "eth_getTransactionByHash",
        "eth_getTransactionCount",
        "eth_getTransactionReceipt",
        "eth_maxPriorityFeePerGas",
        "eth_sendRawTransaction",
        "eth_syncing",
        "net_version",
        "web3_clientVersion",
    )
)
"""What is passed on."""

MOST_BATCHED = 50
"""Most requests in one call."""

MOST_BYTES = 262_144
"""Longest body of a call."""

MOST_ANSWERED_BYTES = 8_000_000
"""Longest answer of the node to a part of a call."""

MOST_BLOCKS = 10_000
"""Blocks whose events are asked for at a time."""

PART = 10
"""Requests that are passed on together: a call's parts take turns with other calls'."""

AT_A_TIME = 2
"""Parts that the node works on at a time."""

MOST_WAITING = 100
"""Calls that are under way or wait for their turn; more are answered 503."""

RPC_TIMEOUT_S = 10
"""Longest wait for the node's answer to a part, and the time after which a call begins no further part."""

INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, LIMIT_EXCEEDED = -32600, -32601, -32602, -32005

_RUN = ("eth_call", "eth_estimateGas")
_CALL_FIELDS = frozenset(
    (
        "accessList",
        "chainId",
        "data",
        "from",
        "gas",
        "gasPrice",
        "input",
        "maxFeePerGas",
        "maxPriorityFeePerGas",
        "nonce",
        "to",
        "type",
        "value",
    )
)
"""Of a call that the node is to run: what a transaction says, without another name for `gas`."""


class Refused(Exception):
    """A request that is not passed on, as JSON-RPC tells it."""

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        super().__init__(message)


def parsed(raw: bytes) -> Any:
    """JSON as it stands in the RFC: Python would take and give NaN and infinities, too.

    Raises:
        Problem: It is no such JSON, or nested too deeply.
    """
    try:
        body = json.loads(raw)
        json.dumps(body, allow_nan=False)
    except (ValueError, RecursionError):
        raise Problem(400, "Not JSON", "the body is no JSON") from None
    return body


class Passage:
    """The way to one node.

    Args:
        url: The node's address.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._client = httpx.AsyncClient(timeout=RPC_TIMEOUT_S, trust_env=False)
        self._turns = asyncio.Semaphore(AT_A_TIME)
        self._waiting = 0

    async def close(self) -> None:
        """Ends the connections."""
        await self._client.aclose()

    async def answer(self, body: Any) -> Any:
        """What is answered to a call: one request, or a list of them.

        A request that is refused has that call refused: the others are not passed on.

        Raises:
            Problem: It is no call, too many are under way, or the node does not answer.
        """
        calls = body if isinstance(body, list) else [body]
        if not 0 < len(calls) <= MOST_BATCHED:
            raise Problem(422, "Batch", f"1 to {MOST_BATCHED} requests in a batch")
        if self._waiting >= MOST_WAITING:
            raise Problem(503, "Too many calls", f"{MOST_WAITING} are under way", {"Retry-After": "2"})
        self._waiting += 1
        try:
            async with asyncio.timeout(2 * RPC_TIMEOUT_S):
                told = await self._answers(calls)
        except TimeoutError:
            raise _away() from None
        finally:
            self._waiting -= 1
        return told if isinstance(body, list) else told[0]

    async def _answers(self, calls: Sequence[Any]) -> list[Any]:
        allowed, refused = [], []
        for call in calls:
            try:
                allowed.append(await self._bounded(call))
            except Refused as problem:
                refused.append(_refusal(call, problem))
        if refused:
            return refused
        ends, answers = time.monotonic() + RPC_TIMEOUT_S, list[Any]()
        for start in range(0, len(allowed), PART):
            part = allowed[start : start + PART]
            if time.monotonic() > ends:
                late = Refused(LIMIT_EXCEEDED, "the node took too long for what came before: ask for less at a time")
                answers += [_refusal(call, late) for call in part]
            else:
                answers += await self._ask(part)
        return answers

    async def _bounded(self, call: Any) -> dict[str, Any]:
        """A request as it is passed on.

        Raises:
            Refused: It is not.
        """
        method = call.get("method") if isinstance(call, dict) else None
        if not isinstance(method, str):
            raise Refused(INVALID_REQUEST, "a request is an object with a method")
        if method not in RPC_METHODS:
            raise Refused(METHOD_NOT_FOUND, f"{method[:100]} is not passed on")
        params = call.get("params", [])
        if not isinstance(params, list):
            raise Refused(INVALID_PARAMS, "params must be a list")
        if method in _RUN:
            params = _run_within_bounds(params)
        elif method == "eth_getLogs":
            await self._check_range(params)
        return {"jsonrpc": "2.0", "id": _id_of(call), "method": method, "params": params}

    async def _check_range(self, params: Sequence[Any]) -> None:
        asked = params[0] if len(params) == 1 else None
        if not isinstance(asked, dict):
            raise Refused(INVALID_PARAMS, "one filter is wanted")
        if asked.get("blockHash") is not None:
            return
        first, last = (_block(asked.get(name)) for name in ("fromBlock", "toBlock"))
        if first is None or last is None:
            (head,) = await self._ask([{"jsonrpc": "2.0", "id": 0, "method": "eth_blockNumber", "params": []}])
            newest = _block(head.get("result"))
            first, last = (newest if block is None else block for block in (first, last))
        if first is None or last is None or last - first >= MOST_BLOCKS:
            raise Refused(LIMIT_EXCEEDED, f"events of at most {MOST_BLOCKS} blocks at a time")

    async def _ask(self, part: Sequence[Mapping[str, Any]]) -> list[Any]:
        """The node's answers.

        Raises:
            Problem: There are none.
        """
        headers = {"Content-Type": "application/json"}
        answer = b""
        try:
            async with self._turns, asyncio.timeout(RPC_TIMEOUT_S):
                # Written anew: a name that stood twice in what was sent would mean one thing here and perhaps another
                # at the node.
                content = json.dumps(part).encode()
                async with self._client.stream("POST", self._url, content=content, headers=headers) as told:
                    async for piece in told.aiter_bytes():
                        answer += piece
                        if len(answer) > MOST_ANSWERED_BYTES:
                            raise Problem(422, "Too much", "the answer would be too long: ask for less")
            answers = json.loads(answer)
        except (httpx.HTTPError, TimeoutError, ValueError):
            answers = None
        if not isinstance(answers, list):
            raise _away()
        return answers


def _away() -> Problem:
    # The node's address is the operator's business.
    return Problem(503, "The node does not answer", "try again later", {"Retry-After": "5"})


def _run_within_bounds(params: Sequence[Any]) -> list[Any]:
    """Parameters of a call that the node is to run: on the chain as it is, with no more gas than a transaction may."""
    if not 1 <= len(params) <= 2 or not isinstance(params[0], dict):
        raise Refused(INVALID_PARAMS, "a call and a block are wanted, and nothing that overrides the chain's state")
    unknown = sorted(params[0].keys() - _CALL_FIELDS)
    if unknown:
        raise Refused(INVALID_PARAMS, f"{unknown[0][:100]} is not passed on")
    gas = params[0].get("gas")
    wanted = TRANSACTION_GAS_CAP if gas is None else _quantity(gas)
    return [{**params[0], "gas": hex(min(wanted, TRANSACTION_GAS_CAP))}, *params[1:]]


def _block(told: Any) -> int | None:
    """A block's number; None for a name of the newest."""
    return None if told is None or told in _NEWEST else 0 if told == "earliest" else _quantity(told)


_NEWEST = ("latest", "safe", "finalized", "pending")


def _quantity(told: Any) -> int:
    try:
        if isinstance(told, str) and told.startswith("0x") and len(told) <= 66:
            return int(told, 16)
    except ValueError:
        pass
    raise Refused(INVALID_PARAMS, "a number is 0x and hex digits")


def _id_of(call: Any) -> Any:
    told = call.get("id") if isinstance(call, dict) else None
    return told if isinstance(told, str | int) else None


def _refusal(call: Any, problem: Refused) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": _id_of(call), "error": {"code": problem.code, "message": str(problem)}}
