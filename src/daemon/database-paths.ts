/** The files of the databases. */
export interface DatabasePaths {
  readonly archivePath: string;
  readonly queuePath: string;
}
