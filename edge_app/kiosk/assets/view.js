// The newest view, asked for again when the last one is drawn: what a slow browser misses is never queued.

const SLOWEST_MS = 1000 / 20;
const RETRY_MS = 1000;
const SILENT_MS = 5000;

export class Views {
  /** `show(state, jpeg)` draws; `gone()` is told that the program does not answer; `locked()` asks for the token. */
  constructor({ show, gone, locked, width }) {
    Object.assign(this, { show, gone, locked, width });
    this.boot = "";
    this.version = 0;
    this.picture = -1;
    this.assets = "";
  }

  async run() {
    for (;;) {
      const began = performance.now();
      const pause = (await this.once()) ? SLOWEST_MS : RETRY_MS;
      await this.wait(began + pause - performance.now());
    }
  }

  async once() {
    try {
      const response = await this.fetch();
      if (response.status === 401) {
        await this.locked();
        return true;
      }
      if (!response.ok) throw new Error(response.statusText);
      await this.take(response);
      return true;
    } catch {
      this.gone();
      return false;
    }
  }

  fetch() {
    const known = { boot: this.boot, after: this.version, picture: this.picture, width: this.width() };
    const signal = AbortSignal.timeout(SILENT_MS);
    return fetch(`/api/view?${new URLSearchParams(known)}`, { signal, cache: "no-store" });
  }

  async take(response) {
    const size = Number(response.headers.get("X-State-Bytes"));
    const data = await response.arrayBuffer();
    const state = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 0, size)));
    if (this.assets && this.assets !== state.assets) {
      location.reload(); // the program came back in another version
      return;
    }
    const jpeg = data.byteLength > size ? new Blob([new Uint8Array(data, size)], { type: "image/jpeg" }) : null;
    await this.show(state, jpeg, this.boot !== state.boot);
    this.boot = state.boot;
    this.assets = state.assets;
    this.version = state.version;
    if (jpeg) this.picture = state.picture.number;
  }

  /** Wait at least `milliseconds`, and for as long as nobody can see the page. */
  async wait(milliseconds) {
    if (milliseconds > 0) await new Promise((resolve) => setTimeout(resolve, milliseconds));
    while (document.hidden) await new Promise((resolve) => addEventListener("visibilitychange", resolve, { once: true }));
  }
}
