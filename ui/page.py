"""The page as Gradio blocks: the editor is one element that our script fills; the other tab has figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr
from fastapi import FastAPI

from ui import operations

REFRESH_S = 5
_HEAD = '<link rel="stylesheet" href="ui/static/editor.css"><script src="ui/static/editor.js" defer></script>'
# A <script> inside gr.HTML never runs; this does, once the element is there, maybe before the bundle is.
_MOUNT = """
const target = element.querySelector("#workbench");
const start = () => window.distilsql ? window.distilsql.workbench(target) : setTimeout(start, 30);
if (target && !target.dataset.started) { target.dataset.started = "1"; start(); }
"""
_CSS = """
.gradio-container { max-width: 1500px !important; padding: 8px 16px !important; }
.gradio-container > .main { padding: 0 !important; }
#workbench-holder .html-container { padding: 0 !important; }
@media (max-width: 759px) { .gradio-container { padding: 6px 8px !important; } }
footer { display: none !important; }
#title { position: absolute; right: 16px; top: 6px; width: auto; z-index: 1; pointer-events: none; }
#title h1 { margin: 0; font-size: 15px; font-weight: 600; color: var(--body-text-color-subdued); }
.tabitem { padding: 10px 0 !important; }
.ops-cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(260px, 1fr)); gap: 12px; }
.ops-card { border: 1px solid var(--border-color-primary); border-radius: 8px; padding: 10px 14px; }
.ops-card h3 { margin: 0; font-size: 12px; font-weight: 500; color: var(--body-text-color-subdued); }
.ops-card p { margin: 0 0 4px; font-size: 17px; font-weight: 600; }
.ops-card ul { list-style: none; margin: 0; padding: 0; font-size: 13px; font-variant-numeric: tabular-nums; }
.ops-card.ops-bad { border-color: #b3261e; }
"""
_LEAST_PX = 320
"""Of a chart: two stand side by side where both have it, on a phone below one another."""
_AXIS: dict[str, Any] = {"x_axis_format": "%b %d %H:%M"}
_SANS = ["system-ui", "Segoe UI", "Roboto", "DejaVu Sans", "sans-serif"]
_MONO = ["ui-monospace", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace"]


def mount(app: FastAPI) -> FastAPI:
    """Mount the page at "/" of an application that serves the API and /ui/static."""
    return gr.mount_gradio_app(  # type: ignore[no-any-return]
        app,
        _blocks(app),
        path="/",
        footer_links=[],
        show_error=False,
        ssr_mode=False,
        enable_monitoring=False,
        run_history=False,
        allowed_paths=[],
        theme=gr.themes.Base(primary_hue="blue", neutral_hue="slate", font=_SANS, font_mono=_MONO),
        css=_CSS,
        head=_HEAD,
    )


def _blocks(app: FastAPI) -> Any:
    with gr.Blocks(title="distilsql", analytics_enabled=False, fill_width=True) as blocks:
        gr.Markdown("# distilsql", elem_id="title")
        with gr.Tabs():
            with gr.Tab("Editor", id="editor") as editor:
                gr.HTML(
                    '<div id="workbench"></div>',
                    js_on_load=_MOUNT,
                    apply_default_css=False,
                    elem_id="workbench-holder",
                )
            with gr.Tab("Operations", id="operations") as tab:
                _operations(app, editor, tab)
    return blocks


def _operations(app: FastAPI, editor: Any, tab: Any) -> None:
    cards = gr.HTML(apply_default_css=False, elem_id="ops-state")
    span = gr.Radio(list(operations.SPANS), value=operations.DEFAULT_SPAN, label="Time", elem_id="ops-span")
    with gr.Row():
        latency = _line("Completion latency", "ms", "series", "ops-latency")
        acceptance = _line("Acceptance", "acceptance %", "task", "ops-acceptance", y_lim=[0, 100])
    with gr.Row():
        requests = gr.BarPlot(
            x=operations.TIME,
            y="requests",
            color="task",
            title="Requests",
            height=240,
            elem_id="ops-requests",
            min_width=_LEAST_PX,
            **_AXIS,
        )
        reasons = gr.Dataframe(
            label="Why no suggestion was shown",
            interactive=False,
            elem_id="ops-reasons",
            wrap=True,
            min_width=_LEAST_PX,
        )
    by_model = gr.Dataframe(label="By model", interactive=False, elem_id="ops-models")
    by_task = gr.Dataframe(label="By task", interactive=False, elem_id="ops-tasks")
    outputs = [cards, latency, acceptance, requests, reasons, by_model, by_task]
    refresh = _refresher(app)
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    timer = gr.Timer(REFRESH_S, active=False)
    # Only an open tab asks: the figures of a month are not read for nobody.
    tab.select(refresh, span, outputs, **quiet)
    tab.select(lambda: gr.Timer(active=True), None, timer, **quiet)
    editor.select(lambda: gr.Timer(active=False), None, timer, **quiet)
    timer.tick(refresh, span, outputs, **quiet)
    span.change(refresh, span, outputs, **quiet)


def _line(title: str, y: str, color: str, elem_id: str, **options: Any) -> Any:
    return gr.LinePlot(
        x=operations.TIME,
        y=y,
        color=color,
        title=title,
        height=280,
        elem_id=elem_id,
        min_width=_LEAST_PX,
        **_AXIS,
        **options,
    )


def _refresher(app: FastAPI) -> Callable[[str], list[Any]]:
    def refresh(span: str) -> list[Any]:
        state = app.state
        log = state.sql.events
        lifecycle = state.lifecycle
        problem = None if lifecycle.ready else lifecycle.not_ready_because
        return [
            operations.cards(state.registry.loaded(), state.registry.default_name, log, problem),
            *operations.charts(log, span),
            operations.nothing_shown(log, span),
            operations.table(log, span, "model"),
            operations.table(log, span, "task"),
        ]

    return refresh
