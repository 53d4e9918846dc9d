// The page asks, shows what is found, and asks again with every thumb. All that it knows goes with each question: the
// service keeps nothing of it.
"use strict";

const part = (id) => document.getElementById(id);
const state = { text: "", embedding: null, row: null, liked: new Map(), disliked: new Map(), lessons: false };
let asked = null; // the question that is on its way

async function post(path, body, signal) {
  const answer = await fetch(path, { method: "POST", body, signal });
  const told = await answer.json().catch(() => ({ error: `no answer: ${answer.status}` }));
  if (!answer.ok) throw new Error(told.error);
  return told;
}

/** Asks, and shows the answer. A later question takes the place of one that is not answered yet. */
async function search() {
  if (asked) asked.abort();
  const mine = (asked = new AbortController());
  part("fault").textContent = "";
  part("grid").setAttribute("aria-busy", "true");
  const query = { text: state.text, like: [...state.liked.keys()], dislike: [...state.disliked.keys()] };
  if (state.embedding) query.embedding = state.embedding;
  if (state.row !== null) query.row = state.row;
  try {
    show(await post("/search", JSON.stringify(query), mine.signal));
  } catch (error) {
    if (error.name !== "AbortError") tell(error);
  } finally {
    if (asked === mine) {
      asked = null;
      part("grid").setAttribute("aria-busy", "false");
    }
  }
}

function tell(error) {
  part("fault").textContent = error instanceof TypeError ? "The service does not answer." : error.message;
}

const count = (number, one, many) => `${number} ${number === 1 ? one : many}`;

function show(found) {
  const focus = document.activeElement?.closest?.("#grid [data-act]");
  const held = focus && { row: focus.closest("li").dataset.row, act: focus.dataset.act };
  part("grid").replaceChildren(...found.results.map(card));
  if (held) {
    const again = part("grid").querySelector(`li[data-row="${held.row}"] [data-act="${held.act}"]`);
    (again ?? part("results")).focus();
  }
  const order = state.text || state.embedding || state.row !== null || found.taught ? ", best first" : "";
  const taught = found.taught ? `, with ${thumbs()}` : "";
  part("status").textContent = `${found.results.length} of ${count(found.of, "picture", "pictures")}${order}${taught}.`;
  part("lesson").hidden = !found.taught;
  part("thumbs").textContent = `Learned from ${thumbs()}.`;
  part("keep").hidden = !(state.lessons && state.text && state.liked.size);
}

const thumbs = () =>
  `${count(state.liked.size, "thumb up", "thumbs up")} and ${count(state.disliked.size, "thumb down", "thumbs down")}`;

function element(kind, properties = {}, ...children) {
  const made = Object.assign(document.createElement(kind), properties);
  made.append(...children);
  return made;
}

function symbol(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#${name}`);
  svg.setAttribute("aria-hidden", "true");
  svg.append(use);
  return svg;
}

function card(found, at) {
  const { row, path, score, version } = found;
  const address = (kind) => `/${kind}/${row}?v=${encodeURIComponent(version)}`;
  const image = element("img", { src: address("thumbnail"), alt: path, loading: at < 24 ? "eager" : "lazy" });
  image.addEventListener("error", () => image.replaceWith("cannot be shown"));
  const link = element("a", { href: address("picture"), target: "_blank", rel: "noopener" }, image);
  const name = element("span", { className: "name", textContent: path });
  const value = element("span", { className: "score" });
  if (score !== null) {
    value.append(element("span", { className: "spoken", textContent: "score " }), score.toFixed(3));
  }
  const [liked, disliked] = [state.liked.has(row), state.disliked.has(row)];
  const button = (act, label, pressed) => {
    const made = element("button", { type: "button", className: act, title: label }, symbol(act));
    made.setAttribute("aria-label", `${label}: ${path}`);
    if (pressed !== null) made.setAttribute("aria-pressed", String(pressed));
    made.dataset.act = act;
    return made;
  };
  const acts = element(
    "div",
    { className: "acts" },
    button("up", "More of this", liked),
    button("down", "Less of this", disliked),
    button("like", "Search by this picture", null),
  );
  const item = element("li", { className: liked ? "liked" : disliked ? "disliked" : "" }, link, name, value, acts);
  item.dataset.row = row;
  item.dataset.path = path;
  return item;
}

/** A thumb is given, changed, or taken back. */
function thumb(row, path, act) {
  const [mine, other] = act === "up" ? [state.liked, state.disliked] : [state.disliked, state.liked];
  other.delete(row);
  if (!mine.delete(row)) mine.set(row, path);
  search();
}

/** What is searched by beside the words: an embedding with a name, a picture of the index, or nothing. */
function by(embedding, row, name, preview) {
  if (part("preview").src.startsWith("blob:")) URL.revokeObjectURL(part("preview").src);
  Object.assign(state, { embedding, row });
  const is = embedding !== null || row !== null;
  part("query").hidden = !is;
  part("named").textContent = is ? `Like the picture ${name}` : "";
  if (is) part("preview").src = preview;
  else part("preview").removeAttribute("src");
  search();
}

async function look(file) {
  if (!file) return;
  part("fault").textContent = "";
  part("status").textContent = `Looking at ${file.name} …`;
  try {
    const { embedding } = await post("/look", file);
    by(embedding, null, file.name, URL.createObjectURL(file));
  } catch (error) {
    part("status").textContent = "";
    tell(error);
  }
}

part("form").addEventListener("submit", (event) => {
  event.preventDefault();
  state.text = part("text").value.trim();
  search();
});
part("choose").addEventListener("click", () => part("file").click());
part("file").addEventListener("change", () => {
  look(part("file").files[0]);
  part("file").value = ""; // so that the same one can be chosen again
});
part("remove").addEventListener("click", () => {
  by(null, null);
  part("text").focus();
});
part("forget").addEventListener("click", () => {
  state.liked.clear();
  state.disliked.clear();
  search();
  part("text").focus();
});
part("keep").addEventListener("click", async () => {
  try {
    const { lessons } = await post("/lessons", JSON.stringify({ text: state.text, like: [...state.liked.keys()] }));
    part("status").textContent = `Kept: ${count(lessons, "pair", "pairs")} in the file of lessons.`;
  } catch (error) {
    tell(error);
  }
});
part("grid").addEventListener("click", (event) => {
  const button = event.target.closest("[data-act]");
  if (!button) return;
  const { row, path } = button.closest("li").dataset;
  if (button.dataset.act === "like") by(null, Number(row), path, `/thumbnail/${row}`);
  else thumb(Number(row), path, button.dataset.act);
});

const holdsFile = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
let inside = 0; // how many elements deep something is dragged
document.addEventListener("dragenter", (event) => {
  if (holdsFile(event)) part("drop").hidden = ++inside === 0;
});
document.addEventListener("dragleave", (event) => {
  if (holdsFile(event)) part("drop").hidden = --inside <= 0;
});
document.addEventListener("dragover", (event) => {
  if (holdsFile(event)) event.preventDefault();
});
document.addEventListener("drop", (event) => {
  if (!holdsFile(event)) return;
  event.preventDefault();
  inside = 0;
  part("drop").hidden = true;
  look(event.dataTransfer.files[0]);
});
document.addEventListener("paste", (event) => {
  const file = [...(event.clipboardData?.files ?? [])].find((file) => file.type.startsWith("image/"));
  if (file) {
    event.preventDefault();
    look(file);
  }
});

fetch("/about")
  .then((answer) => answer.json())
  .then((about) => {
    state.lessons = about.lessons;
    part("about").textContent = `${count(about.pictures, "picture", "pictures")} of the folder ${about.folder}.`;
  })
  .catch(tell);
search();
