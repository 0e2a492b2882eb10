/** Parses spooled mail beside intake: oldest first, in the parser threads, a limited number of mails at a time. */
import type { ArchiveIntake, StoredMail } from "../../store/archive/intake.ts";
import type { Burst } from "./burst.ts";
import { type ParseMail, parseTaken } from "./parse-stored.ts";
import type { Parsers } from "./parsers.ts";
import { type Notice, wireError } from "./protocol.ts";

/** Mails that are taken at once, which costs a sync, and how often: while some are stored, the threads parse the next ones. */
const GROUP_MAILS = 64;
const GROUPS = 2;

export interface SpoolOptions {
  readonly archive: Pick<ArchiveIntake, "isNextSuspect" | "takeSpooled" | "giveBack" | "put">;
  readonly burst: Burst;
  readonly parse: ParseMail;
  readonly parsers: Pick<Parsers, "isReady" | "reserve" | "release">;
  /** Mails that are stored and not parsed yet. */
  readonly spooled: () => number;
  /** Asks the archive again how many these are. */
  readonly refresh: () => Promise<void>;
  readonly tell: (notice: Notice) => void;
  /** Mails that were loaded have been stored: their buffers can be freed. */
  readonly onStored: () => void;
}

export class SpoolParsing {
  readonly #options: SpoolOptions;
  /** Switched on by the daemon. */
  #isOn: boolean;
  /** The archive failed: spooled mail is tried again with the next request, or after a while. */
  #isTroubled = false;
  #groups = 0;
  /** Mails that are being parsed. */
  readonly #taken = new Set<number>();
  #isTaking = false;
  /** A suspect is taken and parsed: an attempt that begins beside it would be counted against a mail that is not the reason. */
  #isAlone = false;
  #afterBurst: NodeJS.Timeout | undefined;

  constructor(options: SpoolOptions, isOn: boolean) {
    this.#options = options;
    this.#isOn = isOn;
  }

  switch(on: boolean): void {
    this.#isOn = on;
    this.retry();
  }

  /** The parsers stop: what they have stays spooled, and the attempt is not counted. Errors: `store.*`. */
  async close(): Promise<void> {
    this.#isOn = false;
    clearTimeout(this.#afterBurst);
    if (this.#taken.size > 0) await this.#options.archive.giveBack([...this.#taken]);
  }

  /** An error of the archive may have passed. */
  forgive(): void {
    this.#isTroubled = false;
  }

  /** Parses what is spooled, also after an error. */
  retry(): void {
    this.forgive();
    this.wake();
  }

  /** Mail may have been spooled. */
  wake(): void {
    if (!this.#isOn || this.#isTroubled || this.#isTaking || this.#isAlone || this.#groups >= GROUPS) return;
    const { burst, spooled, parsers } = this.#options;
    // an attempt begins when the mail is taken: what ends the process before a thread is ready is no fault of the mail
    if (!parsers.isReady || spooled() <= this.#taken.size) return;
    const wait = burst.calmIn(spooled());
    clearTimeout(this.#afterBurst);
    if (wait > 0) this.#afterBurst = setTimeout(() => this.wake(), wait);
    else void this.#group();
  }

  /** Takes some mails, and parses them while the next ones are taken. */
  async #group(): Promise<void> {
    const { tell, archive, refresh, onStored } = this.#options;
    this.#groups++;
    let taken: readonly StoredMail[] | undefined = [];
    try {
      this.#isTaking = true;
      taken = await this.#take().finally(() => {
        this.#isTaking = false;
      });
      for (const { mailId } of taken ?? []) this.#taken.add(mailId);
      if (taken && taken.length > 0) {
        setImmediate(() => this.wake());
        await parseTaken(archive, this.#parse, taken);
      }
    } catch (error) {
      this.#isTroubled = true;
      await refresh();
      tell({ notice: "parse-failed", ...wireError(error) });
    }
    for (const { mailId } of taken ?? []) this.#taken.delete(mailId);
    if (taken?.some(isSuspect)) this.#endAlone();
    if (--this.#groups === 0) tell({ notice: "parsing", busy: false });
    onStored();
    const isLast = this.#groups === 0;
    if (taken ? taken.length > 0 : isLast) this.wake();
  }

  /**
   * The next mails; their attempts have begun. A suspect is taken when nothing else is parsed, so that neither its attempt
   * nor another one is counted for an end of the process that was due to another mail; undefined: other groups have to end
   * first.
   */
  async #take(): Promise<readonly StoredMail[] | undefined> {
    const { archive, tell, parsers } = this.#options;
    if (await archive.isNextSuspect()) {
      if (this.#groups > 1) return undefined;
      this.#isAlone = true;
      await parsers.reserve();
    }
    let taken: readonly StoredMail[] = [];
    try {
      if (!this.#isOn) return taken;
      // before the mails are loaded, which may be what ends the process
      if (this.#groups === 1) tell({ notice: "parsing", busy: true });
      taken = await archive.takeSpooled(GROUP_MAILS);
      return taken;
    } finally {
      if (!taken.some(isSuspect)) this.#endAlone();
    }
  }

  /** Nothing waits for the commit of a suspect: it has not ended the process. */
  readonly #parse: ParseMail = async (intake, alone) => {
    const content = await this.#options.parse(intake, alone);
    if (alone) this.#options.parsers.release();
    return content;
  };

  #endAlone(): void {
    if (!this.#isAlone) return;
    this.#isAlone = false;
    this.#options.parsers.release();
  }
}

function isSuspect(mail: StoredMail): boolean {
  return "attempted" in mail && mail.attempted;
}
