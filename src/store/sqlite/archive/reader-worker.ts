/** The program of a reader thread. */
import { parentPort, workerData } from "node:worker_threads";
import { openArchiveReader } from "./reader.ts";
import type { ReaderThreadData } from "./reader-protocol.ts";
import { serveQuestions } from "./reader-serve.ts";

if (parentPort) serveQuestions(parentPort, workerData as ReaderThreadData, openArchiveReader);
