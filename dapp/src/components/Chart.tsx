/** A uPlot chart that follows its box, its data and the page's colours, and says in words what it shows. */

import { useComputedColorScheme } from "@mantine/core";
import { useEffect, useRef, useState } from "react";
import uPlot, { type AlignedData, type Options } from "uplot";
import "uplot/dist/uPlot.min.css";

export type Paint = (
  name: "ink" | "quiet" | "rule" | "demand" | "supply" | "retail" | "buyback" | "good" | "used",
) => string;

/** Builds a chart's options from the colours of the page. The caller keeps it the same between renderings. */
export type Build = (paint: Paint) => Omit<Options, "width" | "height">;

const FONT = "12px system-ui, sans-serif";

/** What axes have in common. */
export function axis(paint: Paint, more: uPlot.Axis = {}): uPlot.Axis {
  return {
    stroke: paint("quiet"),
    font: FONT,
    labelFont: FONT,
    grid: { stroke: paint("rule"), width: 0.5 },
    ticks: { show: false },
    ...more,
  };
}

/** A range of time from the first point on, to the end of what the last one stands for: one point is enough. */
export function span(seconds: number): uPlot.Range.Function {
  return (chart, first, last) => {
    const times = chart.data[0];
    return [times[0] ?? first, (times.at(-1) ?? last) + seconds];
  };
}

/** Draws steps: `align` 1 from each point on, -1 up to it. */
export function stepped(align: 1 | -1): uPlot.Series.PathBuilder {
  const make = uPlot.paths.stepped;
  if (!make) throw new Error("uPlot draws no steps");
  return make({ align });
}

/** Draws a level for so many seconds from each point on, joined where one follows another; nothing where there is none. */
export function levels(seconds: number): uPlot.Series.PathBuilder {
  return (chart, series, first, last) => {
    const stroke = new Path2D();
    const [times, values] = [chart.data[0], chart.data[series] ?? []];
    let end = Number.NaN;
    for (let i = first; i <= last; i += 1) {
      const [time, value] = [times[i], values[i]];
      if (time === undefined || value === undefined || value === null) continue;
      const x = chart.valToPos(time, "x", true);
      const y = chart.valToPos(value, chart.series[series]?.scale ?? "y", true);
      if (end === time) stroke.lineTo(x, y);
      else stroke.moveTo(x, y);
      end = time + seconds;
      stroke.lineTo(chart.valToPos(end, "x", true), y);
    }
    return { stroke };
  };
}

/** Draws bars from each point on. */
export function bars(): uPlot.Series.PathBuilder {
  const make = uPlot.paths.bars;
  if (!make) throw new Error("uPlot draws no bars");
  return make({ size: [0.8, 40], align: 1 });
}

export function Chart(props: { label: string; data: AlignedData; build: Build; height?: number }) {
  const { data, build, height = 250 } = props;
  const box = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(0);
  const scheme = useComputedColorScheme("light");
  const chart = useRef<uPlot | null>(null);
  const newest = useRef(data);

  useEffect(() => {
    const watch = new ResizeObserver(([entry]) => setWidth(Math.floor(entry?.contentRect.width ?? 0)));
    if (box.current) watch.observe(box.current);
    return () => watch.disconnect();
  }, []);

  useEffect(() => {
    newest.current = data;
    chart.current?.setData(data);
  }, [data]);

  useEffect(() => {
    const element = box.current;
    if (!element || width < 40) return;
    // The colours are the style sheet's, which has changed with the scheme by now.
    const style = getComputedStyle(document.documentElement);
    const paint: Paint = (name) => style.getPropertyValue(`--${name}`).trim();
    const options = { legend: { show: false }, cursor: { drag: { x: false, y: false } }, ...build(paint) };
    const made = new uPlot({ ...options, width, height }, newest.current, element);
    chart.current = made;
    return () => {
      chart.current = null;
      made.destroy();
    };
  }, [build, height, scheme, width]);

  return <div ref={box} className="chart" role="img" aria-label={props.label} style={{ minHeight: height }} />;
}

export function Legend({ items }: { items: { color: string; text: string }[] }) {
  return (
    <ul className="legend">
      {items.map(({ color, text }) => (
        <li key={text}>
          <i style={{ background: `var(--${color})` }} />
          {text}
        </li>
      ))}
    </ul>
  );
}
