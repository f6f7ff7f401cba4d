// Asks for suggestions as the user types and shows them: one request at a time, the old one aborted.

import { ViewPlugin } from "@codemirror/view";
import { acceptCompletion, closeCompletion, completionStatus, selectedCompletion } from "@codemirror/autocomplete";
import { ApiError, post } from "./api.js";
import { SuggestionCache, remainder } from "./cache.js";
import { TypingPace, backOff } from "./delay.js";
import { Feedback } from "./feedback.js";
import { acceptGhost, ghostField, hideGhost, insertionOf, showGhost } from "./ghost.js";
import { isUsable } from "./usable.js";
import { isWordCharacter } from "./words.js";

const REVIEW_EVERY_MS = 5_000;

export class Suggester {
  #view;
  #options;
  #cache = new SuggestionCache();
  #pace = new TypingPace();
  #feedback = new Feedback();
  #timer = null;
  #retry = null;
  #running = null;
  #dismissed = null;
  #failures = 0;
  #notBefore = 0;
  #review;
  #onLeave = () => this.#feedback.flush();

  // options: {context() -> {dialect, schemaId, model}, status({state, latencyMs?, message?, login?})}
  constructor(view, options) {
    this.#view = view;
    this.#options = options;
    this.#review = setInterval(() => this.#feedback.review((from, to) => view.state.sliceDoc(from, to)), REVIEW_EVERY_MS);
    window.addEventListener("pagehide", this.#onLeave);
  }

  destroy() {
    clearInterval(this.#review);
    clearTimeout(this.#timer);
    clearTimeout(this.#retry);
    this.#abort();
    this.#feedback.flush();
    window.removeEventListener("pagehide", this.#onLeave);
  }

  update(update) {
    const before = update.startState.field(ghostField);
    const after = update.state.field(ghostField);
    if (update.docChanged) this.#feedback.changed(update.changes);
    if (before !== null && after === null) this.#feedback.vanished(this.#disagrees(update, before));
    if (!update.docChanged) {
      if (update.selectionSet && after === null) this.#stop();
      return;
    }
    this.#dismissed = null;
    if (after !== null) return;
    this.#pace.keystroke(performance.now());
    const insertion = update.transactions.length === 1 ? insertionOf(update.transactions[0]) : null;
    const atOnce =
      update.transactions.some((one) => one.isUserEvent("input.complete")) || insertion?.text.includes("\n");
    // CodeMirror allows no new transaction while it is in an update.
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#fromCache(atOnce ? 0 : this.#pace.delay()), 0);
  }

  // Typing that went against the suggestion, not taking text away or moving on.
  #disagrees(update, ghost) {
    if (!update.docChanged || update.transactions.length !== 1) return false;
    const insertion = insertionOf(update.transactions[0]);
    return insertion !== null && insertion.pos === ghost.pos && remainder(ghost.text, insertion.text) === null;
  }

  // What is known already is shown at once; else ask when the user pauses.
  #fromCache(delay) {
    const place = this.#place();
    if (place === null) return this.#stop();
    const known = this.#cache.get(place.key, place.prefix, place.suffix);
    if (known !== null) {
      this.#stop();
      return this.#show(known, place, 0);
    }
    const began = performance.now();
    const wait = Math.max(delay, this.#notBefore - began);
    this.#timer = setTimeout(() => this.#ask(began), wait);
  }

  // Alt+\: now, also where it was dismissed and inside a word.
  askNow() {
    this.#dismissed = null;
    this.#notBefore = 0;
    clearTimeout(this.#timer);
    this.#ask(performance.now(), true);
  }

  accept(word) {
    const taken = acceptGhost(this.#view, { word });
    if (taken === null) return false;
    this.#feedback.accepted(taken.ghost.id, taken.ghost.pos, taken.text, taken.whole);
    return true;
  }

  dismiss() {
    const ghost = this.#view.state.field(ghostField);
    if (ghost === null) return false;
    this.#dismissed = this.#view.state.doc;
    this.#feedback.dismissed();
    this.#view.dispatch({ effects: hideGhost.of(null) });
    this.#options.status({ state: "idle" });
    return true;
  }

  // Another schema, dialect or model: what is on the screen and under way is of no use.
  contextChanged() {
    this.#stop();
    if (this.#view.state.field(ghostField) !== null) this.#view.dispatch({ effects: hideGhost.of(null) });
    if (this.#view.hasFocus) this.#timer = setTimeout(() => this.#fromCache(0), 0);
  }

  // Where a suggestion may stand, or null: one cursor, nothing composed, no word right of it.
  #place(asked = false) {
    const { state } = this.#view;
    const { main, ranges } = state.selection;
    if (ranges.length !== 1 || !main.empty || this.#view.composing || state.readOnly) return null;
    if (this.#dismissed === state.doc) return null;
    const prefix = state.sliceDoc(0, main.head);
    const suffix = state.sliceDoc(main.head);
    if (!asked && (isWordCharacter(suffix.slice(0, 1)) || prefix.trim() === "")) return null;
    const { dialect, schemaId, model } = this.#options.context();
    return { pos: main.head, prefix, suffix, dialect, schemaId, model, key: `${dialect}\0${schemaId}\0${model}` };
  }

  async #ask(began, asked = false) {
    const place = this.#place(asked);
    if (place === null) return this.#stop();
    this.#abort();
    const controller = new AbortController();
    const running = { controller, place };
    this.#running = running;
    this.#options.status({ state: "thinking" });
    const body = { prefix: place.prefix, suffix: place.suffix, dialect: place.dialect, include_invalid: true };
    if (place.schemaId) body.schema_id = place.schemaId;
    if (place.model) body.model = place.model;
    try {
      const answer = await post("/v1/sql/complete", body, controller.signal);
      if (this.#running === running) this.#arrived(answer, place, performance.now() - began);
    } catch (error) {
      if (error.name === "AbortError") return;
      if (this.#running === running) this.#failed(error);
    } finally {
      if (this.#running === running) this.#running = null;
    }
  }

  #arrived(answer, asked, latencyMs) {
    this.#failures = 0;
    const text = answer.suggestions.find((one) => isUsable(one, asked))?.text ?? "";
    const because = answer.nothing_because ?? (text === "" ? "no valid suggestion" : "");
    const suggestion = { id: answer.id, text, because };
    this.#cache.set(asked.key, asked.prefix, asked.suffix, suggestion);
    const place = this.#place(true);
    if (place === null) {
      if (text) this.#feedback.notShown(answer.id, "the cursor had moved");
      return this.#options.status({ state: "idle" });
    }
    const grown = place.key === asked.key && place.suffix === asked.suffix && place.prefix.startsWith(asked.prefix);
    const rest = grown ? remainder(text, place.prefix.slice(asked.prefix.length)) : null;
    if (rest === null || (rest === "" && text !== "")) {
      // The user typed on, and otherwise; the request for what stands there now follows its delay.
      if (text) this.#feedback.notShown(answer.id, "typed on");
      return;
    }
    clearTimeout(this.#timer);
    this.#show({ ...suggestion, text: rest }, place, latencyMs);
  }

  #show(suggestion, place, latencyMs) {
    if (suggestion.text === "") {
      return this.#options.status({ state: "nothing", latencyMs, message: suggestion.because });
    }
    // One key, one meaning: somebody who goes through the list of names is not offered grey text; a
    // list that nobody has touched makes room for it.
    if (selectedCompletion(this.#view.state) !== null) {
      this.#feedback.notShown(suggestion.id, "the list of names is in use");
      return this.#options.status({ state: "idle" });
    }
    if (completionStatus(this.#view.state) !== null) closeCompletion(this.#view);
    // After Esc, CodeMirror lets the next Tab leave the editor; over grey text it accepts.
    this.#view.setTabFocusMode(false);
    this.#view.dispatch({ effects: showGhost.of({ pos: place.pos, text: suggestion.text, id: suggestion.id }) });
    this.#feedback.displayed(suggestion.id, latencyMs);
    this.#options.status({ state: "shown", latencyMs, text: suggestion.text });
  }

  #failed(error) {
    if (!(error instanceof ApiError)) throw error;
    const { status } = error;
    if (status === 401) return this.#options.status({ state: "error", message: error.message, login: true });
    if (status !== 0 && status !== 429 && status < 500) {
      return this.#options.status({ state: "error", message: error.message });
    }
    this.#failures += 1;
    const wait = backOff(this.#failures, error.retryAfterS);
    this.#notBefore = performance.now() + wait;
    this.#options.status({ state: status === 0 ? "offline" : "error", message: error.message });
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#ask(performance.now()), wait);
  }

  #stop() {
    clearTimeout(this.#timer);
    clearTimeout(this.#retry);
    if (this.#running === null) return;
    this.#abort();
    this.#options.status({ state: "idle" });
  }

  #abort() {
    clearTimeout(this.#retry);
    this.#running?.controller.abort();
    this.#running = null;
  }
}

// The view plugin, and the keys that work on it.
export function suggesting(options) {
  const plugin = ViewPlugin.define((view) => new Suggester(view, options));
  const keys = [
    { key: "Tab", run: (view) => acceptCompletion(view) || view.plugin(plugin).accept(false) },
    { key: "Mod-ArrowRight", run: (view) => view.plugin(plugin).accept(true) },
    { key: "Escape", run: (view) => (closeCompletion(view), view.plugin(plugin).dismiss()) },
    { key: "Alt-\\", run: (view) => (view.plugin(plugin).askNow(), true) },
  ];
  return { plugin, keys, extension: [ghostField, plugin] };
}
