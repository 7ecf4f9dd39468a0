/** TCP between a client and the bridge, in the hands of a test: always the same port, whatever becomes of the bridge. */
import net from "node:net";

export class Proxy {
  accepted = 0;
  #pairs = new Set();
  #server;
  #silent = false;

  static async start(port) {
    const proxy = new Proxy();
    proxy.target = port;
    proxy.#server = net.createServer((client) => proxy.#take(client));
    await new Promise((resolve) => proxy.#server.listen(0, "127.0.0.1", resolve));
    proxy.port = proxy.#server.address().port;
    return proxy;
  }

  #take(client) {
    this.accepted++;
    const server = net.connect(this.target, "127.0.0.1");
    const pair = [client, server];
    this.#pairs.add(pair);
    const end = () => {
      this.#pairs.delete(pair);
      for (const socket of pair) socket.destroy();
    };
    for (const [from, to] of [pair, [server, client]]) {
      from.setNoDelay(true);
      from.on("data", (bytes) => this.#silent || to.write(bytes));
      from.on("error", end);
      from.on("close", end);
    }
  }

  /** End all connections with RST. */
  cut() {
    for (const pair of [...this.#pairs]) for (const socket of pair) socket.resetAndDestroy();
  }

  /** From now on nothing passes, and nobody is told. */
  swallow(yes = true) {
    this.#silent = yes;
  }

  async stop() {
    this.cut();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
