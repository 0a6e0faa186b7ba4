"""What callers send, byte for byte, and a search in it for a secret however it is written."""

import base64
import contextlib
import socket
import socketserver
import threading
from urllib.parse import unquote_to_bytes, urlsplit


class Recorder:
    """A proxy before a server: passes everything on and keeps what callers sent, a text for each connection."""

    def __init__(self, server):
        self.upstream = urlsplit(server)
        self.connections = []
        recorder = self

        class Caller(socketserver.BaseRequestHandler):
            def handle(self):
                recorder._pass_on(self.request)

        self._proxy = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Caller)
        self._proxy.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._proxy.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self._proxy.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self._proxy.shutdown()
        self._proxy.server_close()

    def _pass_on(self, caller):
        sent = bytearray()
        self.connections.append(sent)
        with socket.create_connection((self.upstream.hostname, self.upstream.port)) as server:
            threading.Thread(target=_pump, args=(server, caller), daemon=True).start()
            _pump(caller, server, sent)


def _pump(source, target, kept=None):
    """Everything from one side to the other, until it ends."""
    with contextlib.suppress(OSError):  # either side may close at any moment
        while chunk := source.recv(65_536):
            if kept is not None:
                kept += chunk
            target.sendall(chunk)
        target.shutdown(socket.SHUT_WR)


def forms(secret):
    """How 32 secret bytes may be written, by name."""
    text = secret.hex().encode()
    return {
        "raw": secret,
        "hex": text,
        "HEX": text.upper(),
        "0x hex": b"0x" + text,
        "0X HEX": b"0X" + text.upper(),
        "mixed hex": bytes(c ^ 32 if c > 64 and place % 2 else c for place, c in enumerate(text)),
        "decimal": str(int.from_bytes(secret, "big")).encode(),
        "base64": base64.b64encode(secret),
        "base64 for addresses": base64.urlsafe_b64encode(secret).rstrip(b"="),
        "base64 within something": base64.b64encode(b"{" + secret + b"}"),
        "base64 of hex": base64.b64encode(b"0x" + text),
        "base64 of HEX": base64.b64encode(text.upper()),
        "list of numbers": b"[" + b", ".join(b"%d" % byte for byte in secret) + b"]",
        "percent": b"".join(b"%%%02x" % byte for byte in secret),
    }


def occurs(secret, sent):
    """Whether 32 secret bytes are in what was sent, in any of `forms` and at any place."""
    plain = unquote_to_bytes(bytes(sent))
    text = secret.hex().encode()
    wanted = [secret, str(int.from_bytes(secret, "big")).encode()]
    wanted += [piece for inner in (secret, text, text.upper()) for piece in _in_base64(inner)]
    numbers = b",".join(b"%d" % byte for byte in secret)
    return (
        any(one in form for one in wanted for form in (sent, plain))
        or text in plain.lower()
        or numbers in plain.replace(b" ", b"")
    )


def _in_base64(inner):
    """What stands in the base64 of anything that holds these bytes, wherever they begin in it, in either alphabet."""
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + inner)
        whole = encoded[(0, 2, 3)[before] : (before + len(inner)) * 8 // 6]
        yield whole
        yield whole.translate(bytes.maketrans(b"+/", b"-_"))
