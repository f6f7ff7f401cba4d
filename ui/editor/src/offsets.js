// The server counts Unicode code points, the browser UTF-16 code units.

// A function from an offset in code points of `text` to one in code units.
export function codeUnits(text) {
  if (!/[\ud800-\udbff]/.test(text)) return (offset) => offset;
  const starts = [];
  let at = 0;
  for (const character of text) {
    starts.push(at);
    at += character.length;
  }
  return (offset) => starts[offset] ?? at;
}
