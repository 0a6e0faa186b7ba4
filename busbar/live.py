"""A replayed market goes on living: what `make run` does on a terminal after its report is written.

Tomorrow is like today: the replayed intervals come again and again, with registers that go on. Keeper, gateway, agents,
relay and index act on a block a second, the API serves them with the dapp, and a guest with a roof and some baht, whom
no agent acts for, is there to be traded with. Chain time runs so fast that an epoch takes a minute. The market begins
again at the first interval with at least half of the most export of any, since nobody trades at night.
"""

import socket
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path

import structlog

from busbar import door, errors, relay_api
from busbar.agents import Agents, Corridor, TariffClock
from busbar.api.app import create_app
from busbar.api.context import Settings as ApiSettings
from busbar.api.dapp import require_built
from busbar.chain import Call, Chain, ChainUnreachableError, NodeRefusedError, Outcome, Signer
from busbar.community import Community, CommunityMeter, Registers
from busbar.deployment import Record, connect
from busbar.devnet import dev_meter_key, dev_signer, free_port
from busbar.enrolment import DatedTariff, Enrolment, agents, meter_keys
from busbar.history import History, open_database
from busbar.keeper import Keeper
from busbar.keys import signer
from busbar.meters import Gateway
from busbar.outbox import Outbox
from busbar.readings import MeterKey, Reading, meter_id_bytes
from busbar.relay import Intake, Relay
from busbar.replay import Replayed
from busbar.settings import Settings

EPOCH_S = 60
"""Seconds of the wall clock that an epoch takes."""

BLOCK_S = 1.0
"""Seconds of the wall clock between blocks."""

AWAY_S = 120
"""How long a node may not answer before a market ends: several times what is waited for one answer."""

GUEST, RELAY = 9, 8
"""Development accounts of the guest, and of who pays for relayed orders."""

GUEST_METER = "GUEST"

GUEST_WEI = 500 * 10**18
"""Baht in the guest's wallet."""

AGENT_WEI = 2_000 * 10**18
"""Baht given to each agent's account, so that nobody runs dry."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class RepeatedMeters:
    """The meters of a replay, whose intervals come again and again from the replay's end on.

    Attributes:
        enrolment: What was replayed.
        community: Its data.
    """

    enrolment: Enrolment
    community: Community

    @cached_property
    def keys(self) -> Mapping[str, MeterKey]:
        """Each meter's private key."""
        guests = MeterKey(dev_meter_key(len(self.community.meters)))
        return meter_keys(self.enrolment, self.community) | {GUEST_METER: guests}

    @property
    def meter_ids(self) -> Sequence[str]:
        """The meters, the guest's among them."""
        return sorted(self.keys)

    def after(self, meter_id: str, interval_end: int, now: int) -> Sequence[Reading]:
        """Readings whose interval ends after `interval_end` and not after `now`, oldest first."""
        first, last = max(1, self.ended(interval_end) + 1), self.ended(now)
        return [self._reading(meter_id, n) for n in range(first, last + 1)]

    def ended(self, timestamp: int) -> int:
        """How many intervals have ended since the replay's last."""
        return (timestamp - self.enrolment.chain_end) // self.enrolment.epoch_seconds

    def registers(self, meter_id: str, intervals: int) -> Registers:
        """What a meter shows so many intervals after the replay's end."""
        imports, exports, start = self._series[meter_id]
        whole, rest = divmod(intervals, self.enrolment.intervals)
        return Registers(
            start.import_wh + whole * imports[-1] + imports[rest], start.export_wh + whole * exports[-1] + exports[rest]
        )

    def _reading(self, meter_id: str, n: int) -> Reading:
        shown = self.registers(meter_id, n)
        end = self.enrolment.chain_end + n * self.enrolment.epoch_seconds
        return Reading(meter_id, end, shown.import_wh, shown.export_wh)

    @cached_property
    def guests_like(self) -> CommunityMeter:
        """The meter whose figures the guest's has too: the first with a roof, or else the first."""
        meters = self.community.meters
        return next((meter for meter in meters if meter.role == "prosumer"), meters[0])

    @cached_property
    def _series(self) -> dict[str, tuple[list[int], list[int], Registers]]:
        """Import and export summed up from the first interval on, and the registers at the replay's end."""
        named = {meter.meter_id: meter for meter in self.community.meters} | {GUEST_METER: self.guests_like}
        return {name: self._of(meter) for name, meter in named.items()}

    def _of(self, meter: CommunityMeter) -> tuple[list[int], list[int], Registers]:
        community, replayed = self.community, self.enrolment.replayed
        sums = (
            list(accumulate((of(meter, i) for i in replayed), initial=0))
            for of in (community.import_wh, community.export_wh)
        )
        imports, exports = sums
        return imports, exports, community.registers(meter)[replayed.stop - 1]

    def sunny(self) -> int:
        """The first interval of the replayed ones with at least half of the most export of any."""
        exports = [
            sum(self.community.export_wh(meter, i) for meter in self.community.meters) for i in self.enrolment.replayed
        ]
        return next(n for n, energy_wh in enumerate(exports) if 2 * energy_wh >= max(exports))


class RepeatedTariff(TariffClock):
    """The tariff of the replayed intervals, which come again and again."""

    def __init__(self, enrolment: Enrolment, community: Community) -> None:
        self._enrolment = enrolment
        self._dated = DatedTariff(enrolment, community)

    def corridor(self, timestamp: int) -> Corridor:
        """Buyback and retail."""
        start = self._enrolment.chain_start
        length = self._enrolment.intervals * self._enrolment.epoch_seconds
        return self._dated.corridor(start + (timestamp - start) % length)


class LiveMarket:
    """A replayed market that goes on.

    Args:
        done: The replay, its chain still running.
        record: The deployment's record.
        folder: Folder for index and outboxes, which are of no use afterwards.
    """

    def __init__(self, done: Replayed, record: Path, folder: Path) -> None:
        self.devnet, self.chain, self.enrolment = done.devnet, done.chain, done.enrolment
        self._record, self._folder = Record.load(record), folder
        self._parameters = done.parameters
        roles = done.parameters.roles
        self.meters = RepeatedMeters(done.enrolment, done.community)
        self.pace = max(1, self.enrolment.epoch_seconds // EPOCH_S)
        self.guest = dev_signer(GUEST)
        self._everybody = agents(done.enrolment)
        trading = f"{self.chain.chain_id}:{self.chain.addresses['Trading']}"
        self._outbox = (folder / "relay.sqlite", trading)
        self.engine = open_database(f"sqlite:///{folder / 'history.db'}")
        self._history = History(self.chain, self.engine)
        keeper = Keeper(self.chain, signer(roles.market_makers[0], self.chain.chain_id), [self.enrolment.zone])
        gateway = Gateway(self.chain, signer(roles.minters[0], self.chain.chain_id), self.meters)
        trade = Agents(
            self.chain, self._everybody, RepeatedTariff(done.enrolment, done.community), done.enrolment.seed + 1
        )
        relay = Relay(self.chain, dev_signer(RELAY), Outbox(*self._outbox))
        self._steps: tuple[Callable[[], Sequence[Outcome]], ...] = (
            keeper.step,
            gateway.step,
            keeper.step,
            trade.step,
            relay.step,
        )

    def prepare(self) -> None:
        """On to a sunny interval, with everybody funded and the guest enrolled."""
        # A replay in real time has left the blocks to the clock.
        self.chain.after_send = self.devnet.mine
        self.devnet.node.request("anvil_setBlockTimestampInterval", 1)
        wanted = self.enrolment.chain_end + self.meters.sunny() * self.enrolment.epoch_seconds
        self.devnet.mine(max(wanted, self.chain.head().timestamp + 1))
        self._fund()
        self._welcome()

    def _fund(self) -> None:
        trading, issuer = self.chain.addresses["Trading"], self._issuer
        who = [agent.signer for agent in self._everybody]
        issue = [(issuer, Call("BahtToken", "issue", (one.address, AGENT_WEI, bytes(32)))) for one in who]
        self._send([*issue, (issuer, Call("BahtToken", "issue", (self.guest.address, GUEST_WEI, bytes(32))))])
        self._send([(one, Call("BahtToken", "approve", (trading, AGENT_WEI))) for one in who])
        self._send([(one, Call("Trading", "deposit", (1, AGENT_WEI))) for one in who])

    def _welcome(self) -> None:
        """A roof like the first prosumer's, on an account that no agent acts for."""
        distributor = signer(self._parameters.roles.distributors[0], self.chain.chain_id)
        community, enrolment = self.meters.community, self.enrolment
        like = self.meters.guests_like
        shown = self.meters.registers(GUEST_METER, self.meters.ended(self.chain.head().timestamp))
        import_w, export_w = (
            -(-watts * enrolment.interval_s // enrolment.epoch_seconds)
            for watts in (community.rated_import_w(like), community.rated_export_w(like))
        )
        key = self.meters.keys[GUEST_METER].address
        kind, source = (1, 1) if like.role == "prosumer" else (2, 0)
        rated = (import_w, export_w if kind == 1 else 0)
        config = (self.guest.address, key, 0, kind, source, *rated, *shown)
        self._send([(distributor, Call("Registry", "registerUser", (self.guest.address, enrolment.zone, bytes(32))))])
        self._send([(distributor, Call("Registry", "assignMeter", (meter_id_bytes(GUEST_METER), config)))])

    @property
    def _issuer(self) -> Signer:
        return signer(self._parameters.roles.issuers[0], self.chain.chain_id)

    def _send(self, batch: Sequence[tuple[Signer, Call]]) -> None:
        for outcome in self.chain.send_many(batch):
            if outcome.error is not None:
                raise outcome.error

    def step(self) -> None:
        """Everybody acts once, and the index follows."""
        for step in self._steps:
            try:
                step()
            except errors.BusbarError as problem:
                log.warning("waiting to try again", reason=str(problem))
        self._history.step()

    def go_on(self) -> None:
        """Blocks and bots, until somebody interrupts.

        Raises:
            ChainUnreachableError: The node has ended, or did not answer for `AWAY_S`.
            NodeRefusedError: It refused for as long.
        """
        began, start = time.monotonic(), self.chain.head().timestamp
        answered = began
        while True:
            turn = time.monotonic()
            now = start + int((turn - began) * self.pace)
            try:
                self.devnet.mine(max(now, self.chain.head().timestamp + 1))
                self.step()
                answered = time.monotonic()
            except (ChainUnreachableError, NodeRefusedError) as problem:
                # A block that was asked for in vain may still come, and then the next one is too early by a little.
                if not self.devnet.runs or time.monotonic() - answered > AWAY_S:
                    raise
                log.warning("the node is late", reason=str(problem))
            time.sleep(max(0.0, BLOCK_S - (time.monotonic() - turn)))

    def open(self, dapp: Path, port: int) -> Callable[[], None]:
        """Serves API and dapp, with a relay behind them, until the function it returns is called.

        Raises:
            OSError: The port is somebody else's.
        """
        behind = free_port()
        stop_relay = self.open_relay(behind)
        try:
            stop_api = self.open_api(dapp, port, behind)
        except OSError:
            stop_relay()
            raise

        def stop() -> None:
            stop_api()
            stop_relay()
            self.engine.dispose()

        return stop

    def open_relay(self, port: int) -> Callable[[], None]:
        """Takes signed orders, until the function it returns is called."""
        at = Settings.load().relay
        intake = Intake(self._another(), Outbox(*self._outbox), rate=at.rate, most_waiting=at.most_waiting)
        return door.serve(relay_api.create_app(intake), "127.0.0.1", port)

    def open_api(self, dapp: Path, port: int, relay_port: int) -> Callable[[], None]:
        """Serves API and dapp, until the function it returns is called."""
        relay_url = f"http://127.0.0.1:{relay_port}"
        settings = ApiSettings(self.engine, self._another(), rate=None, relay_url=relay_url, dapp=dapp, pace=self.pace)
        return door.serve(create_app(settings), "127.0.0.1", port)

    def _another(self) -> Chain:
        """A client of the same market, for another thread."""
        return connect(self._record, self.devnet.url)


class PortInUse(errors.BusbarError):
    """The port for the dapp is somebody else's."""


def require_ready(dapp: Path, port: int) -> None:
    """Looks whether a market can be served later, before anything is started.

    Raises:
        DappMissing: The dapp is not built.
        PortInUse: The port is somebody else's.
    """
    require_built(dapp)
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        raise PortInUse(
            f"port {port} is in use: name another with --port, or end after the report with --exit"
        ) from None


def serve(done: Replayed, record: Path, dapp: Path, port: int, opened: Callable[[str, LiveMarket], None]) -> None:
    """Goes on with a replayed market, and serves it at one address, until it is interrupted (Ctrl-C).

    Args:
        done: The replay, its chain still running.
        record: The deployment's record.
        dapp: Folder of the built dapp.
        port: Port to listen on.
        opened: Told the address once everything is ready.

    Raises:
        DappMissing: The dapp is not built.
        OSError: The port is somebody else's.
        BusbarError: A step of the preparation was refused.
    """
    require_built(dapp)
    with tempfile.TemporaryDirectory(prefix="busbar-live-") as folder:
        market = LiveMarket(done, record, Path(folder))
        market.prepare()
        market.step()
        stop = market.open(dapp, port)
        try:
            opened(f"http://127.0.0.1:{port}", market)
            market.go_on()
        except KeyboardInterrupt:
            log.info("stopped")
        finally:
            stop()
