// What every part of the page needs: elements, requests, pictures, dialogs, the voice.

export const get = (id) => document.getElementById(id);

export function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

/** Set text only where it differs: a screen reader and the layout should not hear of what stays. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export class Refused extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

/** Ask the program; `body` makes it an order. Rejects with Refused where it says no, TypeError where it is gone. */
export async function ask(path, body, patience_ms = 15000) {
  const options = { signal: AbortSignal.timeout(patience_ms), cache: "no-store" };
  if (body !== undefined) {
    options.method = "POST";
    options.headers = { "Content-Type": "application/json" };
    options.body = JSON.stringify(body);
  }
  const response = await fetch(path, options);
  const answer = await response.json();
  if (!response.ok) throw new Refused(response.status, answer.error || response.statusText);
  return answer;
}

const KEPT = 240;
const pictures = new Map();

/** Show the picture behind `path`, fetched once and kept in memory alone; the last few hundred stay. */
export function showPicture(image, path) {
  if (image.dataset.path === path) return;
  image.dataset.path = path;
  let kept = pictures.get(path);
  pictures.delete(path);
  if (!kept) kept = load(path);
  pictures.set(path, kept);
  if (pictures.size > KEPT) forgetPicture(pictures.keys().next().value);
  kept.then((url) => {
    if (image.dataset.path === path) image.src = url;
  });
}

export function forgetPicture(path) {
  const kept = pictures.get(path);
  pictures.delete(path);
  if (kept) kept.then((url) => url.startsWith("blob:") && URL.revokeObjectURL(url));
}

async function load(path) {
  try {
    const response = await fetch(path, { cache: "no-store" });
    if (!response.ok) throw new Refused(response.status, "");
    return URL.createObjectURL(await response.blob());
  } catch {
    pictures.delete(path);
    return "/assets/none.svg";
  }
}

/** Another run may mean other pictures by the same numbers: its name keeps them apart in what is remembered. */
let run = "";
export const nameRun = (boot) => (run = boot);
export const cropPath = (id) => `/api/crops/${id}?of=${run}`;
export const whyPath = (number) => `/api/why/${number}?of=${run}`;
export const viewPath = (number) => `/api/views/${number}?of=${run}`;

/** Open a dialog; a tap beside it or Escape closes it. */
export function open(dialog) {
  if (!dialog.open) dialog.showModal();
}

export function prepareDialogs() {
  for (const dialog of document.querySelectorAll("dialog")) {
    for (const button of dialog.querySelectorAll("[data-close]")) button.addEventListener("click", () => dialog.close());
  }
}

export function confirmRemoval(title, text) {
  const panel = get("confirm-panel");
  write(get("confirm-title"), title);
  write(get("confirm-text"), text);
  open(panel);
  get("confirm-no").focus();
  return new Promise((resolve) => {
    const end = (answer) => {
      get("confirm-yes").onclick = get("confirm-no").onclick = panel.onclose = null;
      if (panel.open) panel.close();
      resolve(answer);
    };
    get("confirm-yes").onclick = () => end(true);
    get("confirm-no").onclick = () => end(false);
    panel.onclose = () => end(false);
  });
}

/**
 * The polite voice. What is in view changes many times a second; it is spoken when it has stood for a while, not
 * twice in a row, and with pauses between, so that the reader can finish.
 */
const SETTLED_MS = 1200;
const PAUSE_MS = 3000;
let pending = null;
let lastSaid = "";
let lastAt = -PAUSE_MS;

export function sayWhenSettled(text) {
  if (pending && pending.text === text) return;
  if (pending) clearTimeout(pending.timer);
  pending = null;
  if (!text || text === lastSaid) return;
  const wait = Math.max(SETTLED_MS, lastAt + PAUSE_MS - performance.now());
  pending = { text, timer: setTimeout(() => say(text), wait) };
}

export function say(text) {
  if (pending) clearTimeout(pending.timer);
  pending = null;
  lastSaid = text;
  lastAt = performance.now();
  write(get("spoken"), text);
}
