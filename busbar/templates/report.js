// The report's charts and controls. All data come from the page; nothing is loaded.
(() => {
  "use strict";

  const data = JSON.parse(document.getElementById("data").textContent);
  const { epochs, flows } = data;
  const tickThb = Number(data.tickWei) / 1e18;
  const byId = (id) => document.getElementById(id);
  const dayCount = data.days;
  const LONG = ["both sides filled whole", "demand was the longer side", "supply was the longer side"];

  const kwh = (wh) => (wh / 1000).toLocaleString("en", { minimumFractionDigits: 3, maximumFractionDigits: 3 });
  const roundKwh = (wh) => (wh / 1000).toLocaleString("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
  const thb = (tick, digits = 2) => (tick * tickThb).toFixed(digits);
  const price = (price2) => ((price2 * tickThb) / 2).toFixed(3);
  const escaped = (text) => text.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);
  const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
  const dayName = (epoch) => `${Number(epoch.day.slice(8))} ${MONTHS[Number(epoch.day.slice(5, 7)) - 1]}`;
  const dated = (epoch) => (dayCount > 1 ? `${dayName(epoch)}, ${epoch.at}` : epoch.at);
  const sum = (levels) => levels.reduce((total, [, wh]) => total + wh, 0);

  // ---- colours, from the style sheet, so that charts follow it into the dark and onto paper ----

  let colours = {};
  function readColours() {
    const style = getComputedStyle(document.documentElement);
    for (const name of [
      "paper",
      "ink",
      "quiet",
      "rule",
      "demand",
      "supply",
      "near",
      "own",
      "grid",
      "price",
      "retail",
      "buyback",
      "band",
    ]) {
      colours[name] = style.getPropertyValue(`--${name}`).trim();
    }
  }
  const text = (extra) => ({ color: colours.quiet, fontSize: 12, ...extra });
  const font = getComputedStyle(document.body).fontFamily;
  const base = () => ({
    animation: false,
    backgroundColor: "transparent",
    textStyle: { fontFamily: font, color: colours.ink },
  });
  const tooltip = () => ({
    backgroundColor: colours.paper,
    borderColor: colours.rule,
    textStyle: { color: colours.ink, fontSize: 13, fontFamily: font },
    extraCssText: "box-shadow:0 2px 12px rgba(0,0,0,.14);border-radius:3px;font-variant-numeric:tabular-nums",
    confine: true,
  });
  const LINE = "path://M0 0H18V2.5H0Z";
  const DASHES = "path://M0 0H5V2H0Z M6.5 0H11.5V2H6.5Z M13 0H18V2H13Z";
  const legend = (items) => ({
    data: items.map(([name, icon]) => ({ name, icon })),
    top: 0,
    left: 0,
    itemWidth: 18,
    itemHeight: 9,
    itemGap: 16,
    textStyle: text({ color: colours.ink }),
    inactiveColor: colours.grid,
    selectedMode: false,
  });
  const rows = (title, pairs) =>
    `<b>${escaped(title)}</b><table style="width:auto;font-size:13px">` +
    pairs
      .map(
        ([name, value]) =>
          `<tr><td style="border:0;padding:1px 14px 1px 0">${escaped(name)}</td><td style="border:0;padding:1px 0;text-align:right">${escaped(value)}</td></tr>`,
      )
      .join("") +
    "</table>";

  // A few bands need less room than the style sheet has for many.
  const FLOW_ROOM_PX = 90 + 70 * Math.max(flows.sellers.length, flows.buyers.length);
  if (byId("chart-flows")) byId("chart-flows").style.maxHeight = `${FLOW_ROOM_PX}px`;
  // On A4 less its margins, at 96 dpi; heights as in the style sheet, which applies only once printing has begun.
  const PAPER_PX = 680;
  const PAPER_HEIGHT_PX = { "chart-prices": 345, "chart-curves": 290, "chart-flows": Math.min(416, FLOW_ROOM_PX) };
  const charts = new Map();
  function draw(id, option, paper) {
    const element = byId(id);
    if (!element) return null;
    let chart = charts.get(id);
    if (!chart) {
      chart = echarts.init(element, null, { renderer: "svg" });
      charts.set(id, chart);
    }
    chart.resize(paper ? { width: PAPER_PX, height: PAPER_HEIGHT_PX[id] } : { width: "auto", height: "auto" });
    chart.setOption(option(chart.getWidth()), { notMerge: true });
    return chart;
  }

  // ---- price and volume ----

  const STEPS_MIN = [1, 2, 5, 10, 15, 30, 60, 120, 180, 240, 360, 720, 1440];
  let zoom = { start: 0, end: 100 };
  function timeLabels(width) {
    const shown = Math.max(1, (epochs.length * (zoom.end - zoom.start)) / 100);
    const minutes = (shown * data.epochSeconds) / 60;
    const step = STEPS_MIN.find((candidate) => minutes / candidate <= width / 66) ?? 1440;
    const minute = (epoch) => Number(epoch.at.slice(0, 2)) * 60 + Number(epoch.at.slice(3));
    return {
      interval: (i) => minute(epochs[i]) % step === 0,
      formatter: (i) => (dayCount > 1 && epochs[i].at === "00:00" ? `{day|${dayName(epochs[i])}}` : epochs[i].at),
      rich: { day: { fontWeight: 600, color: colours.ink, fontSize: 12 } },
      hideOverlap: true,
      ...text(),
    };
  }

  function priceOption(width) {
    const narrow = width < 560;
    const cramped = narrow || width === PAPER_PX;
    const zoomed = dayCount > 1;
    const left = narrow ? 38 : 52;
    const right = narrow ? 8 : 92;
    const top = narrow ? 74 : 44;
    const axis = (grid, labels) => ({
      type: "category",
      gridIndex: grid,
      data: epochs.map((_, i) => i),
      axisLine: { lineStyle: { color: colours.rule } },
      axisTick: { show: labels, interval: timeLabels(width).interval, lineStyle: { color: colours.rule } },
      axisLabel: { ...timeLabels(width), show: labels },
      axisPointer: { label: { show: false } },
    });
    const value = (grid, name, extra) => ({
      type: "value",
      gridIndex: grid,
      name,
      nameTextStyle: text({ align: "left", padding: [0, 0, 0, -left + 4] }),
      nameGap: 10,
      splitNumber: 4,
      axisLabel: text(),
      splitLine: { lineStyle: { color: colours.rule } },
      ...extra,
    });
    const prices = epochs.flatMap((e) => [
      e.buyback * tickThb,
      e.retail * tickThb,
      ...(e.volume ? [(e.price2 * tickThb) / 2] : []),
    ]);
    const low = Math.min(...prices);
    const high = Math.max(...prices);
    const pad = (high - low || high || 1) * 0.08;
    const line = (name, colour, values, extra) => ({
      name,
      type: "line",
      xAxisIndex: 0,
      yAxisIndex: 0,
      step: "middle",
      symbol: "none",
      color: colour,
      lineStyle: { width: 1.5, type: [5, 4] },
      data: values,
      endLabel: {
        show: !narrow,
        formatter: `${name} ${(values[values.length - 1] ?? 0).toFixed(2)}`,
        color: colour,
        fontSize: 12,
      },
      ...extra,
    });
    const bar = (name, colour, values) => ({
      name,
      type: "bar",
      stack: "volume",
      xAxisIndex: 1,
      yAxisIndex: 1,
      color: colour,
      barCategoryGap: "18%",
      data: values,
    });
    return {
      ...base(),
      legend: legend([
        ["clearing price", LINE],
        ["retail", DASHES],
        ["buyback", DASHES],
        ["to neighbours", "rect"],
        ["to the utility", "rect"],
        ["surplus metered", LINE],
      ]),
      axisPointer: { link: [{ xAxisIndex: "all" }], lineStyle: { color: colours.quiet } },
      tooltip: {
        ...tooltip(),
        trigger: "axis",
        formatter: (points) => {
          const epoch = epochs[points[0].dataIndex];
          return rows(`Epoch ${dated(epoch)}`, [
            ["clearing price", epoch.volume ? `${price(epoch.price2)} THB/kWh` : "no trade"],
            ["retail", `${thb(epoch.retail)} THB/kWh`],
            ["buyback", `${thb(epoch.buyback)} THB/kWh`],
            ["traded", `${kwh(epoch.volume)} kWh`],
            ["of it to the utility", `${kwh(epoch.utility)} kWh`],
            [`surplus metered from ${epoch.metered}`, `${kwh(epoch.export)} kWh`],
            [`import metered from ${epoch.metered}`, `${kwh(epoch.import)} kWh`],
          ]);
        },
      },
      grid: [
        { left, right, top: top + 22, height: cramped ? "30%" : "36%" },
        { left, right, bottom: zoomed ? 74 : 28, height: zoomed ? "26%" : cramped ? "30%" : "32%" },
      ],
      xAxis: [axis(0, false), axis(1, true)],
      yAxis: [
        value(0, "THB/kWh", {
          min: Math.max(0, low - pad),
          max: high + pad,
          axisLabel: text({ formatter: (v) => v.toFixed(2), showMinLabel: false, showMaxLabel: false }),
        }),
        value(1, "kWh per epoch", { min: 0 }),
      ],
      dataZoom: zoomed
        ? [
            {
              type: "slider",
              xAxisIndex: [0, 1],
              ...zoom,
              bottom: 8,
              height: 26,
              left,
              right,
              borderColor: colours.rule,
              fillerColor: colours.band,
              labelFormatter: (i) => (epochs[i] ? dated(epochs[i]) : ""),
              textStyle: text(),
              brushSelect: false,
            },
            { type: "inside", xAxisIndex: [0, 1], ...zoom, zoomOnMouseWheel: "ctrl", moveOnMouseWheel: false },
          ]
        : [],
      series: [
        line(
          "retail",
          colours.retail,
          epochs.map((e) => e.retail * tickThb),
        ),
        line(
          "buyback",
          colours.buyback,
          epochs.map((e) => e.buyback * tickThb),
        ),
        line(
          "clearing price",
          colours.price,
          epochs.map((e) => (e.volume ? (e.price2 * tickThb) / 2 : null)),
          {
            lineStyle: { width: 2 },
            symbol: "circle",
            symbolSize: epochs.length > 200 ? 3 : 5,
            showSymbol: true,
            showAllSymbol: true,
            endLabel: { show: false },
          },
        ),
        bar(
          "to neighbours",
          colours.near,
          epochs.map((e) => (e.volume - e.utility) / 1000),
        ),
        bar(
          "to the utility",
          colours.grid,
          epochs.map((e) => e.utility / 1000),
        ),
        {
          name: "surplus metered",
          type: "line",
          step: "middle",
          symbol: "none",
          xAxisIndex: 1,
          yAxisIndex: 1,
          color: colours.own,
          lineStyle: { width: 1.5 },
          data: epochs.map((e) => e.export / 1000),
        },
      ],
    };
  }

  function drawPrices(paper) {
    const chart = draw("chart-prices", priceOption, paper);
    chart.off("datazoom");
    chart.on("datazoom", () => {
      const { start, end } = chart.getOption().dataZoom[0];
      zoom = { start, end };
      const labels = timeLabels(chart.getWidth());
      chart.setOption({ xAxis: [{}, { axisLabel: labels, axisTick: { interval: labels.interval } }] });
    });
    const zr = chart.getZr();
    zr.off("click");
    zr.on("click", (event) => {
      for (const grid of [0, 1]) {
        if (chart.containPixel({ gridIndex: grid }, [event.offsetX, event.offsetY])) {
          const [i] = chart.convertFromPixel({ gridIndex: grid }, [event.offsetX, event.offsetY]);
          if (epochs[i]) choose(i);
        }
      }
    });
  }

  // ---- supply and demand of one epoch ----

  // Steps fixed over all epochs, so that epochs can be compared while paging.
  const allTicks = epochs.flatMap((e) => [e.buyback, e.retail, ...e.bids.map(([t]) => t), ...e.asks.map(([t]) => t)]);
  const lowTick = allTicks.reduce((a, b) => Math.min(a, b), Infinity);
  const highTick = allTicks.reduce((a, b) => Math.max(a, b), 0);
  const padTicks = Math.max(2, Math.round((highTick - lowTick) * 0.07));
  const floorTick = Math.max(0, lowTick - padTicks);
  const roofTick = highTick + padTicks;

  // The first shown: much volume among neighbours, and if possible an interval to see.
  const appeal = (epoch) => (epoch.volume - epoch.utility) * (epoch.upper > epoch.lower ? 2 : 1);
  let chosen = epochs.reduce((best, epoch, i) => (appeal(epoch) > appeal(epochs[best]) ? i : best), 0);

  /** Corners of a curve from the price axis outwards; `last` is where it ends, up or down. */
  function corners(levels, last) {
    let total = 0;
    const points = [];
    for (const [tick, wh] of levels) {
      points.push([total / 1000, tick * tickThb]);
      total += wh;
      points.push([total / 1000, tick * tickThb]);
    }
    if (points.length) points.push([total / 1000, last * tickThb]);
    return points;
  }

  function curveOption(width) {
    const epoch = epochs[chosen];
    const narrow = width < 560;
    const bids = [...epoch.bids].sort((a, b) => b[0] - a[0]);
    const asks = [...epoch.asks].sort((a, b) => a[0] - b[0]);
    // The utility bids for more than anybody could sell; its step would flatten everything else.
    const keen = sum(bids.filter(([tick]) => tick > epoch.buyback));
    const offered = Math.max(sum(asks), epoch.volume);
    const reach = (Math.max(offered, Math.min(keen, offered * 3 || keen)) || sum(bids) || 1000) * 1.12;
    const traded = epoch.volume > 0;
    const clearing = (epoch.price2 * tickThb) / 2;
    const curve = (name, colour, points, extra) => ({
      name,
      type: "line",
      symbol: "none",
      color: colour,
      lineStyle: { width: 2.5 },
      data: points,
      clip: true,
      ...extra,
    });
    const label = (name, colour, position) => ({
      formatter: name,
      color: colour,
      fontSize: 12,
      position,
      backgroundColor: colours.paper,
      padding: [1, 3],
    });
    return {
      ...base(),
      legend: legend([
        ["demand (bids)", LINE],
        ["supply (asks)", LINE],
      ]),
      tooltip: {
        ...tooltip(),
        trigger: "axis",
        axisPointer: { type: "line", axis: "y", snap: false, lineStyle: { color: colours.quiet } },
        formatter: (points) => {
          const tick = Math.round(points[0].axisValue / tickThb);
          return rows(`At ${thb(tick)} THB/kWh`, [
            ["demanded", `${kwh(sum(bids.filter(([t]) => t >= tick)))} kWh`],
            ["supplied", `${kwh(sum(asks.filter(([t]) => t <= tick)))} kWh`],
          ]);
        },
      },
      grid: { left: narrow ? 40 : 52, right: narrow ? 14 : 92, top: narrow ? 58 : 54, bottom: 46 },
      xAxis: {
        type: "value",
        min: 0,
        max: reach / 1000,
        name: "quantity, kWh",
        nameLocation: "middle",
        nameGap: 28,
        nameTextStyle: text(),
        axisLabel: text({ showMaxLabel: false, formatter: (v) => v.toLocaleString("en"), hideOverlap: true }),
        axisLine: { lineStyle: { color: colours.rule } },
        splitNumber: narrow ? 4 : 8,
        splitLine: { show: false },
        axisPointer: { show: false },
      },
      yAxis: {
        type: "value",
        min: floorTick * tickThb,
        max: roofTick * tickThb,
        name: "THB/kWh",
        nameTextStyle: text({ align: "left", padding: [0, 0, 0, narrow ? -36 : -48] }),
        nameGap: 10,
        axisLabel: text({ formatter: (v) => v.toFixed(2), showMinLabel: false, showMaxLabel: false }),
        splitLine: { lineStyle: { color: colours.rule } },
      },
      series: [
        curve("demand (bids)", colours.demand, corners(bids, floorTick), {
          markArea:
            traded && epoch.upper > epoch.lower
              ? {
                  silent: true,
                  itemStyle: { color: colours.band },
                  data: [[{ yAxis: epoch.lower * tickThb }, { yAxis: epoch.upper * tickThb }]],
                }
              : undefined,
          markLine: traded
            ? {
                silent: true,
                symbol: "none",
                z: 1,
                precision: 6,
                lineStyle: { color: colours.price, width: 1.5, type: "solid" },
                data: [
                  {
                    yAxis: clearing,
                    label: label(
                      narrow ? price(epoch.price2) : `price ${price(epoch.price2)}`,
                      colours.price,
                      narrow ? "insideEndTop" : "end",
                    ),
                  },
                  {
                    xAxis: epoch.volume / 1000,
                    lineStyle: { type: [3, 3], color: colours.quiet },
                    label: label(`${kwh(epoch.volume)} kWh`, colours.quiet, "end"),
                  },
                ],
              }
            : undefined,
        }),
        curve("supply (asks)", colours.supply, corners(asks, roofTick)),
      ],
    };
  }

  function describe(epoch) {
    const bids = sum(epoch.bids);
    const asks = sum(epoch.asks);
    const best = (levels, pick) => (levels.length ? thb(pick(...levels.map(([tick]) => tick))) : null);
    if (epoch.volume > 0) {
      const interval =
        epoch.lower === epoch.upper
          ? `the only equilibrium price`
          : `the middle of ${thb(epoch.lower)} to ${thb(epoch.upper)}`;
      const ration = epoch.long
        ? `${LONG[epoch.long]}: at its last price ${kwh(epoch.filled)} of ${kwh(epoch.offered)} kWh were filled, pro rata`
        : LONG[0];
      return [`${kwh(epoch.volume)} kWh at ${price(epoch.price2)} THB/kWh`, `, ${interval}; ${ration}.`];
    }
    if (!asks && !bids) return ["No trade", ": no orders."];
    if (!asks) return ["No trade", `: nobody offered energy. The best bid was ${best(epoch.bids, Math.max)} THB/kWh.`];
    if (!bids) return ["No trade", `: nobody bid. The best ask was ${best(epoch.asks, Math.min)} THB/kWh.`];
    return [
      "No trade",
      `: the best bid, ${best(epoch.bids, Math.max)}, stayed below the best ask, ${best(epoch.asks, Math.min)} THB/kWh.`,
    ];
  }

  function drawCurves(paper) {
    if (!epochs.length) return;
    draw("chart-curves", curveOption, paper);
    const epoch = epochs[chosen];
    const [strong, rest] = describe(epoch);
    const bold = document.createElement("b");
    bold.textContent = strong;
    byId("curve-result").replaceChildren(`Epoch ${dated(epoch)}: `, bold, rest);
    const beyond = sum(epoch.bids) / 1000 > charts.get("chart-curves").getOption().xAxis[0].max;
    byId("curve-note").textContent = beyond
      ? `Demand runs on to the right, to ${kwh(sum(epoch.bids))} kWh at ${thb(Math.min(...epoch.bids.map(([tick]) => tick)))} THB/kWh: ${sum(epoch.bids.filter(([tick]) => tick <= epoch.buyback)) > sum(epoch.asks) ? "the utility would buy more than anybody has" : "more than is drawn here"}.`
      : "";
    const ticks = [...new Set([...epoch.bids, ...epoch.asks].map(([tick]) => tick))].sort((a, b) => b - a);
    const at = (levels, tick) => sum(levels.filter(([t]) => t === tick));
    byId("curve-table").tBodies[0].replaceChildren(
      ...ticks.map((tick) => {
        const row = document.createElement("tr");
        const cells = [
          at(epoch.bids, tick),
          sum(epoch.bids.filter(([t]) => t >= tick)),
          at(epoch.asks, tick),
          sum(epoch.asks.filter(([t]) => t <= tick)),
        ];
        const head = document.createElement("th");
        head.scope = "row";
        head.className = "n";
        head.textContent = thb(tick);
        row.append(head);
        for (const wh of cells) {
          const cell = row.insertCell();
          cell.className = "n";
          cell.textContent = wh ? kwh(wh) : "";
        }
        return row;
      }),
    );
  }

  function choose(i) {
    chosen = Math.min(Math.max(i, 0), epochs.length - 1);
    byId("epoch-select").value = String(chosen);
    byId("epoch-range").value = String(chosen);
    byId("epoch-range").setAttribute("aria-valuetext", `${epochs[chosen].day} ${epochs[chosen].at}`);
    byId("epoch-prev").disabled = chosen === 0;
    byId("epoch-next").disabled = chosen === epochs.length - 1;
    drawCurves();
  }

  function prepareControls() {
    if (!epochs.length) return;
    const select = byId("epoch-select");
    let group = null;
    epochs.forEach((epoch, i) => {
      if (dayCount > 1 && group?.label !== dayName(epoch)) {
        group = document.createElement("optgroup");
        group.label = dayName(epoch);
        select.append(group);
      }
      const label = epoch.volume ? `${kwh(epoch.volume)} kWh at ${price(epoch.price2)}` : "no trade";
      (group ?? select).append(new Option(`${epoch.at}  ·  ${label}`, String(i)));
    });
    select.addEventListener("change", () => choose(Number(select.value)));
    byId("epoch-range").addEventListener("input", (event) => choose(Number(event.target.value)));
    byId("epoch-prev").addEventListener("click", () => choose(chosen - 1));
    byId("epoch-next").addEventListener("click", () => choose(chosen + 1));
    document.querySelector(".controls").hidden = false;
    choose(chosen);
  }

  // ---- flows ----

  /** Keeps the first `count` of the largest, sums up the others. */
  function grouped(labels, count) {
    if (labels.length <= count + 1) return { place: (i) => i, labels };
    const already = /^(\d+) other/.exec(labels[labels.length - 1]);
    const others = labels.length - count + (already ? Number(already[1]) - 1 : 0);
    return { place: (i) => Math.min(i, count), labels: [...labels.slice(0, count), `${others} others`] };
  }

  function flowOption(width) {
    const narrow = width < 560;
    const count = narrow ? 6 : 10;
    const sellers = grouped(flows.sellers, count);
    const buyers = grouped(flows.buyers, count);
    // Where the utility is among the small ones, their bar is coloured like a neighbour's.
    const utility = (place) => flows.utilities.some((b) => buyers.place(b) === place && place < count);
    const links = new Map();
    const sold = sellers.labels.map(() => 0);
    const bought = buyers.labels.map(() => 0);
    flows.energy.forEach((row, s) =>
      row.forEach((wh, b) => {
        if (!wh) return;
        const [from, to] = [sellers.place(s), buyers.place(b)];
        sold[from] += wh;
        bought[to] += wh;
        const key = `${from} ${to}`;
        links.set(key, {
          source: `s${from}`,
          target: `b${to}`,
          value: (links.get(key)?.value ?? 0) + wh / 1000,
          wh: (links.get(key)?.wh ?? 0) + wh,
          lineStyle: utility(to) ? { color: colours.grid, opacity: 0.35 } : {},
        });
      }),
    );
    const clipped = (name) => (name.length > (narrow ? 12 : 24) ? `${name.slice(0, narrow ? 11 : 23)}…` : name);
    const nodes = (side, labels, totals, colour) =>
      labels
        .map((name, i) => ({
          name: `${side}${i}`,
          title: name,
          wh: totals[i],
          depth: side === "s" ? 0 : 1,
          itemStyle: { color: colour(i) },
          label: {
            position: side === "s" ? "left" : "right",
            formatter: narrow
              ? `{a|${clipped(name)}}\n{b|${roundKwh(totals[i])}}`
              : `{a|${clipped(name)}}  {b|${roundKwh(totals[i])} kWh}`,
          },
        }))
        .filter((node) => node.wh > 0);
    const margin = narrow ? 84 : 170;
    return {
      ...base(),
      tooltip: {
        ...tooltip(),
        trigger: "item",
        formatter: ({ dataType, data: item }) => {
          if (dataType === "node")
            return rows(item.title, [[item.name[0] === "s" ? "sold" : "bought", `${kwh(item.wh)} kWh`]]);
          const from = sellers.labels[Number(item.source.slice(1))];
          const to = buyers.labels[Number(item.target.slice(1))];
          return rows(`${from} → ${to}`, [["energy", `${kwh(item.wh)} kWh`]]);
        },
      },
      series: [
        {
          type: "sankey",
          left: margin,
          right: margin,
          top: 26,
          bottom: 8,
          nodeWidth: 10,
          nodeGap: narrow ? 30 : 15,
          draggable: false,
          layoutIterations: 0,
          emphasis: { focus: "adjacency" },
          lineStyle: { color: "source", opacity: 0.28, curveness: 0.5 },
          label: {
            color: colours.ink,
            fontSize: 12,
            rich: {
              a: { color: colours.ink, fontSize: 12, fontWeight: 600, lineHeight: 15 },
              b: { color: colours.quiet, fontSize: 12, lineHeight: 15 },
            },
          },
          data: [
            ...nodes("s", sellers.labels, sold, () => colours.own),
            ...nodes("b", buyers.labels, bought, (i) => (utility(i) ? colours.grid : colours.near)),
          ],
          links: [...links.values()],
        },
      ],
      graphic: [
        {
          type: "text",
          left: 0,
          top: 4,
          style: { text: "Sellers", fill: colours.quiet, font: `12px ${font}` },
          silent: true,
        },
        {
          type: "text",
          right: 0,
          top: 4,
          style: { text: "Buyers", fill: colours.quiet, font: `12px ${font}` },
          silent: true,
        },
      ],
    };
  }

  // ---- bills ----

  function prepareBills() {
    const buttons = [...document.querySelectorAll(".bills .open")];
    const all = byId("bills-all");
    const set = (button, open) => {
      button.setAttribute("aria-expanded", String(open));
      byId(button.getAttribute("aria-controls")).hidden = !open;
    };
    const name = () => {
      const open = buttons.every((button) => button.getAttribute("aria-expanded") === "true");
      all.textContent = open ? "Close all" : "Open all";
      all.setAttribute("aria-expanded", String(open));
    };
    for (const button of buttons) {
      set(button, false);
      button.addEventListener("click", () => {
        set(button, button.getAttribute("aria-expanded") !== "true");
        name();
      });
    }
    all.hidden = buttons.length === 0;
    all.addEventListener("click", () => {
      const open = all.getAttribute("aria-expanded") !== "true";
      buttons.forEach((button) => set(button, open));
      name();
    });
  }

  // ---- all of it ----

  function drawAll(paper) {
    readColours();
    if (epochs.length) drawPrices(paper);
    drawCurves(paper);
    if (flows.sellers.length) draw("chart-flows", flowOption, paper);
  }

  readColours();
  prepareBills();
  prepareControls();
  drawAll();
  let width = document.body.clientWidth;
  addEventListener("resize", () => {
    if (document.body.clientWidth !== width) {
      width = document.body.clientWidth;
      requestAnimationFrame(() => drawAll());
    }
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll());
  const shut = () => [...document.querySelectorAll("details:not(.alternative):not([open])")];
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = shut();
    opened.forEach((element) => (element.open = true));
    drawAll(true);
  });
  addEventListener("afterprint", () => {
    opened.forEach((element) => (element.open = false));
    drawAll();
  });
})();
