/** Waits for conditions, with a deadline. FLOW_TIME_SCALE stretches all deadlines. */
export const SCALE = Number(process.env.FLOW_TIME_SCALE ?? 1);

export async function until(condition, what = condition.toString(), ms = 30_000) {
  const end = Date.now() + ms * SCALE;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) throw new Error(`not within ${ms * SCALE} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
