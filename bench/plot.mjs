// Draws clearing's gas against orders and against occupied ticks as SVG files, from the committed snapshot.
//
// Usage: node bench/plot.mjs GAS_JSON PUBLIC_SYSTEMS_JSON FOLDER   (part of `make bench-gas`)

import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const echarts = createRequire(import.meta.url)("echarts");
const TRANSACTION_GAS_CAP = 16_777_216;
const BLUE = "#0b5cad";
const TARGET = "#b3261e";
const OTHERS = ["#8a6d00", "#6b7280", "#2f7d4f"];

const [gasFile, systemsFile, folder] = process.argv.slice(2);
const { figures } = JSON.parse(readFileSync(gasFile, "utf8"));
const { systems } = JSON.parse(readFileSync(systemsFile, "utf8"));

/** Points [n, gas] of the figures named `prefix` and a number. */
function points(prefix) {
  return Object.entries(figures)
    .filter(([key]) => key.startsWith(prefix))
    .map(([key, { steady }]) => [Number(key.slice(prefix.length)), steady])
    .sort(([a], [b]) => a - b);
}

function short(number) {
  if (number >= 1e9) return `${number / 1e9}G`;
  if (number >= 1e6) return `${number / 1e6}M`;
  return number >= 1e3 ? `${number / 1e3}k` : `${number}`;
}

function line(name, data, color, extra = {}) {
  return {
    name, data, type: "line", symbol: "circle", symbolSize: 7,
    lineStyle: { width: 2, color }, itemStyle: { color }, ...extra,
  };
}

/** A dashed horizontal line with its name above its start. */
function level(text, y, color) {
  return {
    silent: true, symbol: "none",
    lineStyle: { type: "dashed", color, width: 1.5 },
    label: { formatter: text, position: "insideStartTop", color, fontSize: 12 },
    data: [{ yAxis: y }],
  };
}

function draw(file, title, xName, [xMin, xMax], yAxis, series) {
  const chart = echarts.init(null, null, { renderer: "svg", ssr: true, width: 820, height: 460 });
  chart.setOption({
    animation: false,
    backgroundColor: "#ffffff",
    textStyle: { fontFamily: "system-ui, sans-serif", fontSize: 12 },
    title: { text: title, left: 16, top: 12, textStyle: { fontSize: 15, fontWeight: 600 } },
    legend: { bottom: 8, itemGap: 24, data: series.map(({ name }) => name) },
    grid: { left: 80, right: 36, top: 64, bottom: 84 },
    xAxis: {
      type: "log", min: xMin, max: xMax, name: xName, nameLocation: "middle", nameGap: 30,
      axisLabel: { formatter: short }, splitLine: { show: false },
    },
    yAxis: { name: "gas", axisLabel: { formatter: short }, splitLine: { lineStyle: { color: "#e5e7eb" } }, ...yAxis },
    series,
  });
  writeFileSync(join(folder, file), `${chart.renderToSVGString()}\n`);
  chart.dispose();
}

const byOrders = points("clear/orders/");
const cap = level("cap of a transaction: 16,777,216", TRANSACTION_GAS_CAP, TARGET);
draw(
  "clear_by_orders.svg",
  "Gas of clearing an epoch, by orders in it",
  "orders",
  [10, Math.max(...byOrders.map(([n]) => n))],
  { type: "log", min: 10_000 },
  [
    line("Busbar", byOrders, BLUE, { markLine: cap }),
    ...systems
      .filter((system) => system.by_orders)
      .map(({ name, by_orders }, i) =>
        line(name, Object.entries(by_orders).map(([n, gas]) => [Number(n), gas]), OTHERS[i], { symbol: "emptyCircle" }),
      ),
  ],
);

const byTicks = points("clear/ticks/");
const { steady: worst, target } = figures["clear/worst"];
const highest = Math.max(target, worst, ...byTicks.map(([, gas]) => gas));
draw(
  "clear_by_ticks.svg",
  "Gas of clearing an epoch, by occupied ticks",
  "ticks with volume on both sides",
  [1, 1_100],
  { type: "value", min: 0, max: Math.ceil(highest / 50_000) * 50_000 },
  [
    line("Busbar", byTicks, BLUE, { markLine: level(`target: ${target.toLocaleString("en")}`, target, TARGET) }),
    line("worst book constructed", [[1, worst], [1_023, worst]], OTHERS[1], {
      symbol: "none", lineStyle: { type: "dotted", width: 2, color: OTHERS[1] },
    }),
  ],
);
