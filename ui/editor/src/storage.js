// What the page remembers in this browser between visits: the text and the choices.

const KEY = "distilsql";

// {} where nothing was kept, or where the browser keeps nothing.
export function recall() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY));
    return kept !== null && typeof kept === "object" ? kept : {};
  } catch (error) {
    console.debug("nothing remembered:", error.message);
    return {};
  }
}

export function remember(changes) {
  try {
    localStorage.setItem(KEY, JSON.stringify({ ...recall(), ...changes }));
  } catch (error) {
    console.debug("cannot remember:", error.message);
  }
}
