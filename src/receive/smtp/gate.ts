/**
 * The door before the SMTP server: how many connections one party and all together may have and open, and how long
 * one may last. One timer looks after all of them.
 */
import type { Config } from "../../config/schema.ts";
import type { Clock, Timer } from "../../lib/clock.ts";

export type Refusal = "too-many" | "too-many-from-address" | "too-fast" | "paused";

/** A connection that was let in. Times are monotonic milliseconds. */
export interface Guest {
  /** Under which it is counted (`partyOf`). */
  readonly party: string;
  /** In a transaction: not to be evicted. */
  readonly busy: boolean;
  /** Its last mail, or its begin. */
  readonly lastActive: number;
  /** It is cut off then. */
  readonly deadline: number;
  /** What else is to be looked at, about once a second: a mail that comes too slowly, an answer that is due. */
  readonly watch: ((now: number) => void) | undefined;
  /** Says 421 and ends it. */
  dismiss(text: string): void;
  /** Ends it without a word. */
  cut(): void;
}

interface Rate {
  minute: number;
  count: number;
}

const RATES_KEPT = 10_000;
const LOOK_MS = 1000;

export class Gate {
  readonly #clock: Clock;
  #limits: Config["smtp"];
  readonly #guests = new Set<Guest>();
  readonly #perParty = new Map<string, number>();
  readonly #connects = new Map<string, Rate>();
  readonly #mails = new Map<string, Rate>();
  #timer: Timer | undefined;

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

  /** Why a connection of this party is not let in, if so; makes room by ending an idle one. */
  refusal(party: string): Refusal | undefined {
    if (!this.#underRate(this.#connects, party, this.#limits.connections_per_minute)) return "too-fast";
    const mine = this.#perParty.get(party) ?? 0;
    if (mine >= this.#limits.max_connections_per_address) return "too-many-from-address";
    if (this.#guests.size >= this.#limits.max_connections && !this.#evict()) return "too-many";
    return undefined;
  }

  /** Lets it in; whoever does so says when it `left`. */
  enter(guest: Guest): void {
    this.#guests.add(guest);
    this.#perParty.set(guest.party, (this.#perParty.get(guest.party) ?? 0) + 1);
    this.#timer ??= this.#clock.after(LOOK_MS, () => this.#look());
  }

  /** Its connection is closed. To be told once. */
  left(guest: Guest): void {
    this.#guests.delete(guest);
    const others = (this.#perParty.get(guest.party) ?? 1) - 1;
    if (others > 0) this.#perParty.set(guest.party, others);
    else this.#perParty.delete(guest.party);
    if (this.#guests.size > 0) return;
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  /** True when the party may send one more mail this minute. */
  mayMail(party: string): boolean {
    return this.#underRate(this.#mails, party, this.#limits.messages_per_minute);
  }

  #look(): void {
    this.#timer = this.#clock.after(LOOK_MS, () => this.#look());
    const now = this.#clock.monotonic();
    for (const guest of this.#guests) {
      if (now >= guest.deadline) guest.cut();
      else guest.watch?.(now);
    }
  }

  /** Ends the session that has been idle the longest, if one is not in a transaction. */
  #evict(): boolean {
    let oldest: Guest | undefined;
    for (const guest of this.#guests) {
      if (!guest.busy && (!oldest || guest.lastActive < oldest.lastActive)) oldest = guest;
    }
    if (!oldest) return false;
    this.#guests.delete(oldest);
    oldest.dismiss("4.3.2 Too many sessions, come back later");
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
