"""A bot with an HTTP door as the process an operator runs, and its callers' way to it."""

import os
import re
import subprocess
import time

import httpx

from busbar.devnet import dev_signer
from tests.operators import BUSBAR, COMPILED_ONCE, PATIENCE_S


class Process:
    """`busbar <bot>` with a door. The chain makes blocks when told to.

    Args:
        market: The market it serves.
        folder: For its files.
        name: What its files are called.
        account: Development account that pays for gas.
        settings: Of the bot's table.
    """

    bot = ""
    pays = 0

    def __init__(self, market, folder, name=None, account=None, **settings):
        self.market, self.folder = market, folder
        self.name, self.account = name or self.bot, self.pays if account is None else account
        self.environment = {f"BUSBAR_{self.bot.upper()}__{key.upper()}": str(value) for key, value in settings.items()}
        self.log = folder / f"{self.name}.log"
        self.process = self.client = None

    def start(self):
        market, record = self.market, self.folder / "record.json"
        market.record.save(record)
        command = [BUSBAR, self.bot, "--url", market.devnet.url, "--record", str(record), "--pause", "0.1"]
        command += ["--port", "0", "--outbox", str(self.folder / f"{self.name}.sqlite")]
        command += ["--account", f"dev:{self.account}"]
        with self.log.open("wb") as file:
            self.process = subprocess.Popen(
                command, stdout=file, stderr=subprocess.STDOUT, env={**os.environ, **COMPILED_ONCE, **self.environment}
            )
        self.until(lambda: "listening" in self.said())
        port = re.search(r'"port": (\d+)', self.said())[1]
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=PATIENCE_S)
        return self

    def kill(self):
        self.process.kill()
        self.process.wait()
        if self.client is not None:
            self.client.close()

    def said(self):
        return self.log.read_text(encoding="utf-8")

    def until(self, condition, mine=False):
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, self.said()[-3_000:]
            assert self.process.poll() is None, self.said()[-3_000:]
            if mine and self.market.chain.node.request("txpool_content")["pending"]:
                self.market.devnet.mine()
            time.sleep(0.02)

    def sent(self):
        """Whether it has something waiting for a block."""
        pending = self.market.chain.node.request("txpool_content")["pending"]
        return dev_signer(self.account).address.lower() in {sender.lower() for sender in pending}
