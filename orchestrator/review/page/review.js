// The page of `orchestrator review`. Everything from the data set is inserted by textContent:
// it is untrusted, so nothing of it is ever parsed as HTML.
"use strict";

const $ = (id) => document.getElementById(id);
const WORDS = { keep: "✓ keep", discard: "✗ discard" };

let entries = [];
let at = -1; // the index in entries of the text on the screen; -1: none
let shown = null; // what the server sent of the text on the screen; null while there is none
let total = 0;
let done = 0;
let saving = Promise.resolve(); // decisions are saved one after the other
let unsaved = 0; // decisions that the server hasn't confirmed yet
let listing = 0; // the number of the newest request for a list; answers to older ones are dropped
const drafts = new Map(); // execution -> a note that isn't saved yet

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("the program doesn't answer. Is `orchestrator review` still running?");
  }
  const status = `${answer.status} ${answer.statusText}`;
  const content = await answer.json().catch(() => ({ error: status }));
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

// Control characters (such as NUL or escape) are shown as their symbols, so that they are visible
// and have no effect.
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
  const blank = !text.trim();
  pre.textContent = visible(text);
  if (blank) pre.textContent = text ? "(only white space)" : "(empty)";
  pre.classList.toggle("none", blank);
  pre.scrollTop = 0;
}

// --- the list ------------------------------------------------------------------------------------

function query() {
  const found = new URLSearchParams();
  for (const [name, value] of new FormData($("filters"))) if (value !== "") found.set(name, value);
  return found.toString();
}

async function list() {
  const mine = ++listing;
  let found;
  try {
    if (!$("filters").checkValidity()) {
      throw new Error("the sample size and the seed must be whole numbers");
    }
    found = await ask(`list?${query()}`);
  } catch (error) {
    if (mine === listing) warn(`The list can't be shown: ${error.message}`);
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
  const title = element("span", entry.title, "title");
  const where = element("span", entry.place, "place");
  item.append(element("span", "", "word"), title, where);
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

// --- the text ------------------------------------------------------------------------------------

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
  shown = null; // nobody can decide on a text that isn't on the screen yet
  const item = $("list").children[at];
  item.setAttribute("aria-current", "true");
  item.scrollIntoView({ block: "nearest" });
  const { execution } = entries[at];
  try {
    const found = await ask(`execution?id=${encodeURIComponent(execution)}`);
    if (entries[at]?.execution !== execution) return; // another text was chosen meanwhile
    shown = found;
  } catch (error) {
    if (entries[at]?.execution !== execution) return;
    warn(`The text can't be shown: ${error.message}`);
  }
  fill();
}

function keepDraft() {
  if (shown && $("note").value !== shown.note) drafts.set(shown.execution, $("note").value);
}

function fill() {
  const none = shown === null;
  $("title").textContent = none ? "" : entries[at].title;
  if (!entries.length) $("title").textContent = "No text matches the filters";
  put($("prompt"), none ? "" : shown.prompt);
  put($("text"), none ? "" : shown.text);
  $("article").scrollTop = 0;
  // The article has the focus, so that the arrow keys scroll it.
  if (document.activeElement === document.body) $("article").focus();
  for (const id of ["keep", "discard", "undecided", "note"]) $(id).disabled = none;
  $("note").value = none ? "" : (drafts.get(shown.execution) ?? shown.note);
  for (const id of ["configuration", "facts"]) $(id).tBodies[0].replaceChildren();
  decision();
  if (none) return;
  $("configuration").tBodies[0].replaceChildren(...shown.configuration.map(parameter));
  const facts = shown.facts.map(([name, value, unit]) => row(name, value, unit));
  $("facts").tBodies[0].replaceChildren(...facts);
}

function parameter({ name, requested, effective, off, dormant }) {
  let ran = figure(effective);
  if (off) ran = `${ran} (off)`;
  if (effective === null) ran = "greedy";
  if (dormant) ran = "dormant";
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
  const withUnit = value !== null && unit;
  made.append(head, element("td", withUnit ? `${figure(value)} ${unit}` : figure(value)));
  return made;
}

// What depends on the decision: the buttons, the other reviewers' decisions, the machine's verdict.
function decision() {
  const word = shown ? (shown.word ?? "undecided") : null;
  for (const id of ["keep", "discard", "undecided"]) {
    $(id).setAttribute("aria-pressed", String(id === word));
  }
  $("others").textContent = shown ? othersLine(shown.others) : "";
  const hidden = shown && $("veil").checked && shown.word === null;
  const verdict = hidden || !shown ? null : shown.verdict;
  $("verdict").className = verdict ? (verdict.usable ? "keep" : "discard") : "";
  $("verdict").textContent = shown ? verdictLine(verdict, hidden) : "";
  const signals = (verdict?.signals ?? []).map(([name, value, meaning]) => {
    const made = row(name, value, "");
    made.title = meaning;
    return made;
  });
  $("signals").tBodies[0].replaceChildren(...signals);
}

function othersLine(others) {
  if (others === null) return "Other reviewers' decisions are shown once you have decided";
  if (!others.length) return "Nobody else has decided";
  const lines = others.map(({ reviewer, decision, note }) => {
    const rest = note ? ` (${note})` : "";
    return `${reviewer}: ${decision}${rest}`;
  });
  return `Others: ${lines.join("; ")}`;
}

function verdictLine(verdict, hidden) {
  if (hidden) return "hidden";
  if (!verdict) return shown.no_verdict;
  const word = verdict.usable ? "✓ usable" : `✗ unusable: ${verdict.reasons.join(", ")}`;
  return `${word}, quality ${figure(verdict.quality)}`;
}

// --- decisions -----------------------------------------------------------------------------------

// A decision belongs to the text that is on the screen when the key is pressed: a second press must
// not decide on the next text, which nobody has read yet.
function decide(word, { advance = true } = {}) {
  const text = shown;
  if (!text) return;
  saving = saving.then(() => {
    if (shown?.execution === text.execution) return save(text, word, advance);
  });
}

async function save({ execution, text_sha256 }, word, advance) {
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
    warn(`The decision isn't saved: ${error.message}`);
    return;
  } finally {
    unsaved -= 1;
  }
  const onScreen = entries[at]?.execution === execution;
  if (advance && word !== "undecided" && $("advance").checked && onScreen) await show(at + 1);
}

// A note that is changed after the decision is saved with the same decision.
function saveNote(event) {
  if (event.relatedTarget?.closest("#keep, #discard, #undecided")) return; // that decision saves it
  if (shown?.word && $("note").value !== shown.note) decide(shown.word, { advance: false });
}

async function agreement() {
  const body = $("agreement").querySelector("tbody");
  let pairs;
  try {
    pairs = await ask("agreement");
  } catch (error) {
    warn(`The agreement can't be shown: ${error.message}`);
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
  if (!pairs.length) body.append(row("Nobody has decided yet", "", ""));
}

// --- keys, buttons, start ------------------------------------------------------------------------

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
  if (!KEYS[event.key]) return;
  // A key that is held down decides only once.
  if (event.repeat && "kdu".includes(event.key)) return;
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

// After a choice with the mouse, a filter gives the focus back, so that the keys work again. After
// a choice with the keyboard it keeps the focus, since the arrow keys may go on choosing.
let byPointer = false;
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
