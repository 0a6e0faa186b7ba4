// Takes the pictures of docs/dapp.md from the market that `make run` serves, as its guest, a household (H06), a distributor
// and the regulator.
//
// Usage: node dapp/e2e/pictures.mjs [URL] [FOLDER]   (http://127.0.0.1:8000 and docs/images)

import { join } from "node:path";
import { connect, launch, pageWithWallet } from "./browser.mjs";

const [url = "http://127.0.0.1:8000", folder = "docs/images"] = process.argv.slice(2);
const GUEST = 9;
const REGULATOR = 0;
const DISTRIBUTOR = 1;
const HOUSEHOLD = 22;

const browser = await launch();
const save = (page, name, fullPage = false) => page.screenshot({ path: join(folder, `dapp-${name}.png`), fullPage });
const dialog = (page) => page.getByRole("dialog");
const sign = async (page) => {
  await dialog(page).getByRole("button", { name: "Sign in your wallet" }).click();
  await dialog(page).waitFor({ state: "hidden" });
};
/** Waits until no notice lies over the page. */
const quiet = (page) =>
  page
    .getByRole("alert")
    .first()
    .waitFor({ state: "hidden", timeout: 8_000 })
    .catch(() => undefined);
/** Makes room for what a page shows. */
const tall = async (page, height) => {
  await page.setViewportSize({ width: 1200, height });
  await page.waitForTimeout(800);
};
const go = async (page, path) => {
  await page.goto(`${url}/#/${path}`);
  await page.waitForTimeout(2_500);
};

const { page } = await pageWithWallet(browser, { url, index: GUEST, width: 1200, height: 860 });
await go(page, "energy");
await connect(page);
await page.getByRole("button", { name: "Deposit", exact: true }).click();
await dialog(page).getByLabel("Amount").fill("100");
await page.waitForTimeout(500);
await save(page, "deposit");
await dialog(page).getByRole("button", { name: "Deposit" }).click();
await sign(page);
await quiet(page);
await go(page, "market");
await page.getByLabel("Energy", { exact: true }).fill("2");
await page.getByRole("button", { name: "Place order", exact: true }).click();
await page.waitForTimeout(800);
await save(page, "sign");
await sign(page);
await page.getByTestId("open-orders").waitFor();
await quiet(page);
await page.getByLabel("At most", { exact: true }).fill("2.30");
await page.getByText("Longer", { exact: true }).click();
await page.getByRole("button", { name: "24 h", exact: true }).click();
await page.getByRole("button", { name: "Place order", exact: true }).click();
await page.waitForTimeout(800);
await save(page, "standing");
await sign(page);
await page
  .getByText(/Stands until/)
  .first()
  .waitFor();
await page.getByText("This epoch", { exact: true }).click();
await page.getByRole("button", { name: "Likely to trade" }).click();
await quiet(page);
await tall(page, 1040);
await save(page, "market");
await go(page, "community");
// The replayed day, which is complete.
const { timestamp } = await (await fetch(`${url}/api/v1/status`)).json();
const yesterday = new Date((timestamp + (7 - 24) * 3_600) * 1_000).toISOString().slice(0, 10);
await page.getByLabel("Day").fill(yesterday);
await page.getByLabel("Day").blur();
await page.waitForTimeout(2_500);
await tall(page, 1000);
await save(page, "community");
const { items } = await (await fetch(`${url}/api/v1/energy/epochs?limit=200`)).json();
const [busiest] = items.sort((a, b) => b.result.volume_wh - a.result.volume_wh);
await go(page, `explorer/epoch/${busiest.epoch}`);
await save(page, "explorer", true);

const home = await pageWithWallet(browser, { url, index: HOUSEHOLD, width: 1200, height: 1150 });
await go(home.page, "energy");
await connect(home.page);
await home.page
  .getByTestId("earned")
  .filter({ hasNotText: /^0\.00/ })
  .waitFor({ timeout: 240_000 });
await home.page.getByTestId("balance").waitFor();
await save(home.page, "energy");

const phone = await pageWithWallet(browser, { url, index: GUEST, width: 360, height: 740, dark: true, language: "th" });
await go(phone.page, "market");
await save(phone.page, "phone");

const desk = await pageWithWallet(browser, { url, index: DISTRIBUTOR, width: 1200, height: 640 });
await go(desk.page, "admin");
await connect(desk.page);
await desk.page.getByRole("tab", { name: "Participants" }).click();
await desk.page.waitForTimeout(2_000);
await save(desk.page, "admin");

const regulator = await pageWithWallet(browser, { url, index: REGULATOR, width: 1200, height: 760 });
await go(regulator.page, "admin");
await connect(regulator.page);
await regulator.page.getByRole("tab", { name: "Roles" }).click();
await regulator.page.getByLabel("Account", { exact: true }).fill("0x00000000000000000000000000000000000000A1");
await regulator.page.getByRole("button", { name: "Grant: distributor" }).click();
await regulator.page.waitForTimeout(800);
await save(regulator.page, "role");

const lost = await pageWithWallet(browser, { url, index: GUEST, width: 1200, height: 700 });
await lost.context.route("**/api/v1/energy/orders", (route) => route.abort(), { times: 1 });
await go(lost.page, "market");
await connect(lost.page);
await lost.page.getByLabel("Energy", { exact: true }).fill("2");
await lost.page.getByRole("button", { name: "Place order", exact: true }).click();
await dialog(lost.page).getByRole("button", { name: "Sign in your wallet" }).click();
await dialog(lost.page).getByText("No answer came").waitFor();
await lost.page.reload();
await lost.page.getByRole("button", { name: /^Ask again/ }).waitFor();
await lost.page.waitForTimeout(2_500);
await save(lost.page, "undecided");

await browser.close();
