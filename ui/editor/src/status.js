// The corner that shows what the assistant is doing, and the same for a screen reader.

import { link } from "./dom.js";

const WORDS = { idle: "", thinking: "thinking …", offline: "no connection, trying again" };

export function statusCorner() {
  const corner = document.createElement("div");
  corner.className = "dq-status";
  corner.dataset.testid = "editor-status";
  corner.dataset.state = "idle";
  const spoken = document.createElement("div");
  spoken.className = "dq-spoken";
  spoken.setAttribute("role", "status");
  spoken.setAttribute("aria-live", "polite");

  function show({ state, latencyMs, message, login, text }) {
    corner.dataset.state = state;
    if (latencyMs !== undefined) corner.dataset.latencyMs = String(Math.round(latencyMs));
    const time = latencyMs === undefined ? "" : latencyMs < 1 ? "from cache" : `${Math.round(latencyMs)} ms`;
    const words = WORDS[state] ?? message ?? "";
    corner.replaceChildren([words, time].filter(Boolean).join(" · "));
    if (login) corner.append(" ", link("/login", "Sign in"));
    if (state === "shown") spoken.textContent = `Suggestion: ${text}. Tab accepts.`;
    else if (state === "error" || state === "offline") spoken.textContent = message ?? words;
    else if (state !== "thinking") spoken.textContent = "";
  }

  return { elements: [corner, spoken], show };
}
