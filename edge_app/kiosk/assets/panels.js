// Status and settings, and signing in.
import { ask, get, make, open, write } from "./dom.js";
import { age } from "./scene.js";

const REFRESH_MS = 1000;
let camera = null;

/** Settings live in this browser alone; without storage they last as long as the page. */
function kept(name, value) {
  try {
    if (value !== undefined) localStorage.setItem(name, value);
    return localStorage.getItem(name);
  } catch {
    return null;
  }
}

export const shortcutsOn = () => get("shortcuts").checked;

export function noteCamera(newest) {
  camera = newest;
}

async function fillStatus() {
  const rows = await ask("/api/health").catch(() => []);
  const state = camera ? `${camera.headline}${camera.detail ? `: ${camera.detail}` : ""}` : "Not connected to the program";
  const now = [["Camera", state]];
  if (camera?.age_ms != null) now.push(["Picture", age(camera.age_ms).replace("picture ", "")]);
  if (camera?.fps) now.push(["Frames a second", camera.fps.toFixed(1)]);
  const cells = [...now, ...rows].flatMap(([name, value]) => [make("dt", "", name), make("dd", "", value)]);
  get("status-facts").replaceChildren(...cells);
}

export function preparePanels() {
  const panel = get("status-panel");
  let timer = null;
  get("open-status").addEventListener("click", () => {
    open(panel);
    fillStatus();
    timer = setInterval(fillStatus, REFRESH_MS);
  });
  panel.addEventListener("close", () => clearInterval(timer));
  const look = kept("look") ?? "auto";
  setLook(look);
  for (const choice of document.querySelectorAll("input[name=look]")) {
    choice.checked = choice.value === look;
    choice.addEventListener("change", () => setLook(kept("look", choice.value) ?? choice.value));
  }
  get("shortcuts").checked = kept("shortcuts") !== "off";
  get("shortcuts").addEventListener("change", () => kept("shortcuts", shortcutsOn() ? "on" : "off"));
}

function setLook(look) {
  document.documentElement.dataset.look = look;
}

/** Sign in with the token of the address (#token=...), which leaves the address at once, or with one that is typed. */
export async function signIn() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    history.replaceState(null, "", location.pathname);
    if (await enters(given)) return;
  }
  open(get("sign-panel"));
  await new Promise((resolve) => {
    get("sign-form").onsubmit = async (event) => {
      event.preventDefault();
      if (await enters(get("token").value)) resolve();
    };
    get("sign-panel").oncancel = (event) => event.preventDefault();
  });
  get("token").value = "";
  get("sign-panel").close();
}

async function enters(token) {
  try {
    await ask("/api/login", { token });
    return true;
  } catch (error) {
    write(get("sign-error"), error.message);
    return false;
  }
}
