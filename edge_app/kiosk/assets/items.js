// The gallery: items, their entries, one entry, and removal.
import { ask, confirmRemoval, cropPath, forgetPicture, get, make, open, say, showPicture, write } from "./dom.js";

const SEARCH_MS = 200;
let shown = null; // the item whose entries are listed, or null for all items
let start = 0;
let asked = 0;

export function openItems() {
  open(get("items-panel"));
  get("items-query").value = "";
  list(null);
  get("items-title").focus();
}

async function list(label, from = 0) {
  const ticket = ++asked;
  shown = label;
  get("items-back").hidden = get("items-clear").hidden = label === null;
  get("items-query").hidden = label !== null;
  write(get("items-title"), label ?? "Items");
  const query = new URLSearchParams(label === null ? { query: get("items-query").value, start: from } : { label, start: from });
  try {
    const found = await ask(`${label === null ? "/api/items" : "/api/entries"}?${query}`);
    if (ticket === asked) fill(found, from);
  } catch (error) {
    if (ticket === asked) write(get("items-count"), error.message);
  }
}

function fill(found, from) {
  const items = found.items !== undefined;
  const tiles = items ? found.items.map(itemTile) : found.entries.map(entryTile);
  const total = items ? found.found : found.total;
  if (from) get("items-list").append(...tiles);
  else get("items-list").replaceChildren(...tiles);
  start = from + tiles.length;
  get("items-more").hidden = start >= total || !tiles.length;
  write(get("items-count"), items ? itemsCount(found) : plural(found.total, "entry", "entries"));
}

const plural = (count, one, many) => `${count} ${count === 1 ? one : many}`;

function itemsCount(found) {
  if (!found.total) return "Nothing was taught yet.";
  if (found.found < found.total) return `${found.found} of ${plural(found.total, "item", "items")}`;
  return `${plural(found.total, "item", "items")}, ${plural(found.entries, "entry", "entries")}`;
}

function tile(id, name, lines) {
  const button = make("button", "tile");
  button.type = "button";
  const image = make("img");
  image.alt = "";
  image.loading = "lazy";
  showPicture(image, cropPath(id));
  button.append(image, make("span", "name", name), ...lines.map((line) => make("span", "", line)));
  const item = make("li");
  item.append(button);
  return item;
}

function itemTile(item) {
  const made = tile(item.cover, item.label, [plural(item.entries, "entry", "entries")]);
  made.firstChild.addEventListener("click", () => {
    list(item.label);
    get("items-title").focus();
  });
  return made;
}

function entryTile(entry) {
  const facts = Object.entries(entry.metadata).map(([key, value]) => `${key} ${value}`);
  const made = tile(entry.id, facts[0] ?? when(entry.created), facts.length ? [...facts.slice(1, 3), when(entry.created)] : []);
  made.firstChild.setAttribute("aria-label", `Entry of ${entry.label}, ${[...facts, when(entry.created)].join(", ")}`);
  made.firstChild.addEventListener("click", () => showEntry(entry));
  return made;
}

const when = (created) => new Date(created).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });

export function showEntry(entry) {
  write(get("entry-title"), entry.label);
  const picture = get("entry-picture");
  picture.alt = `Picture of ${entry.label}`;
  showPicture(picture, cropPath(entry.id));
  const facts = [...Object.entries(entry.metadata)];
  if (entry.similarity !== undefined) facts.push(["Similar", `${Math.max(0, Math.round(100 * entry.similarity))}%`]);
  if (entry.created) facts.push(["Stored", when(entry.created)]);
  if (entry.source) facts.push(["From", entry.source]);
  facts.push(["Entry", `${entry.id}`]);
  get("entry-facts").replaceChildren(...facts.flatMap(([name, value]) => [make("dt", "", name), make("dd", "", value)]));
  get("entry-remove").onclick = () => removeEntry(entry);
  open(get("entry-panel"));
}

async function removeEntry(entry) {
  const sure = await confirmRemoval(`Remove this entry of “${entry.label}”?`, "Its picture and what was learnt from it are erased from the disk for good.");
  if (sure && (await remove({ ids: [entry.id] }))) get("entry-panel").close();
}

async function removeItem() {
  const label = shown;
  const sure = await confirmRemoval(`Remove all of “${label}”?`, "Every entry of it is erased from the disk for good.");
  if (sure) await remove({ label });
}

async function remove(what) {
  try {
    const gone = await ask("/api/remove", what);
    gone.ids.forEach((id) => forgetPicture(cropPath(id)));
    say(`Removed from ${gone.label}`);
    if (get("items-panel").open) await list(shown);
    if (shown !== null && !get("items-list").children.length) {
      get("items-query").value = ""; // the item is gone: all that is left is shown
      await list(null);
      get("items-title").focus();
    }
    return true;
  } catch (error) {
    const sure = confirmRemoval("It was not removed", error.message);
    get("confirm-yes").hidden = true;
    await sure;
    get("confirm-yes").hidden = false;
    return false;
  }
}

export function prepareItems() {
  let timer = null;
  get("open-items").addEventListener("click", openItems);
  get("items-back").addEventListener("click", () => list(null));
  get("items-more").addEventListener("click", () => list(shown, start));
  get("items-clear").addEventListener("click", removeItem);
  get("items-query").addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => list(null), SEARCH_MS);
  });
}
