"""A small page to label records: keep or drop, with a comment, by mouse or keyboard. Knows no file format."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import gradio as gr

from distill.agents.annotation import Labelling, Verdict

_KEYS = """
<script>
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("textarea, input, [contenteditable]");
  if (event.key === "Escape" && typing) { event.target.blur(); return; }
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const names = { k: "keep", d: "drop", n: "next", ArrowRight: "next", p: "previous", ArrowLeft: "previous" };
  if (event.key === "c") {
    event.preventDefault();
    document.querySelector("#comment textarea").focus();
    return;
  }
  const button = names[event.key] && document.querySelector("#" + names[event.key]);
  if (button) { event.preventDefault(); button.click(); }
});
</script>
"""
_CSS = """
.gradio-container { max-width: 900px !important; }
footer { display: none !important; }
.record h2 { font-size: 13px; font-weight: 600; margin: 14px 0 4px; color: var(--body-text-color-subdued); }
.record pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: 0; padding: 10px 12px; font: inherit;
  background: var(--background-fill-secondary); border: 1px solid var(--border-color-primary); border-radius: 6px; }
.record pre.code { font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: 13px; }
.record p { margin: 0; font-size: 13px; color: var(--body-text-color-subdued); }
.record b { color: var(--body-text-color); }
"""
_SANS = ["system-ui", "Segoe UI", "Roboto", "DejaVu Sans", "sans-serif"]


def serve(tasks: Path, annotator: str, *, host: str = "127.0.0.1", port: int = 7861) -> None:
    """Serve the page until it is interrupted. NotFound, Unprocessable: see `Labelling`."""
    blocks(Labelling(tasks, annotator)).launch(**launch_options(host, port))


def launch_options(host: str, port: int) -> dict[str, Any]:
    """Nothing of it leaves this machine, and errors are shown."""
    return {
        "server_name": host,
        "server_port": port,
        "share": False,
        "show_error": True,
        "ssr_mode": False,
        "enable_monitoring": False,
        "run_history": False,
        "footer_links": [],
        "theme": gr.themes.Base(primary_hue="blue", neutral_hue="slate", font=_SANS),
        "css": _CSS,
        "head": _KEYS,
    }


def blocks(labelling: Labelling) -> Any:
    """The page; opens at the first record without a label."""
    last = len(labelling.tasks) - 1

    def shown(at: int) -> tuple[int, str, str]:
        label = labelling.of(at)
        return at, _record(labelling, at), label.comment if label else ""

    def labelled(verdict: Verdict, at: int, comment: str) -> tuple[int, str, str]:
        labelling.label(at, verdict, comment)
        return shown(min(at + 1, last))

    with gr.Blocks(title="Label records", analytics_enabled=False) as page:
        at = gr.State(labelling.first_open())
        record = gr.HTML(elem_id="record", apply_default_css=False)
        comment = gr.Textbox(label="Comment", lines=1, elem_id="comment", max_length=1000)
        with gr.Row():
            keep = gr.Button("Keep (k)", variant="primary", elem_id="keep")
            drop = gr.Button("Drop (d)", variant="stop", elem_id="drop")
            previous = gr.Button("Previous (←)", elem_id="previous")
            following = gr.Button("Next (→)", elem_id="next")
        gr.Markdown(
            "`p` and `n` go back and on too; `c` goes to the comment, `Esc` leaves it. A label saves the comment "
            "with it and goes on."
        )
        outputs = [at, record, comment]
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        page.load(lambda: shown(labelling.first_open()), None, outputs, **quiet)
        keep.click(lambda at, comment: labelled("keep", at, comment), [at, comment], outputs, **quiet)
        drop.click(lambda at, comment: labelled("drop", at, comment), [at, comment], outputs, **quiet)
        previous.click(lambda at: shown(max(at - 1, 0)), at, outputs, **quiet)
        following.click(lambda at: shown(min(at + 1, last)), at, outputs, **quiet)
    return page


def _record(labelling: Labelling, at: int) -> str:
    record = labelling.tasks[at].record
    label = labelling.of(at)
    state = f"labelled <b>{label.label}</b>" if label else "not labelled"
    parts = [
        f"<p>Record <b>{at + 1}</b> of {len(labelling.tasks)}, {state}; {labelling.done} labelled in all"
        f" · {html.escape(record.category or 'no category')}</p>"
    ]
    if record.kind == "chat":
        parts += [_part(message.role.capitalize(), message.content) for message in record.messages]
    else:
        parts.append(_part("Before the cursor", record.prompt, code=True))
        parts.append(_part("Completion", record.completion, code=True))
        if record.suffix:
            parts.append(_part("Behind it", record.suffix, code=True))
    return f'<div class="record">{"".join(parts)}</div>'


def _part(title: str, text: str, *, code: bool = False) -> str:
    kind = ' class="code"' if code else ""
    return f"<h2>{title}</h2><pre{kind}>{html.escape(text)}</pre>"
