// Uses the dapp as people do, in Chromium with a wallet that really signs, against a running market; prints as JSON what
// came of each scenario. What only the market's operator can do, such as time passing, is asked of CONTROL.
//
// Usage: node dapp/e2e/tour.mjs URL CONTROL FOLDER [PART]   (run by tests/services/test_dapp.py; FOLDER for screenshots;
// PART: only scenarios whose name has it)

import assert from "node:assert/strict";
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { createPublicClient, http } from "viem";
import { connect, launch, pageWithWallet } from "./browser.mjs";

const [url, control, folder, part = ""] = process.argv.slice(2);
const GUEST = 9;
const REGULATOR = 0;
const DISTRIBUTOR = 1;
const NEWCOMER = 60;
const STRANGER = 61;
const PATIENCE_MS = 30_000;
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

const browser = await launch();
const outcomes = {};
const told = {};

const ask = async (what) => {
  const answer = await fetch(`${control}/${what}`, { method: "POST" });
  assert.equal(answer.status, 200, what);
};

/** On to an epoch in which there is something to trade: not at night. */
const askForTrade = async () => {
  let book;
  do {
    await ask("next-epoch");
    book = await (await fetch(`${url}/api/v1/energy/book`)).json();
  } while (book.indicative.price2 === 0);
};

async function scenario(name, options, act) {
  if (!name.includes(part)) return;
  const opened = await pageWithWallet(browser, { url, index: GUEST, ...options });
  opened.page.setDefaultTimeout(PATIENCE_MS);
  try {
    await act(opened);
    outcomes[name] = "ok";
  } catch (problem) {
    outcomes[name] =
      `${problem.message}\nseen: ${JSON.stringify(opened.seen)}\nasked: ${JSON.stringify(opened.wallet.asked)}`.slice(
        0,
        3_000,
      );
    // A scenario may have closed it.
    if (!opened.page.isClosed()) await opened.page.screenshot({ path: join(folder, `failed-${name}.png`) });
  } finally {
    await opened.context.close();
  }
}

const go = (page, path) => page.goto(`${url}/#/${path}`);
const accountOf = ({ account: { address } }) => `Account ${address.slice(0, 6)}…${address.slice(-4)}`;
const shown = (locator) => locator.waitFor({ state: "visible" });
const press = (page, name) => page.getByRole("button", { name, exact: true }).click();
const dialog = (page) => page.getByRole("dialog");
const sign = (page, name = "Sign in your wallet") => dialog(page).getByRole("button", { name }).click();

/** Fills the ticket in and goes as far as the dialog before the wallet. */
async function fillTicket(page, { side = "Buy", kwh, limit }) {
  await page.getByRole("region", { name: "New order" }).getByText(side, { exact: true }).click();
  await page.getByLabel("Energy", { exact: true }).fill(kwh);
  await page.getByLabel(side === "Buy" ? "At most" : "At least", { exact: true }).fill(limit);
}

async function order(page, wanted) {
  await fillTicket(page, wanted);
  await press(page, "Place order");
  await sign(page);
}

// Pictures are of one run.
if (!part) rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });

/** A picture of what is in front of a person, once dialogs have faded in. */
const picture = async (page, name) => {
  await page.waitForTimeout(400);
  await page.screenshot({ path: join(folder, `${name}.png`) });
};

/** Pixels by which a page is wider than its window. */
const tooWide = (page) =>
  page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

const serious = [];

/** Notes axe's serious faults of a page as it is. */
const judge = async (page, name) => {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  for (const { id, impact, nodes } of violations)
    if (["serious", "critical"].includes(impact))
      serious.push(`${name}: ${id}: ${nodes[0].html.slice(0, 160)}: ${nodes[0].failureSummary.slice(0, 300)}`);
};

/** Has the wallet wait with its answer until the function that is returned is called. */
const hold = (wallet) => {
  let answer;
  wallet.until = new Promise((resolve) => (answer = resolve));
  return () => {
    wallet.until = null;
    answer();
  };
};

/** What of a page's badges, buttons, tabs and tables is cut off, or lies outside of what a person sees. */
const cutOff = (page) =>
  page.evaluate(() => {
    const faults = [];
    const seen = (element) => element.checkVisibility() && element.getClientRects().length > 0;
    const beyond = (inner, outer) => inner.left < outer.left - 1 || inner.right > outer.right + 1;
    const screen = { left: 0, right: document.documentElement.clientWidth };
    for (const one of document.querySelectorAll("button, a[class*=Button], [role=tab], [class*=Badge-root]")) {
      if (!seen(one) || !one.textContent.trim()) continue;
      const text = document.createRange();
      text.selectNodeContents(one);
      const clips = [one, ...one.querySelectorAll("*")].filter(
        (part) =>
          getComputedStyle(part).overflowX !== "visible" && seen(part) && part.scrollWidth > part.clientWidth + 1,
      );
      const box = one.getBoundingClientRect();
      if (clips.length || beyond(text.getBoundingClientRect(), box) || beyond(box, screen))
        faults.push(`label cut: ${one.textContent.trim()}`);
    }
    for (const table of document.querySelectorAll("table")) {
      if (!seen(table)) continue;
      const box = table.parentElement.getBoundingClientRect();
      for (const cell of table.querySelectorAll("tbody td, tbody td *"))
        if (seen(cell) && beyond(cell.getBoundingClientRect(), box))
          faults.push(`beyond its table's box: ${cell.textContent.trim() || cell.className}`);
    }
    return faults.slice(0, 20);
  });

/** What a wallet was asked to sign or to send, in this order. */
const asked = (wallet) =>
  wallet.asked.filter((method) => ["eth_signTypedData_v4", "eth_sendTransaction"].includes(method));

// A participant has no ether: while the relay is there, signatures are enough for everything.
await ask("take-ether");

await scenario("first visit", {}, async ({ page, seen }) => {
  const scripts = [];
  page.on("response", async (answer) => {
    if (answer.url().endsWith(".js")) scripts.push(answer.request().sizes());
  });
  await go(page, "");
  await shown(page.getByRole("heading", { name: "Open book" }));
  await shown(page.locator(".chart canvas").first());
  await shown(page.getByText("Connect a wallet to trade"));
  await shown(page.getByRole("timer"));
  await shown(page.getByTestId("last-epochs").locator("tbody tr").first());
  told.scriptBytes = (await Promise.all(scripts)).reduce((sum, { responseBodySize }) => sum + responseBodySize, 0);
  told.scripts = scripts.length;
  assert.deepEqual(seen, { errors: [], outside: [] });
});

await scenario("eight windows share one stream", {}, async ({ page, context }) => {
  context.setDefaultTimeout(PATIENCE_MS);
  const holders = [];
  context.on("request", (request) => {
    if (request.url().includes("/streams/")) holders.push(request.frame().page());
  });
  const windows = [page];
  while (windows.length < 8) windows.push(await context.newPage());
  for (const one of windows) await go(one, "market");
  const hear = async (listening) => {
    await ask("next-epoch");
    const [cleared] = (await (await fetch(`${url}/api/v1/energy/epochs?limit=1`)).json()).items;
    const { block } = await (await fetch(`${url}/api/v1/status`)).json();
    for (const one of listening) {
      const last = cleared.epoch.toLocaleString("en-GB");
      await shown(one.getByTestId("last-epochs").getByRole("link", { name: last, exact: true }));
      await one.waitForFunction((before) => {
        const dot = document.querySelector(".dot.live");
        return Number(dot?.getAttribute("aria-label").replace(/\D/g, "")) > before;
      }, block);
      assert.equal(await one.evaluate(async () => (await fetch("/api/v1/energy/book")).status), 200);
    }
  };
  await hear(windows);
  assert.equal(holders.length, 1);
  await holders[0].close();
  const rest = windows.filter((one) => one !== holders[0]);
  await hear(rest);
  assert.equal(holders.length, 2);
  assert.ok(rest.includes(holders[1]));
});

await scenario("a window that hangs loses the stream to another", {}, async ({ page, context }) => {
  context.setDefaultTimeout(PATIENCE_MS);
  const holders = [];
  context.on("request", (request) => {
    if (request.url().includes("/streams/")) holders.push(request.frame().page());
  });
  let end;
  const hung = new Promise((resolve) => (end = resolve));
  // A script that waits for an answer which does not come, as in a loop without end.
  await context.route("**/never", async (route) => {
    await hung;
    await route.abort();
  });
  await go(page, "market");
  await shown(page.locator(".dot.live"));
  const other = await context.newPage();
  await go(other, "market");
  await shown(other.locator(".dot.live"));
  assert.deepEqual(holders, [page]);
  const over = page.evaluate(() => {
    const asked = new XMLHttpRequest();
    asked.open("GET", "/never", false);
    try {
      asked.send();
    } catch {
      return "over";
    }
  });
  await context.waitForEvent("request", (request) => request.url().includes("/streams/"));
  assert.deepEqual(holders, [page, other]);
  const hear = async (one) => {
    const { block } = await (await fetch(`${url}/api/v1/status`)).json();
    await one.waitForFunction((before) => {
      const dot = document.querySelector(".dot.live");
      return Number(dot?.getAttribute("aria-label").replace(/\D/g, "")) > before;
    }, block);
  };
  await hear(other);
  end();
  assert.equal(await over, "over");
  await hear(page);
  await hear(other);
  assert.deepEqual(holders, [page, other]);
});

await scenario("a page that is opened after the news ended says how old they are", {}, async ({ page }) => {
  await ask("stop-index");
  let { age_s: age } = await (await fetch(`${url}/api/v1/status`)).json();
  while (age < 25) {
    await new Promise((over) => setTimeout(over, 1_000));
    ({ age_s: age } = await (await fetch(`${url}/api/v1/status`)).json());
  }
  await go(page, "market");
  const said = page.getByText(/No news for \d+:\d\d\. What you see may be out of date\./);
  await shown(said);
  const [, minutes, seconds] = /(\d+):(\d\d)/.exec(await said.textContent());
  const openS = (await page.evaluate(() => performance.now())) / 1_000;
  assert.ok(Number(minutes) * 60 + Number(seconds) > openS + 15, "counts from when the page was opened");
  await ask("start-index");
  await said.waitFor({ state: "hidden" });
});

await scenario("a page whose script does not come offers to load it again", {}, async ({ page, context }) => {
  await go(page, "market");
  await shown(page.getByRole("heading", { name: "Open book" }));
  await context.route("**/assets/Community-*.js", (route) => route.abort());
  await page.getByRole("link", { name: "Community" }).click();
  const said = page.getByText("This page could not be loaded.");
  await shown(said);
  await judge(page, "script-missing");
  await page.getByRole("link", { name: "Market" }).click();
  await shown(page.getByRole("heading", { name: "Open book" }));
  assert.equal(await said.count(), 0);
  await page.getByRole("link", { name: "Community" }).click();
  await shown(said);
  await context.unrouteAll();
  await press(page, "Load again");
  await shown(page.getByText("Self-sufficiency", { exact: true }));
});

await scenario("keyboard alone", {}, async ({ page }) => {
  await go(page, "market");
  await shown(page.getByRole("heading", { name: "Open book" }));
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement?.textContent), "Skip to the content");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement?.id), "content");
  const market = page.getByRole("link", { name: "Explorer" });
  await market.focus();
  await page.keyboard.press("Enter");
  await shown(page.getByRole("tab", { name: "Epochs" }));
});

await scenario("connect", {}, async ({ page, wallet }) => {
  await go(page, "market");
  await connect(page);
  await shown(page.getByRole("button", { name: accountOf(wallet) }));
  await shown(page.getByText("You have no open or standing orders."));
  await page.reload();
  await shown(page.getByRole("button", { name: accountOf(wallet) }));
});

await scenario("wrong network", { elsewhere: true }, async ({ page, wallet }) => {
  await go(page, "market");
  await connect(page);
  await shown(page.getByRole("button", { name: accountOf(wallet) }));
  assert.equal(wallet.chainId, "0x7a69");
  const [added] = wallet.added;
  assert.equal(added.chainId, "0x7a69");
  assert.deepEqual(added.rpcUrls, [`${url}/rpc`]);
});

await scenario("network changed meanwhile", {}, async ({ page, wallet }) => {
  await go(page, "market");
  await connect(page);
  await shown(page.getByText("You have no open or standing orders."));
  wallet.knows.add("0x1");
  await page.evaluate(() => window.busbarTestGo("0x1"));
  await shown(page.getByText("Your wallet is on another network"));
  await press(page, "Switch to Busbar devnet");
  await page.getByText("Your wallet is on another network").waitFor({ state: "hidden" });
  assert.equal(wallet.chainId, "0x7a69");
});

await scenario("deposit with permit", {}, async ({ page, wallet }) => {
  await go(page, "energy");
  await connect(page);
  await press(page, "Deposit");
  await dialog(page).getByLabel("Amount").fill("200");
  await dialog(page).getByRole("button", { name: "Deposit" }).click();
  await shown(dialog(page).getByText("Allow the market to take 200.00 THB from your wallet, once"));
  await shown(dialog(page).getByText(/In your wallet it reads: value 2(0{20})\./));
  await sign(page);
  await shown(page.getByText("200.00 THB is in your account"));
  await shown(page.getByTestId("balance").getByText("200.00", { exact: false }).first());
  assert.deepEqual(asked(wallet), ["eth_signTypedData_v4"]);
  assert.equal(wallet.messages[0].value, `2${"0".repeat(20)}`);
});

await scenario("signature rejected", {}, async ({ page, wallet }) => {
  await go(page, "market");
  await connect(page);
  await fillTicket(page, { kwh: "0.3", limit: "2.50" });
  await press(page, "Place order");
  wallet.declines = 1;
  await sign(page);
  await shown(page.getByText("You declined in your wallet. Nothing was sent."));
  await dialog(page).getByRole("button", { name: "Cancel" }).click();
  await shown(page.getByText("You have no open or standing orders."));
});

await scenario("order, seen in the book, filled when the epoch clears", {}, async ({ page, wallet }) => {
  await askForTrade();
  await go(page, "market");
  await connect(page);
  await fillTicket(page, { kwh: "0.4", limit: "4.31" });
  await shown(page.getByText(/You would get 0.400 kWh for \d+\.\d\d THB/));
  await press(page, "Place order");
  await shown(dialog(page).getByText("Buy 0.400 kWh for at most 4.31 THB/kWh"));
  await shown(dialog(page).getByText("In your wallet it reads: action buy, energyWh 400, limitTicksPerKWh 431."));
  await sign(page);
  await shown(page.getByText("Your order is in the market"));
  const [{ action, energyWh, limitTicksPerKWh }] = wallet.messages[0].orders;
  assert.deepEqual([action, Number(energyWh), Number(limitTicksPerKWh)], ["buy", 400, 431]);
  await shown(page.getByTestId("open-orders").getByText("0.400 kWh"));
  assert.ok(!wallet.asked.includes("eth_sendTransaction"));
  const book = await (await fetch(`${url}/api/v1/energy/book`)).json();
  assert.ok(book.bids.some(({ tick, energy_wh }) => tick === 431 && energy_wh >= 400));
  await ask("next-epoch");
  await shown(page.getByTestId("past-orders").getByText("filled", { exact: true }).first());
  await shown(
    page
      .getByTestId("past-orders")
      .getByText(/0\.400 kWh · \d\.\d\d/)
      .first(),
  );
});

await scenario("cancel", {}, async ({ page, wallet }) => {
  await ask("next-epoch");
  await go(page, "market");
  await connect(page);
  await order(page, { kwh: "0.2", limit: "2.30" });
  await page.getByRole("button", { name: "Take back: Buy 0.200 kWh for at most 2.30 THB/kWh" }).click();
  await sign(page);
  await shown(page.getByText("Your order was taken back"));
  await shown(page.getByText("You have no open or standing orders."));
  await shown(page.getByTestId("past-orders").getByText("taken back").first());
  assert.deepEqual(asked(wallet), ["eth_signTypedData_v4", "eth_signTypedData_v4"]);
});

/** Goes on with the tabulator until what has a name has the focus, as who has no mouse does. */
const reach = async (page, name) => {
  const passed = [];
  while (passed.length < 80) {
    await page.keyboard.press("Tab");
    const here = await page.evaluate(() => {
      const { activeElement: at } = document;
      return (at?.getAttribute("aria-label") ?? at?.labels?.[0]?.textContent ?? at?.textContent ?? "").trim();
    });
    if (here === name) return;
    passed.push(here);
  }
  assert.fail(`not reached: ${name}, but ${passed.join(" | ")}`);
};

await scenario("order placed and taken back by keyboard alone", {}, async ({ page, wallet }) => {
  await ask("next-epoch");
  await go(page, "market");
  await shown(page.getByRole("region", { name: "New order" }));
  const { keyboard } = page;
  await reach(page, "Connect a wallet");
  await keyboard.press("Enter");
  await shown(dialog(page));
  await reach(page, "Test wallet");
  await keyboard.press("Enter");
  await shown(page.getByText("You have no open or standing orders."));
  await reach(page, "Buy");
  await keyboard.press("ArrowRight");
  await shown(page.getByLabel("At least", { exact: true }));
  await keyboard.press("ArrowLeft");
  await reach(page, "Energy");
  await keyboard.type("0.2");
  await reach(page, "At most");
  await keyboard.type("2.33");
  await reach(page, "Place order");
  await keyboard.press("Space");
  await shown(dialog(page).getByText("Buy 0.200 kWh for at most 2.33 THB/kWh"));
  // The dialog has the focus where one goes on.
  await keyboard.press("Enter");
  await shown(page.getByTestId("open-orders").getByText("0.200 kWh · 2.33"));
  await dialog(page).waitFor({ state: "hidden" });
  await reach(page, "Take back: Buy 0.200 kWh for at most 2.33 THB/kWh");
  await keyboard.press("Enter");
  await shown(dialog(page).getByText("It leaves the market, and what it locks is free at once."));
  await keyboard.press("Escape");
  await dialog(page).waitFor({ state: "hidden" });
  // Where one was before the dialog.
  await keyboard.press("Space");
  await shown(dialog(page));
  await keyboard.press("Enter");
  await shown(page.getByText("Your order was taken back"));
  await shown(page.getByText("You have no open or standing orders."));
  assert.deepEqual(asked(wallet), ["eth_signTypedData_v4", "eth_signTypedData_v4"]);
});

await scenario("standing order, tried again in the next epoch, taken back", {}, async ({ page, wallet }) => {
  await ask("next-epoch");
  await go(page, "market");
  await connect(page);
  await fillTicket(page, { kwh: "0.5", limit: "1.00" });
  await page.getByText("Longer", { exact: true }).click();
  await page.getByLabel("Epochs after this one").fill("97");
  await shown(page.getByText("A whole number from 1 to 96"));
  await press(page, "24 h");
  await shown(page.getByText(/What does not trade is tried again until \d\d:\d\d/));
  await press(page, "Place order");
  await shown(dialog(page).getByText(/It stands until \d\d:\d\d, .* \(epoch [\d,]+\)/));
  await picture(page, "standing-order-sign");
  await judge(page, "standing-order-sign");
  await sign(page);
  const mine = page.getByTestId("open-orders");
  await shown(mine.getByText(/^In the book\. Stands until \d\d:\d\d, /));
  const until = await mine.getByText(/Stands until/).textContent();
  const before = (await (await fetch(`${url}/api/v1/energy/book`)).json()).epoch;
  await ask("next-epoch");
  await shown(page.getByTestId("past-orders").getByText("not filled").first());
  await shown(mine.getByText(until));
  const book = await (await fetch(`${url}/api/v1/energy/book`)).json();
  assert.ok(book.epoch > before);
  assert.ok(book.bids.some(({ tick, energy_wh }) => tick === 100 && energy_wh === 500));
  await page.screenshot({ path: join(folder, "standing-order.png"), fullPage: true });
  await page.getByRole("button", { name: "Take back: Buy 0.500 kWh for at most 1.00 THB/kWh" }).click();
  await sign(page);
  await shown(page.getByText("You have no open or standing orders."));
  assert.deepEqual(asked(wallet), ["eth_signTypedData_v4", "eth_signTypedData_v4"]);
});

await scenario("withdraw", {}, async ({ page, wallet }) => {
  await go(page, "energy");
  await connect(page);
  await press(page, "Withdraw");
  await dialog(page).getByLabel("Amount").fill("50");
  await dialog(page).getByRole("button", { name: "Withdraw" }).click();
  await sign(page);
  await shown(page.getByText("50.00 THB is in your wallet"));
  await shown(page.getByTestId("balance").getByText(/350\.00 in your wallet/));
  assert.deepEqual(asked(wallet), ["eth_signTypedData_v4"]);
});

await scenario("not enough balance", {}, async ({ page }) => {
  await go(page, "market");
  await connect(page);
  await fillTicket(page, { kwh: "900", limit: "4.00" });
  await shown(page.getByText("You do not have so much free money. Deposit some, or order less."));
  assert.ok(await page.getByRole("button", { name: "Place order" }).isDisabled());
  await press(page, "Deposit");
  await dialog(page).getByLabel("Amount").fill("100000");
  await shown(dialog(page).getByText("There is not so much."));
});

await scenario("trade traced back to its reading", {}, async ({ page }) => {
  await go(page, "explorer");
  await page.getByRole("tab", { name: "Trades" }).click();
  await page.locator("tr", { hasText: "Sell" }).first().getByRole("button", { name: "Trace back" }).click();
  await shown(page.getByTestId("trace").getByText(/Meter \S+ signed .* kWh fed in/));
  await page.getByTestId("trace").locator("a").first().click();
  await shown(page.getByText("Metering.ReadingAccepted").first());
});

await scenario("explorer finds what it is asked for, or says that there is nothing", {}, async ({ page, wallet }) => {
  const json = async (path) => (await fetch(`${url}/api/v1/${path}`)).json();
  const [{ start, cleared_block: number, clear_tx: hash }] = (await json("energy/epochs?limit=1")).items;
  const block = await json(`blocks/${number}`);
  const { epoch } = await json("status");
  const box = page.getByRole("search").getByRole("textbox");
  const find = async (text) => {
    await box.fill(text);
    await box.press("Enter");
  };
  const heading = (name) => shown(page.getByRole("heading", { name }));
  const [trade] = (await json("energy/trades?limit=1")).items;
  await go(page, "explorer");
  await find(trade.order_id);
  await heading("Order");
  await shown(page.getByText(trade.order_id));
  await shown(page.getByText(/^filled( in part)?$/));
  await judge(page, "explorer-order");
  await picture(page, "explorer-order");
  await page.getByRole("button", { name: "Trace back" }).click();
  await shown(page.getByTestId("trace").getByRole("link", { name: "The order entered" }));
  await page.keyboard.press("Escape");
  await find(wallet.account.address);
  await heading("Account");
  await shown(page.getByText(wallet.account.address));
  await page.getByRole("link", { name: "GUEST" }).click();
  await heading("Meter GUEST");
  await find(hash);
  await heading("Transaction");
  await shown(page.getByText("Trading.EpochCleared"));
  await find(block.hash);
  await heading(`Block ${number.toLocaleString("en-GB")}`);
  // Far away, and a day: the market's first epoch.
  const { genesis } = await json("status");
  await find(new Date((genesis + 7 * 3_600) * 1_000).toISOString().slice(0, 10));
  await heading(/^Epoch 0 /);
  assert.ok(await page.getByRole("button", { name: "A day earlier" }).isDisabled());
  await page.getByRole("link", { name: "A day later" }).focus();
  await page.keyboard.press("Enter");
  await heading(new RegExp(`^Epoch ${86_400 / (await json("status")).epoch_seconds} `));
  // Two things have this number.
  await find(String(Math.min(epoch, number) - 1));
  await page.getByRole("link", { name: /^Block \d+$/ }).click();
  await heading(/^Block /);
  const noOrder = String(BigInt(trade.order_id) + 1n);
  for (const nothing of [String(start), `0x${"0".repeat(63)}1`, noOrder, "two words"]) {
    await find(nothing);
    await shown(page.getByText(`Nothing was found for “${nothing}”.`));
  }
  await judge(page, "nothing-found");
  await go(page, `explorer/epoch/${epoch + 1_000}`);
  await shown(page.getByText(`Nothing was found for “Epoch ${(epoch + 1_000).toLocaleString("en-GB")}”.`));
});

await scenario("today has the newest quarter hour once its meter has brought it", {}, async ({ page, wallet }) => {
  const month = (at) => new Date((at + 7 * 3_600) * 1_000).toISOString().slice(0, 7);
  const midnight = (at) => at - ((at + 7 * 3_600) % 86_400);
  await go(page, "energy");
  await connect(page);
  await shown(page.getByTestId("balance"));
  let start;
  do {
    // What ends at midnight is yesterday's.
    await ask("next-epoch-unread");
    const { genesis, epoch, epoch_seconds: seconds } = await (await fetch(`${url}/api/v1/status`)).json();
    start = genesis + epoch * seconds;
  } while (midnight(start) === start);
  const path = `accounts/${wallet.account.address}/statement?month=${month(start)}`;
  const { readings } = await (await fetch(`${url}/api/v1/${path}`)).json();
  const newest = readings.find(({ interval_end: end }) => end === start);
  const [name, key] =
    newest.import_wh > 0 ? ["Used from the network", "import_wh"] : ["Fed into the network", "export_wh"];
  assert.ok(newest[key] > 0);
  const wh = readings
    .filter(({ interval_end: end }) => end > midnight(start) && end <= start)
    .reduce((sum, reading) => sum + reading[key], 0);
  const places = wh < 10_000 ? 3 : wh < 100_000 ? 2 : 1;
  const figure = page.getByText(name, { exact: true }).locator("..");
  await shown(figure.getByText((wh / 1_000).toFixed(places)));
});

await scenario("balance and statement are of one block", {}, async ({ page, context, wallet }) => {
  await ask("next-epoch");
  await go(page, "energy");
  await connect(page);
  const money = page
    .getByTestId("balance")
    .getByText(/in your wallet/)
    .first();
  const before = await money.textContent();
  await shown(page.getByText(/^Block [\d,]+$/).last());
  // The statement waits, while the chain has gone on.
  let answer;
  const answered = new Promise((resolve) => (answer = resolve));
  const asking = new Promise((resolve) => {
    void page.route("**/statement?*", async (route) => {
      resolve();
      await answered;
      await route.continue();
    });
  });
  const other = await context.newPage();
  other.setDefaultTimeout(PATIENCE_MS);
  await go(other, "energy");
  await press(other, "Deposit");
  await dialog(other).getByLabel("Amount").fill("3");
  await dialog(other).getByRole("button", { name: "Deposit" }).click();
  await sign(other);
  await shown(other.getByText("3.00 THB is in your account"));
  // By its second answer the node was asked after the deposit.
  for (let i = 0; i < 2; i += 1) await page.waitForResponse("**/rpc");
  await asking;
  assert.equal(await money.textContent(), before);
  answer();
  const had = Number(/([\d,.]+) in your wallet/.exec(before)[1].replaceAll(",", ""));
  await shown(page.getByTestId("balance").getByText(`${(had - 3).toFixed(2)} in your wallet`));
  assert.deepEqual(asked(wallet), ["eth_signTypedData_v4"]);
});

await scenario("relay down", {}, async ({ page, wallet }) => {
  await ask("next-epoch");
  await ask("stop-relay");
  await go(page, "market");
  await connect(page);
  // The server looks for its relay about once a second.
  await page.waitForResponse(async (answer) => {
    if (!answer.url().endsWith("/api/v1/status")) return false;
    return (await answer.json()).relay.state === "away";
  });
  await fillTicket(page, { kwh: "0.1", limit: "2.31" });
  await press(page, "Place order");
  await shown(dialog(page).getByText("The relay, which brings signed messages for free, is away"));
  await shown(dialog(page).getByText("A transaction: your wallet shows the network's fee."));
  await picture(page, "relay-away");
  await sign(page, "Send it myself");
  await shown(page.getByText("Your wallet has no ether for the network's fee."));
  assert.deepEqual(asked(wallet), []);
  await ask("give-ether");
  await sign(page, "Send it myself");
  const mine = page.getByTestId("open-orders");
  await shown(mine.getByText("0.100 kWh"));
  await page.getByRole("button", { name: /^Take back/ }).click();
  await sign(page, "Send it myself");
  await shown(page.getByText("You have no open or standing orders."));
  assert.deepEqual(asked(wallet), ["eth_sendTransaction", "eth_sendTransaction"]);
  await ask("start-relay");
});

await scenario("relay gone after the signature", {}, async ({ page, wallet }) => {
  await ask("give-ether");
  await go(page, "energy");
  await connect(page);
  await press(page, "Deposit");
  await dialog(page).getByLabel("Amount").fill("7");
  await dialog(page).getByRole("button", { name: "Deposit" }).click();
  await shown(dialog(page).getByText("With this one signature the relay brings it into your account."));
  await ask("stop-relay");
  await sign(page);
  await shown(dialog(page).getByText("Whether it took what you signed is not known."));
  // What was signed is used: the wallet is not asked for it again.
  await sign(page, "Send it myself");
  await shown(page.getByText("7.00 THB is in your account"));
  assert.deepEqual(asked(wallet), ["eth_signTypedData_v4", "eth_sendTransaction"]);
  await ask("start-relay");
});

/** Cuts the next answer to a POST: the request reaches the server, its answer no page. `before`: not even the request. */
const cutAnswer = (context, path, { before = false } = {}) =>
  context.route(
    `**/api/v1/${path}`,
    async (route) => {
      if (!before) assert.equal((await route.fetch()).status(), 202);
      await route.abort("connectionreset");
    },
    { times: 1 },
  );

const underway = (page) => page.getByTestId("underway");

await scenario("answer to an order lost, page loaded again, asked again", {}, async ({ page, context, wallet }) => {
  await ask("next-epoch");
  await go(page, "market");
  await connect(page);
  await shown(page.getByText("You have no open or standing orders."));
  await ask("freeze");
  try {
    await cutAnswer(context, "energy/orders");
    await order(page, { kwh: "0.3", limit: "2.40" });
    await shown(dialog(page).getByText("No answer came: whether the relay took it is not known."));
    await shown(dialog(page).getByRole("button", { name: "Ask again" }));
    await picture(page, "answer-lost");
    await judge(page, "answer-lost");
    await page.reload();
    await shown(underway(page).getByText("Buy 0.300 kWh for at most 2.40 THB/kWh"));
    await shown(underway(page).getByText("You signed this, and no answer came"));
    // Nothing is ordered beside it.
    await fillTicket(page, { kwh: "0.3", limit: "2.40" });
    await shown(page.getByText("A new order waits for its end, lest you order twice."));
    assert.ok(await page.getByRole("button", { name: "Place order" }).isDisabled());
    await picture(page, "undecided");
    await judge(page, "undecided");
    await page.setViewportSize({ width: 360, height: 740 });
    await page.emulateMedia({ colorScheme: "dark" });
    await page.getByRole("button", { name: "ไทย" }).click();
    await shown(underway(page).getByText("คุณลงนามแล้วแต่ไม่มีคำตอบ"));
    await picture(page, "undecided-dark-th-360");
    await judge(page, "undecided-dark-th-360");
    assert.equal(await tooWide(page), 0);
    await page.getByRole("button", { name: "EN" }).click();
    await underway(page)
      .getByRole("button", { name: /^Ask again/ })
      .click();
    await shown(underway(page).getByText("On its way by the relay."));
  } finally {
    await ask("thaw");
  }
  await shown(page.getByText("It came about"));
  await shown(page.getByTestId("open-orders").getByText("0.300 kWh"));
  await underway(page).waitFor({ state: "hidden" });
  await ask("next-epoch");
  const mine = await (await fetch(`${url}/api/v1/energy/orders?account=${wallet.account.address}&limit=50`)).json();
  assert.equal(mine.items.filter(({ tick, quantity_wh }) => tick === 240 && quantity_wh === 300).length, 1);
  assert.deepEqual(asked(wallet), ["eth_signTypedData_v4"]);
});

await scenario("order lost on its way, let go", {}, async ({ page, context, wallet }) => {
  await ask("next-epoch");
  await go(page, "market");
  await connect(page);
  await cutAnswer(context, "energy/orders", { before: true });
  await order(page, { kwh: "0.3", limit: "2.41" });
  await shown(dialog(page).getByText("No answer came: whether the relay took it is not known."));
  await dialog(page).getByRole("button", { name: "Close" }).last().click();
  await underway(page)
    .getByRole("button", { name: /^Let it go/ })
    .click();
  await shown(dialog(page).getByText(/After this it can never count/));
  await picture(page, "let-go");
  await judge(page, "let-go");
  await sign(page);
  await shown(page.getByText("It can no longer count"));
  await underway(page).waitFor({ state: "hidden" });
  await shown(page.getByText("You have no open or standing orders."));
  await fillTicket(page, { kwh: "0.3", limit: "2.41" });
  assert.ok(await page.getByRole("button", { name: "Place order" }).isEnabled());
  assert.deepEqual(asked(wallet), ["eth_signTypedData_v4", "eth_signTypedData_v4"]);
});

await scenario(
  "answer to a withdrawal lost, page loaded again, sent oneself",
  {},
  async ({ page, context, wallet }) => {
    await ask("give-ether");
    await go(page, "energy");
    await connect(page);
    const inWallet = async () => {
      const text = await page.getByTestId("balance").getByText("in your wallet").first().textContent();
      return Number(/([\d,.]+) in your wallet/.exec(text)[1].replaceAll(",", ""));
    };
    await shown(page.getByTestId("balance"));
    const before = await inWallet();
    await ask("freeze");
    try {
      await cutAnswer(context, "errands/withdraw");
      await press(page, "Withdraw");
      await dialog(page).getByLabel("Amount").fill("5");
      await dialog(page).getByRole("button", { name: "Withdraw" }).click();
      await sign(page);
      await shown(dialog(page).getByText("The relay did not answer"));
      await picture(page, "withdrawal-lost");
      await judge(page, "withdrawal-lost");
      await page.reload();
      await shown(underway(page).getByText("Take 5.00 THB out, to your own wallet"));
      await press(page, "Withdraw");
      await dialog(page).getByLabel("Amount").fill("5");
      await shown(dialog(page).getByText("A new withdrawal waits for its end"));
      await page.keyboard.press("Escape");
      await underway(page)
        .getByRole("button", { name: /^Send it myself/ })
        .click();
      await shown(dialog(page).getByText("The relay may bring it as well: only one of both counts."));
      await sign(page);
      await shown(dialog(page).getByText("This is on its way and cannot be called back."));
    } finally {
      await ask("thaw");
    }
    await shown(page.getByText("Done", { exact: true }));
    await underway(page).waitFor({ state: "hidden" });
    await shown(page.getByTestId("balance").getByText(`${(before + 5).toFixed(2)} in your wallet`));
    assert.deepEqual(asked(wallet), ["eth_signTypedData_v4", "eth_sendTransaction"]);
  },
);

await scenario("own transaction, dialog closed, page loaded again", {}, async ({ page, wallet }) => {
  await ask("give-ether");
  await ask("next-epoch");
  await ask("stop-relay");
  await go(page, "market");
  await connect(page);
  await page.waitForResponse(async (answer) => {
    if (!answer.url().endsWith("/api/v1/status")) return false;
    return (await answer.json()).relay.state === "away";
  });
  await ask("freeze");
  try {
    await fillTicket(page, { kwh: "0.2", limit: "2.42" });
    await press(page, "Place order");
    const answer = hold(wallet);
    await sign(page, "Send it myself");
    await shown(dialog(page).getByText("Closing this does not take back what your wallet is asked"));
    answer();
    await shown(dialog(page).getByText("This is on its way and cannot be called back."));
    await picture(page, "own-transaction");
    await judge(page, "own-transaction");
    await dialog(page).getByRole("button", { name: "Close" }).last().click();
    await shown(underway(page).getByText("A transaction on its way."));
    assert.ok(await page.getByRole("button", { name: "Place order" }).isDisabled());
  } finally {
    await ask("thaw");
  }
  // Its dialog is gone, and its end is told all the same.
  await shown(page.getByText("Your order is in the market"));
  await underway(page).waitFor({ state: "hidden" });
  await shown(page.getByTestId("open-orders").getByText("0.200 kWh"));
  await ask("freeze");
  try {
    await page.getByRole("button", { name: /^Take back/ }).click();
    await sign(page, "Send it myself");
    await shown(dialog(page).getByText("What it has sent cannot be called back"));
    await underway(page)
      .getByText(/^Taking an order back \(0x/)
      .waitFor({ state: "attached" });
    await page.reload();
    await shown(underway(page).getByText("A transaction on its way."));
    await page.getByRole("button", { name: /^Take back/ }).click();
    await sign(page, /^(Send it myself|Sign in your wallet)$/);
    await shown(dialog(page).getByText("The same is under way already"));
    await page.keyboard.press("Escape");
  } finally {
    await ask("thaw");
  }
  await shown(underway(page).getByText("It came about"));
  await underway(page)
    .getByRole("button", { name: /^Understood/ })
    .click();
  await underway(page).waitFor({ state: "hidden" });
  await shown(page.getByText("You have no open or standing orders."));
  assert.deepEqual(asked(wallet), ["eth_sendTransaction", "eth_sendTransaction"]);
  await ask("start-relay");
});

await scenario("signature given after its epochs were over", {}, async ({ page, wallet }) => {
  await ask("next-epoch");
  await go(page, "market");
  await connect(page);
  await shown(page.getByText("You have no open or standing orders."));
  const answer = hold(wallet);
  await order(page, { kwh: "0.2", limit: "2.43" });
  await shown(dialog(page).getByText("Nothing was handed over yet."));
  for (let i = 0; i < 3; i += 1) await ask("next-epoch");
  answer();
  await shown(dialog(page).getByText("The order was signed for other epochs than the open one. Sign it again."));
  const before = await dialog(page)
    .getByText(/^Counts for epoch/)
    .textContent();
  await sign(page);
  // What it would be now is told before it is signed.
  await shown(dialog(page).getByText("The time it would have counted for is over."));
  assert.notEqual(
    await dialog(page)
      .getByText(/^Counts for epoch/)
      .textContent(),
    before,
  );
  assert.equal(asked(wallet).length, 1);
  await sign(page);
  await shown(page.getByText("Your order is in the market"));
  await shown(page.getByTestId("open-orders").getByText("0.200 kWh"));
  assert.deepEqual(asked(wallet), ["eth_signTypedData_v4", "eth_signTypedData_v4"]);
});

await scenario("signature given after the dialog was closed", {}, async ({ page, wallet }) => {
  await ask("next-epoch");
  await go(page, "market");
  await connect(page);
  await shown(page.getByText("You have no open or standing orders."));
  const handed = [];
  page.on("request", (request) => request.method() === "POST" && handed.push(new URL(request.url()).pathname));
  const answer = hold(wallet);
  await order(page, { kwh: "0.2", limit: "2.44" });
  await shown(dialog(page).getByText("Nothing was handed over yet."));
  await dialog(page).getByRole("button", { name: "Cancel" }).click();
  await dialog(page).waitFor({ state: "hidden" });
  answer();
  await ask("next-epoch");
  await page.waitForTimeout(1_500);
  assert.deepEqual(asked(wallet), ["eth_signTypedData_v4"]);
  assert.ok(!handed.includes("/api/v1/energy/orders"));
  assert.equal(await underway(page).count(), 0);
  await shown(page.getByText("You have no open or standing orders."));
});

await scenario("without an API", {}, async ({ page, context }) => {
  await ask("give-ether");
  await ask("next-epoch");
  const file = await (await fetch(`${url}/deployment.json`)).json();
  await context.route("**/deployment.json", (route) => route.fulfill({ json: { ...file, api: null } }));
  const requests = [];
  page.on("request", (request) => requests.push(request.url()));
  await go(page, "market");
  await shown(page.getByText("This page works with the chain alone."));
  await connect(page);
  await order(page, { kwh: "0.1", limit: "2.32" });
  await shown(page.getByTestId("open-orders").getByText("0.100 kWh"));
  await shown(page.locator(".chart canvas").first());
  assert.deepEqual(
    requests.filter((address) => address.includes("/api/")),
    [],
  );
});

await scenario("admin registers a participant and a meter", { index: DISTRIBUTOR }, async ({ page }) => {
  const newcomer = (await pageWithWallet(browser, { url, index: NEWCOMER })).wallet.account.address;
  await go(page, "admin");
  await connect(page);
  await shown(page.getByTestId("role").getByText("distributor"));
  await page.getByRole("tab", { name: "Participants" }).click();
  // One letter is not as its checksum has it.
  const at = newcomer.search(/[a-f]/);
  await page.getByLabel("Address").fill(newcomer.slice(0, at) + newcomer[at].toUpperCase() + newcomer.slice(at + 1));
  await shown(page.getByText("Its checksum is wrong: a digit or a capital was mistyped."));
  assert.ok(await page.getByRole("button", { name: "Register a participant" }).isDisabled());
  await page.getByLabel("Address").fill(newcomer);
  await press(page, "Register a participant");
  await sign(page);
  await shown(page.getByText("The participant is registered"));
  // Registered twice is refused by the contract, in words.
  await press(page, "Register a participant");
  await sign(page);
  await shown(page.getByText("This account is a participant already. There is nothing left to do."));
  await dialog(page).getByRole("button", { name: "Cancel" }).click();
  await page.getByRole("tab", { name: "Meters" }).click();
  await page.getByText("Assign a meter").first().click();
  await page.getByLabel("Meter id").fill("NEW1");
  await page.getByLabel("Account", { exact: true }).fill(newcomer);
  await page.getByLabel("Address of its key").fill("0x00000000000000000000000000000000000000A1");
  await press(page, "Assign a meter");
  await sign(page);
  await shown(page.getByText("The meter is assigned"));
  await ask("next-epoch");
  await shown(page.getByTestId("meters").getByText("NEW1"));
});

await scenario("distributor replaces a meter", { index: DISTRIBUTOR }, async ({ page }) => {
  await go(page, "admin");
  await connect(page);
  await page.getByRole("tab", { name: "Meters" }).click();
  await press(page, "Replace: H05");
  await dialog(page).getByLabel("Address of the new device's key").fill("0x00000000000000000000000000000000000000A2");
  const last = dialog(page).getByLabel("Old device: last import register, Wh");
  const read = Number(await last.inputValue());
  assert.ok(read > 0);
  await last.fill(String(read - 1));
  await shown(dialog(page).getByText(/^It was read at/));
  await judge(page, "replace-meter");
  await last.fill(String(read + 1_500));
  await dialog(page).getByLabel("New device: first import register, Wh").fill("12000");
  await dialog(page).getByRole("button", { name: "Replace" }).click();
  await shown(dialog(page).getByText("That is 1.500 kWh used and 0.000 kWh fed in since its last reading"));
  await shown(dialog(page).getByText("The new device begins at 12.00 kWh used and 0.000 kWh fed in."));
  await picture(page, "replace-meter");
  await sign(page);
  await shown(page.getByText("The meter is replaced"));
  await ask("next-epoch");
  await shown(page.getByTestId("meters").locator("tr", { hasText: "H05" }).getByText("12.00", { exact: true }));
});

await scenario("distributor decides on parked readings", { index: DISTRIBUTOR }, async ({ page }) => {
  await go(page, "admin");
  await connect(page);
  // More than a meter can have counted since its last reading is parked.
  for (const [meter, key] of [
    ["H10", "a3"],
    ["B018", "a4"],
  ]) {
    await page.getByRole("tab", { name: "Meters" }).click();
    await press(page, `Replace: ${meter}`);
    await dialog(page)
      .getByLabel("Address of the new device's key")
      .fill(`0x${key.padStart(40, "0")}`);
    const last = dialog(page).getByLabel("Old device: last import register, Wh");
    await last.fill(String(Number(await last.inputValue()) + 5_000_000));
    await dialog(page).getByRole("button", { name: "Replace" }).click();
    await sign(page);
    await shown(page.getByText("The meter is replaced").last());
    await dialog(page).waitFor({ state: "hidden" });
  }
  await page.getByRole("tab", { name: "Parked readings" }).click();
  await shown(page.getByRole("row", { name: /H10/ }));
  await picture(page, "parked");
  await judge(page, "parked");
  await page
    .getByRole("row", { name: /H10/ })
    .getByRole("button", { name: /Release/ })
    .click();
  await picture(page, "parked-release");
  await sign(page);
  await shown(page.getByText("The reading counts"));
  await page.getByRole("row", { name: /H10/ }).waitFor({ state: "hidden" });
  await page
    .getByRole("row", { name: /B018/ })
    .getByRole("button", { name: /Reject/ })
    .click();
  await sign(page);
  await shown(page.getByText("The reading is refused for good"));
  await page.getByRole("row", { name: /B018/ }).waitFor({ state: "hidden" });
});

await scenario("distributor revokes a meter", { index: DISTRIBUTOR }, async ({ page }) => {
  await go(page, "admin");
  await connect(page);
  await page.getByRole("tab", { name: "Meters" }).click();
  const row = page.getByTestId("meters").locator("tr", { hasText: "NEW1" });
  await row.getByRole("button", { name: "Revoke: NEW1" }).click();
  await shown(dialog(page).getByText("Revoke: NEW1"));
  await sign(page);
  await ask("next-epoch");
  await shown(row.getByText("The meter is revoked"));
  assert.equal(await row.getByRole("button").count(), 0);
});

await scenario("regulator grants and revokes a role", { index: REGULATOR }, async ({ page }) => {
  const somebody = (await pageWithWallet(browser, { url, index: NEWCOMER })).wallet.account.address;
  await go(page, "admin");
  await connect(page);
  await page.getByRole("tab", { name: "Roles" }).click();
  await page.getByLabel("Account", { exact: true }).fill(somebody);
  await press(page, "Grant: distributor");
  await shown(dialog(page).getByText(/Register, suspend and move participants/));
  await picture(page, "grant-role");
  await sign(page);
  await shown(page.getByText("Role granted: distributor"));
  await press(page, "Revoke: distributor");
  await shown(dialog(page).getByText("From then on this account may no longer:"));
  await sign(page);
  await shown(page.getByText("Role revoked: distributor"));
  await shown(page.getByRole("button", { name: "Grant: distributor" }));
});

await scenario("regulator pauses and resumes", { index: REGULATOR }, async ({ page }) => {
  await go(page, "admin");
  await connect(page);
  await press(page, "Pause trading");
  await sign(page);
  await shown(page.getByText("Trading is paused").first());
  await go(page, "market");
  await shown(page.getByText("The regulator has paused this zone"));
  await go(page, "admin");
  await press(page, "Resume trading");
  await sign(page);
  await shown(page.getByText("Trading goes on").first());
});

const PARTICIPANTS_TAB = 1;
const METERS_TAB = 2;
const PARKED_TAB = 3;
const ROLES_TAB = 4;

/** Every page, and every tab of it, as somebody who has business there: [account, file's name, path, tab]. */
const VIEWS = [
  [GUEST, "market", "market"],
  [GUEST, "energy", "energy"],
  [GUEST, "community", "community"],
  [GUEST, "explorer", "explorer"],
  [GUEST, "explorer-trades", "explorer", 1],
  [GUEST, "explorer-blocks", "explorer", 2],
  [GUEST, "explorer-epoch", "explorer/epoch/LAST"],
  [GUEST, "explorer-block", "explorer/block/CLEARED"],
  [GUEST, "explorer-account", "explorer/account/OWN"],
  [GUEST, "explorer-meter", "explorer/meter/GUEST"],
  [GUEST, "admin-guest", "admin"],
  [REGULATOR, "admin-health", "admin"],
  [DISTRIBUTOR, "admin-participants", "admin", PARTICIPANTS_TAB],
  [DISTRIBUTOR, "admin-meters", "admin", METERS_TAB],
  [DISTRIBUTOR, "admin-parked", "admin", PARKED_TAB],
  [REGULATOR, "admin-roles", "admin", ROLES_TAB],
];

/** Brings a view in front of a person. */
async function view(page, wallet, path, tab) {
  const [last] = (await (await fetch(`${url}/api/v1/energy/epochs?limit=1`)).json()).items;
  const { address } = wallet.account;
  await go(page, path.replace("LAST", last.epoch).replace("CLEARED", last.cleared_block).replace("OWN", address));
  if (tab !== undefined) await page.getByRole("tab").nth(tab).click();
  if (tab === METERS_TAB && path === "admin") await page.locator("details summary").click();
  await page.locator("main .card").first().waitFor();
  await page.locator("main [class*=Skeleton]").first().waitFor({ state: "detached" });
  // Charts draw when their box has its size, one frame later.
  await page.waitForTimeout(400);
}

// Pictures are of a market in which something happens.
if (!part || part.includes("screens")) await askForTrade();

// Theme, language, width, and whether axe judges: faults depend on theme and width, hardly on the language.
for (const [theme, language, width, judged] of [
  ["light", "en", 1280, true],
  ["light", "en", 360, true],
  ["light", "th", 1280, false],
  ["dark", "en", 1280, true],
  ["dark", "th", 360, true],
])
  await scenario(
    `screens ${theme} ${language} ${width}`,
    { dark: theme === "dark", language, width, height: width === 360 ? 740 : 900 },
    async (opened) => {
      const faults = [];
      for (const index of [GUEST, DISTRIBUTOR, REGULATOR]) {
        const { page, wallet, seen, context } =
          index === GUEST
            ? opened
            : await pageWithWallet(browser, {
                url,
                index,
                dark: theme === "dark",
                language,
                width,
                height: width === 360 ? 740 : 900,
              });
        await go(page, "market");
        await connect(page);
        for (const [account, name, path, tab] of VIEWS) {
          if (account !== index) continue;
          await view(page, wallet, path, tab);
          const file = `${name}-${theme}-${language}-${width}.png`;
          await page.screenshot({ path: join(folder, file), fullPage: true });
          const over = await page.evaluate(
            () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
          );
          if (over) faults.push(`${name}: ${over} px too wide`);
          faults.push(...(await cutOff(page)).map((fault) => `${name}: ${fault}`));
          if (judged) await judge(page, file);
        }
        assert.deepEqual(seen.errors, []);
        if (index !== GUEST) await context.close();
      }
      assert.deepEqual(faults, []);
    },
  );
told.serious = serious;

await scenario("suspended account", { index: DISTRIBUTOR }, async ({ page }) => {
  const guest = await pageWithWallet(browser, { url, index: GUEST });
  const address = guest.wallet.account.address;
  await go(page, "admin");
  await connect(page);
  await page.getByRole("tab", { name: "Participants" }).click();
  await page.getByRole("button", { name: `Suspend: ${address}` }).click();
  await sign(page);
  await shown(page.getByText("The participant is suspended"));
  await go(guest.page, "market");
  await connect(guest.page);
  await shown(guest.page.getByText("This account is suspended"));
  assert.ok(await guest.page.getByRole("button", { name: "Place order" }).isDisabled());
});

await scenario("reinstated account", { index: DISTRIBUTOR }, async ({ page }) => {
  const guest = await pageWithWallet(browser, { url, index: GUEST });
  await go(guest.page, "market");
  await connect(guest.page);
  await shown(guest.page.getByText("This account is suspended"));
  await go(page, "admin");
  await connect(page);
  await page.getByRole("tab", { name: "Participants" }).click();
  await page.getByRole("button", { name: `Reinstate: ${guest.wallet.account.address}` }).click();
  await sign(page);
  await shown(page.getByText("The participant is active again"));
  await guest.page.getByText("This account is suspended").waitFor({ state: "hidden" });
  await order(guest.page, { kwh: "0.1", limit: "1.00" });
  await shown(guest.page.getByText("Your order is in the market"));
});

await scenario("a stranger is told how to become a participant", { index: STRANGER }, async ({ page }) => {
  await go(page, "market");
  await connect(page);
  const ticket = page.getByRole("region", { name: "New order" });
  await shown(ticket.getByText(/no participant yet.*Give its address to your distributor/));
  assert.equal(await ticket.getByRole("button", { name: "Deposit" }).count(), 0);
  assert.ok(await ticket.getByRole("button", { name: "Place order" }).isDisabled());
});

await scenario("no news: what is shown is the chain's, and said to be old", {}, async ({ page }) => {
  await askForTrade();
  await go(page, "market");
  await shown(page.getByTestId("price"));
  await ask("freeze");
  const node = createPublicClient({ transport: http(`${url}/rpc`) });
  const { contracts, zone } = await (await fetch(`${url}/deployment.json`)).json();
  const type = "tuple";
  const components = ["price2", "lowerTick", "upperTick", "longSide", "filledWh", "offeredWh", "volumeWh"].map(
    (name) => ({
      name,
      type: name.endsWith("Wh") ? "uint64" : name === "longSide" ? "uint8" : "uint16",
    }),
  );
  const result = await node.readContract({
    address: contracts.Trading,
    abi: [
      {
        type: "function",
        name: "indicativeResult",
        stateMutability: "view",
        inputs: [{ name: "zone", type: "uint8" }],
        outputs: [{ name: "", type, components }],
      },
    ],
    functionName: "indicativeResult",
    args: [zone],
  });
  await page.waitForTimeout(2_000);
  const price = Number((await page.getByTestId("price").textContent()).split(" ")[0]);
  assert.equal(Math.round(price * 200), result.price2);
  await shown(page.getByText(/No news for \d+:\d\d\. What you see may be out of date\./));
});

await browser.close();
console.log(JSON.stringify({ outcomes, told }));
