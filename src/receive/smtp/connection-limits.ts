/**
 * Limits before the SMTP server: the number and rate of connections of one client and of all together, and the
 * duration of one. A single timer watches all of them.
 */
import type { Config } from "../../config/schema.ts";
import type { Clock, Timer } from "../../lib/clock.ts";

export type Refusal = "too-many" | "too-many-from-address" | "too-fast" | "paused";

/** An admitted connection. Times are monotonic milliseconds. */
export interface ClientConnection {
  /** The key by which its client is counted (`clientKeyOf`). */
  readonly client: string;
  /** In a transaction: not to be evicted. */
  readonly busy: boolean;
  /** Time of its last mail, or of its begin. */
  readonly lastActive: number;
  /** Time at which it is cut. */
  readonly deadline: number;
  /** Called about once a second: watches a mail that comes too slowly, a reply that is due. */
  readonly watch: ((now: number) => void) | undefined;
  /** Closes it with 421. */
  closeWith421(text: string): void;
  /** Ends it without a reply. */
  cut(): void;
}

interface Rate {
  minute: number;
  count: number;
}

const RATES_KEPT = 10_000;
const LOOK_MS = 1000;

export class ConnectionLimits {
  readonly #clock: Clock;
  #limits: Config["smtp"];
  readonly #connections = new Set<ClientConnection>();
  readonly #perClient = new Map<string, number>();
  readonly #connects = new Map<string, Rate>();
  readonly #mails = new Map<string, Rate>();
  readonly #onError: (error: unknown, connection: ClientConnection) => void;
  #timer: Timer | undefined;

  /** @param onError receives what watching or closing a connection throws; the connection is cut */
  constructor(
    clock: Clock,
    limits: Config["smtp"],
    onError: (error: unknown, connection: ClientConnection) => void,
  ) {
    this.#clock = clock;
    this.#limits = limits;
    this.#onError = onError;
  }

  setLimits(limits: Config["smtp"]): void {
    this.#limits = limits;
  }

  get size(): number {
    return this.#connections.size;
  }

  all(): Iterable<ClientConnection> {
    return this.#connections;
  }

  /** Why a connection of this client is refused; undefined when it is admitted. Makes room by closing an idle one. */
  refusal(client: string): Refusal | undefined {
    if (!this.#underRate(this.#connects, client, this.#limits.connections_per_minute)) return "too-fast";
    const mine = this.#perClient.get(client) ?? 0;
    if (mine >= this.#limits.max_connections_per_address) return "too-many-from-address";
    if (this.#connections.size >= this.#limits.max_connections && !this.#evict()) return "too-many";
    return undefined;
  }

  /** Admits it. The caller removes it when it is closed. */
  add(connection: ClientConnection): void {
    this.#connections.add(connection);
    this.#perClient.set(connection.client, (this.#perClient.get(connection.client) ?? 0) + 1);
    this.#timer ??= this.#clock.after(LOOK_MS, () => this.#look());
  }

  /** Removes a connection that is closed. To be called once. */
  remove(connection: ClientConnection): void {
    this.#connections.delete(connection);
    const others = (this.#perClient.get(connection.client) ?? 1) - 1;
    if (others > 0) this.#perClient.set(connection.client, others);
    else this.#perClient.delete(connection.client);
    if (this.#connections.size > 0) return;
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  /** True when the client may send one more mail this minute. */
  mayMail(client: string): boolean {
    return this.#underRate(this.#mails, client, this.#limits.messages_per_minute);
  }

  #look(): void {
    this.#timer = this.#clock.after(LOOK_MS, () => this.#look());
    const now = this.#clock.monotonic();
    for (const connection of this.#connections) {
      this.#guarded(connection, () => {
        if (now >= connection.deadline) connection.cut();
        else connection.watch?.(now);
      });
    }
  }

  /** An error in one connection must not end the watch over the others. */
  #guarded(connection: ClientConnection, work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#onError(error, connection);
    }
  }

  /** Closes the session that has been idle the longest, if one is not in a transaction. */
  #evict(): boolean {
    let oldest: ClientConnection | undefined;
    for (const connection of this.#connections) {
      if (!connection.busy && (!oldest || connection.lastActive < oldest.lastActive)) oldest = connection;
    }
    if (!oldest) return false;
    this.#connections.delete(oldest);
    const idle = oldest;
    this.#guarded(idle, () => idle.closeWith421("4.3.2 Too many sessions, come back later"));
    return true;
  }

  #underRate(rates: Map<string, Rate>, client: string, max: number): boolean {
    const minute = Math.floor(this.#clock.monotonic() / 60_000);
    const rate = rates.get(client);
    if (rate && rate.minute === minute) {
      if (rate.count >= max) return false;
      rate.count++;
      return true;
    }
    if (rates.size >= RATES_KEPT) rates.clear();
    rates.set(client, { minute, count: 1 });
    return true;
  }
}
