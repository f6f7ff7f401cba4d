import assert from "node:assert/strict";
import { test } from "node:test";
import { isWordCharacter, nextWord } from "../src/words.js";

const cases = [
  [" FROM author", " FROM"],
  ["COUNT(*) AS n", "COUNT("],
  ["a.name, b", "a."],
  ["'it''s' AND", "'it''s'"],
  ["\n  WHERE x", "\n  WHERE"],
  [" = 1", " ="],
  [" 'open", " '"],
  ["größe + 1", "größe"],
  ["   ", "   "],
];
for (const [text, word] of cases) test(`the next word of ${JSON.stringify(text)}`, () => assert.equal(nextWord(text), word));

test("accepting word by word ends, and gives the whole text", () => {
  let rest = "w.id = b.id\nJOIN t AS c ON c.x = 'y z' AND (1 <> 2); -- ü";
  let taken = "";
  while (rest !== "") {
    const word = nextWord(rest);
    assert.notEqual(word, "");
    taken += word;
    rest = rest.slice(word.length);
  }
  assert.equal(taken, "w.id = b.id\nJOIN t AS c ON c.x = 'y z' AND (1 <> 2); -- ü");
});

test("what counts as a character of a word", () => {
  assert.ok(isWordCharacter("a") && isWordCharacter("_") && isWordCharacter("ß") && isWordCharacter("7"));
  assert.ok(!isWordCharacter(" ") && !isWordCharacter(".") && !isWordCharacter(""));
});
