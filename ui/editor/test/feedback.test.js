import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { Feedback } from "../src/feedback.js";
import { stopClock } from "./clock.js";

let clock;
let sent;
let feedback;
beforeEach(() => {
  clock = stopClock();
  sent = [];
  feedback = new Feedback((event) => sent.push(event));
});
afterEach(() => clock.release());

const actions = () => sent.map((event) => event.action);

test("shown counts after 750 ms on the screen, once", () => {
  feedback.displayed("1", 300);
  clock.tick(749);
  assert.deepEqual(actions(), []);
  clock.tick(1);
  feedback.displayed("1", 300);
  clock.tick(2000);
  assert.deepEqual(sent, [{ completion_id: "1", action: "shown", client_latency_ms: 300 }]);
});

test("what is gone before that was not shown", () => {
  feedback.displayed("1", 300);
  clock.tick(500);
  feedback.vanished(true);
  clock.tick(5000);
  assert.deepEqual(actions(), []);
});

test("typing something else rejects, unless it comes back at once", () => {
  feedback.displayed("1", 1);
  clock.tick(800);
  feedback.vanished(true);
  clock.tick(400);
  feedback.displayed("1", 1);
  clock.tick(1000);
  assert.deepEqual(actions(), ["shown"]);
  feedback.vanished(true);
  clock.tick(600);
  assert.deepEqual(actions(), ["shown", "rejected"]);
});

test("moving away is no rejection", () => {
  feedback.displayed("1", 1);
  clock.tick(800);
  feedback.vanished(false);
  clock.tick(5000);
  assert.deepEqual(actions(), ["shown"]);
});

test("Esc rejects at once, and only once", () => {
  feedback.displayed("1", 1);
  feedback.dismissed();
  feedback.vanished(true);
  clock.tick(5000);
  assert.deepEqual(actions(), ["shown", "rejected"]);
});

test("word after word adds up, and what still stands after 30 s is told", () => {
  feedback.displayed("1", 1);
  feedback.accepted("1", 10, "name ", false);
  feedback.accepted("1", 15, "FROM t", true);
  assert.deepEqual(sent.slice(1), [
    { completion_id: "1", action: "partially_accepted", accepted_chars: 5 },
    { completion_id: "1", action: "accepted", accepted_chars: 11 },
  ]);
  clock.tick(29_000);
  feedback.review(() => "name FROM t");
  assert.equal(actions().includes("persisted"), false);
  clock.tick(2_000);
  feedback.review((from, to) => (from === 10 && to === 21 ? "name FROM t" : ""));
  assert.equal(actions().at(-1), "persisted");
});

test("what was changed meanwhile does not stand", () => {
  feedback.displayed("1", 1);
  feedback.accepted("1", 0, "name", true);
  clock.tick(31_000);
  feedback.review(() => "nome");
  assert.equal(actions().includes("persisted"), false);
});

test("leaving the page tells what was waiting", () => {
  feedback.displayed("1", 1);
  clock.tick(800);
  feedback.vanished(true);
  feedback.flush();
  assert.deepEqual(actions(), ["shown", "rejected"]);
});
