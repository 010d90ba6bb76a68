"""The look of the web page: that of the training report, light or dark as the reader's system is.

Fonts are the system's; nothing is loaded from elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import gradio as gr


@dataclass(frozen=True)
class Tokens:
    """Colours by their role; names and values are those of `gan_tasks.runs.reports.style`, where both have one."""

    page: str
    panel: str
    ink: str
    quiet: str
    rule: str
    note: str
    """Links, focus and the one button that matters."""
    warning: str
    on_note: str
    """Text on a surface of `note`."""
    note_hover: str


LIGHT = Tokens(
    page="#f7f7f5",
    panel="#ffffff",
    ink="#1c2027",
    quiet="#59606c",
    rule="#dfdfda",
    note="#2a5aa0",
    warning="#a3400b",
    on_note="#ffffff",
    note_hover="#1f4780",
)
DARK = Tokens(
    page="#14161a",
    panel="#1c1f25",
    ink="#e7e9ed",
    quiet="#a4abb8",
    rule="#343943",
    note="#93bbf5",
    warning="#f3a877",
    on_note="#14161a",
    note_hover="#b5d0f9",
)

FONT = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif")
MONOSPACED = ("ui-monospace", "SF Mono", "Menlo", "DejaVu Sans Mono", "monospace")

COLOURS = {
    "body_background_fill": "page",
    "body_text_color": "ink",
    "body_text_color_subdued": "quiet",
    "background_fill_primary": "panel",
    "background_fill_secondary": "page",
    "border_color_primary": "rule",
    "border_color_accent": "note",
    "color_accent_soft": "page",
    "link_text_color": "note",
    "link_text_color_hover": "note_hover",
    "link_text_color_active": "note_hover",
    "link_text_color_visited": "note",
    "block_background_fill": "panel",
    "block_border_color": "rule",
    "block_info_text_color": "quiet",
    "block_label_background_fill": "panel",
    "block_label_border_color": "rule",
    "block_label_text_color": "quiet",
    "block_title_text_color": "quiet",
    "panel_background_fill": "panel",
    "accordion_text_color": "ink",
    "input_background_fill": "page",
    "input_background_fill_focus": "page",
    "input_border_color": "rule",
    "input_border_color_focus": "note",
    "input_placeholder_color": "quiet",
    "checkbox_label_background_fill": "panel",
    "checkbox_label_background_fill_hover": "page",
    "checkbox_label_background_fill_selected": "page",
    "checkbox_label_border_color": "rule",
    "checkbox_label_text_color": "ink",
    "checkbox_background_color_selected": "note",
    "checkbox_border_color_selected": "note",
    "checkbox_border_color": "quiet",
    "error_background_fill": "panel",
    "error_border_color": "warning",
    "error_text_color": "warning",
    "error_icon_color": "warning",
    "loader_color": "note",
    "slider_color": "note",
    "table_border_color": "rule",
    "button_primary_background_fill": "note",
    "button_primary_background_fill_hover": "note_hover",
    "button_primary_border_color": "note",
    "button_primary_border_color_hover": "note_hover",
    "button_primary_text_color": "on_note",
    "button_primary_text_color_hover": "on_note",
    "button_secondary_background_fill": "panel",
    "button_secondary_background_fill_hover": "page",
    "button_secondary_border_color": "quiet",
    "button_secondary_border_color_hover": "ink",
    "button_secondary_text_color": "ink",
    "button_secondary_text_color_hover": "ink",
}
"""What Gradio's variables for colours are set to."""

METRICS = {
    "block_border_width": "1px",
    "block_radius": "6px",
    "block_shadow": "none",
    "block_label_text_size": "0.8125rem",
    "block_title_text_size": "0.8125rem",
    "block_title_text_weight": "400",
    "button_large_radius": "6px",
    "button_large_text_size": "1rem",
    "button_large_text_weight": "600",
    "button_border_width": "1px",
    "container_radius": "6px",
    "input_radius": "6px",
    "input_border_width": "1px",
    "layout_gap": "1rem",
}


def build_theme() -> gr.themes.Base:
    import gradio as gr

    theme = gr.themes.Base(font=FONT, font_mono=MONOSPACED, text_size=gr.themes.sizes.text_md)
    light = {variable: getattr(LIGHT, role) for variable, role in COLOURS.items()}
    dark = {f"{variable}_dark": getattr(DARK, role) for variable, role in COLOURS.items()}
    return theme.set(**light, **dark, color_accent=LIGHT.note, **METRICS)


# The accent is the one colour that Gradio has no dark variable for.
CSS = f".dark {{ --color-accent: {DARK.note}; }}"
CSS += """
.gradio-container { font-size: 1rem; line-height: 1.55; }
.gradio-container > main {
  max-width: 75rem !important; margin: 0 auto; padding: clamp(1.25rem, 4vw, 3rem) clamp(1rem, 3vw, 2rem) !important;
}

.html-container { padding: 0 !important; }
.header header { border-bottom: 1px solid var(--border-color-primary); padding-bottom: 1.25rem; }
.header .product { font-size: 1.0625rem; font-weight: 600; color: var(--body-text-color-subdued); margin: 0; }
.header h1 {
  font-size: clamp(1.5rem, 3.4vw, 2.375rem); line-height: 1.22; font-weight: 650; letter-spacing: -.012em;
  margin: .375rem 0 .5rem; text-wrap: balance; overflow-wrap: anywhere;
}
.header p { color: var(--body-text-color-subdued); margin: 0; text-wrap: pretty; }

.columns { gap: 1rem; align-items: stretch; }
.columns > .column {
  background: var(--block-background-fill); border: 1px solid var(--border-color-primary); border-radius: 8px;
  padding: 1rem 1.25rem 1.25rem; min-width: min(100%, 20rem) !important;
}
.run, .download, .stop { min-height: 2.75rem; }

.empty {
  display: grid; place-items: center; min-height: 24rem; margin: 0; border-radius: 6px; text-align: center;
  color: var(--body-text-color-subdued); border: 1px dashed var(--border-color-primary);
}
.working { width: min(22rem, 80%); font-variant-numeric: tabular-nums; }
.working label { display: grid; gap: .5rem; color: var(--body-text-color); }
.working .left { margin: .5rem 0 0; }
.working progress {
  appearance: none; width: 100%; height: .5rem; border: 0; border-radius: 99px; overflow: hidden;
  background: var(--border-color-primary); accent-color: var(--link-text-color);
}
.working progress::-webkit-progress-bar { background: var(--border-color-primary); }
.working progress::-webkit-progress-value { background: var(--link-text-color); }
.working progress::-moz-progress-bar { background: var(--link-text-color); }
.working progress:indeterminate {
  background: linear-gradient(90deg, var(--border-color-primary) 30%, var(--link-text-color) 50%,
    var(--border-color-primary) 70%) 0 / 200% 100%;
  animation: working 1.5s linear infinite;
}
.working progress:indeterminate::-webkit-progress-bar { background: transparent; }
.working progress:indeterminate::-moz-progress-bar { background: transparent; }
@keyframes working { from { background-position: 200% 0; } to { background-position: 0 0; } }
.refusal { color: var(--error-text-color); border-color: currentColor; padding: 1rem; overflow-wrap: anywhere; }
.result-image :is(button, .image-frame, img) { width: 100% !important; max-height: 32rem; }
.result-image img { height: auto !important; object-fit: contain !important; min-height: 12rem; }
.seed > button { align-self: end; }
.latent .form { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 13rem), 1fr)); }
.gradio-container:has(.generator) { overflow: clip !important; }
.generator { align-items: flex-start; }
.generator > .view { position: sticky; top: 1rem; }
.stage .result-image img { max-height: min(32rem, 70vh); image-rendering: auto; }
.stage:has(.result-image) .empty { min-height: 0; border: 0; padding: .25rem 0; }
.pair > * { flex: 1 1 0; }
.seeds { display: grid; grid-template-columns: repeat(auto-fill, minmax(4.5rem, 1fr)); gap: .375rem; }
.seeds button {
  display: grid; gap: .125rem; padding: .1875rem; border-radius: 6px; border: 2px solid transparent; cursor: pointer;
  background: none; color: var(--body-text-color-subdued); font-size: .8125rem; font-variant-numeric: tabular-nums;
}
.seeds button:hover { border-color: var(--border-color-primary); }
.seeds button[aria-pressed="true"] { border-color: var(--link-text-color); color: var(--body-text-color); }
.seeds img { width: 100%; border-radius: 4px; display: block; }
.latent .form { background: var(--block-background-fill); }
.latent .whole { grid-column: 1 / -1; }
.result-slider .icon-wrap .icon { color: var(--button-primary-text-color); }

.zoom-hint { margin: -.5rem 0 0; font-size: .8125rem; color: var(--body-text-color-subdued); }
@media (hover: none) { .zoom-hint { display: none; } }
.hint { margin: 0; font-size: .875rem; color: var(--body-text-color-subdued); text-wrap: pretty; }
.hint .paint {
  display: inline-block; width: .8em; height: .8em; border-radius: 50%; margin-right: .25em; vertical-align: -.05em;
}
.note { margin: 0 0 .5rem; padding: 0 0 0 .75rem; border-left: 3px solid var(--link-text-color); }
.note.refusal { margin: 0; padding: 0 0 0 .75rem; border-color: currentColor; }

.command textarea { font-family: var(--font-mono); font-size: .875rem; }
.facts {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .75rem 1.5rem; margin: 0;
}
.facts dt { font-size: .8125rem; color: var(--body-text-color-subdued); }
.facts dd { margin: 0; font-weight: 600; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.how { margin: 0; display: grid; gap: .5rem; }
.how div { display: grid; grid-template-columns: 8rem 1fr; gap: 0 1.5rem; }
.how + .how { border-top: 1px solid var(--border-color-primary); margin-top: 1rem; padding-top: 1rem; }
.how dt { color: var(--body-text-color-subdued); }
.how dd { margin: 0; overflow-wrap: anywhere; min-width: 0; }
@media (max-width: 36rem) {
  .columns > .column { padding: .75rem; }
  .empty { min-height: 12rem; }
  .generator > .view { display: contents; }
  .generator > .view > .stage {
    order: -1; position: sticky; top: 0; z-index: 60; padding: .5rem .75rem; width: 100%;
    background: var(--block-background-fill); border: 1px solid var(--border-color-primary); border-radius: 8px;
  }
  .stage .result-image img { max-height: 36vh; }
  .generator .facts { grid-template-columns: repeat(auto-fit, minmax(8rem, 1fr)); }
  .generator > .view > .details {
    background: var(--block-background-fill); border: 1px solid var(--border-color-primary); border-radius: 8px;
    padding: .75rem;
  }
  .uploads > .block { height: 14rem !important; }
  .retouch { height: 20rem !important; min-height: 0 !important; }
  .how div { grid-template-columns: 1fr; }
}

:focus-visible { outline: 2px solid var(--link-text-color) !important; outline-offset: 2px; }
@media (prefers-reduced-motion: reduce) { * { animation-duration: 1ms !important; transition: none !important; } }
"""
