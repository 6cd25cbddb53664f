// Teaching: a name, the chosen views as they come, and the tick when they are on the disk.
import { ask, cropPath, get, make, open, say, showPicture, viewPath, write } from "./dom.js";

const CLOSES_AFTER_MS = 4000;
const UNHEARD_MS = 6000;
let wanted = null; // what this page asked for: {label, at, seen}
let closing = null;

const panel = () => get("teach-panel");

function pane(id) {
  for (const one of ["teach-form", "teach-look", "teach-done"]) get(one).hidden = one !== id;
}

export async function openTeaching() {
  clearTimeout(closing);
  wanted = null;
  pane("teach-form");
  get("name").value = "";
  open(panel());
  if (matchMedia("(pointer: fine)").matches) get("name").focus();
  else get("teach-title").focus();
  fillNames(await ask("/api/names").catch(() => []));
}

function fillNames(names) {
  get("names").replaceChildren(
    ...names.map((name) => {
      const item = make("li");
      const chip = make("button", "", name);
      chip.type = "button";
      chip.addEventListener("click", () => begin(name));
      item.append(chip);
      return item;
    }),
  );
  get("names-title").hidden = !names.length;
}

async function begin(label) {
  label = label.trim().replace(/\s+/g, " ");
  if (!label) return;
  wanted = { label, at: performance.now(), seen: false };
  pane("teach-look");
  write(get("look-title"), `Learning “${label}”`);
  showLook([], 5, false);
  get("look-title").focus();
  say(`Learning ${label}. Turn the item a little.`);
  try {
    await ask("/api/teach", { label });
  } catch (error) {
    finish("error", error.message);
  }
}

function showLook(views, count, writing) {
  const list = get("look-views");
  while (list.children.length < count) list.append(make("li"));
  while (list.children.length > count) list.lastChild.remove();
  [...list.children].forEach((slot, place) => fillSlot(slot, views[place], place));
  get("look-progress").max = count;
  get("look-progress").value = views.length;
  write(get("look-hint"), writing ? "Writing it to the disk" : views.length ? "Turn it a little, slowly" : "Hold it inside the corners");
  write(get("look-count"), `${views.length} of ${count} views chosen`);
  get("look-cancel").disabled = writing;
}

function fillSlot(slot, view, place) {
  if (view === undefined) {
    slot.className = "";
    slot.replaceChildren();
    return;
  }
  slot.className = "filled";
  if (!slot.firstChild) slot.append(make("img"));
  slot.firstChild.alt = `View ${place + 1}`;
  showPicture(slot.firstChild, viewPath(view));
}

/** Follow the program: what it chose so far, and whether it heard at all. */
export function follow(state) {
  const teaching = state.teaching;
  if (!wanted) return;
  if (teaching && teaching.label === wanted.label) {
    wanted.seen = true;
    showLook(teaching.views, teaching.wanted, teaching.writing);
  } else if (!wanted.seen && performance.now() - wanted.at > UNHEARD_MS) {
    finish("error", "The program did not begin: no picture is being answered.");
  }
}

/** Take in what happened; true where the panel shows it, so that no toast need. */
export function teachingTold(told) {
  if (!wanted) return false;
  if (told.kind === "taught" && told.label === wanted.label) {
    finish("taught", told.text, told.ids);
    return true;
  }
  if (told.kind === "error") {
    finish("error", told.text);
    return true;
  }
  return false;
}

function finish(kind, text, ids = []) {
  const label = wanted?.label ?? "";
  wanted = null;
  if (!panel().open) return;
  pane("teach-done");
  const learnt = kind === "taught";
  get("done-mark").dataset.kind = kind;
  write(get("done-mark"), learnt ? "✓" : "!");
  write(get("done-title"), learnt ? `Learnt “${label}”` : "Nothing was learnt");
  write(get("done-text"), learnt ? `${ids.length} view${ids.length === 1 ? "" : "s"} on the disk. It is recognised from now on.` : text);
  get("done-undo").hidden = !learnt;
  get("done-views").replaceChildren(...ids.map(keptView));
  get("done-close").focus();
  say(learnt ? `Learnt ${label}` : text);
  if (learnt) closing = setTimeout(() => panel().close(), CLOSES_AFTER_MS);
}

function keptView(id, place) {
  const slot = make("li", "filled");
  const image = make("img");
  image.alt = `View ${place + 1}`;
  showPicture(image, cropPath(id));
  slot.append(image);
  return slot;
}

/** The program went away: nothing of a started lesson is left. */
export function teachingLost() {
  if (wanted) finish("error", "The program ended before the item was learnt.");
}

export function prepareTeaching(onUndo) {
  get("teach").addEventListener("click", openTeaching);
  get("done-again").addEventListener("click", openTeaching);
  get("done-undo").addEventListener("click", () => {
    panel().close();
    onUndo();
  });
  get("teach-form").addEventListener("submit", (event) => {
    event.preventDefault();
    begin(get("name").value);
  });
  get("look-cancel").addEventListener("click", () => panel().close());
  panel().addEventListener("close", () => {
    clearTimeout(closing);
    if (wanted) ask("/api/cancel", {}).catch(() => {});
    wanted = null;
    get("teach").focus();
  });
  // Somebody who reads what was kept is not hurried.
  for (const kind of ["pointerdown", "keydown"]) panel().addEventListener(kind, () => clearTimeout(closing));
}
