"""How explorers look, and what they tell a screen reader, whichever the front end and its theme."""

import html
from pathlib import Path

from shrink.classroom import plots

_CSS = (
    plots.STYLE_SHEET
    + """<style>
.shrink-explorer { padding: 4px 0 }
.shrink-figure { overflow: visible }
.shrink-explorer .widget-readout { display: none }
.shrink-explorer .widget-toggle-buttons > .widget-label { flex-shrink: 0; margin-right: 6px }
.shrink-explorer .widget-toggle-button.mod-active { box-shadow: inset 0 -4px 0 currentColor }
.shrink-explorer button:focus-visible, .shrink-explorer .noUi-handle:focus-visible
  { outline: 2px solid var(--jp-brand-color1, #1976d2); outline-offset: 1px }
.shrink-tries { flex: 1 1 240px; align-content: flex-start }
.shrink-tries > .widget-label { margin-left: 12px }
.shrink-job { border: 1px solid var(--jp-border-color1); margin: 4px 0; padding: 2px 8px 4px }
.shrink-busy .shrink-figure img, .shrink-busy img.shrink-figure
  { opacity: .45; transition: opacity .15s }
.shrink-stale .shrink-figure img, .shrink-stale img.shrink-figure { opacity: .3 }
.shrink-error pre { margin: 4px 0; padding: 6px 10px; white-space: pre-wrap;
  border-left: 6px solid #D55E00; color: var(--jp-content-font-color1);
  background: var(--jp-layout-color2) }
.shrink-summary > .widget-html-content { color: var(--jp-content-font-color1); line-height: 1.4 }
.shrink-alt { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%) }
</style>"""
)
_SCRIPT = (Path(__file__).parent / "access.js").read_text(encoding="utf-8")
HEAD = f'{_CSS}<img src="data:," alt="" onerror="{html.escape(_SCRIPT)}">'
