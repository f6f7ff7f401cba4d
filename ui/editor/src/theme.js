// Colours come from CSS variables (editor.css), so that light and dark are one class on the root.

import { HighlightStyle, syntaxHighlighting } from "@codemirror/language";
import { tags } from "@lezer/highlight";

const style = HighlightStyle.define([
  { tag: [tags.keyword, tags.operatorKeyword], color: "var(--dq-keyword)", fontWeight: "600" },
  { tag: [tags.string, tags.special(tags.string)], color: "var(--dq-string)" },
  { tag: [tags.number, tags.bool, tags.null], color: "var(--dq-number)" },
  { tag: [tags.lineComment, tags.blockComment], color: "var(--dq-comment)", fontStyle: "italic" },
  { tag: [tags.typeName, tags.standard(tags.name)], color: "var(--dq-type)" },
]);

export const colours = syntaxHighlighting(style);
