/** The parts of the daemon that operators pause and resume, by the names of smtpctl(8). A new one is a line here. */

export interface SubsystemAbout {
  readonly help: { readonly pause: string; readonly resume: string };
  /** It is known to smtpctl(8). */
  readonly classic: boolean;
  /** It can be paused for one destination. */
  readonly destinations: boolean;
}

/** In the order in which they are shown. */
export const SUBSYSTEM_TABLE = {
  smtp: {
    help: { pause: "refuse new SMTP sessions with 421", resume: "resume accepting SMTP sessions" },
    classic: true,
    destinations: false,
  },
  mda: {
    help: {
      pause: "store mail without parsing it (mda: the report parser)",
      resume: "resume parsing, with the unparsed backlog first",
    },
    classic: true,
    destinations: false,
  },
  mta: {
    help: { pause: "stop delivery; attempts in progress are finished", resume: "resume delivery" },
    classic: true,
    destinations: true,
  },
  scheduler: {
    help: { pause: "compose no reports", resume: "resume composing reports" },
    classic: false,
    destinations: false,
  },
} as const satisfies Record<string, SubsystemAbout>;

export type Subsystem = keyof typeof SUBSYSTEM_TABLE;
export const SUBSYSTEMS = Object.keys(SUBSYSTEM_TABLE) as [Subsystem, ...Subsystem[]];
