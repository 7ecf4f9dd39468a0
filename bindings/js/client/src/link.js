/** One WebSocket. After its end, or after drop(), nothing of it is heard any more. */
export class Link {
  #socket;
  #over = false;

  /** `onText`, `onBinary` (ArrayBuffer), `onEnd` ({code, reason}); throws what the constructor of WebSocket throws. */
  constructor(WebSocket, url, protocols, { onText, onBinary, onEnd }) {
    this.#socket = new WebSocket(url, protocols);
    this.#socket.binaryType = "arraybuffer";
    const live = (handler) => (event) => this.#over || handler(event);
    this.#socket.addEventListener("message", live(({ data }) => (typeof data === "string" ? onText : onBinary)(data)));
    this.#socket.addEventListener("error", () => {}); // a close event follows, and says as much
    this.#socket.addEventListener("close", live(({ code, reason }) => {
      this.#over = true;
      onEnd({ code, reason: String(reason ?? "") });
    }));
  }

  /** Bytes that the browser has not given to the network yet. */
  get bufferedAmount() {
    return this.#socket.bufferedAmount;
  }

  /** False when the socket is closing: what is sent then is lost. */
  send(data) {
    if (this.#over || this.#socket.readyState !== 1) return false;
    this.#socket.send(data);
    return true;
  }

  /** Closes and forgets it at once; a browser waits long for a peer that is gone. */
  drop(code, reason) {
    this.#over = true;
    try {
      this.#socket.close(code, reason);
    } catch {
      this.#socket.terminate?.(); // `ws` of Node, still connecting
    }
  }
}
