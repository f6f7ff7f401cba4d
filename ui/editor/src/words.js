// The part of a suggestion that "accept the next word" takes.

// Blanks in front, then one name, number, quoted text or operator, and a bracket or dot that belongs to it.
const NEXT = /^\s*(?:[\p{L}\p{N}_$]+[.(]?|'(?:[^']|'')*'|"[^"]*"|`[^`]*`|[^\s\p{L}\p{N}_$'"`]+|['"`])?/u;

export function nextWord(text) {
  const word = NEXT.exec(text)[0];
  return word === "" ? text.slice(0, 1) : word;
}

export function isWordCharacter(character) {
  return /^[\p{L}\p{N}_$]$/u.test(character);
}
