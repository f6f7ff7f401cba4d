// Suggestions that were seen, by what they were asked for: least recently used ones go first.

const SIZE = 250;
const LOOK_BACK = 50;

export class SuggestionCache {
  #entries = new Map();
  #size;

  constructor(size = SIZE) {
    this.#size = size;
  }

  set(context, prefix, suffix, suggestion) {
    const key = keyOf(context, prefix, suffix);
    this.#entries.delete(key);
    this.#entries.set(key, suggestion);
    if (this.#entries.size > this.#size) this.#entries.delete(this.#entries.keys().next().value);
  }

  // What is known for this place: asked for here, or a little earlier and typed along since.
  get(context, prefix, suffix) {
    const reach = Math.min(LOOK_BACK, prefix.length);
    for (let back = 0; back <= reach; back++) {
      const key = keyOf(context, prefix.slice(0, prefix.length - back), suffix);
      const found = this.#entries.get(key);
      if (found === undefined) continue;
      const rest = remainder(found.text, prefix.slice(prefix.length - back));
      if (rest === null || (back > 0 && rest === "")) continue;
      this.#entries.delete(key);
      this.#entries.set(key, found);
      return { ...found, text: rest };
    }
    return null;
  }

  clear() {
    this.#entries.clear();
  }
}

// What is left of a suggestion after `typed`, in either case of letters; null where they differ.
export function remainder(text, typed) {
  if (text.length < typed.length) return null;
  if (text.slice(0, typed.length).toLowerCase() !== typed.toLowerCase()) return null;
  return text.slice(typed.length);
}

function keyOf(context, prefix, suffix) {
  return `${context}\0${prefix}\0${suffix}`;
}
