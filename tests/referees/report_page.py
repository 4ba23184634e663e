"""A page of `tessera report` in Chromium: three widths, light and dark, and on paper.

TESSERA_CHROMIUM names the program; else chromium, chromium-browser or google-chrome is taken. The
page is shown in frames of exact width, whose document a script around them looks at: Chromium's own
windows are never narrower than 500 pixels, and the page allows no script but its own."""

import json
import os
import re
import shutil
import subprocess
import sys

WIDTHS = (380, 820, 1400)
CAPTIONS = ("Gradient norm before clipping", "Learning rate", "Throughput tokens per second",
            "Memory in use; dotted: as planned")  # of charts
LOOK = """
function look(view) {
  const page = view.document, root = page.documentElement, found = {};
  const box = element => element.getBoundingClientRect();
  const named = element => element.tagName + '.' + element.className + ' "' +
    element.textContent.trim().slice(0, 40) + '"';
  found.width = view.innerWidth;
  found.scroll = root.scrollWidth;
  found.background = view.getComputedStyle(page.body).backgroundColor;
  found.ink = view.getComputedStyle(page.body).color;
  // Text that has no room: inside an element that hides it, or beside the page.
  found.clipped = [];
  for (const element of page.querySelectorAll('body *')) {
    const style = view.getComputedStyle(element);
    const hides = style.overflowX === 'hidden' || style.overflowX === 'clip';
    if (hides && element.scrollWidth > element.clientWidth + 1) found.clipped.push(named(element));
    const own = [...element.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    if (!own || element.closest('.scroll') || style.display === 'none') continue;
    const at = box(element);
    if (at.width > 0 && (at.left < -1 || at.right > view.innerWidth + 1)) {
      found.clipped.push(named(element));
    }
  }
  // Labels of an axis that lie on each other cannot be read.
  found.overlaps = [];
  for (const axis of page.querySelectorAll('.across, .up')) {
    const labels = [...axis.querySelectorAll('span')];
    labels.forEach((a, i) => labels.slice(i + 1).forEach(b => {
      const p = box(a), q = box(b);
      if (p.left < q.right && q.left < p.right && p.top < q.bottom - 2 && q.top < p.bottom - 2) {
        found.overlaps.push(named(a) + ' and ' + named(b));
      }
    }));
  }
  // The page's script answers the pointer.
  const area = page.querySelector('.area'), at = box(area);
  area.dispatchEvent(new view.PointerEvent('pointermove',
    {clientX: at.left + at.width / 2, clientY: at.top + 5}));
  const tip = page.querySelector('.tip');
  found.tip = tip && view.getComputedStyle(tip).display === 'block' ? tip.textContent : '';
  found.charts = page.querySelectorAll('figure').length;
  return found;
}
onload = () => {
  const frames = [...document.querySelectorAll('iframe')];
  document.querySelector('#found').textContent =
    JSON.stringify(frames.map(frame => look(frame.contentWindow)));
};
"""


def chromium():
    """Null where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("TESSERA_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


def run(program, folder, *arguments):
    command = [program, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
               "--allow-file-access-from-files", f"--user-data-dir={folder / 'profile'}",
               "--enable-logging=stderr", *arguments]  # fmt: skip
    done = subprocess.run(command, text=True, capture_output=True, errors="replace", timeout=300)
    return done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


def brightness(color):
    return sum(map(int, re.findall(r"\d+", color)[:3])) / 3


def judge(where, found, width, dark):
    """Lines about what is wrong with a page in a frame."""
    if found["width"] != width:
        yield f"{where}: the frame is {found['width']} pixels wide"
    if found["scroll"] > width:
        yield f"{where}: the page is {found['scroll']} pixels wide"
    ground, ink = brightness(found["background"]), brightness(found["ink"])
    if not (ground < 40 and ink > 180 if dark else ground > 240 and ink < 80):
        yield f"{where}: {found['ink']} on {found['background']}"
    for text in found["clipped"]:
        yield f"{where}: clipped: {text}"
    for text in found["overlaps"]:
        yield f"{where}: on each other: {text}"
    if not re.match(r"step \d+\n", found["tip"]):
        yield f"{where}: the pointer shows {found['tip']!r}"
    if found["charts"] < 5:
        yield f"{where}: {found['charts']} charts"


def paper(program, page, folder, ask):
    """The page as a PDF: white, with dark text, and with what a reader would have to open."""
    pdf = folder / "page.pdf"
    _, said = run(program, folder, "--blink-settings=preferredColorScheme=0",
                  f"--print-to-pdf={pdf}", page.as_uri())  # fmt: skip
    yield from said
    script = folder / "read_pdf.py"
    script.write_text(
        "import json, sys, pymupdf\n"
        f"CAPTIONS = {CAPTIONS}\n"
        "pages = list(pymupdf.open(sys.argv[1]))\n"
        "maps = [p.get_pixmap(dpi=40, colorspace=pymupdf.csGRAY) for p in pages]\n"
        "captions = [(i, round(line['bbox'][1])) for i, p in enumerate(pages)\n"
        "            for b in p.get_text('dict')['blocks'] for line in b.get('lines', ())\n"
        "            if ''.join(s['text'] for s in line['spans']).strip() in CAPTIONS]\n"
        "print('found', json.dumps({'text': ''.join(p.get_text() for p in pages),\n"
        "    'captions': len(captions), 'rows': len(set(captions)),\n"
        "    'corners': [m.pixel(0, 0)[0] for m in maps],\n"
        "    'darkest': [min(m.samples) for m in maps],\n"
        "    'mean': [sum(m.samples) / len(m.samples) for m in maps]}))\n")
    printed = ask(script, pdf, folder=folder)
    found = json.loads(re.search(r"(?m)^found (.*)$", printed)[1])
    for number, (corner, darkest, mean) in enumerate(
            zip(found["corners"], found["darkest"], found["mean"]), 1):
        if not (corner > 250 and darkest < 120 and mean > 200):
            yield f"paper, page {number}: corner {corner}, darkest {darkest}, mean {mean:.0f}"
    if not found["rows"] < found["captions"]:
        yield f"paper: none of {found['captions']} charts stands beside another"
    # Keys that are among all settings only, which are closed on a screen.
    for text in ("Curves", "Memory", "Settings", "lora_dropout", "adam_beta2"):
        if text not in found["text"]:
            yield f"paper: {text!r} is not there"


def faults(page, folder, ask):
    program = chromium()
    if not program:
        print("referees.report_page: Skipped\nthere is no Chromium: TESSERA_CHROMIUM names one")
        sys.exit(77)
    lines = []
    frame = folder / "frames.html"
    frames = "".join(f'<iframe src="{page.name}" style="width: {width}px"></iframe>'
                     for width in WIDTHS)  # fmt: skip
    frame.write_text("<!DOCTYPE html>\n<meta charset='utf-8'><style>iframe { border: 0; display: "
                     f"block; height: 900px }}</style>{frames}<pre id='found'></pre>"
                     f"<script>{LOOK}</script>")  # fmt: skip
    for scheme, dark in (("dark", True), ("light", False)):
        dom, said = run(program, folder, f"--blink-settings=preferredColorScheme={int(not dark)}",
                        "--window-size=1600,1200", "--dump-dom", frame.as_uri())  # fmt: skip
        lines += said  # errors of scripts, and what the page's policy forbids
        shown = re.search(r'<pre id="found">(.+?)</pre>', dom, re.S)
        if not shown:
            lines.append(f"{scheme}: the frames were not looked at")
            continue
        text = shown[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
        for width, found in zip(WIDTHS, json.loads(text)):
            lines += judge(f"{scheme}, {width} pixels", found, width, dark)
    return lines + list(paper(program, page, folder, ask))
