// The page of a review: one photo at a time, and nothing moves on before the program has kept the answer.
"use strict";

const AHEAD = 3; // photos that are fetched before they are asked about
const STRIP = 14; // small ones of those that come next
const MOST_LISTED = 9; // classes with a number
const MOST_FOUND = 60; // classes shown for what is typed
const TELLING = 0.005; // probability of a class worth a line among many
const PATIENCE = 20000; // milliseconds

const at = (id) => document.getElementById(id);
const number = (count) => count.toLocaleString("en");
const percent = (share) => (share < 0.005 ? "< 1 %" : share > 0.995 ? "> 99 %" : `${Math.round(100 * share)} %`);
const plain = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase().replace(/[_\s]+/g, " ").trim();

let queue = null; // what the program told at the start, and of the answers since
let current = null; // place of the photo that is asked about; null: none is left
let listed = []; // labels with a number, and their probabilities
let marked = 0; // which of them Enter takes
let waiting = false; // for the program
let found = []; // what the list below the field offers
let active = -1; // which of it Enter takes
const recent = []; // labels that were chosen in place of a guess, the last first
const again = new Set(); // skipped photos that are looked at once more
const pictures = new Map(); // place → the element that shows it
const broken = new Set(); // places of photos that cannot be shown

// ------------------------------------------------------------------ the program

async function post(body) {
  const answer = await fetch("decisions", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(PATIENCE),
  });
  const said = await answer.json();
  return said.kept ? said : Promise.reject(Object.assign(new Error(said.error), { refused: said.refused }));
}

/** Send an answer; what it says comes back, or null where it was not kept. */
async function sent(body) {
  if (waiting) return null;
  waiting = true;
  try {
    const said = await post(body);
    for (const key of ["total", "decided", "by_kind", "said"]) queue[key] = said[key];
    at("alert").hidden = true;
    return said;
  } catch (error) {
    warn("This answer was NOT kept.", why(error));
    return null;
  } finally {
    waiting = false;
  }
}

function why(error) {
  if (error.name === "TimeoutError") return "The program does not answer. Look at its terminal.";
  if (error instanceof TypeError || error instanceof SyntaxError)
    return "The program has ended. Type the same command again: everything before this answer is kept.";
  if (error.refused) return `${error.message[0].toUpperCase()}${error.message.slice(1)}.`;
  return `${queue.output}: ${error.message}. Everything before this answer is kept; put it right and answer again.`;
}

async function decide(decision, label) {
  if (current === null || waiting) return;
  if (broken.has(current) && decision !== "skip") {
    warn("This photo cannot be shown.", "Skip it: nobody can say what it shows.");
    return;
  }
  const place = current;
  const said = await sent({ index: place, decision, label });
  if (!said) return;
  again.delete(place);
  if (said.decision === "change") remember(said.label, queue.said[place][1]);
  step(place, `${spoken(...queue.said[place])}. `);
}

async function undo() {
  const said = await sent({ decision: "undo" });
  if (!said) return;
  if (said.index === null) tell("There is nothing to undo.");
  else show(said.index, "Taken back. ");
}

const spoken = (kind, name) => ({ accept: name, change: name, unknown: "Unknown", skip: "Skipped" })[kind];

/** A class that was chosen: it may be a new one, and may well be chosen again. */
function remember(label, name) {
  if (!queue.classes.some((one) => one.label === label)) queue.classes.push({ label, name });
  if (recent.includes(label)) recent.splice(recent.indexOf(label), 1);
  recent.unshift(label);
}

// ------------------------------------------------------------------ which photo

const isOpen = (place) => !(place in queue.said) || again.has(place);

/** The photos that are still to come, from a place on and then from the start. */
function* coming(from) {
  for (let i = 0; i < queue.photos.length; i++) {
    const place = (from + i) % queue.photos.length;
    if (isOpen(place)) yield place;
  }
}

function step(from, before = "") {
  const next = coming(from).next();
  if (next.done) finish(before);
  else show(next.value, before);
}

function show(place, before = "") {
  const held = at("likely").contains(document.activeElement) || document.activeElement === at("typed");
  current = place;
  const photo = queue.photos[place];
  at("finished").hidden = true;
  at("review").hidden = false;
  at("question").textContent = `Looks like ${photo.name}, ${percent(photo.probability)}`;
  at("doubt").hidden = !photo.unknown;
  at("doubt").textContent = "It is unlike all that was learned from, so perhaps it is none of these.";
  at("file").textContent = photo.file;
  at("copies").textContent = photo.copies ? `and ${photo.copies} more like it` : "";
  list(photo);
  leaveField();
  count();
  const ahead = [...first(STRIP, coming(place + 1))].filter((one) => one !== place);
  picture(place, ahead.slice(0, AHEAD));
  strip(ahead);
  if (held) at("question").focus({ preventScroll: true });
  tell(`${before}${at("count").textContent}. ${at("question").textContent}. ${at("copies").textContent}`);
}

function* first(most, some) {
  for (let i = 0; i < most; i++) {
    const { value, done } = some.next();
    if (done) return;
    yield value;
  }
}

function list(photo) {
  const few = queue.classes.length <= MOST_LISTED;
  listed = photo.likely.filter(([, share], i) => few || i < 3 || share >= TELLING);
  if (!listed.length) listed = [[photo.label, photo.probability]];
  for (const label of recent)
    if (!listed.some(([one]) => one === label)) listed.push([label, null]);
  listed = listed.slice(0, MOST_LISTED);
  at("likely").replaceChildren(...listed.map(([label, share], i) => line(i, nameOf(label), share)));
  mark(0);
}

const nameOf = (label) => queue.classes.find((one) => one.label === label)?.name ?? label;

function line(i, name, share) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.setAttribute("aria-keyshortcuts", i ? `${i + 1}` : "1 Enter");
  button.style.setProperty("--share", `${100 * (share ?? 0)}%`);
  const key = document.createElement("kbd");
  key.textContent = i + 1;
  key.setAttribute("aria-hidden", "true");
  button.append(key, span("name", name), span("share", share === null ? "" : percent(share)));
  button.addEventListener("click", () => choose(i));
  item.append(button);
  return item;
}

function span(kind, text) {
  const made = document.createElement("span");
  made.className = kind;
  made.textContent = text;
  return made;
}

function mark(i) {
  marked = (i + listed.length) % listed.length;
  at("likely").querySelectorAll("button").forEach((button, place) => {
    if (place === marked) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  });
}

function choose(i) {
  const [label] = listed[i] ?? [];
  if (label === undefined) return;
  if (label === queue.photos[current].label) decide("accept");
  else decide("change", label);
}

function count() {
  const { decided, total, by_kind } = queue;
  const changed = by_kind.change ? `, ${number(by_kind.change)} changed` : "";
  at("count").textContent = `${number(decided)} of ${number(total)}${changed}`;
  at("progress").max = Math.max(1, total);
  at("progress").value = decided;
  document.title = `${number(decided)} of ${number(total)} · ${queue.context}`;
}

// ------------------------------------------------------------------ pictures

function picture(place, ahead) {
  const kept = new Set([place, ...ahead]);
  for (const one of pictures.keys()) if (!kept.has(one)) pictures.delete(one);
  const own = element(place);
  own.alt = `Photo ${queue.photos[place].file}`;
  if (broken.has(place)) unshown();
  else at("frame").replaceChildren(own);
  // those that come next once this one is there, which a person waits for
  const fetchAhead = () => ahead.forEach(element);
  if (own.complete) fetchAhead();
  else own.addEventListener("load", fetchAhead, { once: true });
}

function element(place) {
  if (!pictures.has(place)) {
    const made = new Image();
    made.decoding = "async";
    made.addEventListener("error", () => {
      broken.add(place);
      if (place === current) unshown();
    });
    made.src = `photos/${place}/large`;
    pictures.set(place, made);
  }
  return pictures.get(place);
}

function unshown() {
  const words = document.createElement("p");
  words.textContent = "This photo cannot be shown: it has gone, or changed since the review began. Skip it.";
  at("frame").replaceChildren(words);
  tell(words.textContent);
}

function strip(ahead) {
  at("next").hidden = !ahead.length;
  const rest = new Map([...at("next").querySelectorAll("li")].map((one) => [Number(one.dataset.place), one]));
  at("next").firstElementChild.replaceChildren(...ahead.map((place) => rest.get(place) ?? small(place)));
}

function small(place) {
  const item = document.createElement("li");
  item.dataset.place = place;
  const image = new Image();
  image.alt = "";
  image.loading = "lazy";
  image.decoding = "async";
  image.addEventListener("error", () => image.remove());
  image.src = `photos/${place}/small`;
  item.append(image);
  return item;
}

// ------------------------------------------------------------------ another class

function search() {
  const typed = plain(at("typed").value);
  const matches = queue.classes.filter(({ name, label }) => plain(name).includes(typed) || plain(label).includes(typed));
  const rank = ({ name }) => (plain(name) === typed ? 0 : plain(name).startsWith(typed) ? 1 : 2);
  found = matches.sort((one, other) => rank(one) - rank(other) || one.name.localeCompare(other.name)).slice(0, MOST_FOUND);
  const exact = matches.some((one) => plain(one.name) === typed || plain(one.label) === typed);
  const written = at("typed").value.trim();
  if (written && !exact) found.push({ label: written, name: `New class: ${written}` });
  at("classes").replaceChildren(...found.map(option));
  active = typed && found.length ? 0 : -1;
  reveal(found.length > 0);
}

function option({ label, name }, i) {
  const item = document.createElement("li");
  item.id = `class-${i}`;
  item.setAttribute("role", "option");
  item.textContent = name;
  item.addEventListener("pointerdown", (event) => event.preventDefault()); // the field keeps the focus
  item.addEventListener("click", () => take(label));
  return item;
}

function reveal(shown) {
  at("classes").hidden = !shown;
  at("typed").setAttribute("aria-expanded", String(shown));
  [...at("classes").children].forEach((item, i) => item.setAttribute("aria-selected", String(i === active)));
  const own = shown && at("classes").children[active];
  if (own) {
    at("typed").setAttribute("aria-activedescendant", own.id);
    own.scrollIntoView({ block: "nearest" });
  } else at("typed").removeAttribute("aria-activedescendant");
}

function take(label) {
  if (label === queue.photos[current].label) decide("accept");
  else decide("change", label);
}

function leaveField() {
  at("typed").value = "";
  reveal(false);
  if (document.activeElement === at("typed")) at("typed").blur();
}

at("typed").addEventListener("input", search);
at("typed").addEventListener("focus", search);
at("typed").addEventListener("blur", () => reveal(false));
at("typed").addEventListener("keydown", (event) => {
  if (event.isComposing) return;
  if (event.key === "Escape") leaveField();
  else if (event.key === "Enter" && !event.repeat && active >= 0) take(found[active].label);
  else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && found.length) {
    active = (active + (event.key === "ArrowDown" ? 1 : active < 0 ? 0 : -1) + found.length) % found.length;
    reveal(true);
  } else return;
  event.preventDefault();
});

// ------------------------------------------------------------------ keys and buttons

const KEYS = {
  Enter: () => choose(marked),
  ArrowDown: () => mark(marked + 1),
  ArrowUp: () => mark(marked - 1),
  ArrowRight: () => decide("skip"),
  s: () => decide("skip"),
  u: () => decide("unknown"),
  "/": () => at("typed").focus(),
  c: () => at("typed").focus(),
};
const ALWAYS = { ArrowLeft: undo, Backspace: undo, z: undo };

document.addEventListener("keydown", (event) => {
  if (queue === null || event.ctrlKey || event.metaKey || event.altKey || event.target === at("typed")) return;
  if (event.key === "Enter" && event.target.closest("button")) return; // the button's own
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const digit = /^[1-9]$/.test(key) && current !== null ? () => choose(Number(key) - 1) : null;
  const act = ALWAYS[key] ?? (current !== null ? KEYS[key] ?? digit : null);
  if (!act) return;
  event.preventDefault();
  if (!event.repeat || key === "ArrowDown" || key === "ArrowUp") act();
});

for (const [id, act] of Object.entries({
  unknown: () => decide("unknown"),
  skip: () => decide("skip"),
  undo,
  back: undo,
  again: () => {
    for (const [place, [kind]] of Object.entries(queue.said)) if (kind === "skip") again.add(Number(place));
    step(0);
  },
}))
  at(id).addEventListener("click", (event) => {
    if (event.detail) event.currentTarget.blur(); // Enter is for the next photo then
    act();
  });

document.querySelectorAll("[data-copies]").forEach((button) =>
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(at(button.dataset.copies).textContent);
      button.textContent = "Copied";
      tell("Copied.");
    } catch {
      getSelection().selectAllChildren(at(button.dataset.copies)); // to be copied by hand
    }
  }),
);

// ------------------------------------------------------------------ what is said

function tell(words) {
  at("said").textContent = words;
}

function warn(what, words) {
  const strong = document.createElement("strong");
  strong.textContent = what;
  at("alert").replaceChildren(strong, words);
  at("alert").hidden = false;
}

const KINDS = { accept: "accepted", change: "changed", unknown: "unknown", skip: "skipped" };

function finish(before = "") {
  current = null;
  count();
  at("review").hidden = true;
  at("next").hidden = true;
  at("finished").hidden = false;
  const { total, by_kind, commands } = queue;
  const all = total === 1 ? "The one photo is" : `All ${number(total)} photos are`;
  at("finish").textContent = total ? `${all} answered` : "There is nothing to ask about";
  at("tally").replaceChildren(
    ...Object.entries(KINDS).map(([kind, word]) => {
      const group = document.createElement("div");
      const term = document.createElement("dt");
      const value = document.createElement("dd");
      term.textContent = word;
      value.textContent = number(by_kind[kind]);
      group.append(term, value);
      return group;
    }),
  );
  const taught = by_kind.accept + by_kind.change;
  at("teach").hidden = !taught;
  at("teaching").textContent = `Teach ${taught === 1 ? "it" : `these ${number(taught)}`}`;
  at("learn").textContent = commands.learn;
  at("relabel").textContent = commands.relabel;
  at("output").textContent = queue.output;
  at("again").hidden = !by_kind.skip;
  at("back").hidden = !queue.decided;
  at("finish").focus({ preventScroll: true });
  tell(`${before}${at("finish").textContent}.`);
}

async function begin() {
  try {
    queue = await (await fetch("queue")).json();
  } catch {
    warn("The page cannot be shown.", "The program has ended. Type the same command again.");
    return;
  }
  at("context").textContent = `Review for ${queue.context}`;
  step(0);
}

begin();
