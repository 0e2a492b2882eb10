/** An SMTP server that takes mail, for tests of delivery: what it got, and what it answers. */
import type { AddressInfo } from "node:net";
import { SMTPServer } from "smtp-server";

export interface SmtpSink {
  readonly port: number;
  /** Recipient and bytes of each message that was accepted. */
  readonly got: { readonly rcpt: string; readonly raw: Buffer }[];
  /** Reply to RCPT by recipient, in place of 250. */
  readonly refuse: Map<string, { readonly code: number; readonly text: string }>;
  /** While set, the reply to the end of DATA waits for it. */
  hold: Promise<void> | undefined;
  close(): Promise<void>;
}

export async function openSink(): Promise<SmtpSink> {
  const got: SmtpSink["got"] = [];
  const refuse: SmtpSink["refuse"] = new Map();
  const server = new SMTPServer({
    authOptional: true,
    disabledCommands: ["AUTH", "STARTTLS"],
    disableReverseLookup: true,
    onRcptTo({ address }, _session, callback) {
      const answer = refuse.get(address);
      callback(answer ? Object.assign(new Error(answer.text), { responseCode: answer.code }) : null);
    },
    onData(stream, session, callback) {
      const chunks: Buffer[] = [];
      stream.on("data", (chunk: Buffer) => chunks.push(chunk));
      stream.on("end", () => {
        got.push({ rcpt: session.envelope.rcptTo[0]!.address, raw: Buffer.concat(chunks) });
        if (sink.hold) void sink.hold.then(() => callback(null, "queued"));
        else callback(null, "queued");
      });
    },
  });
  server.on("error", () => {}); // clients that go away
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const sink: SmtpSink = {
    port: (server.server.address() as AddressInfo).port,
    got,
    refuse,
    hold: undefined,
    close: () => new Promise((resolve) => server.close(() => resolve())),
  };
  return sink;
}
