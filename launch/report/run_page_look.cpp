#include "launch/report/run_page_look.h"

#include <fmt/format.h>

#include "launch/report/html.h"

namespace tessera::launch {

// The colours are those of Okabe and Ito, which the colour-blind can tell apart, darker on white
// and lighter on black until they have enough contrast.
const std::string_view kRunPageStyle = R"css(
:root { color-scheme: light dark; --ink: #1f2328; --soft: #59636e; --page: #ffffff;
  --card: #f6f8fa; --line: #d8dee4; --c0: #0072b2; --c1: #d55e00; --c2: #008a64; --c3: #b0508a;
  --c4: #a87400; --c5: #2a8fc9; --c6: #6b6b6b; --c7: #7a5c00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9198a1; --page: #0d1117;
  --card: #151b23; --line: #30363d; --c0: #56b4e9; --c1: #ff8f45; --c2: #2fc79a; --c3: #e39ac4;
  --c4: #e6b422; --c5: #8ecdf5; --c6: #b8bec5; --c7: #f0e442; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1.5rem 1rem 4rem; color: var(--ink);
  background: var(--page); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0; line-height: 1.2; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .8rem; padding-bottom: .3rem;
  border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.2rem 0 .4rem; overflow-wrap: anywhere; }
p { margin: .3rem 0; } .soft { color: var(--soft); font-weight: 400; }
.runs { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr)); }
.run { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: .8rem 1rem 1rem; min-width: 0; }
.run h3 { margin: 0; font-size: 1.05rem; display: flex; align-items: center; gap: .5rem; }
.run dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr));
  gap: .7rem 1rem; margin: .8rem 0 0; }
dt { color: var(--soft); font-size: .8rem; } dd { margin: 0; overflow-wrap: anywhere; }
dd b { font-size: 1.15rem; font-weight: 600; font-variant-numeric: tabular-nums; }
dd small { color: var(--soft); display: block; font-size: .8rem; line-height: 1.3; }
.swatch { flex: none; width: 1.6rem; height: .6rem; }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; margin: 0 0 1rem; padding: 0; }
.legend span { display: flex; align-items: center; gap: .4rem; overflow-wrap: anywhere; }
.charts { display: grid; grid-template-columns: 1fr 1fr; gap: 1.6rem 2rem; }
figure { margin: 0; min-width: 0; break-inside: avoid; } figure.wide { grid-column: 1 / -1; }
figcaption { font-weight: 600; margin-bottom: .5rem; } figure p { font-size: .8rem; }
.plot { position: relative; padding: 0 .5rem 1.6rem 4.2rem; font-size: .75rem;
  color: var(--soft); font-variant-numeric: tabular-nums; }
.area { position: relative; height: 13rem; border-bottom: 1px solid var(--soft); }
.wide .area { height: 18rem; }
.area svg { display: block; width: 100%; height: 100%; overflow: visible; }
.up { position: absolute; left: 0; top: 0; bottom: 1.6rem; width: 3.8rem; }
.up span { position: absolute; right: 0; transform: translateY(50%); white-space: nowrap; }
.across { position: absolute; left: 4.2rem; right: .5rem; bottom: 0; height: 1.4rem; }
.across span { position: absolute; transform: translateX(-50%); white-space: nowrap; }
.across i { position: absolute; right: calc(100% + 1.4rem); font-style: normal; }
path { fill: none; stroke-linejoin: round; vector-effect: non-scaling-stroke; }
.grid { stroke: var(--line); stroke-width: 1; }
.faint { stroke-width: 1; opacity: .5; } .strong { stroke-width: 2; }
.dots { stroke-width: 1.5; } .limit { stroke-width: 1.5; stroke-dasharray: 2 4; }
.marks { stroke-width: 6; stroke-linecap: round; }
.c0 { stroke: var(--c0); } .c1 { stroke: var(--c1); } .c2 { stroke: var(--c2); }
.c3 { stroke: var(--c3); } .c4 { stroke: var(--c4); } .c5 { stroke: var(--c5); }
.c6 { stroke: var(--c6); } .c7 { stroke: var(--c7); }
.c1:is(.strong, .dots) { stroke-dasharray: 9 3; }
.c2:is(.strong, .dots) { stroke-dasharray: 4 2; }
.c3:is(.strong, .dots) { stroke-dasharray: 12 3 2 3; }
.c5:is(.strong, .dots) { stroke-dasharray: 9 3; }
.c6:is(.strong, .dots) { stroke-dasharray: 4 2; }
.c7:is(.strong, .dots) { stroke-dasharray: 12 3 2 3; }
.columns { display: grid; gap: 0 2.5rem;
  grid-template-columns: repeat(auto-fit, minmax(min(22rem, 100%), 1fr)); }
section { min-width: 0; } .scroll { overflow-x: auto; margin-bottom: 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th { text-align: left; color: var(--soft); font-weight: 600; vertical-align: bottom; }
th, td { padding: .25rem 1.4rem .25rem 0; border-bottom: 1px solid var(--line); }
td { vertical-align: top; } .number { text-align: right; white-space: nowrap; }
td.value, pre { font-family: ui-monospace, monospace; font-size: .8rem; }
td.value { white-space: pre-wrap; overflow-wrap: anywhere; min-width: 8rem; }
td.best { font-weight: 700; } td.name { white-space: nowrap; }
.bar { display: block; height: .8rem; min-width: 1px; border-radius: 2px; background: var(--c0); }
td.wide { width: 100%; min-width: 6rem; vertical-align: middle; padding-right: 0; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 6px; margin: .3rem 0;
  padding: .7rem .9rem; white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.5; }
details { margin: .8rem 0; } summary { cursor: pointer; }
.sample { display: grid; grid-template-columns: 6rem 1fr; gap: 0 1rem; align-items: baseline; }
.sample pre { min-width: 0; }
.line, .tip { position: absolute; pointer-events: none; display: none; }
.line { top: 0; bottom: 0; width: 1px; background: var(--soft); }
.tip { z-index: 1; top: .3rem; padding: .35rem .6rem; border-radius: 6px; color: var(--ink);
  background: var(--page); border: 1px solid var(--line); box-shadow: 0 2px 8px #0003;
  white-space: pre; font-size: .8rem; line-height: 1.45; }
@media (max-width: 50rem) { .charts { grid-template-columns: 1fr; } .wide .area { height: 14rem; }
  .sample { grid-template-columns: 1fr; } th, td { padding-right: .9rem; } }
@media print { :root { color-scheme: light; --ink: #000; --soft: #444; --page: #fff; --card: #fff;
  --line: #bbb; --c0: #0072b2; --c1: #d55e00; --c2: #008a64; --c3: #b0508a; --c4: #a87400;
  --c5: #2a8fc9; --c6: #6b6b6b; --c7: #7a5c00; }
  html { font-size: 11px; } body { max-width: none; padding: 0; font-size: 1rem; }
  .area { height: 9rem; }
  .wide .area { height: 12rem; } .charts { grid-template-columns: 1fr 1fr; }
  h2, h3 { break-after: avoid; } .run, tr { break-inside: avoid; } .line, .tip { display: none; }
  .bar { print-color-adjust: exact; } }
)css";

const std::string_view kRunPageScript = R"js(
'use strict';
// Units as chart_html() numbers them: number, bytes, per second, share.
function written(text, unit) {
  const value = Number(text);
  if (unit === '1') {
    const power = Math.max(1, Math.min(4, Math.floor(Math.log2(Math.abs(value) || 1) / 10)));
    return (value / 1024 ** power).toPrecision(4) + ' ' + 'KMGT'[power - 1] + 'iB';
  }
  if (unit === '2') return Math.round(value).toLocaleString('en-US') + '/s';
  if (unit === '3') return (100 * value).toFixed(1) + ' %';
  return text;
}
function nearest(steps, wanted, share_of) {
  let low = 0, high = steps.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (share_of(steps[middle]) < wanted) low = middle + 1; else high = middle;
  }
  const off = i => Math.abs(share_of(steps[i]) - wanted);
  return low > 0 && off(low - 1) < off(low) ? low - 1 : low;
}
for (const area of document.querySelectorAll('.area')) {
  const lines = Array.from(area.querySelectorAll('[data-v]'), path => ({
    name: path.dataset.name, unit: path.dataset.unit,
    steps: path.dataset.x.split(' ').map(Number), values: path.dataset.v.split(' ')}));
  const low = Number(area.dataset.low), high = Number(area.dataset.high);
  const unit = area.dataset.across;
  // Where the axis counts doublings, equal distances are equal ratios.
  const scale = 'doublings' in area.dataset ? Math.log2 : x => x;
  const share_of = x => (scale(x) - scale(low)) / (scale(high) - scale(low));
  const line = area.appendChild(document.createElement('div'));
  const tip = area.appendChild(document.createElement('div'));
  line.className = 'line';
  tip.className = 'tip';
  const show = event => {
    const box = area.getBoundingClientRect();
    const pointed = (event.clientX - box.left) / box.width;
    const found = lines.map(l => ({l, i: nearest(l.steps, pointed, share_of)}));
    const far = f => Math.abs(share_of(f.l.steps[f.i]) - pointed);
    const step = found.reduce((a, b) => far(b) < far(a) ? b : a);
    const at = step.l.steps[step.i], share = share_of(at);
    const told = found.filter(f => far(f) <= Math.max(far(step), .02));
    tip.textContent = [unit + ' ' + at.toLocaleString('en-US')].concat(told.map(
      f => written(f.l.values[f.i], f.l.unit) + '  ' + f.l.name +
        (f.l.steps[f.i] === at ? '' : ' (' + unit + ' ' + f.l.steps[f.i] + ')'))).join('\n');
    line.style.display = tip.style.display = 'block';
    line.style.left = 100 * share + '%';
    tip.style.left = share < .5 ? 'calc(' + 100 * share + '% + .6rem)' : 'auto';
    tip.style.right = share < .5 ? 'auto' : 'calc(' + 100 * (1 - share) + '% + .6rem)';
  };
  area.addEventListener('pointermove', show);
  area.addEventListener('pointerdown', show);
  area.addEventListener('pointerleave', () => {
    line.style.display = tip.style.display = 'none';
  });
}
// On paper nothing can be opened.
addEventListener('beforeprint', () => {
  for (const details of document.querySelectorAll('details')) details.open = true;
});
)js";

const std::string_view kRunPageScriptHash = "ToJXq6xelnzyN42wjLDkZUt1gyd33GLEMCbxEfQruJI=";

std::string page_head(std::string_view title) {
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
      "style-src 'unsafe-inline'; script-src 'sha256-{}'\"/>\n"
      "<title>{}</title>\n<style>{}</style>\n</head>\n",
      kRunPageScriptHash, escaped(title), kRunPageStyle);
}

std::string page_end() {
  return fmt::format("<script>{}</script>\n</body>\n</html>\n", kRunPageScript);
}

}  // namespace tessera::launch
