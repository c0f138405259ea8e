"""How explorers look, whichever the front end and its theme."""

from shrink.classroom import plots

CSS = (
    plots.STYLE_SHEET
    + """<style>
.shrink-explorer { padding: 4px 0 }
.shrink-figure { overflow: visible }
.shrink-explorer .widget-toggle-buttons > .widget-label { flex-shrink: 0; margin-right: 6px }
.shrink-tries { flex: 1 1 240px; align-content: flex-start }
.shrink-tries > .widget-label { margin-left: 12px }
.shrink-job { border: 1px solid var(--jp-border-color1); margin: 4px 0; padding: 2px 8px 4px }
.shrink-busy .shrink-figure img, .shrink-busy img.shrink-figure
  { opacity: .45; transition: opacity .15s }
.shrink-stale .shrink-figure img, .shrink-stale img.shrink-figure { opacity: .3 }
.shrink-error pre { margin: 4px 0; padding: 6px 10px; white-space: pre-wrap;
  border-left: 6px solid #D55E00; color: var(--jp-content-font-color1);
  background: var(--jp-layout-color2) }
.shrink-summary { color: var(--jp-content-font-color1); line-height: 1.4 }
.shrink-alt { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%) }
</style>"""
)
