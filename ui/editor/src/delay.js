// How long to wait after a keystroke: a little longer than this user's keystrokes lie apart.

const BASE_MS = 120;
const LEAST_MS = 60;
const MOST_MS = 400;
const PAUSE_MS = 600;
const WEIGHT = 0.25;

export class TypingPace {
  #mean = BASE_MS / 1.2;
  #last = -Infinity;

  // Note a keystroke at `now` (ms). Gaps longer than a pause say nothing of the pace.
  keystroke(now) {
    const gap = now - this.#last;
    this.#last = now;
    if (gap < PAUSE_MS) this.#mean += WEIGHT * (gap - this.#mean);
  }

  delay() {
    return Math.min(MOST_MS, Math.max(LEAST_MS, this.#mean * 1.2));
  }
}

// Waiting times after failures in a row: 1, 2, 4 … 30 s, or what the server asks for.
export function backOff(failures, retryAfterS) {
  return Math.max(Math.min(30, 2 ** (failures - 1)), retryAfterS ?? 0) * 1000;
}
