// What one writes by hand without Girasol: a Durable Object that stores what is published and
// sends it to everybody. `cargo xtask bench publish-throughput` compares the functions with it.
// It checks no token and no update, keeps no topics, and gives nobody what they missed.
import { DurableObject } from "cloudflare:workers";

export class Peer extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    this.sql = ctx.storage.sql;
    this.sql.exec(
      "CREATE TABLE IF NOT EXISTS log (seq INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL)",
    );
  }

  async fetch(request) {
    if (request.headers.get("Upgrade") === "websocket") {
      const { 0: client, 1: server } = new WebSocketPair();
      this.ctx.acceptWebSocket(server);
      return new Response(null, { status: 101, webSocket: client });
    }
    const body = await request.text();
    const { seq } = this.sql.exec("INSERT INTO log (body) VALUES (?) RETURNING seq", body).one();
    const frame = `{"seq":${seq},"update":${body}}`;
    for (const socket of this.ctx.getWebSockets()) {
      try {
        socket.send(frame);
      } catch {
        // It is closing.
      }
    }
    return Response.json({ status: "ok", seq });
  }

  webSocketClose(socket, code) {
    socket.close(code);
  }
}

export default {
  fetch(request, env) {
    return env.PEER.get(env.PEER.idFromName("peer")).fetch(request);
  },
};
