"""Faults on purpose: a node's address that drops, delays, resets, hangs or lies, between the bots and the chain.

One small server of our own. Below HTTP it drops connections, resets them and leaves them half open; above, it answers
with errors, another chain's id or an old head. WebSocket connections are passed through and cut when a fault begins.
"""

import asyncio
import json
import socket
import struct
import threading
from contextlib import suppress

from busbar.devnet import free_port

RESET = struct.pack("ii", 1, 0)
"""Lingering for no time: closing sends RST."""


class FaultyNode:
    """A node's other address. `fault` names what is wrong with it; None lets everything through.

    Faults: `drop` closes connections unanswered, `reset` answers half and resets, `delay` answers late, `half-open`
    takes requests and never answers, `errors` answers every request with an error, `chain id` serves another chain's
    id, `stale` shows the head as it was when the fault began.
    """

    def __init__(self, port, delay_s=0.4):
        self.target, self.port, self.delay_s = port, free_port(), delay_s
        self.url = f"http://127.0.0.1:{self.port}"
        self.ws_url = f"ws://127.0.0.1:{self.port}"
        self.fault, self.stale_head = None, None
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._connections = set()
        self._thread = threading.Thread(target=self._run, name="faulty node", daemon=True)
        self._thread.start()
        self._ready.wait()

    def begin(self, fault, stale_head=None):
        """Begins a fault, or ends it; connections that are open are cut."""
        self.fault, self.stale_head = fault, stale_head
        self._loop.call_soon_threadsafe(self._cut)

    def _cut(self):
        for task in list(self._connections):
            task.cancel()

    def _run(self):
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._accept, "127.0.0.1", self.port))
        self._ready.set()
        self._loop.run_forever()
        server.close()
        self._loop.run_until_complete(self._end(asyncio.all_tasks(self._loop)))
        self._loop.close()

    async def _end(self, pending):
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        # What was closed is gone two turns of the loop later.
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    def _accept(self, reader, writer):
        # The connection is closed by what happens when its task ends: one cancelled before it began runs nothing else.
        task = self._loop.create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        task.add_done_callback(lambda _: writer.close())

    async def _serve(self, reader, writer):
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self._connection(reader, writer)

    async def _connection(self, reader, writer):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if self.fault == "drop":
                return None
            if b"upgrade: websocket" in head.lower():
                return await self._tunnel(head, reader, writer)
            length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            body = await reader.readexactly(length)
            fault = self.fault
            if fault == "half-open":
                await asyncio.sleep(3_600)
            answer = await self._answer(body, fault)
            if fault == "delay":
                await asyncio.sleep(self.delay_s)
            told = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(answer)
            if fault == "reset":
                writer.write(told + answer[: len(answer) // 2])
                await writer.drain()
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                writer.transport.abort()
                return None
            writer.write(told + answer)
            await writer.drain()

    async def _answer(self, body, fault):
        requests = json.loads(body)
        if fault == "errors":
            refused = {"code": -32603, "message": "internal error"}
            return json.dumps([{"jsonrpc": "2.0", "id": r["id"], "error": refused} for r in requests]).encode()
        answers = json.loads(await self._ask(body))
        for request, answer in zip(requests, answers, strict=True):
            method, params = request["method"], request.get("params")
            if fault == "chain id" and method == "eth_chainId":
                answer["result"] = "0x1e61"
            if fault == "stale" and method == "eth_getBlockByNumber" and params[0] == "latest":
                answer["result"] = self.stale_head
        return json.dumps(answers).encode()

    async def _ask(self, body):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.target)
        try:
            writer.write(
                b"POST / HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-type: application/json\r\n"
                b"content-length: %d\r\n\r\n" % len(body) + body
            )
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            return await reader.readexactly(length)
        finally:
            writer.close()

    async def _tunnel(self, head, reader, writer):
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        far_writer.write(head)

        async def copy(source, sink):
            while data := await source.read(65_536):
                sink.write(data)
                await sink.drain()

        ways = [asyncio.create_task(copy(reader, far_writer)), asyncio.create_task(copy(far_reader, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # Before waiting: another fault may cancel that.
            far_writer.close()
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    def stop(self):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
