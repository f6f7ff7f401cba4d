// A clock that stands still until a test moves it: setTimeout, clearTimeout and Date.now.

const real = { setTimeout: globalThis.setTimeout, clearTimeout: globalThis.clearTimeout, now: Date.now };

export function stopClock() {
  let now = 1_000_000;
  let timers = [];
  globalThis.setTimeout = (run, wait = 0) => {
    const timer = { run, at: now + wait };
    timers.push(timer);
    return timer;
  };
  globalThis.clearTimeout = (timer) => {
    timers = timers.filter((one) => one !== timer);
  };
  Date.now = () => now;
  return {
    tick(ms) {
      const until = now + ms;
      for (;;) {
        const due = timers.filter((one) => one.at <= until).sort((a, b) => a.at - b.at)[0];
        if (due === undefined) break;
        timers = timers.filter((one) => one !== due);
        now = due.at;
        due.run();
      }
      now = until;
    },
    release() {
      globalThis.setTimeout = real.setTimeout;
      globalThis.clearTimeout = real.clearTimeout;
      Date.now = real.now;
    },
  };
}
