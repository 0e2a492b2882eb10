/** kill -9 while a feed is connected: acknowledged lines are counted, and no line is counted twice. */
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { FeedReply } from "../../src/feed/port.ts";
import { TestDaemon } from "../support/daemon.ts";

const EVENTS = 20_000;
const KILLS = 5;

function line(i: number, time: number): string {
  const domain = `d${i % 50}.example`;
  return JSON.stringify({
    v: 1,
    kind: "dmarc",
    id: `mx1/${i}`,
    time,
    source_ip: `192.0.2.${i % 20}`,
    header_from: domain,
    policy: { domain, p: "none", rua: [`mailto:dmarc@${domain}`] },
    disposition: "none",
    dkim_aligned: true,
    spf_aligned: false,
  });
}

/** A correct feeder: it drops a line when the line is acknowledged, and sends all others again. */
async function feedAll(d: TestDaemon, path: string): Promise<{ answered: number; kills: number }> {
  const time = Math.floor(Date.now() / 1000);
  let answered = 0;
  let kills = 0;

  function session(socket: Socket): Promise<void> {
    return new Promise((resolve) => {
      let text = "";
      const from = answered;
      socket.setEncoding("utf8");
      socket.on("error", () => {});
      socket.on("close", () => resolve());
      socket.on("data", (chunk: string) => {
        const replies = (text + chunk).split("\n");
        text = replies.pop()!;
        for (const reply of replies) {
          const { accepted, rejected } = JSON.parse(reply) as FeedReply;
          answered += accepted + rejected;
        }
        if (kills < KILLS && answered >= ((kills + 1) * EVENTS) / (KILLS + 1)) {
          kills++;
          d.signal("SIGKILL");
        }
        if (answered >= EVENTS) socket.end();
      });
      void (async () => {
        for (let i = from; i < EVENTS && socket.writable; i += 100) {
          const lines = Array.from({ length: Math.min(100, EVENTS - i) }, (_, k) => line(i + k, time));
          if (!socket.write(`${lines.join("\n")}\n`)) {
            await new Promise<void>((ready) => {
              socket.once("drain", ready);
              socket.once("close", ready);
            });
          }
        }
      })();
    });
  }

  while (answered < EVENTS) {
    await session(connect(path));
    if (answered < EVENTS) {
      await d.stop("SIGKILL");
      await d.start();
    }
  }
  return { answered, kills };
}

describe("kill -9", () => {
  it("while evaluations are fed: each is counted once", { timeout: 300_000 }, async () => {
    const d = await new TestDaemon({ config: '[[feed]]\nname = "mx1"\nsocket = "feed.sock"\n' }).start();
    const { answered, kills } = await feedAll(d, join(d.dir, "var", "feed.sock"));
    expect({ answered, kills }).toEqual({ answered: EVENTS, kills: KILLS });
    expect(d.stats()).toMatchObject({ "outgoing.open": 50, "outgoing.message": EVENTS, "feed.rejected": 0 });
    await d.stop();
    d.remove();
  });
});
