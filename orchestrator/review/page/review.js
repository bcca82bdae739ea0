// The page of `orchestrator review`. Whatever comes from the data set goes in by textContent; nothing is ever parsed as HTML.
"use strict";

const $ = (id) => document.getElementById(id);
const WORDS = { keep: "✓ keep", discard: "✗ discard" };

let entries = [];
let at = -1; // place in entries
let shown = null; // what the server told about the text that is on the screen; null while there is none
let total = 0;
let done = 0;
let saving = Promise.resolve(); // one decision after the other
let unsaved = 0; // on their way to the server
let listing = 0; // number of the newest request for a list: an older one's answer is dropped
const drafts = new Map(); // notes that were written and not saved yet

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("the program doesn't answer; is `orchestrator review` still running?");
  }
  const content = await answer.json().catch(() => ({ error: `${answer.status} ${answer.statusText}` }));
  if (!answer.ok) throw new Error(content.error);
  return content;
}

function warn(message) {
  $("alert").textContent = message;
  $("alert").hidden = !message;
}

function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

// What has no glyph is shown as the symbol that stands for it, so that a NUL or an escape is seen and does nothing.
function visible(text) {
  return text
    .replace(/\r\n/g, "\n")
    .replace(/[\u0000-\u0008\u000b-\u001f]/g, (c) => String.fromCharCode(0x2400 + c.charCodeAt(0)))
    .replace(/\u007f/g, "\u2421");
}

function figure(value) {
  if (value === null || value === undefined) return "unknown";
  if (typeof value !== "number" || Number.isInteger(value)) return String(value);
  return Number(value.toPrecision(3)).toString();
}

function put(pre, text) {
  pre.textContent = text.trim() ? visible(text) : text ? "(only white space)" : "(empty)";
  pre.classList.toggle("none", !text.trim());
  pre.scrollTop = 0;
}

// --- the list ---------------------------------------------------------------------------------------------------------

function query() {
  const found = new URLSearchParams();
  for (const [name, value] of new FormData($("filters"))) if (value !== "") found.set(name, value);
  return found.toString();
}

async function list() {
  const mine = ++listing;
  let found;
  try {
    if (!$("filters").checkValidity()) throw new Error("a sample and a seed are whole numbers");
    found = await ask(`list?${query()}`);
  } catch (error) {
    if (mine === listing) warn(`No list: ${error.message}`);
    return;
  }
  if (mine !== listing) return;
  warn("");
  const before = entries[at]?.execution;
  ({ entries, total, done } = found);
  const lines = document.createDocumentFragment();
  entries.forEach((entry, place) => lines.append(line(entry, place)));
  $("list").replaceChildren(lines);
  progress();
  const same = entries.findIndex((entry) => entry.execution === before);
  at = -1;
  await show(same >= 0 ? same : 0);
}

function line(entry, place) {
  const item = element("li");
  item.dataset.place = place;
  item.append(element("span", "", "word"), element("span", entry.title, "title"), element("span", entry.place, "place"));
  item.title = entry.execution;
  mark(item, entry);
  return item;
}

function mark(item, entry) {
  const word = item.firstChild;
  word.textContent = WORDS[entry.word] ?? "";
  word.className = `word ${entry.word ?? ""}`;
}

function progress() {
  $("progress").max = total || 1;
  $("progress").value = done;
  const rest = entries.length === total ? "" : `, ${entries.length} shown`;
  $("count").textContent = `${done} of ${total} decided${rest}`;
}

// --- the text ---------------------------------------------------------------------------------------------------------

async function show(place) {
  keepDraft();
  if (place < 0 || place >= entries.length) {
    if (entries.length) return;
    at = -1;
    shown = null;
    fill();
    return;
  }
  $("list").children[at]?.removeAttribute("aria-current");
  at = place;
  shown = null; // no decision on a text that isn't on the screen
  const item = $("list").children[at];
  item.setAttribute("aria-current", "true");
  item.scrollIntoView({ block: "nearest" });
  const { execution } = entries[at];
  try {
    const found = await ask(`execution?id=${encodeURIComponent(execution)}`);
    if (entries[at]?.execution !== execution) return; // another one was asked for meanwhile
    shown = found;
  } catch (error) {
    if (entries[at]?.execution !== execution) return;
    warn(`No text: ${error.message}`);
  }
  fill();
}

function keepDraft() {
  if (shown && $("note").value !== shown.note) drafts.set(shown.execution, $("note").value);
}

function fill() {
  const none = shown === null;
  $("title").textContent = none ? (entries.length ? "" : "No text matches the filters") : entries[at].title;
  put($("prompt"), none ? "" : shown.prompt);
  put($("text"), none ? "" : shown.text);
  $("article").scrollTop = 0;
  if (document.activeElement === document.body) $("article").focus(); // so that the keys that scroll do
  for (const id of ["keep", "discard", "undecided", "note"]) $(id).disabled = none;
  $("note").value = none ? "" : (drafts.get(shown.execution) ?? shown.note);
  for (const id of ["configuration", "facts"]) $(id).tBodies[0].replaceChildren();
  decision();
  if (none) return;
  $("configuration").tBodies[0].replaceChildren(...shown.configuration.map(parameter));
  $("facts").tBodies[0].replaceChildren(...shown.facts.map(([name, value, unit]) => row(name, value, unit)));
}

function parameter({ name, requested, effective, off, dormant }) {
  const ran = dormant ? "dormant" : effective === null ? "greedy" : off ? `${figure(effective)} (off)` : figure(effective);
  const made = element("tr", undefined, dormant ? "dormant" : "");
  const head = element("th", name);
  head.scope = "row";
  made.append(head, element("td", figure(requested)), element("td", ran));
  return made;
}

function row(name, value, unit) {
  const made = element("tr");
  const head = element("th", name);
  head.scope = "row";
  made.append(head, element("td", value === null || !unit ? figure(value) : `${figure(value)} ${unit}`));
  return made;
}

// What hangs on the decision about the text: buttons, the others' words, the machine's.
function decision() {
  const word = shown ? (shown.word ?? "undecided") : null;
  for (const id of ["keep", "discard", "undecided"]) $(id).setAttribute("aria-pressed", String(id === word));
  $("others").textContent = !shown
    ? ""
    : shown.others === null
      ? "Others' decisions: shown once you have decided"
      : shown.others.length
        ? `Others: ${shown.others.map((o) => `${o.reviewer}: ${o.decision}${o.note ? ` (${o.note})` : ""}`).join("; ")}`
        : "Nobody else has decided";
  const veiled = shown && $("veil").checked && shown.word === null;
  const said = veiled ? null : shown?.verdict;
  const verdict = $("verdict");
  verdict.className = said ? (said.usable ? "keep" : "discard") : "";
  verdict.textContent = !shown
    ? ""
    : veiled
      ? "hidden"
      : said
        ? `${said.usable ? "✓ usable" : `✗ unusable: ${said.reasons.join(", ")}`}, quality ${figure(said.quality)}`
        : shown.no_verdict;
  const signals = (said?.signals ?? []).map(([name, value, meaning]) => {
    const made = row(name, value, "");
    made.title = meaning;
    return made;
  });
  $("signals").tBodies[0].replaceChildren(...signals);
}

// --- decisions --------------------------------------------------------------------------------------------------------

// A key that is pressed twice must not hit the next text, which nobody has read yet: so it is bound to the one on the screen.
function decide(word, { stay = false } = {}) {
  const text = shown;
  if (!text) return;
  saving = saving.then(() => (shown?.execution === text.execution ? save(text, word, stay) : undefined));
}

async function save({ execution, text_sha256 }, word, stay) {
  unsaved += 1;
  const note = $("note").value;
  try {
    const found = await ask("decision", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ execution, text_sha256, decision: word, note }),
    });
    drafts.delete(execution);
    const place = entries.findIndex((entry) => entry.execution === execution);
    if (place >= 0) {
      done += (found.word !== null) - (entries[place].word !== null);
      entries[place].word = found.word;
      mark($("list").children[place], entries[place]);
      progress();
    }
    if (shown?.execution === execution) {
      shown = found;
      decision();
    }
    warn("");
    if ($("agreement").open) agreement();
  } catch (error) {
    warn(`Not saved: ${error.message}`);
    return;
  } finally {
    unsaved -= 1;
  }
  if (!stay && word !== "undecided" && $("advance").checked && entries[at]?.execution === execution) await show(at + 1);
}

// A note that was changed after the decision is saved with the same decision.
function saveNote(event) {
  if (event.relatedTarget?.closest("#keep, #discard, #undecided")) return; // it goes with what is clicked
  if (shown?.word && $("note").value !== shown.note) decide(shown.word, { stay: true });
}

async function agreement() {
  const body = $("agreement").querySelector("tbody");
  let pairs;
  try {
    pairs = await ask("agreement");
  } catch (error) {
    warn(`No agreement: ${error.message}`);
    return;
  }
  body.replaceChildren(
    ...pairs.map(({ reviewer, other, n, observed, kappa, low, high, reason }) => {
      const made = element("tr");
      const interval = low === null ? "" : ` (${low.toFixed(2)} to ${high.toFixed(2)})`;
      made.title = reason;
      made.append(
        element("td", `${reviewer}, ${other ?? "the machine"}`),
        element("td", n),
        element("td", observed === null ? "" : `${Math.round(100 * observed)} %`),
        element("td", kappa === null ? reason : kappa.toFixed(2) + interval),
      );
      return made;
    }),
  );
  if (!pairs.length) body.append(row("nobody has decided yet", "", ""));
}

// --- keys, buttons, start ---------------------------------------------------------------------------------------------

const KEYS = {
  k: () => decide("keep"),
  d: () => decide("discard"),
  u: () => decide("undecided"),
  j: () => show(at + 1),
  ArrowRight: () => show(at + 1),
  h: () => show(at - 1),
  ArrowLeft: () => show(at - 1),
  n: () => $("note").focus(),
  "/": () => $("filters").elements[0].focus(),
  "?": () => $("help").showModal(),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
  if (event.target.matches("select, textarea, input:not([type=checkbox])")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (!KEYS[event.key] || (event.repeat && "kdu".includes(event.key))) return; // a key held down decides once
  event.preventDefault();
  KEYS[event.key]();
});

$("keep").addEventListener("click", KEYS.k);
$("discard").addEventListener("click", KEYS.d);
$("undecided").addEventListener("click", KEYS.u);
$("next").addEventListener("click", KEYS.j);
$("previous").addEventListener("click", KEYS.h);
$("help-button").addEventListener("click", KEYS["?"]);
$("note").addEventListener("blur", saveNote);
$("veil").addEventListener("change", decision);
$("agreement").addEventListener("toggle", () => $("agreement").open && agreement());
$("list").addEventListener("click", (event) => {
  const item = event.target.closest("li");
  if (item) show(Number(item.dataset.place));
});

let byPointer = false; // a filter chosen with the mouse gives the keys back; with the keyboard its arrows are still wanted
document.addEventListener("pointerdown", () => (byPointer = true), true);
document.addEventListener("keydown", () => (byPointer = false), true);
$("filters").addEventListener("change", (event) => {
  if (byPointer && event.target.matches("select")) event.target.blur();
  list();
});
$("filters").addEventListener("submit", (event) => event.preventDefault());
window.addEventListener("beforeunload", (event) => {
  keepDraft();
  if (unsaved || drafts.size) event.preventDefault();
});

async function start() {
  try {
    const state = await ask("state");
    $("reviewer").textContent = `as ${state.reviewer}`;
    for (const column of ["use_case", "model"]) {
      const select = $("filters").elements[column];
      for (const name of state[column]) select.add(new Option(name, name));
    }
  } catch (error) {
    warn(error.message);
    return;
  }
  await list();
}

start();
