// The gallery: everything comes from scripts in data/, since a page opened from disk may not fetch. What the tables say is put
// into the page as text alone (textContent, alt), never as HTML.
"use strict";

const PAGE = { pictures: 48, "side-by-side": 12, captions: 12 };
const KEPT = { pictures: 80, test: 80, full: 6, captions: 4 }; // scripts whose values stay in memory, by kind: 50, 50 and 25 MB
const MATCHED = ["multi", "single", "single_matched"];
const FILTERS = ["arm", "shard", "verdict", "reason"];

const find = (id) => document.getElementById(id);
const state = { view: "pictures", page: 0, found: [], open: null, problem: "" };
const rows = []; // of the catalogue
const byId = new Map();
const byNumber = new Map(); // anchor caption -> its pictures by arm; of several candidates the used one
const candidates = new Map(); // arm and number -> all pictures of that sentence

// Data in scripts

const waiting = new Map();
const packs = new Map(); // name -> promise of its value; the ones used last are last

const gallery = {
  receive(name, value) {
    waiting.get(name)(value);
  },
};

function load(name) {
  const known = packs.get(name) ?? addScript(name);
  packs.delete(name);
  packs.set(name, known);
  const kind = name.split("-")[0];
  const same = [...packs.keys()].filter((other) => other.startsWith(`${kind}-`));
  if (same.length > KEPT[kind]) packs.delete(same[0]);
  return known;
}

function addScript(name) {
  const script = document.createElement("script");
  script.src = `data/${name}.js`;
  const received = new Promise((resolve, reject) => {
    waiting.set(name, resolve);
    script.onerror = () => {
      packs.delete(name); // so that it is looked for again
      reject(new Error(`data/${name}.js is missing: copy the whole folder`));
    };
  });
  document.head.append(script);
  return received.finally(() => {
    waiting.delete(name);
    script.remove();
  });
}

const loadItem = async ([name, place]) => (await load(name))[place];

// Elements

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") made.className = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

const textElement = (tag, text, attributes = {}) => element(tag, { dir: "auto", ...attributes }, text);
const number = (value, digits = 3) => (value === null || value === undefined ? "–" : value.toFixed(digits));
const count = (value) => value.toLocaleString("en-US");

function frame(alt, place, unpack, without) {
  const box = element("div", { class: "frame" });
  if (place === null) box.append(without);
  else fill(box, alt, place, unpack, without);
  return box;
}

async function fill(box, alt, place, unpack, without) {
  try {
    const address = unpack(await loadItem(place));
    if (address) box.replaceChildren(image(alt, address));
    else box.replaceChildren(without);
  } catch (error) {
    box.replaceChildren(error.message);
  }
}

function image(alt, address) {
  const made = element("img", { alt, decoding: "async" });
  made.onload = () => made.classList.toggle("small", Math.max(made.naturalWidth, made.naturalHeight) < 128);
  made.src = address;
  return made;
}

// Search, filters, order

function start(columns) {
  const names = Object.keys(columns);
  for (let row = 0; names.length && row < columns.id.length; row += 1) addRow(names, columns, row);
  FILTERS.forEach(fillFilter);
  listen();
  route();
}

function addRow(names, columns, position) {
  const row = { position };
  for (const name of names) row[name] = columns[name][position];
  const scores = row.caption_scores ?? [];
  row.lowest = scores.length ? Math.min(...scores) : null;
  row.highest = scores.length ? Math.max(...scores) : null;
  row.mean = scores.length ? scores.reduce((sum, score) => sum + score, 0) / scores.length : null;
  row.haystack = `${row.id}\n${row.sentence}\n${row.captions}`.toLowerCase();
  rows.push(row);
  byId.set(row.id, row);
  if (!candidates.has(sentenceOf(row))) candidates.set(sentenceOf(row), []);
  candidates.get(sentenceOf(row)).push(row);
  if (MATCHED.includes(row.arm)) {
    if (!byNumber.has(row.number)) byNumber.set(row.number, {});
    const same = byNumber.get(row.number);
    if (!same[row.arm] || same[row.arm].unused) same[row.arm] = row;
  }
}

const sentenceOf = (row) => `${row.arm}-${row.number}`;

function fillFilter(name) {
  const counts = new Map();
  for (const row of rows) counts.set(row[name], (counts.get(row[name]) ?? 0) + 1);
  const values = [...counts.keys()].filter((value) => value !== "").sort();
  const all = element("option", { value: "" }, "all");
  find(name).replaceChildren(all, ...values.map((value) => element("option", { value }, `${value} (${count(counts.get(value))})`)));
}

function query() {
  const words = find("query").value.toLowerCase().split(/\s+/).filter(Boolean);
  return (haystack) => words.every((word) => haystack.includes(word));
}

function filter() {
  const matches = query();
  const wanted = FILTERS.map((name) => [name, find(name).value]).filter(([, value]) => value !== "");
  const safety = between("low", "high");
  const caption = between("caption-low", "caption-high");
  return (row) =>
    wanted.every(([name, value]) => row[name] === value) &&
    (safety === null || (row.score !== null && safety(row.score))) &&
    (caption === null || row.caption_scores.some(caption)) &&
    matches(row.haystack);
}

// The test of two fields of numbers; null if both are empty or not on the page.
function between(lowId, highId) {
  const [low, high] = [lowId, highId].map((id) => find(id)?.valueAsNumber ?? NaN);
  if (Number.isNaN(low) && Number.isNaN(high)) return null;
  return (value) => !(value < low) && !(value > high);
}

// Rows without the value come last, whichever the direction.
function ordered(found) {
  const [column, direction] = find("sort").value.split("-");
  if (column === "order") return found;
  const sign = direction === "down" ? -1 : 1;
  const rank = (row) => (row[column] === null ? Infinity : sign * row[column]);
  return found.sort((one, other) => compare(rank(one), rank(other)) || one.position - other.position);
}

const compare = (one, other) => (one === other ? 0 : one < other ? -1 : 1);

function pairsOf(found) {
  const numbers = new Set(found.filter((row) => MATCHED.includes(row.arm)).map((row) => row.number));
  const pairs = [...numbers].map((each) => byNumber.get(each));
  return pairs.filter((pair) => pair.multi && (pair.single || pair.single_matched));
}

// Test captions

async function tested() {
  const test = await load(`captions-${find("test").value}`);
  fillCaptioners(test.captioners);
  const chosen = Number(find("captioner").value);
  const matches = query();
  const found = test.ids.map((_, row) => ({ test, row, chosen })).filter(({ row }) => matches(testedText(test, row)));
  const rank = find("rank").value;
  if (rank === "id" || test.scores.length === 0) return found;
  const sign = rank === "down" ? -1 : 1;
  return found.sort((one, other) => sign * (test.scores[chosen][one.row] - test.scores[chosen][other.row]) || one.row - other.row);
}

function testedText(test, row) {
  return [test.ids[row], ...test.references[row], ...test.captions.map((texts) => texts[row])].join("\n").toLowerCase();
}

function fillCaptioners(names) {
  const select = find("captioner");
  if (select.dataset.names === names.join("\n")) return;
  select.dataset.names = names.join("\n");
  select.replaceChildren(...names.map((name, place) => element("option", { value: place }, name)));
}

// Views

async function search() {
  const wanted = state.view;
  const found = wanted === "captions" ? await testedOrNone() : ordered(rows.filter(filter()));
  if (wanted !== state.view) return; // another view was chosen meanwhile
  state.found = wanted === "side-by-side" ? pairsOf(found) : found;
  state.page = 0;
  show();
}

async function testedOrNone() {
  try {
    return await tested();
  } catch (error) {
    state.problem = error.message;
    return [];
  }
}

function show() {
  const size = PAGE[state.view];
  const pages = Math.max(1, Math.ceil(state.found.length / size));
  const shown = state.found.slice(state.page * size, (state.page + 1) * size);
  const made = shown.map({ pictures: pictureItem, "side-by-side": pairItem, captions: testedItem }[state.view]);
  const list = find("list");
  list.className = state.view === "pictures" ? "grid" : "rows";
  list.replaceChildren(...(made.length ? made : [textElement("li", nothing(), { class: "empty" })]));
  find("count").textContent = countText();
  find("pages").textContent = `Page ${count(state.page + 1)} of ${count(pages)}`;
  find("back").disabled = state.page === 0;
  find("next").disabled = state.page + 1 >= pages;
}

function countText() {
  const things = { pictures: "pictures", "side-by-side": "anchor captions drawn more than once", captions: "test pictures" }[state.view];
  const of = state.view === "pictures" && state.found.length < rows.length ? ` of ${count(rows.length)}` : "";
  return `${count(state.found.length)}${of} ${things}`;
}

function nothing() {
  if (state.view === "captions" && state.problem) return state.problem;
  if (state.view === "captions") return "No test picture matches, or no captioner has written captions yet.";
  if (rows.length === 0) return "This run has no picture yet.";
  return state.view === "pictures" ? "No picture matches." : "No anchor caption drawn in both arms matches.";
}

function turn(by) {
  const pages = Math.ceil(state.found.length / PAGE[state.view]);
  if (state.page + by < 0 || state.page + by >= pages) return false;
  state.page += by;
  show();
  window.scrollTo(0, 0);
  return true;
}

function pictureItem(row) {
  return element("li", {}, card(row));
}

function card(row, label) {
  const facts = element("div", { class: "facts" }, label ?? row.id, element("span", { class: row.verdict }, row.verdict));
  if (row.score !== null) facts.append(element("span", { title: "safety score" }, number(row.score)));
  if (row.lowest !== null) facts.append(element("span", { title: "scores of its captions" }, captionScores(row)));
  if (row.candidate) facts.append(element("span", row.unused ? { class: "unused" } : {}, row.candidate));
  const picture = frame(row.sentence, row.place, (detail) => detail.thumbnail, "no picture yet");
  const text = textElement("div", row.sentence, { class: "text" });
  return element("button", { type: "button", class: "card", "data-id": row.id, onclick: () => openPicture(row) }, picture, facts, text);
}

function captionScores(row) {
  const [low, high] = [number(row.lowest), number(row.highest)];
  return low === high ? `caption ${low}` : `captions ${low} to ${high}`;
}

function pairItem(pair) {
  const caption = (pair.single ?? pair.single_matched).sentence;
  const cards = MATCHED.filter((arm) => pair[arm]).map((arm) => card(pair[arm], arm));
  return element("li", {}, textElement("h2", caption, { class: "head" }), element("div", { class: "pair" }, ...cards));
}

function testedItem({ test, row, chosen }) {
  const references = element("ul", {}, ...test.references[row].map((text) => textElement("li", text)));
  const lines = test.captioners.flatMap((_, captioner) => testedLine(test, row, captioner, captioner === chosen));
  const written = element("dl", {}, ...lines);
  const picture = frame(test.references[row][0] ?? "", test.places[row], (address) => address, "no picture");
  const texts = element("div", {}, element("h3", {}, `${test.ids[row]}: what people said`), references);
  if (test.captioners.length) texts.append(element("h3", {}, "What the captioners wrote, and its CIDEr-D"), written);
  return element("li", { class: "tested" }, element("div", {}, picture), texts);
}

function testedLine(test, row, captioner, chosen) {
  const attributes = chosen ? { class: "chosen" } : {};
  const score = number(100 * test.scores[captioner][row], 0);
  return [
    element("dt", attributes, test.captioners[captioner]),
    textElement("dd", test.captions[captioner][row], attributes),
    element("dd", { class: chosen ? "number chosen" : "number" }, score),
  ];
}

// One picture

function openPicture(row) {
  location.hash = `#picture/${row.id}`;
}

async function openDetail(id) {
  const dialog = find("detail");
  const row = byId.get(id);
  if (row === undefined) return closeDetail();
  state.open = row;
  let detail = null;
  try {
    detail = await loadItem(row.place);
  } catch (error) {
    detail = { problem: error.message, datasets: {}, captions: [], unsupported: [], tokens: [] };
  }
  if (state.open !== row) return undefined;
  dialog.replaceChildren(detailBar(row), sheet(row, detail));
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  find("close").focus();
  return undefined;
}

function detailBar(row) {
  const place = state.view === "pictures" ? state.found.indexOf(row) : -1;
  const button = (id, text, onclick) => element("button", { type: "button", id, onclick }, text);
  const before = button("before", "Previous", () => neighbour(-1));
  const after = button("after", "Next", () => neighbour(1));
  before.disabled = place <= 0;
  after.disabled = place < 0 || place + 1 >= state.found.length;
  const where = place < 0 ? row.id : `${row.id} · ${count(place + 1)} of ${count(state.found.length)}`;
  const close = button("close", "Close", () => find("detail").close());
  return element("nav", { "aria-label": "Pictures" }, element("p", {}, where), before, after, close);
}

function neighbour(by) {
  const place = state.view === "pictures" ? state.found.indexOf(state.open) : -1;
  const row = place < 0 ? undefined : state.found[place + by];
  if (row !== undefined) location.replace(`#picture/${row.id}`);
}

function sheet(row, detail) {
  const picture = element("div", { class: "frame" });
  if (detail.thumbnail) picture.append(image(row.sentence, detail.thumbnail));
  else picture.append(detail.problem ?? "no picture yet");
  if (row.full) fillFull(picture, row);
  return element(
    "div",
    { class: "sheet" },
    element("div", {}, picture, others(row)),
    element("div", {}, textElement("h2", row.sentence || row.id, { id: "sentence" }), lineage(row, detail), captionTable(detail.captions)),
  );
}

async function fillFull(box, row) {
  try {
    box.replaceChildren(image(row.sentence, await loadItem(row.full)));
  } catch {
    box.title = "the picture in full size is missing: copy the whole folder"; // its thumbnail stays
  }
}

function others(row) {
  const same = MATCHED.includes(row.arm) ? byNumber.get(row.number) : {};
  const arms = MATCHED.filter((arm) => same[arm] && arm !== row.arm);
  const more = candidates.get(sentenceOf(row)).filter((each) => each !== row);
  const parts = [
    ["Other candidates for the same sentence", more.map((each) => card(each))],
    ["Drawn from the same anchor caption", arms.map((arm) => card(same[arm], arm))],
  ];
  const shown = parts.filter(([, cards]) => cards.length > 0);
  if (shown.length === 0) return null;
  const made = ([heading, cards]) => [element("h3", {}, heading), element("div", { class: "pair" }, ...cards)];
  return element("div", { class: "others" }, ...shown.flatMap(made));
}

function lineage(row, detail) {
  const datasets = Object.entries(detail.datasets).map(([arm, text]) => [`Dataset ${arm}`, text]);
  const facts = [
    ["Arm", row.arm],
    ["Shard", row.shard],
    ["Verdict", row.score === null ? row.verdict : `${row.verdict}, safety score ${number(row.score)}`],
    ...(datasets.length ? datasets : [["Dataset", row.reason]]),
    ["Candidate", row.candidate],
    ["Score", row.sentence_score == null ? "" : `${number(row.sentence_score)}, how well it shows its sentence`],
    ["Similarity", row.similarity === null ? "" : `${number(row.similarity)}, mean of the selected captions with the anchor caption`],
    ["Seed", detail.seed],
    ["Image model", detail.image_model],
    ["Summary by", detail.model],
    ["Prompt hash", detail.prompt],
    ["Tokens", tokens(detail.tokens)],
    ["Unsupported", detail.unsupported.join(", ")],
    ["Table", detail.table],
  ];
  const shown = facts.filter(([, text]) => text);
  return element("dl", { class: "lineage" }, ...shown.flatMap(([name, text]) => [element("dt", {}, name), textElement("dd", text)]));
}

function tokens([prompt, completion]) {
  return prompt == null ? "" : `${count(prompt)} of the prompt, ${count(completion ?? 0)} of the answer`;
}

function captionTable(captions) {
  const selected = captions.filter(([, , , chosen]) => chosen).length;
  const scored = captions.some(({ length }) => length > 4);
  const columns = [["Selected", ""], ["Similarity", "number"], ...(scored ? [["Score", "number"]] : []), ["Caption", ""], ["Id", "number"]];
  const heads = columns.map(([name, kind]) => element("th", { scope: "col", class: kind }, name));
  const about = `Captions: ${count(captions.length)}, of which ${count(selected)} selected`;
  const head = element("thead", {}, element("tr", {}, ...heads));
  return element("table", {}, element("caption", {}, about), head, element("tbody", {}, ...captions.map((caption) => captionRow(caption, scored))));
}

function captionRow([id, caption, similarity, selected, score, note], scored) {
  return element(
    "tr",
    selected ? { class: "selected" } : {},
    element("td", {}, selected ? "yes" : "–"),
    element("td", { class: "number" }, number(similarity)),
    scored ? element("td", { class: "number" }, number(score)) : null,
    note ? element("td", {}, textElement("div", caption), element("div", { class: "fate" }, note)) : textElement("td", caption),
    element("td", { class: "number" }, String(id)),
  );
}

function closeDetail() {
  state.open = null;
  if (find("detail").open) find("detail").close();
}

// The address: #pictures, #side-by-side, #captions, #picture/multi-12

function route() {
  const [name, id] = decodeURIComponent(location.hash.slice(1)).split("/");
  const first = state.found.length === 0;
  if (name in PAGE) setView(name);
  else if (first) setView(state.view);
  if (name === "picture") openDetail(id);
  else closeDetail();
}

function setView(view) {
  const same = view === state.view && state.found.length > 0;
  state.view = view;
  for (const link of document.querySelectorAll(".views a")) {
    if (link.hash === `#${view}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  for (const each of document.querySelectorAll(".of-pictures")) each.hidden = view === "captions";
  for (const each of document.querySelectorAll(".of-captions")) each.hidden = view !== "captions";
  if (!same) search();
}

function closed() {
  const id = state.open?.id;
  state.open = null;
  find("detail").replaceChildren();
  location.replace(`#${state.view}`);
  showAround(id);
  document.querySelector(`[data-id="${CSS.escape(id ?? "")}"]`)?.focus();
}

function showAround(id) {
  const place = state.view === "pictures" ? state.found.findIndex((row) => row.id === id) : -1;
  const page = Math.floor(place / PAGE.pictures);
  if (place < 0 || page === state.page) return;
  state.page = page;
  show();
}

// Keys

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (find("detail").open) return step ? neighbour(step) : undefined;
  if (event.target.closest("input, select")) return;
  if (event.key === "/") focusSearch(event);
  else if (event.target.closest(".card")) moveFocus(event);
  else if (step) turn(step);
}

function focusSearch(event) {
  event.preventDefault();
  find("query").focus();
}

function moveFocus(event) {
  const cards = [...document.querySelectorAll("#list .card")];
  const place = cards.indexOf(event.target.closest(".card"));
  const columns = cards.filter((each) => each.getBoundingClientRect().top === cards[0].getBoundingClientRect().top).length;
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, Home: -place, End: cards.length - 1 - place };
  const step = steps[event.key];
  if (step === undefined) return;
  event.preventDefault();
  const target = cards[place + step];
  if (target) target.focus();
  else if (Math.abs(step) === 1 && turn(step)) [...document.querySelectorAll("#list .card")].at(step > 0 ? 0 : -1)?.focus();
}

function listen() {
  const controls = find("controls");
  let soon = 0;
  const later = () => {
    clearTimeout(soon);
    soon = setTimeout(search, 120); // not at each letter
  };
  controls.addEventListener("input", later);
  controls.addEventListener("submit", (event) => event.preventDefault());
  controls.addEventListener("reset", later);
  find("back").addEventListener("click", () => turn(-1));
  find("next").addEventListener("click", () => turn(1));
  find("detail").addEventListener("close", closed);
  addEventListener("hashchange", route);
  addEventListener("keydown", pressed);
}

addScript("catalog").then(start, (error) => {
  find("count").textContent = error.message;
});
