"""The blind sheet as one HTML page: one item at a time, three keys, no network.

The browser stores the answers until the reader saves them.

Texts reach the page as JSON and are set as text, never as HTML.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from eval.report.page_files import CSS, page_head

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
MORE_CSS = """
body { max-width: 62rem; }
.text { background: var(--card); border-radius: 6px; padding: .6rem .9rem; margin: .5rem 0;
  overflow-wrap: anywhere; }
.text p { margin: 0; font-size: 1.15rem; white-space: pre-wrap; }
.text small, #place { color: var(--soft); }
.two { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); gap: 1rem; }
button { font: inherit; color: inherit; background: var(--card); border: 1px solid var(--line);
  border-radius: 6px; padding: .5rem .9rem;
  margin: .2rem .3rem .2rem 0; cursor: pointer; }
button[aria-pressed="true"] { background: var(--mark); border-color: var(--mark); color: #fff; }
textarea { width: 100%; font: inherit; color: inherit; background: var(--ground);
  border: 1px solid var(--line); border-radius: 6px;
  padding: .4rem; }
progress { width: 100%; accent-color: var(--mark); }
"""
BODY = """
<h1>Which text is better?</h1>
<p>Two programs wrote the same THING. Read source and reference, then choose: first by whether the meaning is
right and complete and nothing is invented, then by the language. Longer is not better. Keys: <b>1</b>,
<b>2</b>, <b>=</b> (equally good or equally bad), arrows to go back and on. Your answers stay in this browser
until you save them; at the end (or whenever you stop) save the file and send it back.</p>
<p id="warning" hidden>This browser keeps nothing: do not close the page before you have saved the file.</p>
<progress id="progress" aria-label="answered"></progress>
<p id="place" aria-live="polite"></p>
<div class="text"><small>Source</small><p id="source"></p></div>
<div class="text"><small>Reference</small><p id="reference"></p></div>
<div class="two">
<div class="text"><small>Text 1</small><p id="one"></p></div>
<div class="text"><small>Text 2</small><p id="two"></p></div>
</div>
<p><button data-sign="1">1: text 1 is better</button><button data-sign="=">=: neither</button>
<button data-sign="2">2: text 2 is better</button></p>
<p><label>Comment (may stay empty)<textarea id="comment" rows="2"></textarea></label></p>
<p><button id="back">&larr; back</button>
<button id="on">on &rarr;</button>
<button id="save">Save answers (CSV)</button></p>
"""
SCRIPT = r"""
"use strict";
const sheet = JSON.parse(document.getElementById("sheet").textContent);
const find = id => document.getElementById(id);
const place = "blind-sheet-" + sheet.sha256;
let answers = {}, current = 0;

function store() {
  try { localStorage.setItem(place, JSON.stringify(answers)); }
  catch (error) { find("warning").hidden = false; }
}
function recall() {
  try { answers = JSON.parse(localStorage.getItem(place)) || {}; }
  catch (error) { find("warning").hidden = false; }
}
function answer(row) { return answers[row.id] || (answers[row.id] = {better: "", comment: ""}); }
function answeredCount() { return sheet.rows.filter(row => answer(row).better).length; }

function show() {
  const row = sheet.rows[current];
  const texts = {source: [row.source, row.source_language], reference: [row.reference, row.target_language],
                 one: [row.one, row.target_language], two: [row.two, row.target_language]};
  for (const [id, [text, language]] of Object.entries(texts)) {
    find(id).textContent = text.trim() || "(empty)";
    find(id).lang = language;
    find(id).dir = "auto";
  }
  find("comment").value = answer(row).comment;
  for (const button of document.querySelectorAll("button[data-sign]"))
    button.setAttribute("aria-pressed", String(button.dataset.sign === answer(row).better));
  find("progress").max = sheet.rows.length;
  find("progress").value = answeredCount();
  const answered = ", " + answeredCount() + " answered";
  find("place").textContent = "Item " + (current + 1) + " of " + sheet.rows.length + answered;
}
function go(step) { current = Math.min(sheet.rows.length - 1, Math.max(0, current + step)); show(); }
function choose(sign) { answer(sheet.rows[current]).better = sign; store(); go(1); }

function cell(text) {
  const risky = /^[=+\-@\t\r\n'\uff1d\uff0b\uff0d\uff20]/.test(text);
  return '"' + ((risky ? "'" : "") + text).replaceAll('"', '""') + '"';
}
function sheetCsv() {
  const lines = sheet.rows.map(row =>
    [row.id, row.source, row.reference, row.one, row.two, answer(row).better, answer(row).comment]
      .map(cell).join(","));
  return "\ufeff" + [sheet.columns.map(cell).join(","), ...lines, ""].join("\r\n");
}
function save() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([sheetCsv()], {type: "text/csv;charset=utf-8"}));
  link.download = "sheet-filled.csv";
  link.click();
}
document.addEventListener("keydown", event => {
  if (event.target.id === "comment" || event.ctrlKey || event.metaKey || event.altKey) return;
  const sign = {"1": "1", "2": "2", "=": "=", "0": "="}[event.key];
  if (sign) choose(sign);
  if (event.key === "ArrowLeft") go(-1);
  if (event.key === "ArrowRight") go(1);
});
for (const button of document.querySelectorAll("button[data-sign]"))
  button.addEventListener("click", () => choose(button.dataset.sign));
find("comment").addEventListener("input", () => {
  answer(sheet.rows[current]).comment = find("comment").value;
  store();
});
find("back").addEventListener("click", () => go(-1));
find("on").addEventListener("click", () => go(1));
find("save").addEventListener("click", save);
recall();
store();
show();
"""


def blind_page(sha256: str, columns: Sequence[str], rows: Sequence[Mapping[str, str]], thing: str) -> str:
    """The page. `rows` have id, source, reference, one, two, source_language and target_language; `thing` is
    what was asked for.
    """
    sheet: dict[str, Any] = {"sha256": sha256, "columns": list(columns), "rows": list(rows)}
    data = json.dumps(sheet, ensure_ascii=False).replace("<", "\\u003c")
    return f"""{page_head("Which text is better?", POLICY, CSS + MORE_CSS)}
<body>{BODY.replace("THING", thing)}
<script type="application/json" id="sheet">{data}</script>
<script>{SCRIPT}</script>
</body>
</html>
"""
