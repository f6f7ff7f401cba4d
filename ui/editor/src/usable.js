// Which suggestions are shown: valid ones, and those after which a statement is only not finished yet.

// `suggestion` as POST /v1/sql/complete gives it, `place` {prefix, suffix} as it was asked for.
export function isUsable(suggestion, { prefix, suffix }) {
  if (suggestion.valid) return true;
  if (suffix.trim() !== "" && !/^\s*;/.test(suffix)) return false;
  const end = [...prefix, ...suggestion.text.trimEnd()].length;
  const errors = suggestion.issues.filter((issue) => issue.severity !== "warning");
  // The parser stumbles over the end, or over the last word, which wants something behind it.
  return errors.every((issue) => issue.kind === "syntax" && issue.end >= end);
}
