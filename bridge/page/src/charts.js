/* The charts: samples of the bridge, at most five minutes of them. */
import uPlot from "uplot";
import { count, delay, rate } from "./format.js";

const KEEP = 300;
const HEIGHT = 170;

/* Of a sample: [time, seconds, received, delivered, connections, runs, [p50, p95, p99]]. */
const perSecond = (n, seconds) => seconds > 0 ? n / seconds : null;
const CHARTS = [
  { id: "chart-events", title: "Events per second", unit: rate, names: ["in", "out"],
    read: (s) => [perSecond(s[2], s[1]), perSecond(s[3], s[1])] },
  { id: "chart-delivery", title: "Delivery", unit: delay, names: ["p50", "p95", "p99"], read: (s) => s[6] },
  { id: "chart-load", title: "Connections and runs", unit: count, names: ["connections", "runs"], whole: true,
    read: (s) => [s[4], s[5]] },
];

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const hours = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const WHOLE = Array.from({ length: 8 }, (_, i) => [1, 2, 5].map((n) => n * 10 ** i)).flat();

function axes({ unit, whole }) {
  const look = { stroke: () => color("--soft"), grid: { stroke: () => color("--grid"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
  return [{ ...look, size: 28, incrs: [60, 120], values: (_, marks) => marks.map((unix) => hours.format(unix * 1000)) },
    { ...look, size: 62, values: (_, marks) => marks.map(unit), ...(whole ? { incrs: WHOLE } : {}) }];
}

/* The right end is now. */
const scales = { x: { time: true, range: (_, first, last) => [(last ?? 0) - KEEP, last ?? 0] }, y: { range: (_, low, high) => [0, high > 0 ? high * 1.1 : 1] } };

class Chart {
  constructor(row) {
    this.row = row;
    this.box = document.getElementById(row.id);
    this.data = [[], ...row.names.map(() => [])];
    const series = row.names.map((label, i) => ({ label, stroke: () => color(`--s${i + 1}`), width: 2, spanGaps: false, points: { size: 4 } }));
    this.plot = new uPlot({ width: this.width(), height: HEIGHT, legend: { show: false }, cursor: { drag: { x: false, y: false } },
      scales, axes: axes(row), series: [{}, ...series] }, this.data, this.box);
    new ResizeObserver(() => this.fit()).observe(this.box);
  }

  width() { return Math.max(this.box.clientWidth, 100); }

  fit() { if (this.box.clientWidth) this.plot.setSize({ width: this.width(), height: HEIGHT }); }

  add(samples) {
    for (const sample of samples) [sample[0], ...this.row.read(sample)].forEach((value, i) => this.data[i].push(value));
    this.data = this.data.map((values) => values.slice(-KEEP));
    this.plot.setData(this.data);
    this.describe();
  }

  describe() {
    const say = (pick) => this.row.names.map((name, i) => `${name} ${this.row.unit(pick(this.data[i + 1]))}`).join(", ");
    const highest = (values) => values.reduce((most, value) => value > (most ?? -1) ? value : most, null);
    this.box.setAttribute("aria-label", `${this.row.title}, now: ${say((values) => values.at(-1))}; highest: ${say(highest)}`);
    this.box.dataset.points = this.data[0].length;
    this.box.dataset.until = this.data[0].at(-1) ?? "";
  }

  clear() {
    this.data = this.data.map(() => []);
    this.plot.setData(this.data);
  }
}

export class Charts {
  constructor() {
    this.charts = CHARTS.map((row) => new Chart(row));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.charts.forEach((c) => c.plot.redraw(false, true)));
  }

  add(samples) { if (samples.length) this.charts.forEach((chart) => chart.add(samples)); }

  clear() { this.charts.forEach((chart) => chart.clear()); }
}
