// Puts the parts together: each view is drawn by all of them, and keys and taps become orders.
import { fit, showAnswer, showCards } from "./answer.js";
import { ask, get, nameRun, prepareDialogs, say, write } from "./dom.js";
import { openItems, prepareItems, showEntry } from "./items.js";
import { noteCamera, preparePanels, shortcutsOn, signIn } from "./panels.js";
import { drawPicture, showCamera, showGone } from "./scene.js";
import { follow, openTeaching, prepareTeaching, teachingLost, teachingTold } from "./teach.js";
import { Views } from "./view.js";
import { openWhy, prepareWhy } from "./why.js";

const TOAST_MS = 8000;
let told = -1;
let toastTimer = null;

async function show(state, jpeg, reborn) {
  if (reborn) nameRun(state.boot);
  if (jpeg) await drawPicture(jpeg);
  noteCamera(state.camera);
  showCamera(state.camera, state.picture);
  get("open-items").hidden = get("actions").hidden = !state.can_teach;
  get("undo").disabled = !state.can_undo;
  // An open dialog goes on: the camera may be back before a name is typed.
  get("teach").disabled = state.camera.state !== "live";
  get("why").hidden = !state.can_explain;
  get("matches").hidden = !state.can_teach && !state.matches.length;
  showAnswer(state);
  showCards(state.matches, showEntry);
  if (reborn) {
    teachingLost();
    told = newest(state);
  }
  follow(state);
  for (const one of state.told) if (one.number > told) tell(one);
  told = newest(state);
}

const newest = (state) => state.told.at(-1)?.number ?? 0;

function tell(one) {
  if (teachingTold(one)) return;
  toast(one.kind, one.text);
  say(one.text);
}

function toast(kind, text) {
  get("toast").dataset.kind = kind;
  write(get("toast-mark"), kind === "error" ? "!" : "✓");
  write(get("toast-text"), text);
  get("toast-undo").hidden = kind !== "taught";
  get("toast").hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => (get("toast").hidden = true), TOAST_MS);
}

function gone() {
  noteCamera(null);
  showGone();
  showAnswer(null);
  showCards([], showEntry);
  teachingLost();
  get("undo").disabled = get("teach").disabled = get("why").hidden = true;
}

function undo() {
  get("toast").hidden = true;
  ask("/api/undo", {}).catch((error) => toast("error", error.message));
}

function key(event) {
  const typing = event.target.closest("input, textarea, select");
  if (!shortcutsOn() || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (document.querySelector("dialog[open]")) return;
  const pressed = event.key.toLowerCase();
  if (pressed === "t" && !get("actions").hidden && !get("teach").disabled) openTeaching();
  else if (pressed === "u" && !get("undo").disabled) undo();
  else if (pressed === "w" && !get("why").hidden) openWhy();
  else if (pressed === "i" && !get("open-items").hidden) openItems();
  else return;
  event.preventDefault();
}

prepareDialogs();
preparePanels();
prepareItems();
prepareTeaching(undo);
prepareWhy();
get("undo").addEventListener("click", undo);
get("toast-undo").addEventListener("click", undo);
addEventListener("keydown", key);
new ResizeObserver(() => fit()).observe(get("label-box"));
const width = () => Math.round(get("frame").clientWidth * Math.min(devicePixelRatio, 2));
new Views({ show, gone, locked: signIn, width }).run();
