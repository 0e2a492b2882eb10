/** Envelopes in the queue. */
import { isEnvelopeId, isMessageId } from "../../lib/ids.ts";
import { ENVELOPE_STATES } from "../queue.ts";
import { number, object, orNull, text, texts, time, word } from "./field.ts";
import { QUEUE_FILTERS } from "./filter.ts";
import { defineList } from "./list.ts";

const { id, kind, domainOrBelow, rcpt, sender, state, error, due_before, due_after } = QUEUE_FILTERS;

/** RFC 3339 → epoch seconds. */
const epoch = (at: string): number => Math.floor(Date.parse(at) / 1000);

/** The states of smtpctl: a held envelope is a pending one with the flag hold. */
const runstate = (word: string): string => (word === "held" ? "pending" : word);

export const QUEUE = defineList({
  name: "queue",
  help: "envelopes in the queue",
  store: "queue",
  reading: "pages",
  order: "by id",
  cursor: /^[0-9a-f]{16}$/,
  fields: {
    id: text("id of the envelope: 16 hex digits"),
    message_id: text("id of the message: 8 hex digits"),
    report_id: text("id of the outgoing report"),
    kind: word(["dmarc", "tls"], "kind of report"),
    domain: text("policy domain"),
    agent: word(["mta", "https"], "how it is delivered"),
    sender: text("envelope sender"),
    rcpt: text("recipient address, or https URI"),
    destination: text("domain of the address, or host of the URI"),
    state: word(ENVELOPE_STATES, "state"),
    flags: texts("hold: an operator holds it"),
    created_at: time("when it was queued"),
    next_at: time("when delivery is attempted next"),
    expires_at: time("when it expires"),
    last_at: orNull(time("when the last reply came")),
    attempts: number("delivery attempts"),
    last: orNull(
      object(
        {
          code: orNull(number("SMTP reply code or HTTP status")),
          enhanced: orNull(text("enhanced status code")),
          text: text("text of the reply, or of the error"),
          mx: orNull(text("host that replied")),
          ip: orNull(text("address of that host")),
          tls: orNull(text("TLS protocol")),
        },
        "last reply",
      ),
    ),
    size: number("bytes of the message"),
  },
  filters: { id, kind, domain: domainOrBelow, rcpt, sender, state, error, due_before, due_after },
  columns: [
    { title: "ENVELOPE", field: "id" },
    { title: "KIND", field: "kind", drop: 8 },
    { title: "REPORT FOR", field: "domain", cut: 16, drop: 7 },
    { title: "RECIPIENT", field: "rcpt", cut: 20 },
    { title: "STATE", field: "state" },
    { title: "TRIES", field: "attempts", drop: 6 },
    { title: "NEXT", field: "next_at", drop: 1, when: (e) => e.state === "pending" },
    { title: "EXPIRES", field: "expires_at", drop: 9 },
    { title: "LAST REPLY", cut: 20, text: (e) => e.last?.text ?? "" },
  ],
  // smtpctl's fourteen fields, and three more
  plain: [
    { title: "evpid", field: "id" },
    { title: "src", text: () => "local" },
    { title: "agent", field: "agent" },
    { title: "flags", field: "flags" },
    { title: "sender", field: "sender" },
    { title: "rcpt", field: "rcpt" },
    { title: "dest", field: "rcpt" },
    { title: "ctime", field: "created_at" },
    { title: "expire", field: "expires_at" },
    { title: "lasttry", text: (e) => String(e.last_at === null ? 0 : epoch(e.last_at)) },
    { title: "retries", field: "attempts" },
    { title: "runstate", text: (e) => runstate(e.state) },
    // never negative, however late it is
    {
      title: "delay",
      text: (e, now) =>
        e.state === "pending" ? String(Math.max(0, epoch(e.next_at) - Math.floor(now / 1000))) : "",
    },
    { title: "error", text: (e) => e.last?.text ?? "" },
    { title: "kind", field: "kind" },
    { title: "report-id", field: "report_id" },
    { title: "size", field: "size" },
  ],
  commands: [
    {
      words: ["show", "queue"],
      classic: true,
      operand: {
        name: "[ID]",
        filter: "id",
        forms: ["<msgid>", "<evpid>"],
        accepts: (typed) => isMessageId(typed) || isEnvelopeId(typed),
      },
      examples: ["mailreportctl show queue", "mailreportctl show queue --json -d example.net"],
    },
    { words: ["queue", "list"] },
  ],
});
