/* The Try tab: a client of the bridge by hand. The bundle for production has nothing of it. */

const LINES = 500;
const at = (id) => document.getElementById(id);

class Conversation {
  constructor(offer) {
    this.socket = null;
    this.epoch = null; // of the offsets that were seen
    this.offset = 0;
    at("try-url").value = defaultUrl(offer);
    at("try-mint").addEventListener("submit", (event) => this.on(event, () => this.mint()));
    at("try-connect-form").addEventListener("submit", (event) => this.on(event, () => this.connect(false)));
    at("try-send-form").addEventListener("submit", (event) => this.on(event, () => this.send()));
    at("try-resume").addEventListener("click", () => this.connect(true));
    at("try-disconnect").addEventListener("click", () => this.socket?.close(1000));
    at("try-clear").addEventListener("click", () => at("try-log").replaceChildren());
    at("try-make").disabled = !offer.tokens;
    if (!offer.tokens) at("try-mint-note").textContent = "No HMAC secret to sign with: paste a token of your identity provider.";
  }

  on(event, act) {
    event.preventDefault();
    act();
  }

  async mint() {
    const user = encodeURIComponent(at("try-user").value);
    try {
      const answer = await fetch(`token?user=${user}`, { method: "POST" });
      const body = await answer.json();
      if (answer.ok) at("try-token").value = body.token;
      at("try-mint-note").textContent = answer.ok ? `Valid for ${body.expires_in} s` : body.message;
    } catch (error) {
      at("try-mint-note").textContent = String(error);
    }
  }

  connect(resume) {
    this.forgetSocket();
    const token = at("try-token").value.trim();
    let socket;
    try {
      const url = new URL(at("try-url").value);
      if (resume) url.searchParams.set("epoch", this.epoch);
      if (resume) url.searchParams.set("offset", this.offset);
      socket = new WebSocket(url, token ? [`jwt.${token}`, "agent_chat"] : ["agent_chat"]);
    } catch (error) {
      this.state(`Not connected: ${error.message}`);
      return;
    }
    this.follow(socket);
    this.state(resume ? "Resuming" : "Connecting");
  }

  follow(socket) {
    this.socket = socket;
    socket.onmessage = (message) => this.receive(message.data);
    socket.onclose = (close) => this.closed(close);
  }

  /* Its frames are nobody's any more; the bridge sees it go. */
  forgetSocket() {
    if (!this.socket) return;
    this.socket.onmessage = this.socket.onclose = null;
    this.socket.close(1000);
    this.socket = null;
    this.line("note", "dropped", "");
  }

  closed({ code, reason }) {
    this.socket = null;
    this.line("note", `closed ${code}`, reason);
    this.state(code === 1006 ? "Not connected: no WebSocket there, or it was cut. Look at the URL and at the bridge's log (HANDSHAKE_REFUSED)"
      : `Not connected: closed ${code} ${reason}`);
  }

  receive(data) {
    let frame = {};
    try { frame = JSON.parse(data); } catch { /* shown as it is */ }
    this.line("in", frame.type ?? "frame", typeof data === "string" ? data : "binary");
    this.note(frame);
    if (frame.type === "connection_established") this.established(frame.data);
  }

  established({ user_id, recovered, recovery_error }) {
    const resumed = recovered ? ", resumed" : recovery_error ? `, not resumed: ${recovery_error}` : "";
    this.state(`Connected as ${user_id}${resumed}`);
  }

  /* What a resume goes on from: every event has an offset; a new beginning says where it is. */
  note({ type, data, _offset }) {
    const begins = type === "resync" || (type === "connection_established" && !data.recovered);
    if (begins) ({ epoch: this.epoch, offset: this.offset } = data.resume);
    if (Number.isInteger(_offset)) this.offset = _offset;
  }

  send() {
    const text = at("try-message").value;
    if (this.socket?.readyState !== WebSocket.OPEN) return;
    this.socket.send(text);
    this.line("out", "sent", text);
  }

  state(text) {
    at("try-state").textContent = text;
    at("try-send").disabled = at("try-disconnect").disabled = !this.socket;
    at("try-resume").disabled = this.epoch === null;
  }

  line(way, what, text) {
    const log = at("try-log"), item = document.createElement("div"), low = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    const time = document.createElement("time"), kind = document.createElement("b");
    time.textContent = new Date().toLocaleTimeString();
    kind.textContent = what;
    item.className = way;
    item.append(time, " ", kind, " ", text);
    log.append(item);
    while (log.children.length > LINES) log.firstChild.remove();
    if (low) log.scrollTop = log.scrollHeight;
  }
}

function defaultUrl({ port, path, tls }) {
  return `${tls ? "wss" : "ws"}://${location.hostname}:${port}${path}`;
}

export function startTry(offer) {
  return new Conversation(offer);
}
