// The answer, as large as its box allows, and the nearest entries.
import { cropPath, get, make, sayWhenSettled, showPicture, write } from "./dom.js";

const SMALLEST_PX = 22;
const LARGEST_PX = 260;
const CARDS_EVERY_MS = 400;
let cardsAt = -CARDS_EVERY_MS;
let fitted = "";

export function showAnswer(state) {
  const answer = state?.answer ?? null;
  const kind = !answer ? "none" : answer.known ? answer.by : "unknown";
  get("answer").dataset.kind = kind;
  write(get("mark"), { classifier: "✓", gallery: "✓", unknown: "?" }[kind] ?? "");
  write(get("label"), answer ? (answer.label ?? "Unknown") : "No answer");
  write(get("how"), answer ? answer.how : "There is no picture to answer.");
  fit();
  speak(answer, state?.camera);
}

function speak(answer, camera) {
  if (!camera) sayWhenSettled("Not connected to the program");
  else if (!answer) sayWhenSettled(camera.state === "live" ? "" : camera.headline);
  else sayWhenSettled(answer.label ?? "Unknown item");
}

/** The largest size at which the label fits its box without breaking a word; two metres away it is what counts. */
export function fit(again = false) {
  const label = get("label");
  const box = get("label-box");
  const key = `${label.textContent}|${box.clientWidth}|${box.clientHeight}`;
  if (key === fitted && !again) return;
  fitted = key;
  let low = SMALLEST_PX;
  let high = Math.min(LARGEST_PX, box.clientHeight * 0.62);
  const holds = (size) => {
    label.style.fontSize = `${size}px`;
    return label.scrollWidth <= box.clientWidth && label.scrollHeight <= box.clientHeight;
  };
  label.style.overflowWrap = "normal";
  while (high - low > 1) {
    const middle = (low + high) / 2;
    if (holds(middle)) low = middle;
    else high = middle;
  }
  if (!holds(low)) label.style.overflowWrap = "anywhere";
}

export function showCards(matches, onOpen) {
  const now = performance.now();
  if (now - cardsAt < CARDS_EVERY_MS && matches.length) return;
  cardsAt = now;
  const list = get("cards");
  while (list.children.length > matches.length) list.lastChild.remove();
  while (list.children.length < matches.length) list.append(newCard(onOpen));
  matches.forEach((match, place) => fillCard(list.children[place].firstChild, match));
}

function newCard(onOpen) {
  const item = make("li");
  const card = make("button", "card");
  card.type = "button";
  const image = make("img");
  image.alt = "";
  card.append(image, make("span", "name"), make("span", "share"), make("span", "meta"));
  card.addEventListener("click", () => onOpen(card.match));
  item.append(card);
  return item;
}

function fillCard(card, match) {
  card.match = match;
  const [image, name, share, meta] = card.children;
  const similar = `${Math.max(0, Math.round(100 * match.similarity))}%`;
  const facts = Object.entries(match.metadata).map(([key, value]) => `${key} ${value}`);
  showPicture(image, cropPath(match.id));
  write(name, match.label);
  write(share, similar);
  write(meta, facts[0] ?? "");
  meta.hidden = !facts.length;
  card.setAttribute("aria-label", [match.label, `${similar} similar`, ...facts].join(", "));
}
