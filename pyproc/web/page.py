"""The live page: markup without a word from a worker, and a script that puts words in as text."""

from __future__ import annotations

HTML = b"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>pyproc</title>
<link rel="stylesheet" href="/page.css">
<script src="/page.js" defer></script>
</head>
<body>
<h1>pyproc <span id="state">...</span></h1>
<noscript><p>This page needs its script; see <a href="/status.json">the JSON</a>.</p></noscript>
<h2>Pools</h2>
<table id="pools"></table>
<h2>Clients</h2>
<table id="server"></table>
<h2>Workers</h2>
<table id="workers"></table>
<h2>Deaths</h2>
<table id="deaths"></table>
</body>
</html>
"""

CSS = b"""body { font: 15px/1.4 system-ui, sans-serif; margin: 1.5rem; color: #222; }
table { border-collapse: collapse; margin-bottom: 1rem; }
th, td { padding: .15rem .8rem .15rem 0; text-align: left; vertical-align: top; }
th { font-weight: 600; border-bottom: 1px solid #999; }
td { white-space: pre-wrap; overflow-wrap: anywhere; }
#state { font-weight: 400; }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #181818; } }
"""

JS = b"""'use strict';
const columns = {
  pools: ['pool', 'status', 'calls_running', 'calls_waiting', 'calls_ok', 'calls_failed',
          'calls_crashed', 'calls_timed_out', 'run_p50', 'run_p99', 'wait_p99'],
  server: ['clients', 'calls_running', 'calls_waiting', 'denied', 'rate_limited', 'invalid',
           'authentication_failed', 'clients_dropped'],
  workers: ['pool', 'id', 'pid', 'state', 'tasks_done', 'age', 'rss', 'start_method', 'sandbox'],
  deaths: ['pool', 'time', 'worker', 'pid', 'detail'],
};

function fill(name, rows) {
  const table = document.getElementById(name);
  const made = [columns[name].map((title) => ['th', title.replaceAll('_', ' ')])];
  for (const row of rows)
    made.push(columns[name].map((key) => ['td', row[key] === undefined ? '' : String(row[key])]));
  table.replaceChildren(...made.map((cells) => {
    const line = document.createElement('tr');
    for (const [tag, text] of cells) {
      const cell = document.createElement(tag);
      cell.textContent = text;
      line.append(cell);
    }
    return line;
  }));
}

async function look() {
  const state = document.getElementById('state');
  try {
    const answer = await fetch('/status.json', {cache: 'no-store'});
    if (!answer.ok)
      throw new Error('the daemon answered ' + answer.status);
    const found = await answer.json();
    for (const name of Object.keys(columns))
      fill(name, found[name]);
    state.textContent = found.ready ? 'serves' : 'does not serve';
  } catch (error) {
    state.textContent = String(error.message);
  }
  setTimeout(look, 2000);
}

look();
"""
