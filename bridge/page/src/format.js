/* Numbers as people read them. null is a dash. */

const DASH = "–";

const number = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

export const count = (value) => value == null ? DASH : number.format(value);

export const rate = (value) => value == null ? DASH : value >= 100 || value === 0 ? number.format(value) : value.toPrecision(2);

export function bytes(value) {
  if (value == null) return DASH;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  for (; value >= 1024 && unit < units.length - 1; unit++) value /= 1024;
  return `${unit && value < 100 ? value.toFixed(1) : number.format(value)} ${units[unit]}`;
}

/* Seconds that something took. */
export function delay(value) {
  if (value == null) return DASH;
  if (value < 1) return `${(value * 1000).toPrecision(value * 1000 < 1 ? 1 : 3).replace(/\.0+$/, "")} ms`;
  return value < 120 ? `${value.toPrecision(3)} s` : span(value);
}

/* Seconds that something has been there. */
export function span(value) {
  if (value == null) return DASH;
  const s = Math.floor(value), m = Math.floor(s / 60), h = Math.floor(m / 60), d = Math.floor(h / 24);
  if (d) return `${d} d ${h % 24} h`;
  if (h) return `${h} h ${m % 60} min`;
  return m ? `${m} min ${s % 60} s` : `${s} s`;
}

export const clock = (unix) => unix ? new Date(unix * 1000).toLocaleTimeString() : "never";

export const moment = (unix) => unix ? new Date(unix * 1000).toLocaleString() : "never";

/* A label of a metric as words. */
export const words = (label) => label.toLowerCase().replaceAll("_", " ");
