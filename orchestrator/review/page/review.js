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
let saving = Promise.resolve(); // what keys do happens in their order, after what is being saved
let unsaved = 0; // decisions that the server hasn't confirmed yet
let listing = 0; // the number of the newest request for a list; answers to older ones are dropped
const drafts = new Map(); // execution -> a note and reasons that aren't saved yet

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

function tell(message) {
  $("notice").textContent = message;
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
  // The page isn't scrolled: on a phone, who chooses a filter looks at the list below the text.
  await show(same >= 0 ? same : Math.max(undecidedAfter(-1), 0), { scroll: before === undefined });
}

// The index of the first text below `place` that the reviewer hasn't decided on; -1: none.
function undecidedAfter(place) {
  return entries.findIndex((entry, index) => index > place && entry.word === null);
}

function line(entry, place) {
  const item = element("li");
  item.id = `line-${place}`;
  item.dataset.place = place;
  item.setAttribute("role", "option");
  item.setAttribute("aria-selected", "false");
  const words = element("span", visible(entry.words) || "(blank)", entry.words ? "" : "none");
  words.dir = "auto";
  item.append(
    element("span", "", "word"), words, element("span", `${entry.title} · ${entry.place}`, "place"),
  );
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

async function show(place, { scroll = true } = {}) {
  keepDraft();
  if (place < 0 || place >= entries.length) {
    if (entries.length) return;
    $("list").removeAttribute("aria-activedescendant");
    at = -1;
    shown = null;
    fill();
    return;
  }
  const list = $("list");
  list.children[at]?.setAttribute("aria-selected", "false");
  at = place;
  shown = null; // nobody can decide on a text that isn't on the screen yet
  list.children[at].setAttribute("aria-selected", "true");
  list.setAttribute("aria-activedescendant", list.children[at].id);
  reveal(list, list.children[at]);
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
  if (scroll) window.scrollTo(0, 0);
}

// Scrolls the list alone: scrollIntoView() would scroll a phone's whole page down to the list.
function reveal(list, item) {
  const above = item.offsetTop - list.scrollTop;
  if (above < 0) list.scrollTop += above;
  const below = above + item.offsetHeight - list.clientHeight;
  if (below > 0) list.scrollTop += below;
}

function ticked() {
  return [...$("reasons").querySelectorAll(":checked")].map((box) => box.value);
}

function changed() {
  return $("note").value !== shown.note || ticked().join() !== shown.reasons.join();
}

function keepDraft() {
  if (!shown) return;
  drafts.delete(shown.execution);
  if (changed()) drafts.set(shown.execution, { note: $("note").value, reasons: ticked() });
}

function fill() {
  const none = shown === null;
  $("title").textContent = none ? "" : entries[at].title;
  if (!entries.length) $("title").textContent = "No text matches the filters";
  put($("prompt"), none ? "" : shown.prompt);
  put($("text"), none ? "" : shown.text);
  $("article").scrollTop = 0;
  // The article has the focus, so that the arrow keys scroll it.
  if (document.activeElement === document.body) $("article").focus({ preventScroll: true });
  for (const id of ["keep", "discard", "undecided", "note", "reasons"]) $(id).disabled = none;
  const { note, reasons } = none ? { note: "", reasons: [] } : (drafts.get(shown.execution) ?? shown);
  $("note").value = note;
  tick(reasons);
  for (const id of ["configuration", "facts"]) $(id).tBodies[0].replaceChildren();
  decision();
  if (none) return;
  $("configuration").tBodies[0].replaceChildren(...shown.configuration.map(parameter));
  const facts = shown.facts.map(([name, value, unit]) => row(name, value, unit));
  $("facts").tBodies[0].replaceChildren(...facts);
}

function tick(reasons) {
  for (const box of $("reasons").querySelectorAll("input")) box.checked = reasons.includes(box.value);
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
  const hidden = shown && !$("peek").checked && shown.word === null;
  const verdict = hidden || !shown ? null : shown.verdict;
  $("verdict").className = verdict ? (verdict.usable ? "keep" : "discard") : "";
  $("verdict").textContent = shown ? verdictLine(verdict, hidden) : "";
  const signals = (verdict?.signals ?? []).map(([name, value, meaning]) => {
    const made = row(name, value, "");
    made.title = meaning;
    return made;
  });
  $("signals").tBodies[0].replaceChildren(...signals);
  $("signals").hidden = !signals.length;
}

function othersLine(others) {
  if (others === null) return "Other reviewers' decisions are shown once you have decided";
  if (!others.length) return "Nobody else has decided";
  const lines = others.map(({ reviewer, decision, reasons, note }) => {
    const why = [...reasons.map(spaced), ...(note ? [note] : [])].join(", ");
    return `${reviewer}: ${decision}${why && ` (${why})`}`;
  });
  return `Others: ${lines.join("; ")}`;
}

function verdictLine(verdict, hidden) {
  if (hidden) return "hidden until you have decided";
  if (!verdict) return shown.no_verdict;
  const word = verdict.usable ? "✓ usable" : `✗ unusable: ${verdict.reasons.map(spaced).join(", ")}`;
  return `${word}, quality ${figure(verdict.quality)}`;
}

function spaced(name) {
  return name.replaceAll("_", " ");
}

// --- decisions -----------------------------------------------------------------------------------

// Does what a key or button asks for after all that was asked for before, so that no key is lost
// while a decision is being saved.
function queue(act) {
  saving = saving.then(act);
}

// As queue(), for what concerns the text on the screen when the key was pressed: it must not reach
// the next text, which nobody has read yet.
function onThisText(what, act) {
  const text = shown;
  queue(() => {
    if (text && shown?.execution === text.execution) return act(text);
    if (what && entries.length) tell(`“${what}” was ignored: the next text wasn't on the screen yet.`);
  });
}

function decide(word) {
  onThisText(word, (text) => save(text, word));
}

// A note or reasons that are changed after the decision are saved with the same decision.
function amend() {
  if (!shown?.word || !changed()) return;
  const reasonsAlone = $("note").value === shown.note;
  if (reasonsAlone && shown.word !== "discard") return; // they wait for a `discard`
  onThisText("", (text) => save(text, text.word, { advance: false }));
}

async function save({ execution, text_sha256 }, word, { advance = true } = {}) {
  unsaved += 1;
  const note = $("note").value;
  const reasons = word === "discard" ? ticked() : [];
  const slow = setTimeout(() => tell("Saving …"), 300);
  try {
    const found = await ask("decision", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ execution, text_sha256, decision: word, reasons, note }),
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
      tick(found.reasons);
      decision();
    }
    warn("");
    tell("");
    if ($("agreement").open) agreement();
  } catch (error) {
    tell("");
    warn(`The decision isn't saved: ${error.message}`);
    return;
  } finally {
    clearTimeout(slow);
    unsaved -= 1;
  }
  if (advance && word !== "undecided" && $("advance").checked) await goOn(execution);
}

// To the next text to decide on, unless the reviewer is at another one, or at its note, by now.
async function goOn(execution) {
  if (entries[at]?.execution !== execution || document.activeElement === $("note")) return;
  const next = undecidedAfter(at);
  if (next >= 0) await show(next);
  else if (undecidedAfter(-1) >= 0) tell("This was the last text; some above are still undecided.");
  else tell("All texts of this list are decided.");
}

function saveNote(event) {
  if (event.relatedTarget?.closest("#keep, #discard, #undecided")) return; // that decision saves it
  amend();
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
      const last = element("td", kappa === null ? reason : kappa.toFixed(2));
      if (low !== null) {
        last.append(" ", element("span", `(${low.toFixed(2)} to ${high.toFixed(2)})`, "whole"));
      }
      made.title = reason;
      made.append(
        element("td", `${reviewer}, ${other ?? "the machine"}`),
        element("td", n),
        element("td", observed === null ? "" : `${Math.round(100 * observed)} %`, "whole"),
        last,
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
  j: () => queue(() => show(at + 1)),
  h: () => queue(() => show(at - 1)),
  n: () => $("note").focus(),
  v: () => $("peek").click(),
  "/": () => $("filters").elements[0].focus(),
  "?": () => $("help").showModal(),
};
KEYS.ArrowRight = KEYS.j;
KEYS.ArrowLeft = KEYS.h;
// Of the list, where it has the focus.
const LIST_KEYS = {
  ArrowDown: KEYS.j,
  ArrowUp: KEYS.h,
  Home: () => queue(() => show(0)),
  End: () => queue(() => show(entries.length - 1)),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
  if (event.target.matches("select, textarea, input:not([type=checkbox])")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const act = (event.target === $("list") && LIST_KEYS[event.key]) || KEYS[event.key];
  if (!act) return;
  event.preventDefault();
  // A key that is held down decides, or ticks, only once.
  if (event.repeat && !["j", "h"].includes(event.key) && !event.key.startsWith("Arrow")) return;
  tell("");
  act();
});

$("keep").addEventListener("click", KEYS.k);
$("discard").addEventListener("click", KEYS.d);
$("undecided").addEventListener("click", KEYS.u);
$("next").addEventListener("click", KEYS.j);
$("previous").addEventListener("click", KEYS.h);
$("help-button").addEventListener("click", KEYS["?"]);
$("note").addEventListener("blur", saveNote);
$("reasons").addEventListener("change", amend);
$("peek").addEventListener("change", decision);
$("agreement").addEventListener("toggle", () => $("agreement").open && agreement());
$("list").addEventListener("click", (event) => {
  const item = event.target.closest("li");
  if (item) queue(() => show(Number(item.dataset.place)));
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

// Each reason gets a box and a number as its key.
function offer(reasons) {
  reasons.forEach((reason, index) => {
    const key = String(index + 1);
    const box = element("input");
    Object.assign(box, { type: "checkbox", value: reason });
    const label = element("label");
    label.append(box, element("kbd", key), spaced(reason));
    $("reasons").append(label);
    KEYS[key] = () => onThisText(spaced(reason), () => box.click());
  });
  $("reason-keys").append(element("kbd", "1"), " to ", element("kbd", reasons.length));
}

async function start() {
  try {
    const state = await ask("state");
    $("reviewer").textContent = `as ${state.reviewer}`;
    offer(state.reasons);
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
