// The few elements that every part of the page is made of.

export function element(tag, className = "", text = "", attributes = {}) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

export function button(label, className = "", attributes = {}) {
  return element("button", `dq-button ${className}`.trim(), label, { type: "button", ...attributes });
}

export function link(href, label) {
  return element("a", "", label, { href });
}

// A <select> in its <label>; `choices` are [value, text] pairs.
export function choice(label, testId, choices = []) {
  const wrapped = element("label", "dq-field", label);
  const select = element("select", "", "", { "data-testid": testId });
  wrapped.append(select);
  setChoices(select, choices);
  return { wrapped, select };
}

export function setChoices(select, choices, chosen = select.value) {
  select.replaceChildren(...choices.map(([value, text]) => element("option", "", text, { value })));
  if (choices.some(([value]) => value === chosen)) select.value = chosen;
}
