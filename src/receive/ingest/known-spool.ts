/** What is spooled, as the archive said last. */
import type { SpoolState } from "../../store/archive/intake.ts";

export class KnownSpool {
  readonly #ask: () => Promise<SpoolState | undefined>;
  #state: SpoolState | undefined;
  #told: SpoolState | undefined;
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;

  /** @param ask undefined: the archive cannot tell at present */
  constructor(ask: () => Promise<SpoolState | undefined>) {
    this.#ask = ask;
  }

  /** Mails that are stored and not parsed yet; 0 while the archive cannot tell. */
  get unparsed(): number {
    return this.#state?.unparsed ?? 0;
  }

  get isKnown(): boolean {
    return this.#state !== undefined;
  }

  /** The state, when it differs from what this said last; undefined: it does not, or the archive cannot tell. */
  takeNews(): SpoolState | undefined {
    const [now, told] = [this.#state, this.#told];
    if (!now || (told?.unparsed === now.unparsed && told.oldest === now.oldest && told.newest === now.newest))
      return undefined;
    this.#told = now;
    return now;
  }

  /** Resolves when the archive has been asked after this call. One question at a time, so that no old answer comes last. */
  refresh(): Promise<void> {
    if (!this.#running) {
      this.#running = this.#once();
      return this.#running;
    }
    this.#next ??= this.#running.then(() => {
      this.#next = undefined;
      this.#running = this.#once();
      return this.#running;
    });
    return this.#next;
  }

  async #once(): Promise<void> {
    this.#state = await this.#ask();
    this.#running = undefined;
  }
}
