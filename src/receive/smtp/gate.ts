/**
 * The door before the SMTP server: how many connections one party and all together may have and open, and how long
 * one may last. The server behind it sees no bytes and no clock.
 */
import type { Socket } from "node:net";
import type { Config } from "../../config/schema.ts";
import type { Clock, Timer } from "../../lib/clock.ts";
import { partyOf } from "../../model/ip.ts";

export type Refusal = "too-many" | "too-many-from-address" | "too-fast" | "paused";

export interface Guest {
  readonly party: string;
  /** The client's address; null over a Unix socket. */
  readonly address: string | null;
  readonly socket: Socket;
  /** A mail is being sent now: not to be evicted. */
  busy: boolean;
  lastActive: number;
  /** A mail was accepted: the session may go on. */
  extend(): void;
  /** The session has ended. Not told by the socket: STARTTLS takes all listeners from it. */
  leave(): void;
}

interface Rate {
  minute: number;
  count: number;
}

const RATES_KEPT = 10_000;

export class Gate {
  readonly #clock: Clock;
  #limits: Config["smtp"];
  readonly #guests = new Set<Guest>();
  readonly #perParty = new Map<string, number>();
  readonly #connects = new Map<string, Rate>();
  readonly #mails = new Map<string, Rate>();

  constructor(clock: Clock, limits: Config["smtp"]) {
    this.#clock = clock;
    this.#limits = limits;
  }

  setLimits(limits: Config["smtp"]): void {
    this.#limits = limits;
  }

  get size(): number {
    return this.#guests.size;
  }

  guests(): Iterable<Guest> {
    return this.#guests;
  }

  /**
   * Admits a connection, or says why not.
   * @param address the client's, which a proxy may have told; null over a Unix socket
   */
  admit(socket: Socket, address: string | null): Guest | Refusal {
    const party = partyOf(address ?? "local");
    if (!this.#underRate(this.#connects, party, this.#limits.connections_per_minute)) return "too-fast";
    const mine = this.#perParty.get(party) ?? 0;
    if (mine >= this.#limits.max_connections_per_address) return "too-many-from-address";
    if (this.#guests.size >= this.#limits.max_connections && !this.#evict()) return "too-many";
    let deadline: Timer | undefined;
    let left = false;
    const guest: Guest = {
      party,
      address,
      socket,
      busy: false,
      lastActive: this.#clock.monotonic(),
      extend: () => {
        deadline?.cancel();
        deadline = this.#clock.after(this.#limits.session_timeout, () => socket.destroy());
      },
      leave: () => {
        if (left) return;
        left = true;
        deadline?.cancel();
        this.#guests.delete(guest);
        const others = (this.#perParty.get(party) ?? 1) - 1;
        if (others > 0) this.#perParty.set(party, others);
        else this.#perParty.delete(party);
      },
    };
    guest.extend();
    this.#guests.add(guest);
    this.#perParty.set(party, mine + 1);
    return guest;
  }

  /** True when the party may send one more mail this minute. */
  mayMail(party: string): boolean {
    return this.#underRate(this.#mails, party, this.#limits.messages_per_minute);
  }

  /** Ends the session that has been idle the longest, if one is not in a transaction. */
  #evict(): boolean {
    let oldest: Guest | undefined;
    for (const guest of this.#guests) {
      if (!guest.busy && (!oldest || guest.lastActive < oldest.lastActive)) oldest = guest;
    }
    if (!oldest) return false;
    oldest.socket.end("421 4.3.2 Too many sessions, come back later\r\n");
    oldest.socket.destroySoon();
    this.#guests.delete(oldest);
    return true;
  }

  #underRate(rates: Map<string, Rate>, party: string, most: number): boolean {
    const minute = Math.floor(this.#clock.monotonic() / 60_000);
    const rate = rates.get(party);
    if (rate && rate.minute === minute) {
      if (rate.count >= most) return false;
      rate.count++;
      return true;
    }
    if (rates.size >= RATES_KEPT) rates.clear();
    rates.set(party, { minute, count: 1 });
    return true;
  }
}
