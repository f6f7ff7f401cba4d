import assert from "node:assert/strict";
import { test } from "node:test";
import { codeUnits } from "../src/offsets.js";
import { isUsable } from "../src/usable.js";

const open = { prefix: "SELECT ", suffix: "" };
const issue = (kind, start, end, severity = "error") => ({ kind, start, end, severity });

test("a valid suggestion is shown", () => assert.ok(isUsable({ valid: true, text: "1", issues: [] }, open)));

test("a statement that is only not finished is shown", () => {
  assert.ok(isUsable({ valid: false, text: "name FROM", issues: [issue("syntax", 12, 16)] }, open));
  assert.ok(isUsable({ valid: false, text: "name FROM", issues: [issue("syntax", 16, 16)] }, { ...open, suffix: "\n;" }));
});

test("wrong names, errors before the end and half statements before more text are not", () => {
  assert.ok(!isUsable({ valid: false, text: "nme FROM t", issues: [issue("unknown_column", 7, 10)] }, open));
  assert.ok(!isUsable({ valid: false, text: "name FROM", issues: [issue("syntax", 0, 6)] }, open));
  assert.ok(!isUsable({ valid: false, text: "name", issues: [issue("syntax", 11, 11)] }, { ...open, suffix: " FROM t" }));
});

test("offsets count characters, not UTF-16 units", () => {
  const place = { prefix: "SELECT '😀', ", suffix: "" };
  assert.ok(isUsable({ valid: false, text: "a FROM", issues: [issue("syntax", 14, 18)] }, place));
  const at = codeUnits("a😀b");
  assert.deepEqual([0, 1, 2, 3].map(at), [0, 1, 3, 4]);
  assert.equal(codeUnits("abc")(2), 2);
});
