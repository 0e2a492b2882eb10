/** Exit codes of both programs (sysexits.h), the only ones they use. */
export const EXIT = {
  OK: 0,
  /** Understood, but nothing matched, only a part was changed, or a check found problems. */
  NOTHING: 1,
  USAGE: 64,
  DATAERR: 65,
  NOINPUT: 66,
  UNAVAILABLE: 69,
  SOFTWARE: 70,
  OSERR: 71,
  CANTCREAT: 73,
  IOERR: 74,
  TEMPFAIL: 75,
  PROTOCOL: 76,
  NOPERM: 77,
  CONFIG: 78,
  INTERRUPTED: 130,
} as const;
