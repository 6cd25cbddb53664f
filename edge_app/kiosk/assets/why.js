// What the answer rests on: asked for, waited for, shown.
import { ask, get, open, showPicture, whyPath, write } from "./dom.js";

// About 300 passes of the model: seconds on a small board.
const PATIENCE_MS = 120000;
let asked = 0;

export async function openWhy() {
  const number = (asked += 1);
  write(get("why-title"), "Why?");
  write(get("why-state"), "Covering parts of the picture to see what the answer rests on. This takes a few seconds.");
  get("why-found").hidden = true;
  get("why-again").disabled = true;
  open(get("why-panel"));
  get("why-title").focus();
  const [found, problem] = await ask("/api/why", {}, PATIENCE_MS).then((one) => [one, ""], (error) => [null, error.message]);
  if (number !== asked) return;
  get("why-again").disabled = false;
  write(get("why-state"), problem);
  if (found) show(found);
}

function show(found) {
  write(get("why-title"), found.title);
  write(get("why-words"), found.words);
  const picture = get("why-picture");
  picture.alt = `The picture, bright where the answer rests on it. ${found.words}`;
  showPicture(picture, whyPath(found.number));
  get("why-found").hidden = false;
}

export function prepareWhy() {
  get("why").addEventListener("click", openWhy);
  get("why-again").addEventListener("click", openWhy);
}
