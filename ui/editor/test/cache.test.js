import assert from "node:assert/strict";
import { test } from "node:test";
import { SuggestionCache, remainder } from "../src/cache.js";

test("what is typed is taken off a suggestion, in either case of letters", () => {
  assert.equal(remainder("name FROM t", "NAME"), " FROM t");
  assert.equal(remainder("name", "name"), "");
  assert.equal(remainder("name", "no"), null);
  assert.equal(remainder("na", "name"), null);
});

test("a suggestion is found at its place and while it is typed along", () => {
  const cache = new SuggestionCache();
  cache.set("c", "SELECT ", "", { id: "1", text: "name FROM t" });
  assert.equal(cache.get("c", "SELECT ", "").text, "name FROM t");
  assert.equal(cache.get("c", "SELECT na", "").text, "me FROM t");
  assert.equal(cache.get("c", "SELECT x", ""), null);
  assert.equal(cache.get("c", "SELECT ", " tail"), null);
  assert.equal(cache.get("other", "SELECT ", ""), null);
});

test("an answer of nothing is known at its own place only", () => {
  const cache = new SuggestionCache();
  cache.set("c", "SELECT 1", "", { id: "1", text: "" });
  assert.equal(cache.get("c", "SELECT 1", "").text, "");
  assert.equal(cache.get("c", "SELECT 12", ""), null);
});

test("the least recently used entry goes first", () => {
  const cache = new SuggestionCache(2);
  cache.set("c", "a", "", { text: "1" });
  cache.set("c", "b", "", { text: "2" });
  cache.get("c", "a", "");
  cache.set("c", "d", "", { text: "3" });
  assert.equal(cache.get("c", "b", ""), null);
  assert.equal(cache.get("c", "a", "").text, "1");
});
