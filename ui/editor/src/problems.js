// What validation found, as a list; a click goes to the place.

import { element } from "./dom.js";

// options: {onJump(offset)}. Returns {element, show(issues, text, unfinished)}; offsets count UTF-16 units.
export function problemList({ onJump }) {
  const root = element("section", "dq-problems", "", { "aria-label": "Validation", "data-testid": "problems" });
  const head = element("h2", "", "Validation");
  const verdict = element("span", "dq-verdict", "", { role: "status", "data-testid": "verdict" });
  head.append(verdict);
  const list = element("ol");
  root.append(head, list);

  function show(issues, text, unfinished = false) {
    const errors = issues.filter((issue) => issue.severity !== "warning").length;
    root.dataset.valid = String(errors === 0 && !unfinished);
    root.dataset.unfinished = String(unfinished);
    verdict.textContent = text.trim() === "" ? "" : verdictOn(errors, issues.length - errors, unfinished);
    list.replaceChildren(...issues.map((issue) => item(issue, text)));
  }

  function item(issue, text) {
    const line = text.slice(0, issue.start).split("\n").length;
    const row = element("li", issue.severity === "warning" ? "dq-warning" : "dq-error");
    const jump = element("button", "", "", { type: "button" });
    jump.append(element("span", "dq-line", `line ${line}`), ` ${issue.message}`);
    jump.addEventListener("click", () => onJump(issue.start));
    row.append(jump);
    return row;
  }

  return { element: root, show };
}

function verdictOn(errors, warnings, unfinished) {
  const told = [];
  if (errors > 0) told.push(errors === 1 ? "1 error" : `${errors} errors`);
  if (warnings > 0) told.push(warnings === 1 ? "1 warning" : `${warnings} warnings`);
  if (unfinished) told.push("unfinished at the cursor");
  return told.length > 0 ? told.join(", ") : "valid";
}
