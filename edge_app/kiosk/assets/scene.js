// The picture, the corners of what the model sees, and the camera's state in words.
import { get, write } from "./dom.js";

const GONE = { state: "gone", headline: "Not connected", remedy: "The program does not run. This page goes on by itself when it is back.", detail: "" };
const AGE_EVERY_MS = 500;
let ageAt = -AGE_EVERY_MS;

export async function drawPicture(jpeg) {
  const bitmap = await createImageBitmap(jpeg);
  const canvas = get("picture");
  if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
    canvas.width = bitmap.width;
    canvas.height = bitmap.height;
    get("frame").style.setProperty("--shape", (bitmap.width / bitmap.height).toFixed(4));
  }
  canvas.getContext("2d", { alpha: false }).drawImage(bitmap, 0, 0);
  bitmap.close();
}

export function showCamera(camera, picture) {
  get("camera").dataset.state = camera.state;
  write(get("camera-word"), camera.headline);
  if (performance.now() - ageAt > AGE_EVERY_MS || camera.state !== "live") {
    ageAt = performance.now();
    write(get("camera-age"), camera.age_ms === null || camera.age_ms === undefined ? "" : age(camera.age_ms));
  }
  const clear = camera.state === "live" && picture !== null;
  get("veil").hidden = clear;
  write(get("veil-headline"), camera.state === "live" ? "Waiting for a picture" : camera.headline);
  write(get("veil-remedy"), camera.remedy);
  write(get("veil-detail"), camera.detail);
  showSeen(clear && picture.seen);
}

export function showGone() {
  showCamera(GONE, null);
}

export function age(milliseconds) {
  if (milliseconds < 1000) return `picture ${(Math.max(100, milliseconds) / 1000).toFixed(1)} s old`;
  const seconds = Math.round(milliseconds / 1000);
  return seconds < 120 ? `picture ${seconds} s old` : `picture ${Math.round(seconds / 60)} min old`;
}

function showSeen(seen) {
  const box = get("seen");
  box.hidden = !seen;
  if (!seen) return;
  const [left, top, right, bottom] = seen.map((share) => `${(100 * share).toFixed(2)}%`);
  Object.assign(box.style, { left, top, width: `calc(${right} - ${left})`, height: `calc(${bottom} - ${top})` });
}
