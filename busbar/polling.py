"""Asks an AMI head-end for readings, page by page, and never loses its place.

A head-end answers `GET readings?cursor=...` with a page: signed readings, how many they are, the cursor of what comes
next, and whether there is more already. The cursor is kept in the outbox and moves in the same write as the page's
readings. So whatever fails in between, the page is asked for again; what comes twice, or out of order, is known or
overtaken and changes nothing. A cursor that the head-end does not know any more begins at its beginning.
"""

import threading
import time
from collections.abc import Sequence
from typing import Annotated

import httpx
import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from busbar import errors, metrics
from busbar.intake import AHEAD_S, Intake
from busbar.outbox import Cursor
from busbar.readings import InvalidReading, SignedReading

MOST_BYTES = 4_000_000
"""Largest page."""

MOST_READINGS = 5_000
"""Most readings of a page."""

FARTHEST_S = 86_400
"""A reading that ends up to so much too late may show that the chain stands still; later than that it is nonsense."""

STOP_S = 5
"""Longest wait for a page to be kept when the poller is stopped."""

LONGEST_WAIT_S = 60
"""Longest pause after a page that failed."""

log = structlog.get_logger(__name__)


class HeadEndError(errors.BusbarError):
    """The head-end does not answer, or not with a page. It is asked again; nothing is lost."""

    remedy = errors.Remedy.RETRY


class UnknownCursorError(errors.BusbarError):
    """The head-end does not know the cursor."""


class Page(BaseModel):
    """What a head-end answers with.

    Attributes:
        readings: Each as `SignedReading.to_json` writes it.
        count: How many they are, so that a page cut short is noticed.
        next_cursor: What to ask with next.
        more: Whether there is something there already.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    readings: list[dict[str, str | int]] = Field(max_length=MOST_READINGS)
    count: int
    next_cursor: Annotated[str, Field(max_length=1_000)]
    more: bool


class HeadEnd:
    """A head-end's HTTP interface.

    Args:
        url: Its address.
        timeout_s: Longest wait for a page.
    """

    def __init__(self, url: str, timeout_s: float) -> None:
        self.url = url.rstrip("/")
        self.timeout_s = timeout_s
        self._http = httpx.Client(base_url=self.url, timeout=timeout_s, trust_env=False)

    def page(self, cursor: str | None) -> Page:
        """The page that a cursor leads to; the first one without.

        Raises:
            HeadEndError: It does not answer with a page.
            UnknownCursorError: It does not know the cursor.
        """
        try:
            body = self._body(cursor)
            page = Page.model_validate_json(body)
        except httpx.HTTPError as problem:
            raise HeadEndError(f"{self.url}: {type(problem).__name__} {problem}".rstrip()) from None
        except ValidationError as problem:
            raise HeadEndError(f"{self.url}: no page: {problem.errors()[0]['msg']}") from None
        if len(page.readings) != page.count:
            raise HeadEndError(f"{self.url}: a page of {page.count} readings came with {len(page.readings)}")
        return page

    def _body(self, cursor: str | None) -> bytes:
        until = time.monotonic() + self.timeout_s
        with self._http.stream("GET", "/readings", params={} if cursor is None else {"cursor": cursor}) as answer:
            if answer.status_code == httpx.codes.GONE and cursor is not None:
                raise UnknownCursorError(f"{self.url} does not know the cursor {cursor!r}")
            answer.raise_for_status()
            body = b""
            for chunk in answer.iter_bytes():
                body += chunk
                if time.monotonic() > until:
                    raise HeadEndError(f"{self.url}: a page took longer than {self.timeout_s:g} s")
                if len(body) > MOST_BYTES:
                    raise HeadEndError(f"{self.url}: a page has more than {MOST_BYTES} bytes")
        return body

    def close(self) -> None:
        """Ends the connection."""
        self._http.close()


class Poller:
    """Brings what a head-end has through the intake.

    Args:
        head_end: Who is asked.
        intake: Takes readings on; nobody else may use it from then on.
        pause_s: Pause when there is nothing new.
    """

    def __init__(self, head_end: HeadEnd, intake: Intake, pause_s: float = 10) -> None:
        self.head_end = head_end
        self.intake = intake
        self.pause_s = pause_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="head-end", daemon=True)

    def poll(self) -> int:
        """Takes in all pages there are, and returns how many readings were taken on or known.

        Raises:
            BusbarError: A page could not be had or kept; what came before it is kept, and the next call goes on there.
        """
        outbox, source = self.intake.outbox, self.head_end.url
        taken = 0
        asked: set[str | None] = set()
        while not self._stopping.is_set():
            cursor = outbox.cursor(source)
            if cursor in asked:
                raise HeadEndError(f"{source} leads in a circle: the cursor {cursor!r} comes again")
            asked.add(cursor)
            try:
                page = self.head_end.page(cursor)
            except UnknownCursorError as problem:
                log.warning("begins at the beginning", reason=str(problem))
                metrics.POLLS.labels("cursor lost").inc()
                outbox.forget_cursor(source)
                continue
            taken += self._take(page)
            metrics.POLLS.labels("read").inc()
            self._heard()
            if not page.more or page.next_cursor == cursor:
                break
            if not page.readings:
                raise HeadEndError(f"{source} sent an empty page and says that there is more")
        return taken

    def _heard(self) -> None:
        metrics.PAGE_READ.labels(httpx.URL(self.head_end.url).host).set(time.time())

    def _take(self, page: Page) -> int:
        readings = self._parsed(page.readings)
        reached = self.intake.chain.head().timestamp + AHEAD_S
        early = [s.reading.key for s in readings if reached < s.reading.interval_end <= reached + FARTHEST_S]
        # A few are their meters' own clocks, or forged: they are refused, and hold nobody up.
        if len(early) * 2 > len(readings):
            raise HeadEndError(f"{self.head_end.url}: {early[0]} ends after the newest block: the chain stands still?")
        answers = self.intake.take(readings, Cursor(self.head_end.url, page.next_cursor))
        for signed, answer in zip(readings, answers, strict=True):
            if isinstance(answer, errors.BusbarError):
                log.info("not taken on", reading=signed.reading.key, reason=str(answer))
        return sum(isinstance(answer, str) for answer in answers)

    @staticmethod
    def _parsed(entries: Sequence[dict[str, str | int]]) -> list[SignedReading]:
        found = []
        for entry in entries:
            try:
                found.append(SignedReading.from_fields(entry))
            except (InvalidReading, errors.ECDSAInvalidSignatureLength) as problem:
                # One that makes no sense would stand in the way of all that follow it for ever.
                log.warning("makes no sense", reason=str(problem))
                metrics.READINGS.labels("headend", type(problem).__name__).inc()
        return found

    # ---- on a thread of its own

    def start(self) -> None:
        """Polls again and again, on a thread of its own."""
        # One that never answers is missed too.
        self._heard()
        self._thread.start()

    def stop(self) -> None:
        """Finishes the page under way, but waits no longer than a page may take."""
        self._stopping.set()
        self._thread.join(self.head_end.timeout_s + STOP_S)
        self.head_end.close()

    def _run(self) -> None:
        wait_s = self.pause_s
        while not self._stopping.is_set():
            try:
                self.poll()
                wait_s = self.pause_s
            except errors.BusbarError as problem:
                metrics.POLLS.labels("failed").inc()
                metrics.failed(problem)
                log.warning("the head-end is asked again", reason=str(problem), seconds=wait_s)
                wait_s = min(wait_s * 2, LONGEST_WAIT_S)
            self._stopping.wait(wait_s)
