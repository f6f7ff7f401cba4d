// What became of each suggestion, for the event log: shown, accepted, rejected, still standing.

import { sendEvent } from "./api.js";

const SHOWN_AFTER_MS = 750;
const REPLACED_WITHIN_MS = 500;
const PERSISTED_AFTER_MS = 30_000;

export class Feedback {
  #current = null;
  #shownTimer = null;
  #rejections = new Map();
  #accepted = [];
  #shown = new Set();
  #latencies = new Map();
  #settled = new Set();
  #send;

  constructor(send = sendEvent) {
    this.#send = send;
  }

  // A suggestion came on the screen, or is there still with less left of it.
  displayed(id, latencyMs) {
    clearTimeout(this.#rejections.get(id));
    this.#rejections.delete(id);
    if (this.#current?.id === id) return;
    this.#leave();
    this.#current = { id };
    this.#latencies.set(id, latencyMs);
    if (!this.#shown.has(id)) this.#shownTimer = setTimeout(() => this.#wasShown(id), SHOWN_AFTER_MS);
  }

  // It went from the screen; `disagreed` when the user typed something else.
  vanished(disagreed) {
    const gone = this.#current;
    this.#leave();
    if (gone === null || !disagreed || !this.#shown.has(gone.id) || this.#settled.has(gone.id)) return;
    const timer = setTimeout(() => this.#reject(gone.id, "typed otherwise"), REPLACED_WITHIN_MS);
    this.#rejections.set(gone.id, timer);
  }

  dismissed() {
    const gone = this.#current;
    if (gone === null) return;
    this.#wasShown(gone.id);
    this.#leave();
    this.#reject(gone.id, "dismissed");
  }

  // `text` of it was put at `from`; word after word adds up to one accepted text.
  accepted(id, from, text, whole) {
    this.#wasShown(id);
    this.#settled.add(id);
    const earlier = this.#accepted.find((one) => one.id === id && one.to === from);
    const entry = earlier ?? { id, from, text: "" };
    if (earlier === undefined) this.#accepted.push(entry);
    entry.text += text;
    entry.to = from + text.length;
    entry.due = Date.now() + PERSISTED_AFTER_MS;
    const action = whole ? "accepted" : "partially_accepted";
    this.#send({ completion_id: id, action, accepted_chars: entry.text.length });
    if (whole) this.#leave();
  }

  notShown(id, reason) {
    if (!this.#shown.has(id)) this.#send({ completion_id: id, action: "not_shown", reason });
  }

  // Follow accepted texts through a change of the document.
  changed(changes) {
    for (const entry of this.#accepted) {
      entry.from = changes.mapPos(entry.from, 1);
      entry.to = changes.mapPos(entry.to, -1);
    }
  }

  // Called now and then: report what has stood for long enough.
  review(sliceOf) {
    const now = Date.now();
    for (const entry of this.#accepted) {
      if (entry.due > now) continue;
      const stands = entry.from < entry.to && sliceOf(entry.from, entry.to) === entry.text;
      if (stands) this.#send({ completion_id: entry.id, action: "persisted" });
    }
    this.#accepted = this.#accepted.filter((entry) => entry.due > now);
  }

  // The page is being left: what waits for its time to be told is told now.
  flush() {
    for (const [id, timer] of this.#rejections) {
      clearTimeout(timer);
      this.#reject(id, "typed otherwise");
    }
    this.#leave();
  }

  #wasShown(id) {
    clearTimeout(this.#shownTimer);
    if (this.#shown.has(id)) return;
    this.#shown.add(id);
    this.#send({ completion_id: id, action: "shown", client_latency_ms: Math.max(0, this.#latencies.get(id) ?? 0) });
  }

  #reject(id, reason) {
    this.#rejections.delete(id);
    if (this.#settled.has(id)) return;
    this.#settled.add(id);
    this.#send({ completion_id: id, action: "rejected", reason });
  }

  #leave() {
    clearTimeout(this.#shownTimer);
    this.#current = null;
  }
}
