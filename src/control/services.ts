/** What the routes need of the daemon: services by subject. Made in daemon/services.ts, faked in tests. */
import type { DaemonService } from "../services/daemon.ts";
import type { DatabaseService } from "../services/databases.ts";
import type { EnvelopeService } from "../services/envelopes.ts";
import type { FeedService } from "../services/feeds.ts";
import type { JobService } from "../services/jobs.ts";
import type { MailService } from "../services/mails.ts";
import type { OutgoingService } from "../services/outgoing.ts";
import type { PauseService } from "../services/pauses.ts";
import type { QueueLists } from "../services/questions.ts";
import type { SuppressionService } from "../services/suppressions.ts";
import type { ArchiveQuestions } from "../store/archive/reader.ts";

export interface Services {
  readonly archive: ArchiveQuestions;
  readonly queue: QueueLists;
  readonly envelopes: EnvelopeService;
  readonly suppressions: SuppressionService;
  readonly outgoing: OutgoingService;
  readonly pauses: PauseService;
  readonly mails: MailService;
  readonly jobs: JobService;
  readonly feeds: FeedService;
  readonly databases: DatabaseService;
  readonly daemon: DaemonService;
}
