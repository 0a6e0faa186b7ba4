// Opens a report in Chromium as a reader would, from its file, and prints as JSON what the browser saw.
//
// Usage: node scripts/open_report.mjs out/2026-03-14/report.html [--shot FILE.png] [--pdf FILE.pdf]
//                                     [--width 1280] [--height 800] [--dark] [--full] [--at CSS-SELECTOR]
// CHROMIUM names the browser; otherwise it is `chromium` on PATH (apt-get install chromium).

import { execFileSync } from "node:child_process";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    shot: { type: "string" },
    pdf: { type: "string" },
    width: { type: "string", default: "1280" },
    height: { type: "string", default: "800" },
    dark: { type: "boolean", default: false },
    full: { type: "boolean", default: false },
    at: { type: "string" },
  },
});
const executablePath = process.env.CHROMIUM ?? execFileSync("sh", ["-c", "command -v chromium"]).toString().trim();
const url = pathToFileURL(resolve(positionals[0])).href;

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
try {
  const context = await browser.newContext({
    viewport: { width: Number(values.width), height: Number(values.height) },
    colorScheme: values.dark ? "dark" : "light",
  });
  const page = await context.newPage();
  const seen = { errors: [], requests: [] };
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && seen.errors.push(message.text()));
  page.on("pageerror", (error) => seen.errors.push(error.message));
  page.on("request", (request) => {
    if (request.url() !== url && !request.url().startsWith("data:")) seen.requests.push(request.url());
  });
  await page.goto(url);
  await page.waitForLoadState("networkidle");

  /** Strokes and areas that each chart has drawn: an empty one has hardly any. */
  const marks = () =>
    page.evaluate(() =>
      Object.fromEntries(
        [...document.querySelectorAll(".chart")].map((chart) => [
          chart.id,
          chart.querySelectorAll("svg path, svg polyline, svg circle, svg rect").length,
        ]),
      ),
    );
  const curve = () =>
    page.evaluate(() => [
      document.getElementById("curve-result").textContent,
      document.querySelector("#chart-curves svg")?.outerHTML ?? "",
      document.getElementById("curve-table").textContent,
    ]);

  seen.charts = await marks();
  seen.overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  await page.emulateMedia({ media: "print" });
  seen.printed = await page.evaluate(() => {
    const shown = (element) => getComputedStyle(element).display !== "none";
    return {
      overview: [...document.querySelectorAll(".bills.paper tbody tr")].filter((row) => shown(row.closest("table"))).length,
      bills: [...document.querySelectorAll(".bills .detail")].filter(shown).length,
    };
  });
  await page.emulateMedia({ media: "screen" });
  if (values.at) await page.locator(values.at).evaluate((element) => element.scrollIntoView());
  if (values.shot) await page.screenshot({ path: values.shot, fullPage: values.full });
  if (values.pdf) await page.pdf({ path: values.pdf, preferCSSPageSize: true, printBackground: true });

  // Every epoch can be chosen, by each of the controls.
  if (await page.locator("#epoch-select").isVisible()) {
    const options = await page.locator("#epoch-select option").count();
    const first = await curve();
    seen.epochs = options;
    seen.chosen = [first[0]];
    await page.locator("#epoch-select").selectOption(String(options - 1));
    seen.chosen.push((await curve())[0]);
    await page.locator("#epoch-prev").click();
    seen.chosen.push((await curve())[0]);
    await page.locator("#epoch-range").fill("0");
    seen.chosen.push((await curve())[0]);
    const drawn = new Set();
    for (let i = 0; i < options; i++) {
      await page.locator("#epoch-select").selectOption(String(i));
      drawn.add((await curve())[1]);
    }
    seen.curves = drawn.size;
  }
  console.log(JSON.stringify(seen));
} finally {
  await browser.close();
}
