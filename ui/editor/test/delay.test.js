import assert from "node:assert/strict";
import { test } from "node:test";
import { TypingPace, backOff } from "../src/delay.js";

function paceOf(gap) {
  const pace = new TypingPace();
  for (let at = 0; at < 40; at += 1) pace.keystroke(at * gap);
  return pace.delay();
}

test("about 120 ms for somebody unknown", () => assert.ok(Math.abs(new TypingPace().delay() - 120) < 1));

test("longer than this user's keystrokes lie apart, within bounds", () => {
  assert.ok(paceOf(150) > 150 && paceOf(150) < 220);
  assert.equal(paceOf(5), 60);
  assert.equal(paceOf(550), 400);
});

test("a pause says nothing of the pace", () => assert.ok(Math.abs(paceOf(5000) - 120) < 1));

test("failures in a row wait longer, and as long as the server asks", () => {
  assert.deepEqual([1, 2, 3, 10].map((failures) => backOff(failures, null)), [1000, 2000, 4000, 30000]);
  assert.equal(backOff(1, 7), 7000);
});
