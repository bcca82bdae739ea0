// The report's charts and its tables of configurations and trials. All texts of the data set are
// inserted by textContent.
const data = JSON.parse(document.getElementById("data").textContent);

// --- charts ---------------------------------------------------------------------------------

// As `sized` of drawing.py.
function sized(spec, width) {
  const { panels, least, edge, gap } = spec.usermeta;
  const columns = Math.max(1, Math.floor(width / 370));
  const legend = { ...spec.config.legend, columns, labelLimit: Math.min(340, width - 30) };
  const config = { ...spec.config, legend };
  if (panels === 1) return { ...spec, config, width, autosize: { type: "fit-x", contains: "padding" } };
  const room = width - edge;
  const most = Math.max(1, Math.min(panels, Math.floor(room / (least + gap))));
  const inRow = Math.ceil(panels / Math.ceil(panels / most));
  const panel = Math.max(60, room / inRow - gap);
  config.view = { ...config.view, continuousWidth: panel, discreteWidth: panel };
  return { ...spec, config, columns: inRow };
}

const widths = {}; // name of a chart -> the width for which it was drawn

function draw(name) {
  const box = document.getElementById("chart-" + name);
  if (widths[name] === box.clientWidth) return null;
  widths[name] = box.clientWidth;
  const options = { ast: true, renderer: "svg", actions: false, tooltip: { theme: "custom" } };
  return window.vegaEmbed(box, sized(data.charts[name], box.clientWidth), options);
}

async function drawAll() {
  for (const name in data.charts) {
    await draw(name);
    // the page answers between two charts
    await new Promise(resolve => setTimeout(resolve));
  }
}

let timer;
addEventListener("resize", () => {
  clearTimeout(timer);
  // paper has a width of its own, for which the charts are only scaled
  if (!matchMedia("print").matches) timer = setTimeout(drawAll, 300);
});
addEventListener("beforeprint", () => {
  for (const name in data.charts) if (!(name in widths)) draw(name);
});

// --- tables ---------------------------------------------------------------------------------

const ROWS_AT_ONCE = 2000;
const ROWS_IN_PRINT = 40; // as page.css has it
const WORDS = ["doubtful", "nothing kept", "modelled", "measured"];

// As `number` of units.py; "" where the value is unknown.
function figure(value, digits = 3) {
  if (value === null) return "";
  const whole = Math.abs(value) >= 10 ** digits - 0.5;
  return value.toLocaleString("en", whole ? { maximumFractionDigits: 0 } : { maximumSignificantDigits: digits });
}

function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function verdict(row) {
  if (!row.why.length) return element("span", row.word);
  const details = element("details", undefined, row.word);
  const reasons = element("ul");
  reasons.append(...row.why.map(place => element("li", data.rows.why[place])));
  details.append(element("summary", row.word), reasons);
  return details;
}

function name(row) {
  if (!row.text) return element("span", row.name);
  const link = element("a", row.name);
  link.href = row.text;
  link.title = "the trial's texts";
  return link;
}

// head, what it is sorted by, what it shows (a text or an element), whether it holds numbers
const COLUMNS = [
  ["verdict", row => WORDS.indexOf(row.word), verdict, false],
  ["no.", row => row.name, name, false],
  ...["model", "setup", "machine", "use_case"].map(key =>
    [key.replace("_", " "), row => row[key], row => row[key], false]),
  ...["max_length", "top_p", "top_k", "temperature"].map(key =>
    [key, row => row[key], row => figure(row[key]), true]),
  ["kept", row => row.kept / row.executions, row => row.kept + "/" + row.executions, true],
  ["J/token", row => row.per_token, row =>
    figure(row.per_token) + (row.uncertainty === null ? "" : " ± " + figure(row.uncertainty, 2)), true],
  ["J per usable answer", row => row.per_usable, row => figure(row.per_usable) +
    (row.least === null ? "" : " (" + figure(row.least) + " to " + figure(row.most) + ")"), true],
  ["usable", row => row.judged ? row.usable / row.judged : null, row =>
    row.judged ? row.usable + "/" + row.judged : "", true],
  ["quality", row => row.quality, row => row.quality === null ? "" : row.quality.toFixed(2), true],
];
const FRONT = ["best", row => row.front ? 0 : 1, row => row.front ? "yes" : "", false];
const COLUMNS_OF = { configurations: [...COLUMNS, FRONT], trials: COLUMNS };

function compared(a, b) {
  if (a === null || b === null) return (a === null) - (b === null); // the unknown ones last
  return typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b;
}

function table(kind) {
  const rows = data.rows[kind].map(values =>
    Object.fromEntries(data.rows.keys.map((key, place) => [key, values[place]])));
  const count = document.getElementById(kind + "-count");
  const more = document.getElementById(kind + "-more");
  const body = element("tbody");
  const heads = element("tr");
  let most = ROWS_AT_ONCE;

  // a row is made when it is first shown
  function shown(row) {
    if (row.tr) return row.tr;
    row.tr = element("tr");
    for (const [head, , content, isNumber] of COLUMNS_OF[kind]) {
      const cell = element("td", undefined, isNumber ? "n" : head === "no." ? "name" : "");
      cell.append(content(row));
      row.tr.append(cell);
    }
    return row.tr;
  }

  function show() {
    const words = document.getElementById("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = rows.filter(row => words.every(word => row.line.includes(word)));
    body.replaceChildren(...found.slice(0, most).map(shown));
    count.textContent = found.length + " of " + rows.length;
    more.hidden = found.length <= most;
    document.getElementById(kind + "-cut").hidden = found.length <= ROWS_IN_PRINT;
    more.textContent = "Show all " + found.length + " rows";
  }

  for (const row of rows) {
    const reasons = row.why.map(place => data.rows.why[place]);
    const texts = [row.word, row.name, row.model, row.setup, row.machine, row.use_case];
    const values = ["max_length", "top_p", "top_k", "temperature"].map(key => key + " " + figure(row[key]));
    row.line = [...texts, ...values, ...reasons].join(" ").toLowerCase();
  }
  for (const [head, key, , isNumber] of COLUMNS_OF[kind]) {
    const cell = element("th", undefined, isNumber ? "n" : "");
    cell.scope = "col";
    const button = element("button", head);
    button.type = "button";
    button.addEventListener("click", () => {
      const falling = cell.ariaSort === "ascending";
      for (const other of heads.children) other.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", falling ? "descending" : "ascending");
      rows.sort((a, b) => {
        const [x, y] = [key(a), key(b)];
        return falling && x !== null && y !== null ? compared(y, x) : compared(x, y);
      });
      show();
    });
    cell.append(button);
    heads.append(cell);
  }
  more.addEventListener("click", () => {
    most = Infinity;
    show();
  });
  const head = element("thead");
  head.append(heads);
  document.getElementById(kind).append(head, body);
  show();
  return show;
}

if (data.rows) {
  const filter = document.getElementById("filter");
  const shows = ["configurations", "trials"].map(table);
  const showAll = () => shows.forEach(show => show());
  filter.addEventListener("input", showAll);
  document.addEventListener("keydown", event => {
    const inFilter = document.activeElement === filter;
    if (event.key === "/" && !inFilter) {
      event.preventDefault();
      filter.focus();
    }
    if (event.key === "Escape" && inFilter) {
      filter.value = "";
      showAll();
      filter.blur();
    }
  });
}
drawAll();
