"""The style sheet of the reports, with a light and a dark colour scheme.

Every text and line colour has at least the contrast with its background that WCAG 2.2 AA requires.
"""

STYLE = """
:root {
  color-scheme: light dark;
  --page: #f7f7f5; --panel: #ffffff; --ink: #1c2027; --quiet: #59606c; --rule: #dfdfda;
  --good: #17693b; --note: #2a5aa0; --warning: #a3400b;
  --line-0: #2a5fb0; --line-1: #c2500f; --line-2: #1f7a4a; --line-3: #8a3fa8;
  --line-4: #0d7480; --line-5: #b03060; --line-6: #7a6510; --line-7: #5b6270;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14161a; --panel: #1c1f25; --ink: #e7e9ed; --quiet: #a4abb8; --rule: #343943;
    --good: #7fd3a0; --note: #93bbf5; --warning: #f3a877;
    --line-0: #7fb0f5; --line-1: #f0975c; --line-2: #6fcb95; --line-3: #cf9be6;
    --line-4: #5fc6d2; --line-5: #ef8fb0; --line-6: #d3bd62; --line-7: #aab1bd;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
}
main { max-width: 75rem; margin: 0 auto; padding: clamp(1.25rem, 4vw, 3.5rem) clamp(1rem, 3vw, 2rem); }
section { margin-top: clamp(2.25rem, 5vw, 3.5rem); }
h1, h2, h3, p, figure, dl, dd, ul { margin: 0; padding: 0; }
h1 { font-size: 1.0625rem; font-weight: 600; color: var(--quiet); overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; font-weight: 650; margin-bottom: 1rem; }
h3 { font-size: .9375rem; font-weight: 600; }
ul { list-style: none; }
img { display: block; max-width: 100%; height: auto; border-radius: 4px; }
pre, code { font: .875em/1.5 ui-monospace, "SF Mono", Menlo, "DejaVu Sans Mono", monospace; }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
.panel {
  background: var(--panel); border: 1px solid var(--rule); border-radius: 8px; padding: 1rem 1.25rem;
}
.quiet { color: var(--quiet); font-size: .875rem; }
.number, td, .facts dd { font-variant-numeric: tabular-nums; }

.verdict {
  font-size: clamp(1.5rem, 3.4vw, 2.375rem); line-height: 1.22; font-weight: 650; letter-spacing: -.012em;
  max-width: 46ch; margin: .5rem 0 1.75rem; text-wrap: balance; overflow-wrap: anywhere;
}
.facts {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: 1rem 1.5rem;
  border-top: 1px solid var(--rule); padding-top: 1rem;
}
.facts dt { font-size: .8125rem; color: var(--quiet); }
.facts dd { font-size: 1.25rem; font-weight: 600; }

.findings { display: grid; gap: .625rem; }
.findings li {
  display: grid; grid-template-columns: 5.5rem 1fr; gap: .25rem 1rem; border-left: 4px solid var(--level);
}
.findings strong { color: var(--level); font-size: .875rem; line-height: 1.75; }
.findings span { max-width: 80ch; }
.good { --level: var(--good); } .note { --level: var(--note); } .warning { --level: var(--warning); }

.scroll { overflow: auto; max-height: 26rem; padding: 0; }
table { border-collapse: collapse; width: 100%; font-size: .9375rem; }
th, td { text-align: left; padding: .5rem 1.25rem; border-bottom: 1px solid var(--rule); vertical-align: top; }
thead th { color: var(--quiet); font-size: .8125rem; font-weight: 600; white-space: nowrap; }
tbody th { font-weight: 500; }
tbody tr:last-child > * { border-bottom: 0; }
tr.model th, td.best { font-weight: 700; }
th.right, td.right { text-align: right; }
.right, .time { white-space: nowrap; }
.details { min-width: 14rem; }
.scroll + .quiet { margin-top: .5rem; }
th small, td small { display: block; color: var(--quiet); font-weight: 400; }

.charts {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 20.5rem), 1fr)); gap: 1rem;
}
.chart svg { display: block; width: 100%; height: auto; margin-top: .25rem; }
.chart text { font-size: 12px; fill: var(--quiet); font-variant-numeric: tabular-nums; }
.chart .grid { stroke: var(--rule); stroke-width: 1; }
.chart polyline {
  fill: none; stroke: var(--line); stroke-width: 2; stroke-linejoin: round; stroke-linecap: round;
}
.chart .raw { stroke-width: 1; opacity: .3; }
.chart circle { fill: var(--line); }
.chart .interval { fill: var(--line); opacity: .16; }
.legend { display: flex; flex-wrap: wrap; gap: .125rem 1rem; font-size: .8125rem; margin-top: .25rem; }
.legend li { overflow-wrap: anywhere; }
.legend .number { color: var(--quiet); }
.swatch {
  display: inline-block; width: .875rem; height: 3px; border-radius: 2px; background: var(--line);
  vertical-align: middle; margin-right: .375rem;
}
.line-0 { --line: var(--line-0); } .line-1 { --line: var(--line-1); } .line-2 { --line: var(--line-2); }
.line-3 { --line: var(--line-3); } .line-4 { --line: var(--line-4); } .line-5 { --line: var(--line-5); }
.line-6 { --line: var(--line-6); } .line-7 { --line: var(--line-7); }

figcaption { font-size: .875rem; color: var(--quiet); margin-top: .5rem; }
.strip { display: flex; gap: 1rem; overflow-x: auto; padding-bottom: .75rem; margin-top: 1.5rem; }
.strip figure { flex: none; }
.strip img { height: 15rem; width: auto; max-width: none; }

.how { display: grid; grid-template-columns: minmax(7rem, max-content) 1fr; gap: .5rem 1.5rem; }
.how dt { color: var(--quiet); }
.how dd { overflow-wrap: anywhere; min-width: 0; }
details > summary { cursor: pointer; font-size: 1.25rem; font-weight: 650; }
summary h2 { display: inline; }
details > .panel { margin-top: 1rem; }
:focus-visible { outline: 2px solid var(--note); outline-offset: 2px; }
@media (max-width: 36rem) {
  .findings li, .how { grid-template-columns: 1fr; }
  .how { gap: 0; } .how dd { margin-bottom: .75rem; }
  th, td { padding: .5rem; }
}
@media print { .scroll { max-height: none; } .panel { break-inside: avoid; } }
"""
